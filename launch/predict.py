"""python launch/predict.py --run=RUN RECORDING is `eegjax predict` with the same flags."""

import sys

from eegjax import console

if __name__ == "__main__":
    console.start("predict", "python launch/predict.py", sys.argv[1:])

"""python launch/benchmark.py --operations is `eegjax benchmark` with the same flags."""

import sys

from eegjax import console

if __name__ == "__main__":
    console.start("benchmark", "python launch/benchmark.py", sys.argv[1:])

"""python launch/main.py --config=configs/sleep.py[:protocol[,key=value...]] is `eegjax run` with the same flags."""

import sys

from eegjax import console

if __name__ == "__main__":
    console.start("run", "python launch/main.py", sys.argv[1:])

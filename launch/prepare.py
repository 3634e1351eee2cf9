"""python launch/prepare.py --dataset=NAME is `eegjax prepare` with the same flags."""

import sys

from eegjax import console

if __name__ == "__main__":
    console.start("prepare", "python launch/prepare.py", sys.argv[1:])

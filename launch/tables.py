"""python launch/tables.py --paper=STUDY is `eegjax tables` with the same flags."""

import sys

from eegjax import console

if __name__ == "__main__":
    console.start("tables", "python launch/tables.py", sys.argv[1:])

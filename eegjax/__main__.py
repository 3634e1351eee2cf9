"""`python -m eegjax`: the console command where it isn't on the path."""

from eegjax.console import main

if __name__ == "__main__":
    main()

"""Apply a finished run to your own recording (EDF, BDF, BrainVision, FIF).

python launch/predict.py --run=RUN RECORDING [--channel=NAME] [--out=DIR]
"""

from collections.abc import Sequence
from pathlib import Path

from eegjax import cli

FLAGS = {
    "run": "folder of a finished run, such as runs/sleep-standard-0123456789abcdef",
    "channel": "EEG channel to read, or A-B of two electrodes; without it the one that the run was trained on",
    "out": "folder for the results, which replace earlier ones of a recording of the same name; without it this folder",
}


def main(argv: Sequence[str]) -> None:
    """One call."""
    given, left = cli.read_flags(argv, FLAGS)
    recording = cli.positional(left, "RECORDING", list(FLAGS))
    cli.required(given, "run", FLAGS)
    from eegjax import commands

    print(commands.apply(Path(given["run"]), Path(recording), given["channel"], Path(given["out"] or ".")))


if __name__ == "__main__":
    cli.guard(main, FLAGS, __doc__ or "")

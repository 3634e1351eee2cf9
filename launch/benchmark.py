"""Measure: the operations' plain and fast forms, or a study's network beside PyTorch.

python launch/benchmark.py --operations [--only=WORD] [--against=torch] [--cpu-tuning]
python launch/benchmark.py --study=sleep|inverse --against=torch [--batch=N] [--cpu-tuning]
"""

from collections.abc import Sequence

from eegjax import cli

FLAGS = {
    "study": "the study whose network is timed: sleep (VGG16) or inverse (V-Net)",
    "against": "torch, which has to be installed",
    "batch": "examples per step; by default 8 of VGG16, 1 of V-Net",
    "only": "only operations with this word in their names",
}
SWITCHES = {"operations": "time every operation, forward and backward, in both forms"}


def main(argv: Sequence[str]) -> None:
    """One call."""
    given, left = cli.read_flags(argv, FLAGS, SWITCHES)
    cli.refuse_stray(left, [*FLAGS, *SWITCHES])
    batch = None if given["batch"] is None else cli.whole_number(given["batch"], "batch")
    from eegjax import benchmarks

    benchmarks.launch(given["operations"], given["study"], given["against"], given["only"], batch)


if __name__ == "__main__":
    cli.guard(main, {**FLAGS, **SWITCHES}, __doc__ or "")

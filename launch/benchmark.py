"""Measure: the operations' plain and fast forms, or a study's network beside PyTorch.

python launch/benchmark.py --operations [--only=WORD] [--against=torch] [--cpu-tuning]
python launch/benchmark.py --study=sleep --against=torch [--batch=N] [--cpu-tuning]
"""

from collections.abc import Sequence

from eegjax import cli

FLAGS = {
    "study": "the study whose network is timed, such as sleep",
    "against": "torch, which has to be installed",
    "batch": "examples per step; 8 by default",
    "only": "only operations with this word in their names",
}
SWITCHES = {"operations": "time every operation, forward and backward, in both forms"}


def main(argv: Sequence[str]) -> None:
    """One call."""
    given, left = cli.read_flags(argv, FLAGS, SWITCHES)
    cli.refuse_stray(left, [*FLAGS, *SWITCHES])
    batch = cli.whole_number(given["batch"] or "8", "batch")
    from eegjax import benchmarks

    benchmarks.launch(given["operations"], given["study"], given["against"], given["only"], batch)


if __name__ == "__main__":
    cli.guard(main, {**FLAGS, **SWITCHES}, __doc__ or "")

"""Fetch a public dataset, and prepare it for its study.

python launch/prepare.py --dataset=sleep_edf --root=DIR [--download] [--workers=N] [--protocol=standard] [--runs=DIR]
"""

from collections.abc import Sequence
from pathlib import Path

from eegjax import cli

FLAGS = {
    "dataset": "sleep_edf",
    "root": "folder of the recordings",
    "workers": "threads that fetch and prepare; 2 by default",
    "protocol": "whose preparation is made: standard (the default) or paper",
    "runs": "folder of the runs that will use it; runs by default",
}
SWITCHES = {"download": "fetch what is missing first"}
CONFIGS = Path(__file__).parents[1] / "configs"


def main(argv: Sequence[str]) -> None:
    """One call."""
    given, left = cli.read_flags(argv, FLAGS, SWITCHES)
    cli.refuse_stray(left, [*FLAGS, *SWITCHES])
    for name in ("dataset", "root"):
        cli.required(given, name, FLAGS)
    from eegjax import studies

    path = CONFIGS / f"{studies.of_dataset(given['dataset'])}.py"
    overrides = {
        "data.root": given["root"],
        "run.root": given["runs"] or "runs",
        "run.workers": cli.whole_number(given["workers"] or "2", "workers"),
    }
    arguments = [f"--config.{name}={value}" for name, value in overrides.items()]
    config = cli.configure(f"{path}:{given['protocol'] or 'standard'}", ["", *arguments])
    print(studies.prepare(config, given["dataset"], given["download"]))


if __name__ == "__main__":
    cli.guard(main, {**FLAGS, **SWITCHES}, __doc__ or "")

"""Print a paper's tables, ours beside the paper's: from finished runs where there are any, running the rest.

python launch/tables.py --paper=STUDY [--protocol=PROTOCOL[,key=value...]] [--runs=DIR] [--config.a.b=value ...]
"""

from collections.abc import Sequence
from pathlib import Path

from eegjax import cli

FLAGS = {
    "paper": "the study, such as sleep",
    "protocol": "demo (the default), standard or paper, with keys such as size=tiny",
    "runs": "folder where runs are found, and where missing ones are made; runs by default",
}
CONFIGS = Path(__file__).parents[1] / "configs"


def main(argv: Sequence[str]) -> None:
    """One call."""
    given, left = cli.read_flags(argv, FLAGS)
    cli.required(given, "paper", FLAGS)
    from eegjax import commands, studies

    studies.check_name(given["paper"], "--paper")
    config = cli.configure(f"{CONFIGS / given['paper']}.py:{given['protocol'] or ''}", left, [*FLAGS, "config"])
    commands.tables(config, given["runs"])


if __name__ == "__main__":
    cli.guard(main, {**FLAGS, "config": "overrides of single fields, --config.a.b=value"}, __doc__ or "")

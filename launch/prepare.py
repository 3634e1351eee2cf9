"""Fetch a public dataset, and prepare it for its study; or simulate one.

python launch/prepare.py --dataset=sleep_edf --root=DIR [--download] [--workers=N] [--protocol=standard] [--runs=DIR]
python launch/prepare.py --dataset=inverse [--samples=4000] [--heads=4] [--root=DIR] [--workers=N] [--protocol=paper]
"""

from collections.abc import Sequence
from pathlib import Path

from eegjax import cli

FLAGS = {
    "dataset": "sleep_edf, bci_iv_2a, eegmmidb, or inverse, which is simulated",
    "root": "folder of the recordings; of inverse that of the heads, if there are any",
    "workers": "threads that fetch and prepare; 2 by default",
    "protocol": "whose preparation is made: standard (the default) or paper (that of inverse)",
    "runs": "folder of the runs that will use it; runs by default",
    "samples": "of inverse: how many, over all heads; 4000 by default, the paper's",
    "heads": "of inverse: how many; 4 by default, the paper's",
}
SWITCHES = {"download": "fetch what is missing first"}
CONFIGS = Path(__file__).parents[1] / "configs"


def main(argv: Sequence[str]) -> None:
    """One call."""
    given, left = cli.read_flags(argv, FLAGS, SWITCHES)
    cli.refuse_stray(left, [*FLAGS, *SWITCHES])
    cli.required(given, "dataset", FLAGS)
    from eegjax import commands

    path = CONFIGS / f"{commands.of_dataset(given['dataset'])}.py"
    simulated = given["dataset"] in commands.SIMULATED
    if not simulated:
        cli.required(given, "root", FLAGS)
    overrides = {
        "data.root": given["root"] or "",
        "run.root": given["runs"] or "runs",
        "run.workers": cli.whole_number(given["workers"] or "2", "workers"),
    }
    counts = {flag: given[flag] for flag in ("samples", "heads") if given[flag]}
    commands.check_counts(given["dataset"], counts)
    overrides |= {f"data.n_{flag}": cli.whole_number(text, flag) for flag, text in counts.items()}
    arguments = [f"--config.{name}={value}" for name, value in overrides.items()]
    protocol = given["protocol"] or ("paper" if simulated else "standard")
    config = cli.configure(f"{path}:{protocol}", ["", *arguments])
    print(commands.prepare(config, given["dataset"], given["download"]))


if __name__ == "__main__":
    cli.guard(main, {**FLAGS, **SWITCHES}, __doc__ or "")

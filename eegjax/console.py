"""The subcommands of `eegjax`, which are also the scripts of `launch/`: their flags, help, and calls."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from eegjax import cli, commands, studies
from eegjax.errors import UserError, did_you_mean

HELP = {"-h", "--help"}
NEXT = """
eegjax SUBCOMMAND --help shows a subcommand's flags, eegjax run STUDY --help a study's keys and fields.
Studies: {studies}. The first command: eegjax run sleep"""


def run(argv: Sequence[str]) -> None:
    """Run a study, or continue or show its run."""
    config, given = cli.parse(argv, RUN)
    commands.launch(config, given["workdir"], given["distributed"])


def predict(argv: Sequence[str]) -> None:
    """Apply a finished run to a recording, and print what came of it."""
    given, left = cli.read_flags(argv, PREDICT)
    recording = cli.positional(left, "RECORDING", list(PREDICT))
    cli.required(given, "run", PREDICT)
    print(commands.apply(Path(given["run"]), Path(recording), given["channel"], Path(given["out"] or ".")))


def tables(argv: Sequence[str]) -> None:
    """Print a paper's tables."""
    given, left = cli.read_flags(argv, TABLES)
    cli.required(given, "paper", TABLES)
    studies.check_name(given["paper"], "--paper")
    config = studies.get_config(given["paper"], given["protocol"] or "")
    commands.tables(cli.override(config, left, [*TABLES, "config"]), given["runs"])


def prepare(argv: Sequence[str]) -> None:
    """Fetch or simulate a dataset, prepare it, and print how a run finds it."""
    given, left = cli.read_flags(argv, PREPARE, PREPARE_SWITCHES)
    cli.refuse_stray(left, [*PREPARE, *PREPARE_SWITCHES])
    cli.required(given, "dataset", PREPARE)
    dataset = given["dataset"]
    study = commands.of_dataset(dataset)
    simulated = dataset in commands.SIMULATED
    if not simulated:
        cli.required(given, "root", PREPARE)
    overrides = {
        "data.root": given["root"] or "",
        "run.root": given["runs"] or "runs",
        "run.workers": cli.whole_number(given["workers"] or "2", "workers"),
    }
    counts = {flag: given[flag] for flag in ("samples", "heads") if given[flag]}
    commands.check_counts(dataset, counts)
    overrides |= {f"data.n_{flag}": cli.whole_number(text, flag) for flag, text in counts.items()}
    arguments = [f"--config.{name}={value}" for name, value in overrides.items()]
    argument = commands.argument_for(dataset, given["protocol"] or ("paper" if simulated else "standard"))
    config = cli.override(studies.get_config(study, argument), ["", *arguments])
    print(commands.prepare(config, dataset, given["download"], argument))


def benchmark(argv: Sequence[str]) -> None:
    """Measure, and print row by row."""
    given, left = cli.read_flags(argv, BENCHMARK, BENCHMARK_SWITCHES)
    cli.refuse_stray(left, [*BENCHMARK, *BENCHMARK_SWITCHES])
    batch = None if given["batch"] is None else cli.whole_number(given["batch"], "batch")
    from eegjax import benchmarks

    benchmarks.launch(given["operations"], given["study"], given["against"], given["only"], batch)


# ---- flags, name -> help


RUN = {
    "workdir": "run folder; without it runs/<study>-<protocol>-<hash>, found again by the same command",
    "distributed": "auto (SLURM, Kubernetes, TPU pods, MPI), or coordinator:port,n_processes,this_process",
}
PREDICT = {
    "run": "folder of a finished run, such as runs/sleep-standard-0123456789abcdef",
    "channel": "EEG channel to read, or A-B of two electrodes; without it the one that the run was trained on",
    "out": "folder for the results, which replace earlier ones of a recording of the same name; without it this folder",
}
TABLES = {
    "paper": "the study, such as sleep",
    "protocol": "demo (the default), standard or paper, with keys such as size=tiny",
    "runs": "folder where runs are found, and where missing ones are made; runs by default",
}
PREPARE = {
    "dataset": "sleep_edf, bci_iv_2a, eegmmidb, or inverse, which is simulated",
    "root": "folder of the recordings; of inverse that of the heads, if there are any",
    "workers": "threads that fetch and prepare; 2 by default",
    "protocol": "whose preparation is made: standard (the default) or paper (that of inverse)",
    "runs": "folder of the runs that will use it; runs by default",
    "samples": "of inverse: how many, over all heads; 4000 by default, the paper's",
    "heads": "of inverse: how many; 4 by default, the paper's",
}
PREPARE_SWITCHES = {"download": "fetch what is missing first"}
BENCHMARK = {
    "study": "the study whose network is timed: sleep (VGG16) or inverse (V-Net)",
    "against": "torch, which has to be installed",
    "batch": "examples per step; by default 8 of VGG16, 1 of V-Net",
    "only": "only operations with this word in their names",
}
BENCHMARK_SWITCHES = {"operations": "time every operation, forward and backward, in both forms"}
CONFIG = {"config": cli.CONFIG_HELP}
FIELDS = {"config.a.b": "another value for a single field"}


# ---- the subcommands


class Subcommand(NamedTuple):
    """What is typed, and what is called with it."""

    summary: str
    typed: tuple[str, ...]  # behind the command's own name
    flags: Mapping[str, str]
    call: Callable[[Sequence[str]], None]


SUBCOMMANDS = {
    "run": Subcommand(
        "Run a study, continue it, or show it finished.",
        (
            "STUDY[:protocol[,key=value...]] [--workdir=DIR] [--config.a.b=value ...]",
            "--config=configs/sleep.py[:protocol[,key=value...]] [--workdir=DIR] [--config.a.b=value ...]",
            "STUDY --help shows the study's keys, and its fields with their defaults",
        ),
        CONFIG | FIELDS | RUN,
        run,
    ),
    "predict": Subcommand(
        "Apply a finished run to your own recording (EDF, BDF, BrainVision, FIF).",
        ("--run=RUN RECORDING [--channel=NAME] [--out=DIR]",),
        PREDICT,
        predict,
    ),
    "tables": Subcommand(
        "Print a paper's tables, ours beside the paper's: from finished runs where there are any, running the rest.",
        ("--paper=STUDY [--protocol=PROTOCOL[,key=value...]] [--runs=DIR] [--config.a.b=value ...]",),
        TABLES | FIELDS,
        tables,
    ),
    "prepare": Subcommand(
        "Fetch a public dataset, and prepare it for its study; or simulate one.",
        (
            "--dataset=sleep_edf --root=DIR [--download] [--workers=N] [--protocol=standard] [--runs=DIR]",
            "--dataset=inverse [--samples=4000] [--heads=4] [--root=DIR] [--workers=N] [--protocol=paper] [--runs=DIR]",
        ),
        PREPARE | PREPARE_SWITCHES,
        prepare,
    ),
    "benchmark": Subcommand(
        "Measure: the operations' plain and fast forms, or a study's network beside PyTorch.",
        (
            "--operations [--only=WORD] [--against=torch] [--cpu-tuning]",
            "--study=sleep|inverse --against=torch [--batch=N] [--cpu-tuning]",
        ),
        BENCHMARK | BENCHMARK_SWITCHES,
        benchmark,
    ),
}


def main() -> None:
    """The console command: `eegjax SUBCOMMAND ...`, as typed in `sys.argv`."""
    typed = sys.argv[1:]
    sys.argv[:] = ["-m", "eegjax", *typed]  # a run folder keeps it, to be typed again behind `python`, on any machine
    name, *arguments = typed or ["--help"]
    if name in HELP:
        print(overview())
    elif name in SUBCOMMANDS:
        start(name, f"eegjax {name}", arguments)
    else:
        with cli.complaints():
            refuse(name)


def start(name: str, door: str, arguments: Sequence[str]) -> None:
    """Run a subcommand, or show its help, and exit as `cli.guard` says.

    Args:
        name: one of `SUBCOMMANDS`.
        door: how it was called, `eegjax run` or `python launch/main.py`.
        arguments: the command line behind that.
    """
    if HELP & set(arguments):  # at once: nothing heavy is loaded
        with cli.complaints():
            show_help(name, door, [argument for argument in arguments if argument not in HELP])
    else:
        cli.guard(SUBCOMMANDS[name].call, [door, *arguments])


def refuse(word: str) -> None:
    """Complain of a subcommand that there isn't.

    Raises:
        UserError: always.
    """
    meant = f" Did you mean 'run {word}'?" if word.partition(":")[0] in studies.NAMES else ""
    raise UserError(
        f"no subcommand '{word}'; there are {', '.join(SUBCOMMANDS)}.{meant or did_you_mean(word, SUBCOMMANDS)}"
    )


def overview() -> str:
    """What `eegjax --help` shows: the subcommands, a line each."""
    lines = [f"  {name:<10} {one.summary}" for name, one in SUBCOMMANDS.items()]
    title = "EEG deep learning in JAX and Flax: published studies from one command each."
    return "\n".join([title, "", "eegjax SUBCOMMAND ...", "", *lines, NEXT.format(studies=", ".join(studies.NAMES))])


def show_help(name: str, door: str, arguments: Sequence[str]) -> None:
    """Print the help of a subcommand; of `run` with a study named that study's.

    Args:
        name: one of `SUBCOMMANDS`.
        door: how it was called.
        arguments: what stands beside `--help`.

    Raises:
        UserError: no such study, protocol, key or value.
    """
    one = SUBCOMMANDS[name]
    _, left = cli.read_flags([door, *arguments], {"config": "", **one.flags})  # their values are no study
    study = cli.first_word(left) if name == "run" else None
    if study:
        print(cli.describe_study(study))
        return
    print(one.summary, "", *(f"{door} {typed}" for typed in one.typed), "", sep="\n")
    for flag, text in {**one.flags, **cli.TUNING_FLAG}.items():
        print(f"  --{flag}: {text}")

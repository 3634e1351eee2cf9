"""What the console command and the scripts of `launch/` call: one function per command."""

import importlib
import os
from collections.abc import Callable, Collection
from pathlib import Path

from ml_collections import ConfigDict

from eegjax import studies
from eegjax.errors import UserError, check_choice

DATASETS = {  # that can be fetched, or made beforehand -> the study they are for
    "sleep_edf": "sleep",
    "bci_iv_2a": "motor_imagery",
    "eegmmidb": "motor_imagery",
    "inverse": "inverse",
}
SIMULATED = {"inverse": ("data.n_samples", "data.n_heads")}  # of these: made, not fetched -> the fields that decide it


def launch(config: ConfigDict, workdir: str | None = None, distributed: str | None = None) -> Path:
    """Run the study that a configuration names, on all devices.

    Args:
        config: of the study.
        workdir: the run folder; None finds it by the configuration's hash.
        distributed: None for one process; "auto", or "coordinator:port,n_processes,this_process".

    Returns:
        The run folder.

    Raises:
        UserError: no such study, a mistake in the configuration or data, or a folder that can't be written to.
    """
    check_writable(Path(config.run.root), "--config.run.root=DIR, and --workdir=DIR if it is given")
    check_writable(Path(workdir or config.run.root), "--workdir=DIR")
    import jax

    if config.run.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", str(Path(config.run.compilation_cache).absolute()))
    if distributed:
        from eegjax.run.distributed import join

        join(distributed)
    study = studies.named(config.study)  # not before: what it imports may look for devices
    from eegjax.run.flow import run

    return run(config, study, workdir)


def apply(run: Path, recording: Path, channel: str | None, out: Path) -> str:
    """Apply a finished run to a recording of the user's own; what to print.

    Raises:
        UserError: the run isn't finished, its study can't do that, or the recording can't be read.
    """
    from eegjax.run.finished import finished

    config = finished(run)
    study = studies.named(config.study)
    if study.apply is None:
        raise UserError(f"{run}: runs of the study '{config.study}' can't be applied to a recording")
    return study.apply(run, recording, channel, out)


def tables(config: ConfigDict, root: str | None) -> Path:
    """Print a paper's tables, ours beside the paper's; the folder that holds them.

    Raises:
        UserError: as in `launch`.
    """
    from eegjax.run import gather

    check_writable(Path(root or config.run.root), "--runs=DIR")
    return gather.tables(config, root, studies.named(config.study), launch)


def of_dataset(name: str) -> str:
    """The study that a public dataset is for.

    Raises:
        UserError: `name` is none of `DATASETS`.
    """
    check_choice("--dataset", name, DATASETS)
    return DATASETS[name]


def check_counts(name: str, counts: Collection[str]) -> None:
    """Complain of flags that count what is simulated, given with a dataset that isn't.

    Raises:
        UserError: there are `counts`, and `name` is none of `SIMULATED`.
    """
    if counts and name not in SIMULATED:
        flag = next(iter(counts))
        raise UserError(f"--{flag} is for --dataset={' or '.join(SIMULATED)}, this is {name}; leave it out")


def argument_for(name: str, protocol: str) -> str:
    """The argument of a study's configuration for one of its datasets.

    Args:
        name: of the dataset, one of `DATASETS`.
        protocol: `protocol[,key=value...]`.
    """
    keys = importlib.import_module(f"eegjax.studies.{DATASETS[name]}.config").KEYS
    if name not in keys.get("dataset", ()) or "dataset=" in protocol:
        return protocol
    return f"{protocol},dataset={name}"


def prepare(config: ConfigDict, dataset: str, download: bool, argument: str) -> str:
    """Fetch a public dataset if asked to, and prepare it for its study; what to print.

    Args:
        config: of the study.
        dataset: one of `DATASETS`.
        download: fetch what is missing first.
        argument: of the configuration, `protocol[,key=value...]`, named in what is printed.

    Raises:
        UserError: anything that goes wrong on the way; what was done stays.
    """
    from eegjax.run import prepare

    check_writable(Path(config.run.root), "--runs=DIR")
    if download and dataset in SIMULATED:
        raise UserError(f"--download: {dataset} is simulated, there is nothing to fetch; leave it out")
    fetch = _fetcher(dataset) if download else None
    study = studies.named(config.study)
    return prepare.prepare(config, study, dataset, fetch, SIMULATED.get(dataset, ()), argument)


def _fetcher(dataset: str) -> Callable[[Path, int], list[Path]]:
    """The function `fetch_<dataset>` of the data set's own package."""
    return getattr(importlib.import_module(f"eegjax.data.{dataset}.fetch"), f"fetch_{dataset}")


def check_writable(folder: Path, flag: str) -> None:
    """Complain of a folder that can't be written to, or made, before any work is done for it.

    Raises:
        UserError: it, or the nearest folder above that there is, isn't writable; `flag` names another.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "is not writable" if there.is_dir() else "is no folder"
        raise UserError(f"{folder}: can't be written to, {there} {what}; give another folder by {flag}")

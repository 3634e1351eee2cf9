"""The studies, by the name in their configuration."""

import importlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from eegjax.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from eegjax.studies.study import Study

NAMES = ("sleep", "motor_imagery", "inverse")
DAY_S = 86400
DATASETS = {  # that can be fetched, or made beforehand -> the study they are for
    "sleep_edf": "sleep",
    "bci_iv_2a": "motor_imagery",
    "eegmmidb": "motor_imagery",
    "inverse": "inverse",
}
SIMULATED = ("inverse",)  # of these: made, not fetched


def launch(config: ConfigDict, workdir: str | None = None, distributed: str | None = None) -> Path:
    """Run the study that a configuration names, on all devices.

    Args:
        config: of the study.
        workdir: the run folder; None finds it by the configuration's hash.
        distributed: None for one process; "auto", or "coordinator:port,n_processes,this_process".

    Returns:
        The run folder.

    Raises:
        UserError: no such study, or a mistake in the configuration or data.
    """
    import jax

    if config.run.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", str(Path(config.run.compilation_cache).absolute()))
    if distributed:
        _join(distributed)
    study = named(config.study)  # not before: what it imports may look for devices
    from eegjax.studies.run import run

    return run(config, study, workdir)


def named(name: str) -> "Study":
    """A study by its name.

    Raises:
        UserError: there is none of that name.
    """
    check_name(name, "config.study")
    return importlib.import_module(f"eegjax.studies.{name}").STUDY


def check_name(name: str, given_as: str) -> None:
    """Complain of a name that no study has.

    Raises:
        UserError: none has it.
    """
    if name not in NAMES:
        raise UserError(f"{given_as} is '{name}'; there are {', '.join(NAMES)}.{did_you_mean(name, NAMES)}")


def apply(run: Path, recording: Path, channel: str | None, out: Path) -> str:
    """Apply a finished run to a recording of the user's own; what to print.

    Raises:
        UserError: the run isn't finished, its study can't do that, or the recording can't be read.
    """
    from eegjax.studies import trained

    config = trained.finished(run)
    study = named(config.study)
    if study.apply is None:
        raise UserError(f"{run}: runs of the study '{config.study}' can't be applied to a recording")
    return study.apply(run, recording, channel, out)


def tables(config: ConfigDict, root: str | None) -> Path:
    """Print a paper's tables, ours beside the paper's; the folder that holds them.

    Raises:
        UserError: as in `launch`.
    """
    from eegjax.studies import gather

    return gather.tables(config, root, named(config.study), launch)


def of_dataset(name: str) -> str:
    """The study that a public dataset is for.

    Raises:
        UserError: no such dataset.
    """
    if name not in DATASETS:
        raise UserError(f"--dataset is '{name}'; there are {', '.join(DATASETS)}.{did_you_mean(name, DATASETS)}")
    return DATASETS[name]


def check_counts(name: str, counts: Collection[str]) -> None:
    """Complain of flags that count what is simulated, given with a dataset that isn't.

    Raises:
        UserError: so.
    """
    if counts and name not in SIMULATED:
        flag = next(iter(counts))
        raise UserError(f"--{flag} is for --dataset={' or '.join(SIMULATED)}, this is {name}; leave it out")


def prepare(config: ConfigDict, dataset: str, download: bool) -> str:
    """Fetch a public dataset if asked to, and prepare it for its study; what to print.

    Raises:
        UserError: anything that goes wrong on the way; what was done stays.
    """
    from eegjax.studies import public

    return public.prepare(config, named(config.study), dataset, download)


def _join(distributed: str) -> None:
    """Join the other processes of the run, before JAX looks for devices."""
    import jax

    # the others wait at their end for the first process, which explains and reports
    if distributed == "auto":
        jax.distributed.initialize(shutdown_timeout_seconds=DAY_S)
    else:
        jax.distributed.initialize(*_coordinator(distributed), shutdown_timeout_seconds=DAY_S)
    jax.devices()  # looked for by all together now: later the first may hold a lock that the others wait for


def _coordinator(distributed: str) -> tuple[str, int, int]:
    parts = distributed.split(",")
    if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        raise UserError(
            f"--distributed is '{distributed}': expected auto, or coordinator:port,n_processes,this_process"
        )
    return parts[0], int(parts[1]), int(parts[2])

"""What the console command and the scripts of `launch/` call: one function per command."""

from collections.abc import Collection
from pathlib import Path

from ml_collections import ConfigDict

from eegjax import studies
from eegjax.errors import UserError, did_you_mean

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

    return gather.tables(config, root, studies.named(config.study), launch)


def of_dataset(name: str) -> str:
    """The study that a public dataset is for.

    Raises:
        UserError: `name` is none of `DATASETS`.
    """
    if name not in DATASETS:
        raise UserError(f"--dataset is '{name}'; there are {', '.join(DATASETS)}.{did_you_mean(name, DATASETS)}")
    return DATASETS[name]


def check_counts(name: str, counts: Collection[str]) -> None:
    """Complain of flags that count what is simulated, given with a dataset that isn't.

    Raises:
        UserError: there are `counts`, and `name` is none of `SIMULATED`.
    """
    if counts and name not in SIMULATED:
        flag = next(iter(counts))
        raise UserError(f"--{flag} is for --dataset={' or '.join(SIMULATED)}, this is {name}; leave it out")


def prepare(config: ConfigDict, dataset: str, download: bool) -> str:
    """Fetch a public dataset if asked to, and prepare it for its study; what to print.

    Raises:
        UserError: anything that goes wrong on the way; what was done stays.
    """
    from eegjax.run import prepare

    return prepare.prepare(config, studies.named(config.study), dataset, download)

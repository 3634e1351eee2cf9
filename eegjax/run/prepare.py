"""A data set fetched, and prepared for its study."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from eegjax.protocols import read_field
from eegjax.run.study import Study


def prepare(
    config: ConfigDict,
    study: Study,
    name: str,
    fetch: Callable[[Path, int], list[Path]] | None,
    fields: Sequence[str] = (),
    argument: str = "",
) -> str:
    """Fetch a dataset into `config.data.root` if asked to, and prepare it; both go on where they stopped.

    Args:
        config: of its study.
        study: the study.
        name: of the dataset.
        fetch: (folder, number of threads) -> the files, fetched where they are missing; None fetches nothing.
        fields: further fields that the printed command has to name, since they decide the dataset.
        argument: of the configuration, `protocol[,key=value...]`, as the printed command names it; empty: the protocol.

    Returns:
        What to print.

    Raises:
        UserError: anything that goes wrong on the way; what was done stays.
    """
    if fetch is not None:
        fetch(Path(config.data.root), config.run.workers)
    dataset = study.prepare(config)
    given = {"data.root": config.data.root, "run.root": config.run.root}
    given |= {field: read_field(config, field) for field in fields}
    if "weights" in config.model and not config.model.weights:
        given["model.weights"] = "FILE"
    overrides = [f"--config.{field}={value}" for field, value in given.items()]
    command = ["eegjax", "run", f"{config.study}:{argument or config.protocol}", *overrides]
    return (
        f"{name}: {len(dataset.card['recordings'])} recordings, {len(dataset.index)} examples, prepared in "
        f"{dataset.folder}\nNow: {shlex.join(command)}"
    )

"""Public datasets by name: fetched, and prepared for their study."""

import shlex
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from eegjax.data.bci_iv_2a.fetch import fetch_bci_iv_2a
from eegjax.data.eegmmidb.fetch import fetch_eegmmidb
from eegjax.data.sleep_edf.fetch import fetch_sleep_edf
from eegjax.errors import UserError
from eegjax.run.study import Study

FETCH: dict[str, Callable[[Path, int], list[Path]]] = {
    "sleep_edf": fetch_sleep_edf,
    "bci_iv_2a": fetch_bci_iv_2a,
    "eegmmidb": fetch_eegmmidb,
}


def prepare(config: ConfigDict, study: Study, name: str, download: bool, argument: str = "") -> str:
    """Fetch a dataset into `config.data.root` if asked to, and prepare it; both go on where they stopped.

    Args:
        config: of its study.
        study: the study.
        name: of the dataset.
        download: fetch what is missing first.
        argument: of the configuration, `protocol[,key=value...]`, as the printed command names it; empty: the protocol.

    Returns:
        What to print.

    Raises:
        UserError: anything that goes wrong on the way; what was done stays.
    """
    if download and name not in FETCH:
        raise UserError(f"--download: {name} is simulated, there is nothing to fetch; leave it out")
    if download:
        FETCH[name](Path(config.data.root), config.run.workers)
    dataset = study.prepare(config)
    fields = {"data.root": config.data.root, "run.root": config.run.root}
    if name not in FETCH:
        fields |= {"data.n_samples": config.data.n_samples, "data.n_heads": config.data.n_heads}
    if "weights" in config.model and not config.model.weights:
        fields["model.weights"] = "FILE"
    overrides = [f"--config.{field}={value}" for field, value in fields.items()]
    command = ["eegjax", "run", f"{config.study}:{argument or config.protocol}", *overrides]
    return (
        f"{name}: {len(dataset.card['recordings'])} recordings, {len(dataset.index)} examples, prepared in "
        f"{dataset.folder}\nNow: {shlex.join(command)}"
    )

"""Baselines of a data set and its folds, computed once for all runs that have the same ones."""

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.splits import Fold
from eegjax.errors import note
from eegjax.files import hash_file, hash_of, locked, read_json, write_aside, write_json
from eegjax.protocols import read_field
from eegjax.run.folder import canonical
from eegjax.run.study import ComputeBaselines

VERSION = 1  # raised when the code of any baseline changes what it says
PACKAGES = ("scikit-learn", "pyriemann", "mne", "scipy", "numpy", "jax", "jaxlib")


def load_or_compute(
    config: ConfigDict, compute: ComputeBaselines, fields: Sequence[str] | None, dataset: Dataset, folds: Sequence[Fold]
) -> pd.DataFrame:
    """The baselines' predictions: those of an earlier run where nothing that decides them has changed.

    They lie in `<config.run.root>/baselines/<hash>.parquet`, beside a file of their digest. Of two runs that need the
    same ones at a time, the second waits for the first.

    Args:
        config: of the run.
        compute: a study's `baselines`.
        fields: what that reads of the configuration, such as `seed`, `data` or `test.radii`; None is all of it.
        dataset: with the examples.
        folds: all of the run's.

    Returns:
        What `compute` returns.

    Raises:
        UserError: `config.run.root` is full or not writable; or as `compute` does.
    """
    made_of = _made_of(config, fields, dataset, folds)
    path = Path(config.run.root) / "baselines" / f"{hash_of(made_of)}.parquet"
    with locked(path.with_suffix(".lock")):
        if not _is_whole(path):
            frame = compute(config, dataset, folds)
            write_aside(path, partial(frame.to_parquet, index=False))
            write_json(path.with_suffix(".json"), {"sha256": hash_file(path), "made_of": made_of})
        return pd.read_parquet(path)


def _is_whole(path: Path) -> bool:
    """Whether a file is there as it was written; one that isn't is computed anew."""
    about = path.with_suffix(".json")
    if not (path.exists() and about.exists()):
        return False
    if read_json(about)["sha256"] == hash_file(path):
        return True
    note(f"{path}: not as it was written; the baselines are computed anew")
    return False


def _made_of(
    config: ConfigDict, fields: Sequence[str] | None, dataset: Dataset, folds: Sequence[Fold]
) -> dict[str, Any]:
    """All that decides what baselines say."""
    data_hash = dataset.card["hash"]
    read = canonical(config, data_hash) if fields is None else {field: _read(config, field) for field in fields}
    return {
        "study": config.study,
        "version": VERSION,
        "packages": {name: _version(name) for name in PACKAGES},
        "dataset": data_hash,
        "folds": [_digest(fold) for fold in folds],
        "fields": json.loads(json.dumps(read, default=str)),
    }


def _read(config: ConfigDict, field: str) -> Any:
    """A field's value, or a section's without its `root`: a folder says nothing, the dataset's hash says what is in it.

    Args:
        config: of the run.
        field: such as `test.radii`.
    """
    value = read_field(config, field)
    if isinstance(value, ConfigDict):
        return {name: inner for name, inner in value.to_dict().items() if name != "root"}
    return value


def _digest(fold: Fold) -> str:
    parts = [fold.train, fold.validation, fold.test]
    text = json.dumps([fold.name, fold.task, *(len(part) for part in parts)])
    groups = "\n".join(map(str, fold.group)).encode()
    return hashlib.sha256(text.encode() + b"".join(part.astype("<i8").tobytes() for part in parts) + groups).hexdigest()


def _version(package: str) -> str | None:
    """None if it isn't installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

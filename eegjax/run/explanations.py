"""The folder `explanations/` of a finished run, whatever its study explains."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.files import write_aside

Files = dict[str, dict[str, np.ndarray]]  # name -> arrays


def write(config: ConfigDict, folder: Path, explained: Callable[[ConfigDict, pd.DataFrame], Files]) -> None:
    """Explain every network of a run, by its first member.

    Args:
        config: of the run.
        folder: the run folder.
        explained: (config whose model is one network, what that said of its test part) -> files of `explanations/`.
    """
    predictions = pd.read_parquet(folder / "predictions.parquet")
    files: Files = {}
    for name in dict.fromkeys((config.model.name, *config.model.beside)):
        one = config.copy_and_resolve_references()
        one.model.name = name
        member = predictions[(predictions["model"] == name) & (predictions["member"] == 0)]
        files |= explained(one, member[member["split"] == "test"])
    save(folder, files)


def save(folder: Path, files: Files) -> None:
    """Write `explanations/` of a run folder, all of it at once: where it is, it is whole."""
    write_aside(folder / "explanations", lambda aside: _save(aside, files))


def _save(folder: Path, files: Files) -> None:
    folder.mkdir()
    for name, arrays in files.items():
        np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]

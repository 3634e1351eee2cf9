"""A dataset is a folder: whole recordings in memory-mapped arrays, a table of examples, a card.

    arrays/<name>.npy   every recording of that kind, concatenated along time: [n_samples, ...]
    index.parquet       a row per example: example, subject, session, recording, onset_s, start, stop, label, group, ...
    card.json           source, licence, citation, channels, unit, rates, preprocessing, hashes, simulated; where each
                        recording begins and ends in each array

Preparation runs once per recording, keyed by a hash of what makes it; the key is the recording's part file, so an
interrupted preparation continues where it stopped.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from eegjax.errors import UserError
from eegjax.files import hash_of, read_json, remove_stale, write_aside, write_json


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset.

    folder: where it lies.
    index: the table, a row per example.
    card: what is known of it.
    arrays: name -> [n_samples, ...] of the dtype it was prepared with, memory-mapped and read-only.
    """

    folder: Path
    index: pd.DataFrame
    card: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def extent(self, array: str) -> np.ndarray:
        """[n_examples, 2] int64: where the recording of each example begins and ends in an array."""
        extents = {row["recording"]: row["extents"][array] for row in self.card["recordings"]}
        return np.array([extents[recording] for recording in self.index["recording"]], np.int64)


class Part(NamedTuple):
    """One recording, prepared, and what its card says."""

    arrays: dict[str, np.ndarray]  # name -> [n_samples, ...] of one dtype in all recordings
    examples: dict[str, np.ndarray]  # columns of the index, [n_examples] of any dtype: onset_s, start, stop, label, ...
    card: dict[str, Any]  # recording, subject, session, and what the source said


def prepare_dataset(
    root: Path,
    name: str,
    items: Sequence[Any],
    keys: Sequence[Any],
    make: Callable[[Any], Part],
    card: dict[str, Any],
    workers: int,
) -> Dataset:
    """Prepare every item once, in parallel, and put them together. The caller holds a lock on `root`.

    Args:
        root: the folder that holds datasets and parts.
        name: of the dataset.
        items: what `make` takes, one per recording.
        keys: per item all that its part depends on (hashes of files, settings), JSON-like.
        make: reads and transforms one recording; runs in a thread.
        card: what the card says beside the recordings; `array` names the one that start and stop count in.
        workers: number of threads.

    Returns:
        The dataset at `root/<name>-<hash of keys and card>`, made now or before.

    Raises:
        UserError: `make` raises one, or the disk is full; finished parts stay and are not made again.
    """
    from tqdm import tqdm

    hashes = [hash_of([key, card]) for key in keys]
    folder = root / f"{name}-{hash_of([hashes, card])}"
    if folder.exists():
        return open_dataset(folder)
    parts = root / "parts"
    remove_stale(root)
    remove_stale(parts)
    with ThreadPoolExecutor(workers) as pool:  # left by an error too, it waits for the parts under way
        made = pool.map(lambda h, item: _make_part(parts / f"{h}.npz", item, make), hashes, items)
        files = list(tqdm(made, total=len(items), desc=f"preparing {name}", unit="recording"))
    write_aside(folder, lambda aside: _assemble(aside, files, {"name": name, **card}))
    for file in files:
        file.unlink()
    return open_dataset(folder)


def _make_part(path: Path, item: Any, make: Callable[[Any], Part]) -> Path:
    if path.exists():
        return path
    part = make(item)
    columns = {
        **{f"array/{name}": array for name, array in part.arrays.items()},
        **{f"example/{name}": column for name, column in part.examples.items()},
        "card": np.array(json.dumps(part.card, ensure_ascii=False)),
    }

    def write(aside: Path) -> None:
        with open(aside, "wb") as file:
            np.savez(file, **columns)  # type: ignore[arg-type]

    return write_aside(path, write)


def _assemble(folder: Path, files: Sequence[Path], card: dict[str, Any]) -> None:
    (folder / "arrays").mkdir(parents=True)
    ends: dict[str, int] = {}
    kinds: dict[str, str] = {}
    recordings: list[dict[str, Any]] = []
    tables: list[pd.DataFrame] = []
    for file in files:
        with np.load(file, allow_pickle=False) as part:
            entry = json.loads(str(part["card"]))
            arrays = {c.removeprefix("array/"): part[c] for c in part.files if c.startswith("array/")}
            columns = {c.removeprefix("example/"): part[c] for c in part.files if c.startswith("example/")}
        found = {name: f"{array.dtype} {list(array.shape[1:])}" for name, array in arrays.items()}
        kinds = kinds or found
        if found != kinds:
            raise UserError(
                f"recording {entry['recording']} holds {found} per sample, but {recordings[0]['recording']} {kinds}: "
                "choose channels that all recordings have, or leave that recording out"
            )
        begins = {name: ends.get(name, 0) for name in arrays}
        ends = {name: begins[name] + len(arrays[name]) for name in arrays}
        extents = {name: [begins[name], ends[name]] for name in arrays}
        recordings.append({**entry, "key": file.stem, "extents": extents})
        for edge in ("start", "stop"):  # a part counts from its own beginning
            columns[edge] = columns[edge] + begins[card["array"]]
        names = {column: entry[column] for column in ("subject", "session", "recording")}
        tables.append(pd.DataFrame({**names, **columns}))
    for name, n_samples in ends.items():
        _concatenate(folder / "arrays" / f"{name}.npy", files, f"array/{name}", n_samples)
    index = pd.concat(tables, ignore_index=True)
    index.insert(0, "example", np.arange(len(index)))
    index.to_parquet(folder / "index.parquet", index=False)
    card = {**card, "recordings": recordings, "n_examples": len(index)}
    write_json(folder / "card.json", {**card, "hash": hash_of(card)})


def _concatenate(path: Path, files: Sequence[Path], key: str, n_samples: int) -> None:
    with open(path, "wb") as target:  # not a memory map: on a full disk writing to one kills the process
        for number, file in enumerate(files):
            with np.load(file, allow_pickle=False) as part:
                array = np.ascontiguousarray(part[key])
            if number == 0:
                header = np.lib.format.header_data_from_array_1_0(array)
                header["shape"] = (n_samples, *array.shape[1:])
                np.lib.format.write_array_header_1_0(target, header)
            target.write(array.data)


def open_dataset(folder: Path) -> Dataset:
    """Open a prepared dataset.

    Raises:
        UserError: `folder` isn't a whole dataset.
    """
    folder = Path(folder)
    if not (folder / "card.json").exists():
        raise UserError(f"{folder}: no card.json, so this is no prepared dataset; delete the folder and prepare again")
    arrays = {
        path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted((folder / "arrays").iterdir())
    }
    return Dataset(folder, pd.read_parquet(folder / "index.parquet"), read_json(folder / "card.json"), arrays)

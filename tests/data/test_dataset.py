"""Preparation: what is put together, what is kept when it stops, and what a full disk leaves behind."""

import errno
import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eegjax.data.dataset import Dataset, Part, open_dataset, prepare_dataset
from eegjax.errors import UserError

CARD = {"array": "image", "source": "a test", "simulated": True}
LENGTHS = {"c": 5, "a": 8, "b": 3}  # images of each recording; the EEG has ten times as many samples


def part(name: str) -> Part:
    """A recording whose samples say where they come from; its examples count from its own beginning."""
    n, code = LENGTHS[name], 1000 * (ord(name) - ord("a"))
    return Part(
        arrays={
            "eeg": (code + np.arange(10 * n, dtype=np.float32))[:, None],
            "image": (np.arange(n)[:, None] + [0, 100]).astype(np.uint8),
        },
        examples={
            "onset_s": 30.0 * np.arange(n - 1),
            "start": np.arange(n - 1) - 0.25,
            "stop": np.arange(n - 1) + 0.75,
            "label": np.arange(n - 1, dtype=np.int8) % 3,
        },
        card={"recording": name, "subject": name.upper(), "session": "1", "unit": "µV"},
    )


class Maker:
    """`part`, but it notes what it was asked for, and stops where it's told to."""

    def __init__(self, *stops: str, error: BaseException | None = None) -> None:
        self.made: list[str] = []
        self.stops, self.error = stops, error or KeyboardInterrupt()

    def __call__(self, name: str) -> Part:
        if name in self.stops:
            raise self.error
        self.made.append(name)
        return part(name)


def prepared(root: Path, make: Callable[[str], Part] = part, workers: int = 1, **changes: Any) -> Dataset:
    arguments = {"items": list(LENGTHS), "keys": [[name, "setting"] for name in LENGTHS], "card": CARD, **changes}
    return prepare_dataset(root, "test", make=make, workers=workers, **arguments)


def contents(root: Path) -> set[str]:
    """All files below, the names of parts shortened."""
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    return {"part" if name.startswith("parts/") and not name.startswith("parts/.") else name for name in files}


@pytest.mark.parametrize("workers", [1, 2])
def test_recordings_are_put_one_after_another(tmp_path, workers):
    dataset = prepared(tmp_path, workers=workers)
    parts = [part(name) for name in LENGTHS]
    for name in ("eeg", "image"):
        expected = np.concatenate([p.arrays[name] for p in parts])
        assert dataset.arrays[name].dtype == expected.dtype
        assert np.array_equal(dataset.arrays[name], expected)
        with pytest.raises(ValueError, match="read-only"):
            dataset.arrays[name][0] = 0
    index = dataset.index
    assert index["example"].tolist() == list(range(4 + 7 + 2))
    assert index["recording"].tolist() == ["c"] * 4 + ["a"] * 7 + ["b"] * 2
    assert index["subject"].tolist() == index["recording"].str.upper().tolist()
    assert index["onset_s"].tolist() == [30.0 * k for n in LENGTHS.values() for k in range(n - 1)]
    begins = np.repeat([0, 5, 13], [4, 7, 2])  # start and stop count in the array that the card names
    assert np.array_equal(index["start"], np.concatenate([p.examples["start"] for p in parts]) + begins)
    assert np.array_equal(index["stop"] - index["start"], np.ones(13))
    assert index["label"].dtype == np.int8


def test_extents_bound_each_examples_recording(tmp_path):
    dataset = prepared(tmp_path)
    for name in ("eeg", "image"):
        extent = dataset.extent(name)
        assert extent.shape == (13, 2)
        for recording, (low, high) in zip(dataset.index["recording"], extent, strict=True):
            assert np.array_equal(dataset.arrays[name][low:high], part(recording).arrays[name])


def test_the_card_says_what_it_was_told_and_what_was_found(tmp_path):
    card = prepared(tmp_path).card
    assert card | CARD == card
    assert card["name"] == "test"
    assert card["n_examples"] == 13
    assert [row["recording"] for row in card["recordings"]] == list(LENGTHS)
    assert card["recordings"][1]["extents"] == {"eeg": [50, 130], "image": [5, 13]}
    assert card["recordings"][1]["unit"] == "µV"


def test_equal_content_has_an_equal_hash_and_other_content_another(tmp_path):
    first = prepared(tmp_path / "one").card["hash"]
    assert prepared(tmp_path / "two", workers=2).card["hash"] == first
    others = [
        {"card": {**CARD, "source": "another test"}},
        {"keys": [[name, "another setting"] for name in LENGTHS]},
        {"items": ["a", "b"], "keys": [["a", "setting"], ["b", "setting"]]},
    ]
    hashes = [prepared(tmp_path / "one", **changes).card["hash"] for changes in others]
    assert len({first, *hashes}) == 4
    assert len(list((tmp_path / "one").glob("test-*/card.json"))) == 4


def test_what_is_prepared_is_opened_and_not_made_again(tmp_path):
    before = prepared(tmp_path)
    make = Maker()
    again = prepared(tmp_path, make)
    assert make.made == []
    assert again.folder == before.folder
    assert again.card == before.card
    assert again.index.equals(before.index)
    assert contents(tmp_path) == {
        f"{before.folder.name}/{name}" for name in ("arrays/eeg.npy", "arrays/image.npy", "card.json", "index.parquet")
    }


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UserError("b.edf: cut short"), MemoryError()])
def test_an_interrupted_preparation_continues_where_it_stopped(tmp_path, error):
    make = Maker("b", error=error)
    with pytest.raises(type(error)):
        prepared(tmp_path, make)
    assert make.made == ["c", "a"]
    assert len(list((tmp_path / "parts").iterdir())) == 2
    assert contents(tmp_path) == {"part"}

    make = Maker()
    dataset = prepared(tmp_path, make)
    assert make.made == ["b"]
    assert dataset.card == prepared(tmp_path / "uninterrupted").card
    assert list((tmp_path / "parts").iterdir()) == []


def test_another_setting_makes_only_what_it_changes(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path, Maker("b"))
    make = Maker()
    prepared(tmp_path, make, keys=[["c", "setting"], ["a", "new"], ["b", "setting"]])
    assert make.made == ["a", "b"]


def test_an_assembly_that_was_killed_is_started_again(tmp_path, monkeypatch):
    """By a signal that nothing can catch: what stood aside is still there, and its process's number may come again."""
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        patch.setattr("pandas.DataFrame.to_parquet", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepared(tmp_path)
    assert not list(tmp_path.glob("*/card.json"))
    assert [path.name for path in tmp_path.glob(".*.part")]
    make = Maker()
    dataset = prepared(tmp_path, make)
    assert make.made == []
    assert np.array_equal(dataset.arrays["image"], np.concatenate([part(name).arrays["image"] for name in LENGTHS]))


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """The operating system refuses to let a file grow further, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def large_arrays(name: str) -> Part:
    return part(name)._replace(arrays={"image": np.random.default_rng(0).normal(size=(30_000, 1))})


def large_index(name: str) -> Part:
    columns = {column: np.random.default_rng(0).normal(size=10_000) for column in ("onset_s", "start", "stop")}
    return part(name)._replace(examples=columns)


@pytest.mark.parametrize("make", [large_arrays, large_index])
@pytest.mark.parametrize(("limit", "n_parts"), [(100_000, 0), (400_000, 3)])
def test_a_full_disk_is_one_error_and_leaves_only_finished_parts(tmp_path, make, limit, n_parts):
    """While a part of 240 kB is written, and while the dataset of 720 kB is put together."""
    with largest_file(limit), pytest.raises(UserError, match=r"^[^\n]*the disk is full[^\n]*free some space[^\n]*$"):
        prepared(tmp_path, make)
    assert contents(tmp_path) == ({"part"} if n_parts else set())
    assert len(list((tmp_path / "parts").iterdir())) == n_parts
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]
    assert len(prepared(tmp_path, make).card["recordings"]) == 3


def test_a_disk_that_fills_up_between_recordings_keeps_the_finished_ones(tmp_path, monkeypatch):
    savez, calls = np.savez, []

    def filling(file: Any, **columns: np.ndarray) -> None:
        calls.append(file)
        if len(calls) == 3:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        savez(file, **columns)

    monkeypatch.setattr(np, "savez", filling)
    with pytest.raises(UserError, match=r"the disk is full \(No space left on device\)"):
        prepared(tmp_path)
    assert len(list((tmp_path / "parts").iterdir())) == 2
    monkeypatch.undo()
    make = Maker()
    prepared(tmp_path, make)
    assert make.made == ["b"]


@pytest.mark.parametrize(
    "arrays",
    [
        {"eeg": np.zeros((30, 1)), "image": np.zeros((3, 2), np.uint8)},  # float64
        {"eeg": np.zeros((30, 1), np.float32), "image": np.zeros((3, 4), np.uint8)},
        {"image": np.zeros((3, 2), np.uint8)},
    ],
)
def test_recordings_that_do_not_fit_together_are_an_error(tmp_path, arrays):
    """Bytes of another type or width would be read as if they were the first recording's."""
    with pytest.raises(UserError, match=r"recording b.*c"):
        prepared(tmp_path, lambda name: part(name)._replace(arrays=arrays) if name == "b" else part(name))
    assert not list(tmp_path.glob("*/card.json"))


def test_only_a_whole_dataset_is_opened(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no card.json"):
        open_dataset(tmp_path / "nowhere")
    folder = prepared(tmp_path).folder
    assert open_dataset(folder).card["hash"] == json.loads((folder / "card.json").read_text())["hash"]
    (folder / "card.json").unlink()
    for again in (lambda: open_dataset(folder), lambda: prepared(tmp_path)):
        with pytest.raises(UserError, match="delete the folder and prepare again"):
            again()

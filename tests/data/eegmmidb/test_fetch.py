"""EEGMMIDB from a small mirror on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mirror import Mirror, named, serving

from eegjax.data.download import web
from eegjax.data.eegmmidb import fetch as eegmmidb_files
from eegjax.data.eegmmidb import reader
from eegjax.data.eegmmidb.fetch import fetch_eegmmidb
from eegjax.data.formats.edf_header import EdfHeader, EdfSignalHeader
from eegjax.errors import UserError

NAMES = [f"S{s:03d}/S{s:03d}R{run:02d}.edf" for s in range(1, 110) for run in (4, 6, 8, 10, 12, 14)]
OTHERS = ["RECORDS", "S001/S001R01.edf", "S001/S001R03.edf", "S001/S001R04.edf.event", "S110/S110R04.edf"]


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr(web, "BACKOFF_S", 0.0)
    with serving("files/eegmmidb/1.0.0", named([*NAMES, *OTHERS])) as mirror:
        yield mirror


def test_the_imagery_runs_of_all_subjects_come_once(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the ordinary reader finds them, were they EDF files; later only what is missing is asked for."""
    paths = fetch_eegmmidb(tmp_path, 4, mirror.url)
    assert [str(path.relative_to(tmp_path)) for path in paths] == sorted(NAMES)
    assert len(paths) == 654
    assert all(path.read_text() == str(path.relative_to(tmp_path)) for path in paths)
    assert sorted(mirror.asked) == sorted(["SHA256SUMS.txt", *NAMES])

    header = EdfHeader("X", "", "", "EDF+C", 125, 1.0, (EdfSignalHeader("C3..", "uV", 1.0, 160),))
    monkeypatch.setattr(reader, "read_edf_header", lambda path: header)
    assert [file.path for file in reader.find(tmp_path)] == paths

    paths[5].unlink()
    mirror.asked.clear()
    assert fetch_eegmmidb(tmp_path, 4, mirror.url + "/") == paths
    assert mirror.asked == ["SHA256SUMS.txt", str(paths[5].relative_to(tmp_path))]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([name for name in NAMES if "S007" not in name], r"has no S007/S007R04\.edf .6 such.*654 imagery runs"),
        ([name for name in NAMES if "S109R14" not in name], r"has no S109/S109R14\.edf .1 such"),
        ([], r"has no S001/S001R04\.edf .654 such"),
    ],
    ids=["a subject less", "a run less", "nothing"],
)
def test_another_set_of_runs_is_an_error_before_any_is_fetched(
    mirror: Mirror, tmp_path: Path, names: list[str], said: str
) -> None:
    mirror.bodies = named(names)
    with pytest.raises(UserError, match=said):
        fetch_eegmmidb(tmp_path, 4, mirror.url)
    assert mirror.asked == ["SHA256SUMS.txt"]


def test_a_page_instead_of_the_list_is_an_error(mirror: Mirror, tmp_path: Path) -> None:
    mirror.bodies = named(["<html>"])
    with pytest.raises(UserError, match=r"SHA256SUMS\.txt, line 1"):
        fetch_eegmmidb(tmp_path, 4, mirror.url)


def test_physionet_is_asked_over_https() -> None:
    assert eegmmidb_files.BASE_URL == "https://physionet.org/files/eegmmidb/1.0.0/"

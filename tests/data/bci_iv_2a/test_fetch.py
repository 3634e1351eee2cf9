"""BCI IV 2a from a small mirror on this machine, whose sessions are as large in trials and small in time."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from mirror import Mirror, serving

from eegjax.data import bci_iv_2a
from eegjax.data.bci_iv_2a import fetch as bci_iv_2a_files
from eegjax.data.bci_iv_2a.fetch import fetch_bci_iv_2a
from eegjax.data.download import web
from eegjax.errors import UserError

NAMES = [f"A{n:02d}{session}.mat" for n in range(1, 10) for session in "ET"]
FEW = NAMES[:6]  # of three subjects


def session(seed: int = 0, n_runs: int = 6, classes: int = 4) -> bytes:
    """A session of 48 trials a run, which overlap."""
    rng = np.random.default_rng(seed)
    data = np.empty((1, n_runs), object)
    for i in range(n_runs):
        data[0, i] = {
            "X": rng.normal(0, 20, (1000, 25)).astype(np.int8),
            "trial": np.arange(1, 49)[:, None],
            "y": (np.arange(48) % classes + 1)[:, None],
            "fs": 250,
            "classes": np.array(["left hand", "right hand", "feet", "tongue"], object)[:, None],
            "artifacts": np.zeros((48, 1)),
        }
    file = io.BytesIO()
    scipy.io.savemat(file, {"data": data}, do_compression=True)
    return file.getvalue()


SESSION = session()
SUBJECTS = bci_iv_2a_files._SUBJECTS


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr(web, "BACKOFF_S", 0.0)
    monkeypatch.setattr(web, "RETRIES", 2)
    monkeypatch.setattr(bci_iv_2a_files, "_SUBJECTS", ("A01", "A02", "A03"))
    with serving("001-2014", dict.fromkeys(NAMES, SESSION)) as mirror:
        yield mirror


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".fetching")


def test_the_18_sessions_come(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the ordinary reader finds them."""
    monkeypatch.setattr(bci_iv_2a_files, "_SUBJECTS", SUBJECTS)
    paths = fetch_bci_iv_2a(tmp_path, 4, mirror.url)
    assert paths == [tmp_path / "001-2014" / name for name in NAMES]
    assert sorted(mirror.asked) == NAMES
    files = bci_iv_2a.find(tmp_path)
    assert [file.path for file in files] == paths
    assert sum(len(run.table) for run in bci_iv_2a.read(files[0], (0.0, 1.0))) == 288


def test_the_second_time_only_what_is_missing_is_asked_for(mirror: Mirror, tmp_path: Path) -> None:
    """Each file has its own SHA-256 in a list."""
    paths = fetch_bci_iv_2a(tmp_path, 4, mirror.url)
    folder = tmp_path / "001-2014"
    assert all(path.read_bytes() == SESSION for path in paths)
    assert left(folder) == [*FEW, "SHA256SUMS.txt"]
    digest = hashlib.sha256(SESSION).hexdigest()
    assert (folder / "SHA256SUMS.txt").read_text() == "".join(f"{digest}  {name}\n" for name in FEW)
    paths[3].unlink()
    mirror.asked.clear()
    assert fetch_bci_iv_2a(tmp_path, 4, mirror.url + "/") == paths
    assert mirror.asked == [NAMES[3]]


def test_what_breaks_off_begins_anew(mirror: Mirror, tmp_path: Path) -> None:
    mirror.cut = 2
    assert all(path.read_bytes() == SESSION for path in fetch_bci_iv_2a(tmp_path, 1, mirror.url))
    assert len(mirror.asked) == 8


def test_what_breaks_off_always_is_an_error(mirror: Mirror, tmp_path: Path) -> None:
    mirror.cut = 10**9
    with pytest.raises(UserError, match=r"A01E\.mat: the connection was closed early, 3 times in a row"):
        fetch_bci_iv_2a(tmp_path, 1, mirror.url)
    assert left(tmp_path / "001-2014") == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>Moved</html>", "can't be read as MAT"),
        (SESSION[:-500], "can't be read as MAT"),
        (session(n_runs=5), r"\[60, 60, 60, 60\] trials of the classes, expected 72 of each"),
        (session(classes=2), r"\[144, 144, 0, 0\] trials"),
        (b"", "the server refuses"),
    ],
    ids=["a page", "a part", "a run less", "two classes", "nothing"],
)
def test_what_is_no_session_is_an_error_and_gone(mirror: Mirror, tmp_path: Path, body: bytes, said: str) -> None:
    """And what came whole before it stays."""
    mirror.bodies["A02T.mat"] = body
    with pytest.raises(UserError, match=rf"A02T\.mat: .*{said}") as caught:
        fetch_bci_iv_2a(tmp_path, 1, mirror.url)
    assert "\n" not in str(caught.value)
    assert left(tmp_path / "001-2014") == [*NAMES[:3], "SHA256SUMS.txt"]
    mirror.bodies["A02T.mat"] = SESSION
    assert len(fetch_bci_iv_2a(tmp_path, 2, mirror.url)) == 6
    assert len(mirror.asked) == 4 + 3


def test_a_file_that_does_not_end_is_an_error(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bci_iv_2a_files, "_MAX_BYTES", 1000)
    with pytest.raises(UserError, match=r"A01E\.mat: more than 1000 bytes"):
        fetch_bci_iv_2a(tmp_path, 1, mirror.url)
    assert left(tmp_path / "001-2014") == []


def test_a_file_that_changed_is_an_error_and_stays(mirror: Mirror, tmp_path: Path) -> None:
    paths = fetch_bci_iv_2a(tmp_path, 4, mirror.url)
    other = session(seed=1)
    paths[3].write_bytes(other)
    with pytest.raises(UserError, match=r"A02T\.mat: it has changed since it was fetched .*move it away"):
        fetch_bci_iv_2a(tmp_path, 4, mirror.url)
    assert paths[3].read_bytes() == other


def test_files_that_were_there_already_are_checked_and_noted(mirror: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "001-2014"
    folder.mkdir()
    (folder / "A01T.mat").write_bytes(other := session(seed=1))
    fetch_bci_iv_2a(tmp_path, 4, mirror.url)
    assert "A01T.mat" not in mirror.asked
    assert f"{hashlib.sha256(other).hexdigest()}  A01T.mat\n" in (folder / "SHA256SUMS.txt").read_text()
    (folder / "SHA256SUMS.txt").unlink()
    (folder / "A01T.mat").write_bytes(session(n_runs=1))
    with pytest.raises(UserError, match=r"A01T\.mat: \[12, 12, 12, 12\] trials"):
        fetch_bci_iv_2a(tmp_path, 4, mirror.url)


def test_two_at_a_time_is_an_error(mirror: Mirror, tmp_path: Path) -> None:
    from eegjax.files import locked

    with (
        locked(tmp_path / "001-2014" / ".fetching"),
        pytest.raises(UserError, match="another process fetches into it now"),
    ):
        fetch_bci_iv_2a(tmp_path, 4, mirror.url)
    assert mirror.asked == []


def test_bnci_is_asked_over_https() -> None:
    assert bci_iv_2a_files.BASE_URL.startswith("https://")

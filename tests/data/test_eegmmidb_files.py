"""EEGMMIDB from a small mirror on this machine."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from eegjax.data import eegmmidb, eegmmidb_files, web
from eegjax.data.edf_header import EdfHeader, EdfSignalHeader
from eegjax.data.eegmmidb_files import fetch_eegmmidb
from eegjax.errors import UserError

NAMES = [f"S{s:03d}/S{s:03d}R{run:02d}.edf" for s in range(1, 110) for run in (4, 6, 8, 10, 12, 14)]
OTHERS = ["RECORDS", "S001/S001R01.edf", "S001/S001R03.edf", "S001/S001R04.edf.event", "S110/S110R04.edf"]


class Mirror(http.server.ThreadingHTTPServer):
    """A name's content is the name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/files/eegmmidb/1.0.0"
        self.names = [*NAMES, *OTHERS]
        self.asked: list[str] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def log_message(self, *_) -> None: ...

    def do_GET(self) -> None:
        name = self.path.removeprefix("/files/eegmmidb/1.0.0/")
        self.server.asked.append(name)
        sums = "".join(f"{hashlib.sha256(name.encode()).hexdigest()} {name}\n" for name in self.server.names)
        body = (sums if name == "SHA256SUMS.txt" else name).encode()
        self.send_response(200 if name in ("SHA256SUMS.txt", *self.server.names) else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr(web, "BACKOFF_S", 0.0)
    with Mirror() as mirror:
        threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield mirror
        mirror.shutdown()


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
    monkeypatch.setattr(eegmmidb, "read_edf_header", lambda path: header)
    assert [file.path for file in eegmmidb.find(tmp_path)] == paths

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
    mirror.names = names
    with pytest.raises(UserError, match=said):
        fetch_eegmmidb(tmp_path, 4, mirror.url)
    assert mirror.asked == ["SHA256SUMS.txt"]


def test_a_page_instead_of_the_list_is_an_error(mirror: Mirror, tmp_path: Path) -> None:
    mirror.names = ["<html>"]
    with pytest.raises(UserError, match=r"SHA256SUMS\.txt, line 1"):
        fetch_eegmmidb(tmp_path, 4, mirror.url)


def test_physionet_is_asked_over_https() -> None:
    assert eegmmidb_files.BASE_URL == "https://physionet.org/files/eegmmidb/1.0.0/"

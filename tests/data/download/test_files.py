"""Downloads from a real server on this machine that breaks off, lies, stalls and changes its files."""

import hashlib
import http.server
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegjax.data.download import files as download
from eegjax.data.download import web
from eegjax.data.download.files import Item, fetch, fetch_all, read_checksums
from eegjax.errors import UserError

WAIT_S = 120  # for a process or a server on a machine that is busy with other things
BODY = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)
Fault = Callable[[http.server.BaseHTTPRequestHandler, bytes], None]


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`, with ranges; a fault in `faults` takes the place of the next answer's body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, str | None]] = []  # path, Range
        self.etag: str | None = '"1"'
        self.ranges = self.if_range = self.length = True
        self.shift = 0  # of the range that is sent against the one asked for
        self.over = threading.Event()

    def handle_error(self, *_) -> None:
        """A client that went away is part of the tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_) -> None: ...

    def do_GET(self) -> None:
        asked, version = self.headers.get("Range"), self.headers.get("If-Range")
        self.server.asked.append((self.path[1:], asked))
        fault = self.server.faults.pop(0) if self.server.faults else lambda handler, rest: handler.wfile.write(rest)
        body = self.server.files.get(self.path[1:])
        if body is None or hasattr(fault, "status"):
            code, headers = getattr(fault, "status", (404, {}))
            return self.head(code, headers)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else None
        if start is not None and self.server.if_range and version not in (None, self.server.etag):
            start = None
        if start is not None and start >= len(body):
            return self.head(416, {"Content-Range": f"bytes */{len(body)}"})
        headers = {"ETag": self.server.etag} if self.server.etag else {}
        if start is not None:
            start += self.server.shift
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if self.server.length:
            headers["Content-Length"] = str(len(body) - (start or 0))
        self.head(200 if start is None else 206, headers)
        fault(self, body[start or 0 :])

    def head(self, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def cut(n_bytes: int) -> Fault:
    return lambda handler, rest: handler.wfile.write(rest[:n_bytes])


def stall(n_bytes: int) -> Fault:
    def fault(handler, rest: bytes) -> None:
        handler.wfile.write(rest[:n_bytes])
        handler.server.over.wait(2 * WAIT_S)

    return fault


def status(code: int, **headers: str) -> Fault:
    def fault(handler, rest: bytes) -> None:
        raise AssertionError

    fault.status = (code, {name.replace("_", "-"): value for name, value in headers.items()})
    return fault


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(web, "TIMEOUT_S", WAIT_S)
    monkeypatch.setattr(web, "RETRIES", 2)
    monkeypatch.setattr(web, "BACKOFF_S", 0.0)
    monkeypatch.setattr(download, "_JOIN_S", 0.1)
    with Server() as server:
        server.files["a.edf"] = BODY
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def get(server: Server, folder: Path, body: bytes = BODY, **options) -> Path:
    return fetch(f"{server.url}/a.edf", folder / "a.edf", sha256(body), progress=False, **options)


def ranges(server: Server) -> list[int]:
    return [int(asked.split("=")[1].rstrip("-")) if asked else 0 for _, asked in server.asked]


def part(folder: Path) -> bytes:
    return (folder / ".a.edf.part").read_bytes()


def fails(match: str, *args, **options) -> str:
    """The one line that the user gets; nothing is at the final name."""
    with pytest.raises(UserError, match=match) as caught:
        get(*args, **options)
    assert not (args[1] / "a.edf").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- what a server may do


def test_a_file_is_fetched_and_nothing_else_is_left(server: Server, tmp_path: Path) -> None:
    path = get(server, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "a.edf"
    assert path.read_bytes() == BODY
    assert {file.name for file in path.parent.iterdir()} == {"a.edf", ".verified.json"}


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 99_000), max_size=3), etag=st.booleans())
def test_what_breaks_off_is_continued_where_it_broke_off(
    server: Server, tmp_path_factory: pytest.TempPathFactory, cuts: list[int], etag: bool
) -> None:
    server.faults, server.etag = [cut(n) for n in cuts], '"1"' if etag else None
    server.asked.clear()
    assert get(server, tmp_path_factory.mktemp("cuts")).read_bytes() == BODY
    assert ranges(server) == [sum(cuts[:n]) for n in range(len(cuts) + 1)]


def test_progress_resets_the_count_of_failures(server: Server, tmp_path: Path) -> None:
    server.faults = [cut(100), cut(0), cut(0)] * 4
    assert get(server, tmp_path).read_bytes() == BODY
    assert len(server.asked) == 13


@pytest.fixture
def impatient(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TIMEOUT_S", 1.0)


@pytest.mark.usefixtures("impatient")
def test_a_stall_is_continued(server: Server, tmp_path: Path) -> None:
    server.faults = [stall(1000), stall(0)]
    assert get(server, tmp_path).read_bytes() == BODY
    assert ranges(server) == [0, 1000, 1000]


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_server_that_always_stalls_is_given_up_and_what_came_is_kept(server: Server, tmp_path: Path) -> None:
    server.faults = [stall(1000)] + [stall(0)] * 3
    message = fails("3 times in a row", server, tmp_path)
    assert "1000 bytes" in message
    assert "same command" in message
    assert part(tmp_path) == BODY[:1000]
    server.over.set()
    assert get(server, tmp_path).read_bytes() == BODY
    assert ranges(server)[-1] == 1000


def test_a_server_that_ignores_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges, server.faults = False, [cut(1000)]
    assert get(server, tmp_path).read_bytes() == BODY
    assert ranges(server) == [0, 1000]


def test_starting_over_without_getting_further_is_no_progress(server: Server, tmp_path: Path) -> None:
    server.ranges, server.faults = False, [cut(1000)] * 100
    fails("3 times in a row", server, tmp_path)
    assert len(server.asked) == 4


def test_lies_of_the_right_length_get_no_name(server: Server, tmp_path: Path) -> None:
    server.files["a.edf"] = OTHER
    message = fails("SHA-256", server, tmp_path)
    assert all(text in message for text in (server.url, sha256(OTHER), sha256(BODY)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("honest", [True, False], ids=["says so", "ignores If-Range"])
def test_a_file_that_changes_on_the_server_is_not_spliced(server: Server, tmp_path: Path, honest: bool) -> None:
    def change(handler, rest: bytes) -> None:
        handler.wfile.write(rest[:1000])
        server.files["a.edf"], server.etag = OTHER, '"2"'

    server.faults, server.if_range = [change], honest
    assert get(server, tmp_path, OTHER).read_bytes() == OTHER
    assert ranges(server) == [0, 1000] + [0] * (not honest)


def test_a_range_that_was_not_asked_for_is_not_spliced(server: Server, tmp_path: Path) -> None:
    server.faults, server.shift = [cut(1000)], 5
    assert get(server, tmp_path).read_bytes() == BODY
    assert ranges(server) == [0, 1000, 0]


def test_a_part_of_another_version_is_thrown_away(server: Server, tmp_path: Path) -> None:
    server.faults = [cut(1000)] + [cut(0)] * 3
    fails("in a row", server, tmp_path, OTHER)
    server.asked.clear()
    assert get(server, tmp_path, BODY).read_bytes() == BODY
    assert ranges(server) == [0]


def test_a_whole_part_is_only_verified(server: Server, tmp_path: Path) -> None:
    """Killed between the last byte and the rename: the server answers 416."""
    (tmp_path / ".a.edf.part").write_bytes(BODY)
    (tmp_path / ".a.edf.part.json").write_text(json.dumps({"sha256": sha256(BODY), "version": '"1"'}))
    assert get(server, tmp_path).read_bytes() == BODY
    assert ranges(server) == [len(BODY)]


def test_refusals_end_at_once(server: Server, tmp_path: Path) -> None:
    server.faults = [status(403)]
    fails("403", server, tmp_path)
    del server.files["a.edf"]
    fails("404", server, tmp_path)
    assert len(server.asked) == 2


def test_a_busy_server_is_asked_again_when_it_says(server: Server, tmp_path: Path) -> None:
    server.faults = [status(503), status(429, Retry_After="1")]
    begun = time.monotonic()
    assert get(server, tmp_path).read_bytes() == BODY
    assert 1 <= time.monotonic() - begun < WAIT_S


def test_a_server_that_does_not_end_is_stopped(server: Server, tmp_path: Path) -> None:
    def endless(handler, rest: bytes) -> None:
        while True:
            handler.wfile.write(rest)

    server.length, server.faults = False, [endless]
    fails("more than 400000 bytes", server, tmp_path, max_bytes=400_000)
    assert not part(tmp_path)
    server.length, server.faults = True, [cut(1000)]
    fails("more than 299999 bytes", server, tmp_path, max_bytes=len(BODY) - 1)
    assert len(server.asked) == 2  # announced, and not waited for
    server.faults = [endless]  # beyond what it announced
    assert get(server, tmp_path).read_bytes() == BODY


def test_redirects_on_this_machine_are_followed(server: Server, tmp_path: Path) -> None:
    server.faults = [status(302, Location=f"{server.url}/a.edf")]
    assert get(server, tmp_path).read_bytes() == BODY


def test_no_proxy_stands_before_this_machine(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert get(server, tmp_path).read_bytes() == BODY


# ---- addresses


@pytest.mark.parametrize("location", ["http://example.org/a", "ftp://example.org/a", "file:///etc/passwd"])
def test_unsafe_redirects_are_refused(server: Server, tmp_path: Path, location: str) -> None:
    server.faults = [status(302, Location=location)]
    fails("expected https|refuses", server, tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize(("location", "safe"), [("http://a.org/x", False), ("http://127.0.0.1/x", False), ("/y", True)])
def test_https_leads_to_https_only(location: str, safe: bool) -> None:
    request = Request("https://physionet.org/x")
    location = location if "//" in location else f"https://physionet.org{location}"
    redirect = lambda: web._Redirects().redirect_request(request, None, 302, "", {}, location)  # noqa: E731
    if safe:
        assert redirect().full_url == location
    else:
        with pytest.raises(UserError, match="redirects"):
            redirect()


@pytest.mark.parametrize(
    "url",
    [
        "http://physionet.org/a",
        "ftp://x/a",
        "file:///etc/passwd",
        "https:///a",
        "https://x:y/a",
        "https://x/a b",
        "a",
        "",
    ],
)
def test_unsafe_addresses_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected https"):
        fetch(url, tmp_path / "a", sha256(BODY), progress=False)


def test_https_is_not_spoken_to_whoever_answers(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?i)ssl.*3 times"):
        fetch(server.url.replace("http", "https") + "/a.edf", tmp_path / "a.edf", sha256(BODY), progress=False)
    assert not server.asked


def test_a_wrong_certificate_ends_it_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    error = web.ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    asked = []

    def refuse(*_, **__):
        asked.append(1)
        raise URLError(error)

    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)
    with pytest.raises(UserError, match="self-signed"):
        fetch("https://physionet.org/a", tmp_path / "a", sha256(BODY), progress=False)
    assert len(asked) == 1


# ---- what is there already


def test_a_right_file_is_left_and_the_second_time_not_even_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.edf").write_bytes(BODY)
    get(server, tmp_path)
    monkeypatch.setattr(download, "hash_file", None)
    get(server, tmp_path)
    assert not server.asked
    assert [path.name for path in sorted(tmp_path.iterdir())] == [".verified.json", "a.edf"]


def test_a_file_that_was_right_and_changed_is_noticed(server: Server, tmp_path: Path) -> None:
    path = get(server, tmp_path)
    path.write_bytes(OTHER)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    with pytest.raises(UserError, match="move it away"):
        get(server, tmp_path)
    with pytest.raises(UserError, match="move it away"):  # the file is as it was; another checksum is expected
        get(server, tmp_path, BODY[:-1])
    assert path.read_bytes() == OTHER
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [BODY, OTHER], ids=["right", "wrong"])
def test_a_file_put_there_meanwhile_is_left(server: Server, tmp_path: Path, body: bytes) -> None:
    def put(handler, rest: bytes) -> None:
        (tmp_path / "a.edf").write_bytes(body)
        (tmp_path / "a.edf").chmod(0o400)
        handler.wfile.write(rest)

    server.faults = [put]
    with nullcontext() if body == BODY else pytest.raises(UserError, match="move it away"):
        get(server, tmp_path)
    assert (tmp_path / "a.edf").read_bytes() == body
    assert (tmp_path / "a.edf").stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize("damage", ["text", "list", "folder"])
def test_the_list_of_verified_files_may_be_broken(server: Server, tmp_path: Path, damage: str) -> None:
    listed = tmp_path / ".verified.json"
    listed.mkdir() if damage == "folder" else listed.write_text({"text": "{", "list": "[]"}[damage])
    assert get(server, tmp_path).read_bytes() == BODY
    assert get(server, tmp_path).read_bytes() == BODY
    assert len(server.asked) == 1


def test_a_file_in_the_place_of_the_folder_is_left(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="Not a directory"):
        get(server, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_in_the_place_of_the_file_is_left(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.edf").mkdir()
    with pytest.raises(UserError, match="no file"):
        get(server, tmp_path)


# ---- what may happen to the process


def start(server: Server, folder: Path, first: str = "") -> subprocess.Popen:
    """Fetch in a process of its own, with more patience than any test."""
    program = f"""
import signal
from pathlib import Path
from eegjax.data.download import files as download, web
web.TIMEOUT_S = {4 * WAIT_S}
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background deaf to it
{first}
download.fetch_all([download.Item("{server.url}/a.edf", Path("{folder}/a.edf"), "{sha256(BODY)}")], 1, "test")
"""
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    "sent",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_killed_download_continues_where_it_stopped(server: Server, tmp_path: Path, sent: signal.Signals) -> None:
    server.faults = [stall(123_456)]
    process = start(server, tmp_path)
    until = time.monotonic() + WAIT_S
    while not (tmp_path / ".a.edf.part").exists() or len(part(tmp_path)) < 123_456:
        assert time.monotonic() < until
        time.sleep(0.01)
    fails("another process", server, tmp_path)
    process.send_signal(sent)
    process.communicate(timeout=WAIT_S)  # the silent server is silent for longer
    assert process.returncode != 0
    assert part(tmp_path) == BODY[:123_456]
    assert get(server, tmp_path).read_bytes() == BODY
    assert ranges(server) == [0, 123_456]


def test_a_full_disk_keeps_what_came(server: Server, tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))"
    _, errors = start(server, tmp_path, limit).communicate(timeout=WAIT_S)
    assert "UserError" in errors.splitlines()[-1]
    assert "the disk is full" in errors.splitlines()[-1]
    assert part(tmp_path) == BODY[:50_000]
    assert get(server, tmp_path).read_bytes() == BODY
    assert ranges(server) == [0, 50_000]


# ---- several files


def items(server: Server, folder: Path, n_files: int) -> list[Item]:
    server.files = {f"{n}.edf": BODY[n:] for n in range(n_files)}
    return [Item(f"{server.url}/{name}", folder / name, sha256(body)) for name, body in server.files.items()]


def test_several_files_come_in_threads_and_only_once(server: Server, tmp_path: Path, capsys) -> None:
    wanted = items(server, tmp_path, 20)
    server.faults = [cut(1000)] * 10
    for _ in range(2):
        paths = fetch_all(wanted, 4, "files")
        assert [path.name for path in paths] == [f"{n}.edf" for n in range(20)]
    assert all(path.read_bytes() == BODY[n:] for n, path in enumerate(paths))
    assert len(server.asked) == 30
    assert len(list(tmp_path.iterdir())) == 21
    assert "files: 20 of 20 files" in capsys.readouterr().err


def test_the_first_error_stops_the_others_promptly(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT_S", WAIT_S)
    wanted = items(server, tmp_path, 20)
    parts = [tmp_path / ".1.edf.part", tmp_path / ".2.edf.part"]

    def fault(handler, rest: bytes) -> None:
        if handler.path == "/1.edf":
            stall(1000)(handler, rest)
        elif handler.path == "/2.edf":
            for n in range(0, len(rest), 1000):
                handler.wfile.write(rest[n : n + 1000])
                server.over.wait(0.02)
        elif handler.path == "/3.edf":
            while not all(path.exists() and path.stat().st_size >= 1000 for path in parts):
                time.sleep(0.01)
            handler.wfile.write(OTHER[3:])
        else:
            handler.wfile.write(rest)

    server.faults = [fault] * 20
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"/3\.edf.* SHA-256"):
        fetch_all(wanted, 3, "files")
    assert time.monotonic() - begun < WAIT_S  # the silent server holds its thread longer
    assert sorted(path for path, _ in server.asked) == [f"{n}.edf" for n in range(4)]
    assert wanted[0].path.read_bytes() == BODY
    sizes = [path.stat().st_size for path in parts]
    time.sleep(0.2)
    assert [path.stat().st_size for path in parts] == sizes
    server.over.set()
    server.faults.clear()
    time.sleep(0.2)  # the thread that the silent server held lets its file go
    assert all(path.read_bytes() == BODY[n:] for n, path in enumerate(fetch_all(wanted, 3, "files")))
    assert {("1.edf", f"bytes={sizes[0]}-"), ("2.edf", f"bytes={sizes[1]}-")} <= set(server.asked)


# ---- lists of checksums

PIECES = st.sampled_from(["..", ".", "/", "\\", "a", "b.edf", "C:", "~", "\0", " ", "%2e", "\u2028", "é", "-", "*"])
NAMES = st.one_of(st.text(max_size=20), st.lists(PIECES, max_size=6).map("".join))
LINES = st.builds(lambda name, gap: f"{'0a' * 32}{gap}{name}", NAMES, st.sampled_from([" ", "  ", " *", "\t"]))


@given(st.one_of(st.text(), st.lists(LINES, max_size=3).map("\n".join)))
def test_no_list_leads_out_of_its_folder(text: str) -> None:
    root = Path("/folder/root")
    checksums: dict[str, str] = {}
    with suppress(UserError):
        checksums = read_checksums(text)
    for name, checksum in checksums.items():
        assert Path(os.path.normpath(root / name)) == root / name
        assert root in (root / name).parents
        assert set(checksum) <= set("0123456789abcdef")
        assert len(checksum) == 64


def test_a_list_is_read() -> None:
    text = f"{'AB' * 32} RECORDS\r\n\n{'12' * 32}  night-1/SC4001E0-PSG.edf\n{'12' * 32} *a/b/c+d.txt\n"
    assert read_checksums(text) == {
        "RECORDS": "ab" * 32,
        "night-1/SC4001E0-PSG.edf": "12" * 32,
        "a/b/c+d.txt": "12" * 32,
    }


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../a", "a/../b", "a//b", "a/", "a\\b", "C:/a", ".hidden", "a/.b", "a b", "a\tb", "~", "-rf", ""],
)
def test_names_that_are_not_plain_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="PhysioNet's list, line 2"):
        read_checksums(f"{'0' * 64} fine\n{'0' * 64} {name}\n", "PhysioNet's list")


@pytest.mark.parametrize("line", ["<!DOCTYPE html>", f"{'0' * 63} a", f"{'0' * 65} a", f"{'g' * 64} a", "0" * 64])
def test_lines_of_another_form_are_refused(line: str) -> None:
    with pytest.raises(UserError, match="line 1"):
        read_checksums(line)


def test_two_checksums_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="line 2: another checksum of a"):
        read_checksums(f"{'0' * 64} a\n{'1' * 64} a")


# ---- texts


@pytest.mark.usefixtures("impatient")
def test_a_text_is_fetched_patiently_and_in_bounds(server: Server) -> None:
    server.files["a.edf"] = text = "λ ".encode() * 1000
    server.faults = [cut(10), stall(10)]
    assert web.read_text(f"{server.url}/a.edf", len(text)) == text.decode()
    with pytest.raises(UserError, match="more than 2999 bytes"):
        web.read_text(f"{server.url}/a.edf", len(text) - 1)
    server.files["a.edf"] = b"\xff\xff"
    with pytest.raises(UserError, match="UTF-8"):
        web.read_text(f"{server.url}/a.edf")

"""Sleep-EDF fetched from a mirror on this machine and prepared, killed on the way, and found again by a run."""

import csv
import hashlib
import http.server
import importlib.util
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from eegjax import cli, commands
from eegjax.data.sleep_edf import simulator
from eegjax.data.sleep_edf.fetch import fetch_sleep_edf
from eegjax.errors import UserError
from eegjax.studies.sleep import data as sleep_data
from eegjax.studies.sleep import study as sleep

WAIT_S = 400  # for a process to get so far; a busy machine takes its time
ROOT = Path(__file__).parents[2]
TABLE = Path(importlib.util.find_spec("mne").origin).parent / "datasets" / "sleep_physionet" / "age_records.csv"
N_EPOCHS = 40


class Mirror(http.server.ThreadingHTTPServer):
    """Serves the files of 39 nights, which are all the same short simulated one."""

    daemon_threads = True

    def __init__(self, psg: bytes, hypnogram: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        with open(TABLE, newline="") as file:
            names = [row["fname"] for row in csv.DictReader(file) if int(row["subject"]) < 20]
        self.files = {f"sleep-cassette/{name}": psg if "PSG" in name else hypnogram for name in names}
        sums = [f"{hashlib.sha256(body).hexdigest()} {name}\n" for name, body in self.files.items()]
        self.files["SHA256SUMS.txt"] = "".join(sums).encode()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.whole: Counter[str] = Counter()
        self.allowed = threading.Event()  # to serve more than 30 files
        self.allowed.set()

    def handle_error(self, *_) -> None:
        """A client that went away is part of the tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def log_message(self, *_) -> None: ...

    def do_GET(self) -> None:
        name = self.path[1:]
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        body = self.server.files[name]
        self.send_response(206 if asked else 200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        half = (start + len(body)) // 2
        self.wfile.write(body[start:half])
        if len(self.server.whole) > 30:
            self.server.allowed.wait(WAIT_S)
        self.wfile.write(body[half:])
        self.server.whole[name] += 1


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Iterator[Mirror]:
    folder = tmp_path_factory.mktemp("night")
    simulator.write_night(folder, 0, 0, 1, N_EPOCHS)
    psg, hypnogram = (next(folder.glob(f"*{kind}.edf")).read_bytes() for kind in ("PSG", "Hypnogram"))
    with Mirror(psg, hypnogram) as mirror:
        threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield mirror
        mirror.shutdown()


def start(mirror: Mirror, folder: Path, *arguments: str) -> subprocess.Popen:
    """`launch/prepare.py` as it is typed, in a folder of its own, but for the address of PhysioNet."""
    script = ROOT / "launch" / "prepare.py"
    argv = [str(script), "--dataset=sleep_edf", "--root=nights", *arguments]
    code = (
        "import runpy, sys\n"
        "from eegjax.data.sleep_edf.fetch import fetch_sleep_edf\n"
        "from eegjax import commands\n"
        f"commands._fetcher = lambda name: lambda root, workers: fetch_sleep_edf(root, workers, {mirror.url!r})\n"
        f"sys.argv = {argv!r}\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')\n"
    )
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, **streams)


def ended(process: subprocess.Popen, when: Callable[[], bool], number: int) -> str:
    """Send a signal as soon as something is so; standard error."""
    begun_s = time.monotonic()
    while not when():
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() - begun_s < WAIT_S
        time.sleep(0.002)
    process.send_signal(number)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == (143 if number == signal.SIGTERM else -number), err[-2000:]
    return err


@pytest.mark.slow
def test_killed_while_it_fetches_and_while_it_prepares(mirror: Mirror, tmp_path: Path, monkeypatch) -> None:
    """Started again it fetches no file and prepares no night a second time, and says the command that finds them."""
    nights, datasets = tmp_path / "nights" / "sleep-cassette", tmp_path / "runs" / "datasets"
    mirror.allowed.clear()
    fetching = start(mirror, tmp_path, "--download", "--workers=3")
    ended(fetching, lambda: len(list(nights.glob("[!.]*.edf"))) >= 20, signal.SIGKILL)
    mirror.allowed.set()
    kept = {path.name: path.stat().st_mtime_ns for path in nights.glob("[!.]*.edf")}
    assert 20 <= len(kept) < 78
    assert not datasets.exists()

    preparing = start(mirror, tmp_path, "--download", "--workers=1")
    err = ended(preparing, lambda: len(parts_of(datasets)) >= 3, signal.SIGTERM)
    assert err.splitlines()[-1].startswith("preempted: ")
    assert "start the same command again" in err.splitlines()[-1]
    assert len(list(nights.glob("[!.]*.edf"))) == 78
    assert kept == {name: (nights / name).stat().st_mtime_ns for name in kept}
    assert {mirror.whole[f"sleep-cassette/{name}"] for name in kept} == {1}
    made = {path: path.stat().st_mtime_ns for path in parts_of(datasets)}
    assert 3 <= len(made) < 39

    last = start(mirror, tmp_path, "--workers=3")  # all is fetched: it need not be asked for
    watched: dict[Path, set[int]] = {path: set() for path in made}
    while last.poll() is None:
        for path in made:
            if path.exists():
                watched[path].add(path.stat().st_mtime_ns)
        time.sleep(0.01)
    out, err = last.communicate()
    assert last.returncode == 0, err[-2000:]
    assert watched == {path: {written} for path, written in made.items()}
    assert not [*datasets.rglob("*.part*"), *nights.glob("*.part")]

    said, command_line = out.strip().splitlines()
    folder = next(path for path in datasets.iterdir() if path.name.startswith("sleep-"))
    assert f"sleep_edf: 39 recordings, {39 * N_EPOCHS} examples, prepared in {folder.relative_to(tmp_path)}" == said
    monkeypatch.setattr(sleep_data, "_part", lambda *_: 1 / 0)
    assert found(command_line, tmp_path, monkeypatch) == folder.relative_to(tmp_path)


def parts_of(datasets: Path) -> list[Path]:
    return list((datasets / "parts").glob("[!.]*.npz"))


def found(command_line: str, cwd: Path, monkeypatch) -> Path:
    """The prepared dataset that a printed command uses, typed in that folder."""
    command, subcommand, *arguments = shlex.split(command_line.removeprefix("Now: "))
    assert (command, subcommand) == ("eegjax", "run")
    given = [argument.replace("=FILE", "=none") for argument in arguments]
    monkeypatch.chdir(cwd)
    return sleep.prepare(cli.parse([command, *given], {})[0]).folder


@pytest.mark.parametrize("protocol", ["standard", "paper"])
def test_the_printed_command_finds_what_was_prepared(tiny, tmp_path: Path, monkeypatch, protocol: str) -> None:
    """Whatever its folders are called, and whichever of its settings the protocol has."""
    recordings = sleep_data._simulated(tiny(), Path(tiny().run.root, "datasets"))
    (tmp_path / "my nights").symlink_to(recordings)
    monkeypatch.chdir(tmp_path)
    config = cli.configure(
        f"{ROOT}/configs/sleep.py:{protocol}",
        ["", "--config.data.root=my nights", "--config.run.root=other runs"],
    )
    text = commands.prepare(config, "sleep_edf", False, "")
    assert text.startswith("sleep_edf: 6 recordings, ")
    assert "--config.model.weights=FILE" in text
    (folder,) = Path("other runs", "datasets").glob("sleep-*")
    monkeypatch.setattr(sleep_data, "_part", lambda *_: 1 / 0)
    assert found(text.splitlines()[-1], tmp_path, monkeypatch) == folder


def test_without_download_nothing_is_fetched(configure, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(commands, "_fetcher", lambda name: lambda *_: 1 / 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: holds no recordings.*eegjax prepare .*--download"):
        commands.prepare(configure("standard", tmp_path / "empty"), "sleep_edf", False, "")


def test_a_broken_mirror_is_the_user_s_one_line(configure, tmp_path: Path, mirror: Mirror, monkeypatch) -> None:
    """A file that isn't what the list says; the right ones stay."""
    fetch = lambda root, workers: fetch_sleep_edf(root, workers, mirror.url)  # noqa: E731
    monkeypatch.setattr(commands, "_fetcher", lambda name: fetch)
    spoilt = "sleep-cassette/SC4191E0-PSG.edf"
    monkeypatch.setitem(mirror.files, spoilt, b"half a night")
    with pytest.raises(UserError, match=r"SC4191E0-PSG\.edf: the 12 bytes that came have SHA-256 .*start the same"):
        commands.prepare(configure("standard", tmp_path / "nights"), "sleep_edf", True, "")
    assert not (tmp_path / "nights" / spoilt).exists()
    assert np.mean([path.stat().st_size > 0 for path in tmp_path.rglob("[!.]*.edf")]) == 1

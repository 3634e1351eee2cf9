"""Fetching public files: continued where they broke off, and checked before they get their name.

Until its SHA-256 is right a file is `.NAME.part` in the same folder; `.NAME.part.json` says which version on the server
(ETag, or date) the bytes are of. Whatever ends a download, the same command continues it. Files that were found right
are listed in `.verified.json` of their folder, and read again only when their size or time changes.
"""

import fcntl
import json
import os
import queue
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from eegjax.data.download.web import BrokenError, StoppedError, keep_trying, open_url, read_chunks, total_bytes
from eegjax.errors import UserError
from eegjax.files import disk_errors, hash_file, write_json

MAX_BYTES = 2**34  # far above any file of the studies: a server that doesn't end stops here
_JOIN_S = 2.0
_PLAIN = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
_CHECKSUM_LINE = re.compile(rf"([0-9A-Fa-f]{{64}}) [ *]?({_PLAIN}(?:/{_PLAIN})*)")
_VERIFIED = ".verified.json"
_VERIFIED_LOCK = threading.Lock()


class Item(NamedTuple):
    """A file to fetch: from where (HTTPS), to where, its SHA-256 (64 lower-case digits), the most bytes it may have."""

    url: str
    path: Path
    sha256: str
    max_bytes: int = MAX_BYTES


def fetch(url: str, path: Path, sha256: str, *, max_bytes: int = MAX_BYTES, progress: bool = True) -> Path:
    """Fetch a file, or leave the right one that is there.

    Args:
        url: `https://...`; `http://` for a server on this machine only.
        path: where to; folders are made.
        sha256: of the whole file, 64 hexadecimal digits.
        max_bytes: what it may have.
        progress: show a bar.

    Returns:
        `path`.

    Raises:
        UserError: the address is unsafe; the server refuses, stays silent or doesn't end; the checksum is wrong (of
            what came, or of the file that is there and left alone); another process fetches the same; or the disk is
            full.
    """
    from tqdm import tqdm

    item = Item(url, Path(path), sha256.lower(), max_bytes)
    if not _is_here(item):
        with tqdm(
            total=0, disable=not progress, desc=item.path.name, unit="B", unit_scale=True, mininterval=0.5
        ) as bar:
            _fetch(item, bar, threading.Event())
    return item.path


def fetch_all(items: Sequence[Item], workers: int, desc: str) -> list[Path]:
    """Fetch files, several at a time.

    Args:
        items: no two of them with one path.
        workers: how many at a time.
        desc: what the bar calls them.

    Returns:
        The paths, in the order of `items`.

    Raises:
        UserError: `fetch` raises one. The first stops the others; what came of them is kept and continued next time.
    """
    from tqdm import tqdm

    with (
        tqdm(desc=f"{desc}: 0 of {len(items)} files", unit="B", unit_scale=True, mininterval=0.5) as bar,
        _threads(items, workers, bar) as results,
    ):
        for n_done in range(1, len(items) + 1):
            error = results.get()
            if error is not None:
                raise error
            bar.set_description_str(f"{desc}: {n_done} of {len(items)} files")
    return [item.path for item in items]


def read_checksums(text: str, where: str = "list of checksums") -> dict[str, str]:
    """Read the lines `<sha256> <name>` that PhysioNet and `sha256sum` write.

    Args:
        text: the list.
        where: what an error calls it.

    Returns:
        Name -> SHA-256 in lower case. A name is relative and plain: joined to a folder, it stays in it.

    Raises:
        UserError: a line has another form, or a name has two checksums; the message names the line.
    """
    checksums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        found = _CHECKSUM_LINE.fullmatch(line)
        if not found:
            raise UserError(
                f"{where}, line {number}: {line[:100]!a}, expected 64 hexadecimal digits, a space and a relative "
                "name of letters, digits and _ . + - /; check where the list is from"
            )
        if checksums.setdefault(found[2], found[1].lower()) != found[1].lower():
            raise UserError(f"{where}, line {number}: another checksum of {found[2]}, expected one; mend the list")
    return checksums


@contextmanager
def _threads(items: Sequence[Item], workers: int, bar: Any) -> Iterator[queue.SimpleQueue[BaseException | None]]:
    """Fetch in threads; gives a queue of errors, or None, one per file. Leaving stops what still runs."""
    stopped = threading.Event()
    todo: queue.SimpleQueue[Item] = queue.SimpleQueue()
    results: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for item in items:
        todo.put(item)

    def work() -> None:
        with suppress(queue.Empty):
            while not stopped.is_set():
                item = todo.get_nowait()
                try:
                    if not _is_here(item):
                        _fetch(item, bar, stopped)
                    results.put(None)
                except BaseException as error:
                    results.put(error)
                    stopped.set()

    # daemons: one that waits for a silent server doesn't hold up the exit
    threads = [threading.Thread(target=work, daemon=True) for _ in range(max(1, workers))]
    try:
        for thread in threads:
            thread.start()
        yield results
    finally:
        stopped.set()
        until_s = time.monotonic() + _JOIN_S
        for thread in threads:
            if thread.ident:
                thread.join(max(0.0, until_s - time.monotonic()))


# ---- one file


def _fetch(item: Item, bar: Any, stopped: threading.Event) -> None:
    part = item.path.with_name(f".{item.path.name}.part")
    state = part.with_name(f"{part.name}.json")
    with disk_errors(item.path):
        item.path.parent.mkdir(parents=True, exist_ok=True)
        with _owned(part) as file:
            if _read(state).get("sha256") != item.sha256:
                file.truncate(0)
            keep_trying(lambda: _receive(item, file, state, bar, stopped), lambda: _size(file), item.url, stopped)
            os.fsync(file.fileno())
            found = hash_file(part)
            if found != item.sha256:
                part.unlink()
                state.unlink(missing_ok=True)
                raise UserError(
                    f"{item.url}: the {_size(file)} bytes that came have SHA-256 {found}, expected {item.sha256}; they "
                    "were deleted: start the same command again, and if this stays so take another mirror"
                )
            if _is_here(item):  # put there by somebody else meanwhile
                part.unlink()
            else:
                os.replace(part, item.path)
                _remember(item)
            state.unlink(missing_ok=True)


@contextmanager
def _owned(part: Path) -> Iterator[FileIO]:
    """Open the unfinished file to append; nobody else writes it meanwhile."""
    with open(part, "ab", buffering=0) as file:  # unbuffered: what is counted is in the file, whatever happens
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            owned = os.path.samestat(os.fstat(file.fileno()), part.stat())  # not finished and renamed just now
        except (BlockingIOError, FileNotFoundError):
            owned = False
        if not owned:
            raise UserError(
                f"{part}: another process fetches this file now; wait for it, then start this command again"
            )
        yield file


def _receive(item: Item, file: FileIO, state: Path, bar: Any, stopped: threading.Event) -> None:
    """Ask once for what is missing and append it."""
    have = _size(file)
    version = _read(state).get("version", "")
    headers = {"Range": f"bytes={have}-", **({"If-Range": version} if version else {})} if have else {}
    with open_url(item.url, headers) as response:
        if response.status == 416:
            return  # nothing is missing, says the server; the checksum decides
        total = total_bytes(response)
        if response.status != 206:
            have = 0
            file.truncate(0)
            write_json(state, {"sha256": item.sha256, "version": _version(response)})
        elif not _continues(response, have, version):
            file.truncate(0)
            raise BrokenError("the server continues another version, or elsewhere")
        if bar.total is not None:
            bar.total = total or 0
            bar.n = have
            bar.initial = have
        for chunk in read_chunks(response):
            if stopped.is_set():
                raise StoppedError
            _append(item, file, chunk, total or 0)
            bar.update(len(chunk))
    if _size(file) < (total or 0):
        raise BrokenError("the connection was closed early")


def _append(item: Item, file: FileIO, chunk: bytes, announced: int) -> None:
    if max(announced, _size(file) + len(chunk)) > item.max_bytes:
        file.truncate(0)
        raise UserError(f"{item.url}: more than {item.max_bytes} bytes, expected no more; check the address")
    left = memoryview(chunk)
    while left:  # an unbuffered write may take less than it is given
        left = left[file.write(left) :]


def _version(response: Any) -> str:
    """What `If-Range` takes: a strong ETag, or the date."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _continues(response: Any, have: int, version: str) -> bool:
    """Whether a 206 starts where asked, and is of the same version as far as it says."""
    name = "ETag" if version.startswith('"') else "Last-Modified"
    same = not version or response.headers.get(name, version) == version
    return same and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _size(file: FileIO) -> int:
    return os.fstat(file.fileno()).st_size


# ---- what was verified


def _is_here(item: Item) -> bool:
    """Whether the file is there and right; a wrong one is the user's error."""
    seen = _seen(item)
    if seen is None:
        return False
    if _read(item.path.with_name(_VERIFIED)).get(item.path.name) != seen:
        with disk_errors(item.path):
            found = hash_file(item.path) if item.path.is_file() else "none, being no file"
        if found != item.sha256:
            raise UserError(
                f"{item.path}: something else is there already (SHA-256 {found}, expected {item.sha256}), and is not "
                "overwritten; move it away and start the same command again"
            )
        _remember(item)
    return True


def _seen(item: Item) -> list[int | str] | None:
    try:
        with disk_errors(item.path):
            stat = item.path.stat()
    except FileNotFoundError:
        return None
    return [stat.st_size, stat.st_mtime_ns, item.sha256]


def _remember(item: Item) -> None:
    path = item.path.with_name(_VERIFIED)
    with _VERIFIED_LOCK, suppress(UserError, OSError):  # where it can't be written, files are read every time
        write_json(path, _read(path) | {item.path.name: _seen(item)})


def _read(path: Path) -> dict[str, Any]:
    """A note in JSON, or nothing where it is missing or broken: then it is found out again."""
    with suppress(OSError, ValueError):
        value = json.loads(path.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    return {}

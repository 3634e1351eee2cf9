"""Writing files so that nothing half-written is ever taken for whole, and hashes of what was written."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eegjax.errors import UserError


@contextmanager
def disk_errors(where: Path | str) -> Iterator[None]:
    """Turn a full or unwritable disk into the one clear error."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(
                f"{where}: the disk is full ({error.strerror}); nothing half-written is ever taken for whole: "
                "free some space and start the same command again"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR):
            raise UserError(
                f"{where}: not writable ({error.strerror}); choose another folder or mend its permissions"
            ) from error
        raise


@contextmanager
def locked(path: Path, complaint: str | None = None) -> Iterator[None]:
    """Hold a lock file; a process that dies lets it go. Without a complaint, wait for whoever holds it."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")  # noqa: SIM115
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if complaint else 0))
        except BlockingIOError as error:
            raise UserError(complaint or str(path)) from error
        yield


def write_aside(path: Path, write: Callable[[Path], Any]) -> Path:
    """Let `write` fill a temporary file (or folder) beside `path`, then rename it to `path` in one step.

    Raises:
        UserError: the disk is full or can't be written to; what stood at `path` before is untouched.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(aside)
            os.replace(aside, path)
        except BaseException:
            if aside.is_dir():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.unlink(missing_ok=True)
            raise
    return path


def remove_stale(folder: Path) -> None:
    """Remove what writers that were killed left beside their targets; nobody else may be writing there now."""
    for path in folder.glob(".*.part*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> Path:
    """Write JSON aside and rename; floats that are not finite become null, since JSON has none."""
    text = json.dumps(_finite(value), indent=1, ensure_ascii=False, default=str) + "\n"
    return write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read a JSON file; a broken one is a `UserError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error}); delete it and start the command again") from error


def hash_of(value: Any) -> str:
    """16 hexadecimal digits that stand for a JSON-like value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value

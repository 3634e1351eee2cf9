"""A frozen backbone's features: computed once, kept in a file, and read from there by every run that needs them."""

import hashlib
import io
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from eegjax.errors import UserError
from eegjax.files import disk_errors, locked


def load_or_compute(
    path: Path,
    n_rows: int,
    shape: tuple[int, ...],
    compute: Callable[[np.ndarray], np.ndarray],
    chunk: int,
    desc: str,
) -> np.ndarray:
    """The features of all rows, from their file, or computed into it first.

    What is computed lies in `.<name>.part` beside the file until it is whole. A start that finds one continues at its
    last whole chunk, so that the result has the same bits as an uninterrupted one. Of two processes the second waits.

    Args:
        path: of the .npy file; its name should hold the hash of all that the features depend on.
        n_rows: number of rows.
        shape: of one row's features.
        compute: [chunk] int64 rows -> [chunk, *shape], any float type. It always sees `chunk` rows, so that one
            compiled program is enough: the last rows are filled up with the last one.
        chunk: rows at once.
        desc: beside the progress bar.

    Returns:
        [n_rows, *shape] float32, memory-mapped and read-only.

    Raises:
        UserError: the disk is full (what is there is continued later) or can't be written to, or the file at `path` is
            of other rows or another shape.
    """
    if not path.exists():
        with locked(path.with_name(f".{path.name}.lock")):
            if not path.exists():  # the one that was waited for has made it
                _compute_into(path, (n_rows, *shape), compute, chunk, desc)
    return _opened(path, (n_rows, *shape))


def hash_of_arrays(tree: Any) -> str:
    """16 hexadecimal digits that stand for a tree of arrays: its paths, shapes, dtypes and values."""
    digest = hashlib.sha256()
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(keys)} {array.shape} {array.dtype}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]


def _compute_into(
    path: Path, shape: tuple[int, ...], compute: Callable[[np.ndarray], np.ndarray], chunk: int, desc: str
) -> None:
    from tqdm import tqdm

    part = path.with_name(f".{path.name}.part")
    n_rows = shape[0]
    with disk_errors(path):
        first = _begun(part, shape, chunk)
    seconds = 0.5 if sys.stderr.isatty() else 15.0  # where nobody watches, a line now and then
    with tqdm(total=n_rows, initial=first, desc=desc, unit="row", mininterval=seconds) as bar:
        for begin in range(first, n_rows, chunk):
            rows = np.minimum(np.arange(begin, begin + chunk), n_rows - 1)
            values = np.asarray(compute(rows), np.float32)
            if values.shape != (chunk, *shape[1:]):
                raise ValueError(f"features of {chunk} rows have the shape {values.shape}, not {(chunk, *shape[1:])}")
            values = values[: n_rows - begin]
            # An ordinary write: on a full disk it is an error, where a memory map would end the process.
            with disk_errors(path), open(part, "ab") as file:
                file.write(values.tobytes())
            bar.update(len(values))
    with disk_errors(path):
        part.replace(path)


def _begun(part: Path, shape: tuple[int, ...], chunk: int) -> int:
    """Cut a part after its last whole chunk, or begin it with its header; the number of rows in it."""
    header = _header(shape)
    with open(part, "a+b") as file:
        size = file.tell()
        file.seek(0)
        fits = file.read(len(header)) == header
        row_bytes = 4 * math.prod(shape[1:])
        n_rows = min((size - len(header)) // row_bytes, shape[0]) // chunk * chunk if fits else 0
        file.truncate(len(header) + n_rows * row_bytes if fits else 0)
        if not fits:
            file.write(header)
    return n_rows


def _header(shape: tuple[int, ...]) -> bytes:
    """What a .npy file of little-endian float32 begins with."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _opened(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    mend = "delete it and start the same command again"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: not readable as .npy ({error}); {mend}") from error
    if array.shape != shape or array.dtype != np.float32:
        raise UserError(f"{path}: holds {array.dtype} {array.shape}, expected float32 {shape}; {mend}")
    return array

"""torch's `.pth` files without torch: the arrays of a state dict, and nothing else.

torch.save has had two forms: a zip that holds a pickle and an entry per storage, and, before, five pickles (magic
number, version, system, object, storage keys) followed by the storages, which torchvision's VGG16 file has.
"""

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from eegjax.data.formats.torch_pickle import Refused, Storage, Tensor, run_pickle
from eegjax.errors import UserError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
MAX_PICKLE_BYTES = 2**24  # ten thousand tensors take about 1 MB
# what zipfile, pickletools, NumPy and the pickle machine raise where bytes aren't what they should be
BROKEN = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, EOFError, OSError, RuntimeError,
          struct.error, zipfile.BadZipFile)  # fmt: skip


def read_torch_file(path: Path | str) -> dict[str, np.ndarray]:
    """Read a state dict that `torch.save` wrote, in either form.

    Args:
        path: of the file.

    Returns:
        The state dict: name -> array, read-only, with the file's shape and dtype (`ml_dtypes.bfloat16` included).

    Raises:
        UserError: the file is broken, or holds anything but tensors by name.
    """
    with open(path, "rb") as file:
        n_file_bytes = os.fstat(file.fileno()).st_size
        is_zip = file.read(4) == b"PK\3\4"
        file.seek(0)
        try:
            tensors, buffers = (_read_zip if is_zip else _read_old)(file, n_file_bytes)
            return {name: _array(tensor, buffers) for name, tensor in tensors.items()}
        except Refused as error:
            raise UserError(
                f"{path}: {error}; expected tensors by name and nothing else: let whoever has torch write them with "
                "torch.save(model.state_dict(), FILE) or as .safetensors"
            ) from error
        except BROKEN as error:
            found = f"{type(error).__name__}: {error}"[:200]
            raise UserError(f"{path}: broken, or no torch file ({found}); fetch it again") from error


def _read_zip(file: BinaryIO, n_file_bytes: int) -> tuple[dict[str, Tensor], dict[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        found = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(found) != 1:
            raise ValueError("a zip without a data.pkl")
        folder = found[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and _entry(archive, f"{folder}byteorder", 16) != b"little":
            raise Refused("written on a big-endian machine")
        storages: dict[str, Storage] = {}
        tensors = _tensors(run_pickle(io.BytesIO(_entry(archive, found[0], MAX_PICKLE_BYTES)), storages))
        _check_total(storages, n_file_bytes)
        return tensors, {key: _entry(archive, f"{folder}data/{key}", s.n_bytes) for key, s in storages.items()}


def _entry(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise Refused(f"entry {name[:80]!r} is compressed")  # torch never does, and it may unpack to any size
    if info.file_size > max_bytes:
        raise ValueError(f"entry {name[:80]!r} has {info.file_size} bytes where at most {max_bytes} belong")
    return archive.read(info)


def _read_old(file: BinaryIO, n_file_bytes: int) -> tuple[dict[str, Tensor], dict[str, bytes]]:
    storages: dict[str, Storage] = {}
    stream = io.BytesIO(file.read(min(MAX_PICKLE_BYTES, n_file_bytes)))
    if run_pickle(stream, {}) != MAGIC_NUMBER:
        raise ValueError("no magic number")
    _version = run_pickle(stream, {})
    system = run_pickle(stream, {})
    if not system["little_endian"]:
        raise Refused("written on a big-endian machine")
    tensors = _tensors(run_pickle(stream, storages))
    keys = run_pickle(stream, {})
    _check_total(storages, n_file_bytes)
    if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys) and len(keys) == len(storages)):
        raise ValueError(f"not a list of the {len(storages)} storages")
    file.seek(stream.tell())
    return tensors, {key: _old_storage(file, storages[key]) for key in keys}


def _old_storage(file: BinaryIO, storage: Storage) -> bytes:
    n_values = int.from_bytes(file.read(8), "little")
    if n_values != storage.n_values:
        raise ValueError(f"a storage of {storage.n_values} values is announced, {n_values} follow")
    return file.read(storage.n_bytes)


def _check_total(storages: dict[str, Storage], n_file_bytes: int) -> None:
    announced = sum(storage.n_bytes for storage in storages.values())
    if announced > n_file_bytes:
        raise ValueError(f"{announced} bytes of tensors are announced, the file has {n_file_bytes} in all")


def _tensors(state: Any) -> dict[str, Tensor]:
    if not isinstance(state, dict):
        raise Refused(f"holds a value of type {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise Refused(f"its entry {name[:80]!r} is of type {type(value).__name__}")
    return state


def _array(tensor: Tensor, buffers: dict[str, bytes]) -> np.ndarray:
    storage = tensor.storage
    n_bytes = tensor.storage.dtype.itemsize
    if len(buffers[storage.key]) != storage.n_bytes:
        raise ValueError(f"a tensor of {storage.n_bytes} bytes ends after {len(buffers[storage.key])}")
    strides = [stride * n_bytes for stride in tensor.stride]
    return np.ndarray(tensor.size, storage.dtype, buffers[storage.key], tensor.offset * n_bytes, strides)

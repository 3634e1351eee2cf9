"""The pickle inside a torch file, run on a machine that knows what a state dict needs and nothing else.

A pickle is a program. This machine has a closed list of opcodes and of names, calls only its own functions, and is as
fast and as small as its pickle is long: nothing is hashed but text, no list is gone through twice, no announced length
or index is believed.
"""

import io
import math
import pickletools
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

MAX_OPCODES = 10**6  # a tensor takes about 30
MAX_DIMS = 64  # NumPy's


class Refused(Exception):
    """A well-formed pickle of something that isn't a state dict."""


class Storage(NamedTuple):
    """A run of values in the file, found by its key."""

    key: str
    dtype: np.dtype
    n_values: int

    @property
    def n_bytes(self) -> int:
        """Its size."""
        return self.n_values * self.dtype.itemsize


class Tensor(NamedTuple):
    """A window into a storage; offset and strides count values."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def run_pickle(stream: io.BytesIO, storages: dict[str, Storage]) -> Any:
    """Run one pickle of protocol 2 and leave the stream behind it.

    Args:
        stream: of pickles.
        storages: by key; those that the pickle names are added.

    Returns:
        What it makes of dicts with text keys, lists, tuples, text, numbers, bools, None and `Tensor`s.

    Raises:
        Refused: an opcode or a name that no state dict needs, or too many opcodes.
        ValueError, IndexError, KeyError, TypeError, AttributeError: not well-formed.
    """
    machine = _Machine(storages)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if opcode.name == "STOP":
            return machine.stack.pop()
        if opcode.name not in OPCODES:
            raise Refused(f"its pickle has the opcode {opcode.name}")
        if count == MAX_OPCODES:
            raise Refused(f"its pickle has more than {MAX_OPCODES:,} opcodes")
        OPCODES[opcode.name](machine, argument)
    raise ValueError("a pickle without an end")


class _Machine:
    """A stack, the marks in it, and a memo, which as a list (Python's own) would be as long as its highest index."""

    def __init__(self, storages: dict[str, Storage]) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages = storages

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def cut(self, count: int | None = None) -> list[Any]:
        """Take the topmost values, or those above the last mark, off the stack."""
        start = self.marks.pop() if count is None else len(self.stack) - count
        if start < 0:
            raise ValueError("an opcode finds too few values")
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def extend(self, values: list[Any]) -> None:
        self.stack[-1].extend(values)

    def set_items(self, values: list[Any]) -> None:
        _set_items(self.stack[-1], zip(values[::2], values[1::2], strict=True))

    def reduce(self) -> None:
        function, arguments = self.cut(2)
        if not isinstance(function, FunctionType) or not isinstance(arguments, tuple) or len(arguments) > 8:
            raise Refused("calls what is no function")
        self.push(function(*arguments))

    def build(self) -> None:
        """A state dict carries its version numbers as an attribute: not needed."""
        found, _ = self.cut(2)
        if not isinstance(found, dict):
            raise Refused(f"sets attributes of a {type(found).__name__}")
        self.push(found)


def _protocol(machine: _Machine, argument: int) -> None:
    if argument != 2:
        raise Refused(f"its pickle has protocol {argument} (torch.save's is 2)")


def _name(machine: _Machine, argument: str) -> None:
    if argument not in NAMES:
        raise Refused(f"holds {argument[:80]!r}")
    machine.push(NAMES[argument])


def _storage(machine: _Machine, identity: Any) -> None:
    """('storage', type, key, device, number of values), and in the old form what part of another one it is."""
    if not (isinstance(identity, tuple) and len(identity) in (5, 6) and identity[0] == "storage"):
        raise Refused("refers to something outside")
    dtype, key, _, n_values, *part = identity[1:]
    if not (isinstance(dtype, np.dtype) and isinstance(key, str) and _is_count(n_values)):
        raise ValueError("a storage without type, key or size")
    if any(value is not None for value in part):
        raise Refused("has a storage that is part of another")
    storage = Storage(key, dtype, n_values)
    if machine.storages.setdefault(key, storage) != storage:
        raise ValueError(f"two storages of the key {key[:80]!r}")
    machine.push(storage)


def _set_items(target: Any, pairs: Iterable[Any]) -> None:
    for key, value in pairs:
        if not isinstance(key, str):  # hashing nested tuples can take for ever
            raise Refused(f"has a dict with a key of type {type(key).__name__}")
        target[key] = value


def _ordered_dict(pairs: Any = None) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if pairs is not None:  # Python 2 gives a list of pairs
        _set_items(made, pairs)
        pairs.clear()  # never given again by a real file, and a long one given a thousand times would be a bomb
    return made


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    if not (isinstance(storage, Storage) and isinstance(size, tuple) and isinstance(stride, tuple)):
        raise ValueError("a tensor without storage, size or strides")
    if len(size) != len(stride) or len(size) > MAX_DIMS:
        raise ValueError(f"a tensor with {len(size)} sizes and {len(stride)} strides")
    if not all(_is_count(number) for number in (offset, *size, *stride)):
        raise ValueError("a tensor whose offset, sizes or strides are no counts")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if (math.prod(size) and last >= storage.n_values) or math.prod(size) > storage.n_values:
        raise Refused(f"has a tensor of size {size} that its storage of {storage.n_values} values doesn't hold")
    return Tensor(storage, offset, size, stride)


def _is_count(number: Any) -> bool:
    return isinstance(number, int) and 0 <= number < 2**63


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _protocol,
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _Machine.push),
    **dict.fromkeys(("BINUNICODE", "BINSTRING", "SHORT_BINSTRING"), _Machine.push),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.cut())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.cut(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.cut(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.cut(3))),
    "APPEND": lambda machine, _: machine.extend(machine.cut(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.cut()),
    "SETITEM": lambda machine, _: machine.set_items(machine.cut(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.cut()),
    "BINPUT": lambda machine, index: machine.memo.update({index: machine.stack[-1]}),
    "LONG_BINPUT": lambda machine, index: machine.memo.update({index: machine.stack[-1]}),
    "BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "GLOBAL": _name,
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: _storage(machine, machine.stack.pop()),
}

NAMES: dict[str, Any] = {
    "collections OrderedDict": _ordered_dict,
    "torch._utils _rebuild_tensor": _tensor,  # before torch 0.4; torchvision's VGG16 file has it
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch DoubleStorage": np.dtype("<f8"),
    "torch FloatStorage": np.dtype("<f4"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch BFloat16Storage": np.dtype(jnp.bfloat16),
    "torch LongStorage": np.dtype("<i8"),
    "torch IntStorage": np.dtype("<i4"),
    "torch ShortStorage": np.dtype("<i2"),
    "torch CharStorage": np.dtype("i1"),
    "torch ByteStorage": np.dtype("u1"),
    "torch BoolStorage": np.dtype("?"),
}

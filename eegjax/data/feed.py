"""Batches: which examples a step sees, and how they get to the devices.

`draw_batch` is the one decision: a pure function of seed, epoch and step, global, and blind to the number of
devices and processes. `gather` is the one way from rows to windows: with NumPy on the host when the data streams from
its memory map, with jax.numpy inside the compiled step when it is resident on the devices. Both give equal batches.
"""

import queue
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from eegjax.data.dataset import Dataset
from eegjax.errors import UserError

Batch = dict[str, Any]
Item = TypeVar("Item")


class Source(NamedTuple):
    """What the rows of an index mean in arrays.

    arrays: name -> [n_samples, ...] of any dtype, whole recordings one after another.
    lengths: name -> samples of the window that an example reads from that array.
    table: column -> [n_examples, ...]; for each array `<name>_start`, `<name>_low`, `<name>_high` (int64: the window's
        first sample, and the recording's edges, at which the window is clipped: the edge sample repeats).
    """

    arrays: dict[str, np.ndarray]
    lengths: dict[str, int]
    table: dict[str, np.ndarray]

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take on each device when they are resident."""
        return sum(array.nbytes for array in self.arrays.values())


def cut_window(
    dataset: Dataset, array: str, start: np.ndarray, length: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The table columns of one array's windows.

    Args:
        dataset: with that array.
        array: its name.
        start: [n_examples] float64, the (fractional) first sample, counted over the whole array.
        length: whole samples that a window spans; one more is read, for interpolation at fractional starts.

    Returns:
        The columns for `Source.table`, and [n_examples] float32 fractions in 0..1 of `start`.
    """
    first = np.floor(start).astype(np.int64)
    low, high = dataset.extent(array).T
    columns = {f"{array}_start": first, f"{array}_low": low, f"{array}_high": high}
    return columns, (start - first).astype(np.float32)


class Sampler(NamedTuple):
    """Which units an epoch holds.

    units: [n_units] or [n_units, sequence] int64 rows of the index; -1 pads a sequence at its end.
    labels: [n_units] int classes, for balancing.
    batch_size: units per step.
    balance: "none": every unit once; "under": as many of each class as of the rarest, redrawn every epoch;
        "over": as many of each class as of the commonest, the rarer ones repeated.
    """

    units: np.ndarray
    labels: np.ndarray
    batch_size: int
    balance: str = "none"

    @property
    def n_drawn(self) -> int:
        """Units that an epoch holds."""
        counts = np.unique(self.labels, return_counts=True)[1]
        of_class = {"none": len(self.units), "under": len(counts) * min(counts), "over": len(counts) * max(counts)}
        return int(of_class[self.balance])

    @property
    def n_steps(self) -> int:
        """Steps per epoch; the last one may be partly padding."""
        return -(-self.n_drawn // self.batch_size)


def draw_batch(sampler: Sampler, seed: int, epoch: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of one training step.

    Args:
        sampler: the units and how they are drawn.
        seed: of the run.
        epoch: number, from 0.
        step: within the epoch, from 0.

    Returns:
        rows: [batch_size] or [batch_size, sequence] int64; -1 where there is none.
        mask: the same shape, bool: False for padding.
    """
    order = _epoch_order(sampler.labels.tobytes(), len(sampler.units), str(sampler.labels.dtype), sampler.balance,
                         seed, epoch)  # fmt: skip
    chosen = order[step * sampler.batch_size : (step + 1) * sampler.batch_size]
    rows = np.full((sampler.batch_size, *sampler.units.shape[1:]), -1, np.int64)
    rows[: len(chosen)] = sampler.units[chosen]
    return rows, rows >= 0


@lru_cache(maxsize=64)
def _epoch_order(labels: bytes, n_units: int, dtype: str, balance: str, seed: int, epoch: int) -> np.ndarray:
    rng = np.random.default_rng([seed, epoch])
    if balance == "none":
        return rng.permutation(n_units)
    of_unit = np.frombuffer(labels, dtype)
    members = [np.flatnonzero(of_unit == label) for label in np.unique(of_unit)]
    if balance == "under":
        size = min(map(len, members))
        return rng.permutation(np.concatenate([rng.permutation(rows)[:size] for rows in members]))
    size = max(map(len, members))
    drawn = [np.concatenate([rng.permutation(m) for _ in range(-(-size // len(m)))])[:size] for m in members]
    return rng.permutation(np.concatenate(drawn))


def iterate_in_order(units: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All units once, in order, the last batch padded: for predictions.

    Args:
        units: [n_units] or [n_units, sequence] int64 rows of the index; -1 pads a sequence at its end.
        batch_size: units per batch.

    Yields:
        Rows, [batch_size] or [batch_size, sequence] int64, -1 where there is none; and the mask, bool, False there.
    """
    for begin in range(0, len(units), batch_size):
        rows = np.full((batch_size, *units.shape[1:]), -1, np.int64)
        rows[: len(units) - begin] = units[begin : begin + batch_size]
        yield rows, rows >= 0


def gather(xp: Any, source: Source, rows: Any, mask: Any) -> Batch:
    """Windows and table columns of some rows, with NumPy or jax.numpy (`xp`).

    Args:
        xp: `numpy` or `jax.numpy`.
        source: of the same kind.
        rows: [...] integers; padding (-1) reads row 0.
        mask: [...] bool.

    Returns:
        `mask`, every column of the table [..., *], every array [..., length, *].
    """
    rows = xp.maximum(rows, 0)
    batch = {name: column[rows] for name, column in source.table.items()}
    for name, array in source.arrays.items():
        samples = batch.pop(f"{name}_start")[..., None] + xp.arange(source.lengths[name])
        samples = xp.clip(samples, batch.pop(f"{name}_low")[..., None], batch.pop(f"{name}_high")[..., None] - 1)
        batch[name] = array[samples]
    return {**batch, "mask": mask}


class Feed(NamedTuple):
    """How rows become the batches that a compiled function sees.

    resident: the source's `arrays` [n_samples, ...] and `table` [n_examples, ...] of 32-bit dtypes on the devices
        (replicated), or None when batches stream.
    source: the same on the host.
    sharding: of a batch's leading axes.
    """

    source: Source
    resident: dict[str, dict[str, jax.Array]] | None
    sharding: jax.sharding.NamedSharding

    def place(self, rows: np.ndarray, mask: np.ndarray) -> Batch:
        """Put a batch on the devices: row numbers and mask, or the windows themselves.

        Args:
            rows: [...] int64 rows of the index, of all processes; each sends its own slice.
            mask: [...] bool, False for padding.
        """
        if self.resident is None:
            local = tuple(_local(value, self.sharding) for value in (rows, mask))
            batch = gather(np, self.source, *local)
        else:
            batch = {"rows": _local(rows, self.sharding).astype(np.int32), "mask": _local(mask, self.sharding)}
        axes = len(self.sharding.spec)

        def put(value: np.ndarray) -> jax.Array:
            shape = (*rows.shape[:axes], *value.shape[axes:])
            return jax.make_array_from_process_local_data(self.sharding, _narrow(value), shape)

        return {name: put(value) for name, value in batch.items()}

    def unpack(self, batch: Batch, resident: dict[str, dict[str, jax.Array]] | None) -> Batch:
        """Make the batch's windows inside a compiled function, gathered there if the data is resident.

        Args:
            batch: from `place`.
            resident: this feed's `resident`, given as an argument of the compiled function so that its arrays
                [n_samples, ...], of 32-bit dtypes, are no constants in it.
        """
        if resident is None:
            return batch
        source = Source(resident["arrays"], self.source.lengths, resident["table"])  # type: ignore[arg-type]
        return gather(jnp, source, batch["rows"], batch["mask"])


def make_feed(source: Source, sharding: jax.sharding.NamedSharding, resident_bytes: int) -> Feed:
    """A feed whose data lies on the devices if it takes at most `resident_bytes`, and streams otherwise."""
    if source.nbytes > resident_bytes:
        return Feed(source, None, sharding)
    largest = max([len(array) for array in source.arrays.values()], default=0)
    if largest > np.iinfo(np.int32).max:
        raise UserError(
            f"an array of {largest} samples can't be indexed on a device (32 bits): let it stream with "
            "--config.run.resident_bytes=0"
        )
    everywhere = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())

    def put(values: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        whole = {name: _narrow(np.asarray(value)) for name, value in values.items()}
        return {n: jax.make_array_from_process_local_data(everywhere, v, v.shape) for n, v in whole.items()}

    return Feed(source, {"arrays": put(source.arrays), "table": put(source.table)}, sharding)


def prefetch(batches: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """Make batches in a thread, `depth` ahead; errors come out where the batch would have."""
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()
    end = object()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for batch in batches:
                put(batch)
                if stop.is_set():
                    return
            put(end)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _local(value: np.ndarray, sharding: jax.sharding.NamedSharding) -> np.ndarray:
    """The part of a global array that this process's devices hold: one contiguous slice per axis."""
    indices = sharding.addressable_devices_indices_map(value.shape).values()
    slices = []
    for axis, size in enumerate(value.shape):
        edges = [index[axis].indices(size) for index in indices if index is not None]
        slices.append(slice(min(e[0] for e in edges), max(e[1] for e in edges)))
    return value[tuple(slices)]


def _narrow(value: np.ndarray) -> np.ndarray:
    """JAX's own 32-bit types for NumPy's 64-bit ones, said here instead of by a silent truncation."""
    narrow = {"int64": np.int32, "float64": np.float32, "uint64": np.uint32}
    return value.astype(narrow[value.dtype.name]) if value.dtype.name in narrow else value

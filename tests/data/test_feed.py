"""Batches: what an epoch holds, windows that stay in their recording, and two ways to the devices that agree."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Sampler, Source, cut_window, draw_batch, gather, iterate_in_order, make_feed, prefetch
from eegjax.errors import UserError

QUICK = settings(max_examples=30)
LOWS, HIGHS = np.array([0, 7, 19]), np.array([7, 19, 25])  # three recordings of 7, 12 and 6 samples
N_EXAMPLES = 12


@st.composite
def samplers(draw: st.DrawFn, balances: tuple[str, ...] = ("none", "under", "over")) -> Sampler:
    """1 to 30 units of single examples, or of sequences some of which are padded at their end."""
    labels = np.array(draw(st.lists(st.integers(0, 3), min_size=1, max_size=30)))
    units = np.arange(len(labels))[::-1]
    length = draw(st.sampled_from([0, 3]))
    if length:
        units = units[:, None] * length + np.arange(length)
        units[::4, 1:] = -1
    return Sampler(units, labels, draw(st.integers(1, 8)), draw(st.sampled_from(balances)))


def epoch_units(sampler: Sampler, seed: int, epoch: int) -> np.ndarray:
    """The numbers of the units that an epoch holds, in its order."""
    rows = [draw_batch(sampler, seed, epoch, step)[0] for step in range(sampler.n_steps)]
    first = np.concatenate(rows).reshape(sampler.n_steps * sampler.batch_size, -1)[:, 0]
    number = {row: unit for unit, row in enumerate(sampler.units.reshape(len(sampler.units), -1)[:, 0])}
    return np.array([number[row] for row in first if row >= 0])


@QUICK
@given(samplers(), st.integers(0, 9), st.integers(0, 9))
def test_an_epoch_holds_what_its_balance_says(sampler, seed, epoch):
    units = epoch_units(sampler, seed, epoch)
    assert len(units) == sampler.n_drawn
    drawn = np.bincount(units, minlength=len(sampler.units))
    present, counts = np.unique(sampler.labels, return_counts=True)
    of_class = [np.sum(sampler.labels[units] == label) for label in present]
    if sampler.balance == "none":
        assert (drawn == 1).all()
    elif sampler.balance == "under":
        assert set(of_class) == {counts.min()}
        assert drawn.max() == 1
    else:
        assert set(of_class) == {counts.max()}
        for label in present:  # nobody is repeated twice more than another of the class
            assert np.ptp(drawn[sampler.labels == label]) <= 1


@QUICK
@given(samplers(), st.integers(0, 9), st.integers(0, 9))
def test_batches_are_whole_units_padded_at_the_end(sampler, seed, epoch):
    n_units = len(epoch_units(sampler, seed, epoch))
    for step in range(sampler.n_steps):
        rows, mask = draw_batch(sampler, seed, epoch, step)
        assert rows.shape == mask.shape == (sampler.batch_size, *sampler.units.shape[1:])
        assert rows.dtype == np.int64
        assert mask.dtype == bool
        assert np.array_equal(mask, rows >= 0)
        n_real = int(np.clip(n_units - step * sampler.batch_size, 0, sampler.batch_size))
        known = {unit.tobytes() for unit in sampler.units.astype(np.int64)}
        assert all(unit.tobytes() in known for unit in rows[:n_real])
        assert (rows[n_real:] == -1).all()


@QUICK
@given(samplers(), st.integers(0, 9), st.integers(0, 9), st.data())
def test_a_batch_follows_from_seed_epoch_and_step_alone(sampler, seed, epoch, data):
    """Whatever was asked for before: a run that continues sees what the run that was never stopped saw."""
    steps = data.draw(st.permutations(range(sampler.n_steps)))
    whole = [draw_batch(sampler, seed, epoch, step)[0] for step in range(sampler.n_steps)]
    for step in steps:
        draw_batch(sampler, seed + 1, epoch + 1, step)
        copy = sampler._replace(units=sampler.units.copy(), labels=sampler.labels.astype(np.int8))
        assert np.array_equal(draw_batch(copy, seed, epoch, step)[0], whole[step])


def test_epochs_and_seeds_differ_and_undersampling_is_drawn_anew():
    labels = np.repeat([0, 1], [5, 45])
    for balance in ("none", "under", "over"):
        sampler = Sampler(np.arange(50), labels, 8, balance)
        orders = [epoch_units(sampler, seed, epoch).tobytes() for seed in range(3) for epoch in range(3)]
        assert len(set(orders)) == 9
    sampler = Sampler(np.arange(50), labels, 8, "under")
    seen = set(np.concatenate([epoch_units(sampler, 0, epoch) for epoch in range(60)]))
    assert seen == set(range(50))


@QUICK
@given(samplers(("none",)))
def test_in_order_shows_all_units_once(sampler):
    pairs = list(iterate_in_order(sampler.units, sampler.batch_size))
    assert all(rows.shape == (sampler.batch_size, *sampler.units.shape[1:]) for rows, _ in pairs)
    assert all(np.array_equal(mask, rows >= 0) for rows, mask in pairs)
    rows = np.concatenate([rows for rows, _ in pairs])
    assert np.array_equal(rows[: len(sampler.units)], sampler.units)
    assert (rows[len(sampler.units) :] == -1).all()
    assert len(pairs) == -(-len(sampler.units) // sampler.batch_size)


def source(seed: int = 0, reach: int = 15) -> Source:
    """Windows of two arrays that begin up to `reach` samples outside their recording, and other columns."""
    rng = np.random.default_rng(seed)
    arrays = {"eeg": rng.normal(size=(25, 2)).astype(np.float32), "image": rng.integers(0, 255, (25, 3, 2), np.uint8)}
    table = {
        "label": rng.integers(0, 5, N_EXAMPLES).astype(np.int8),
        "fraction": rng.random(N_EXAMPLES, np.float32),
        "votes": rng.random((N_EXAMPLES, 4)),
        "seed": rng.integers(0, 9, N_EXAMPLES),
    }
    for name in arrays:
        recording = rng.integers(3, size=N_EXAMPLES)
        table |= {f"{name}_low": LOWS[recording], f"{name}_high": HIGHS[recording]}
        table[f"{name}_start"] = rng.integers(LOWS[recording] - reach, HIGHS[recording] + reach)
    return Source(arrays, {"eeg": 6, "image": 4}, table)


def on_device(host: Source) -> Source:
    """The same with JAX's 32 bits."""
    narrow = {"int64": np.int32, "float64": np.float32}
    arrays, table = (
        {name: jnp.asarray(v.astype(narrow.get(v.dtype.name, v.dtype))) for name, v in values.items()}
        for values in (host.arrays, host.table)
    )
    return Source(arrays, host.lengths, table)  # type: ignore[arg-type]


@QUICK
@given(st.integers(0, 99), st.lists(st.integers(-1, N_EXAMPLES - 1), min_size=6, max_size=6), st.booleans())
def test_windows_stay_in_their_recording_and_the_edge_sample_repeats(seed, chosen, sequences):
    host = source(seed)
    rows = np.array(chosen).reshape((2, 3) if sequences else 6)
    batch = gather(np, host, rows, rows >= 0)
    assert set(batch) == {"eeg", "image", "label", "fraction", "votes", "seed", "mask"}
    for place, row in np.ndenumerate(np.maximum(rows, 0)):
        for name, length in host.lengths.items():
            low, high = host.table[f"{name}_low"][row], host.table[f"{name}_high"][row]
            start = host.table[f"{name}_start"][row]
            recording = host.arrays[name][low:high]
            expected = [recording[min(max(t - low, 0), len(recording) - 1)] for t in range(start, start + length)]
            assert np.array_equal(batch[name][place], expected)
        for name in ("label", "fraction", "votes", "seed"):
            assert np.array_equal(batch[name][place], host.table[name][row])
    assert np.array_equal(batch["mask"], rows >= 0)


@settings(max_examples=10)
@given(st.integers(0, 99), st.lists(st.integers(-1, N_EXAMPLES - 1), min_size=6, max_size=6))
def test_numpy_and_jax_gather_the_same_bits(seed, chosen):
    host, rows = source(seed), np.array(chosen).reshape(2, 3)
    expected = gather(np, host, rows, rows >= 0)
    found = gather(jnp, on_device(host), jnp.asarray(rows, jnp.int32), jnp.asarray(rows >= 0))
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert np.array_equal(found[name], value.astype(found[name].dtype))
        assert found[name].dtype == value.dtype or found[name].dtype.itemsize == 4


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((1, 8), PartitionSpec(None, "data")),
        ((1, 4, 3), PartitionSpec(None, "data")),
        ((4, 2), PartitionSpec("data")),
        ((4, 2, 3), PartitionSpec("data")),
        ((3,), PartitionSpec()),
    ],
)
def test_resident_and_streaming_batches_are_equal_bit_for_bit(shape, spec):
    assert jax.device_count() == 4
    mesh = jax.make_mesh((4, 1), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, spec)
    host = source()
    resident, streaming = make_feed(host, sharding, host.nbytes), make_feed(host, sharding, host.nbytes - 1)
    assert resident.resident is not None
    assert streaming.resident is None

    unpack = jax.jit(lambda data, batch: resident.unpack(batch, data))
    rng = np.random.default_rng(0)
    for _ in range(2):
        rows = rng.integers(-1, N_EXAMPLES, shape)
        placed = streaming.place(rows, rows >= 0)
        small = resident.place(rows, rows >= 0)
        assert set(small) == {"rows", "mask"}
        found = unpack(resident.resident, small)
        expected = gather(np, host, rows, rows >= 0)
        assert set(found) == set(placed) == set(expected)
        for name, value in streaming.unpack(placed, None).items():
            assert value.dtype == found[name].dtype
            assert np.array_equal(value, found[name])
            assert np.array_equal(value, expected[name].astype(value.dtype))
            assert value.sharding.is_equivalent_to(sharding, value.ndim)
    for value in jax.tree.leaves(resident.resident):
        assert value.sharding.is_fully_replicated


def test_an_array_too_long_for_32_bits_must_stream():
    long = np.broadcast_to(np.zeros(1, np.uint8), 2**31)
    host = Source({"eeg": long}, {"eeg": 1}, {})
    sharding = NamedSharding(jax.make_mesh((4,), ("data",)), PartitionSpec("data"))
    with pytest.raises(UserError, match=r"2147483648 samples.*--config.run.resident_bytes=0"):
        make_feed(host, sharding, 2**40)
    assert make_feed(host, sharding, 0).resident is None


def test_window_columns_give_back_the_fractional_start():
    extents = zip("abc", LOWS.tolist(), HIGHS.tolist(), strict=True)
    recordings = [{"recording": name, "extents": {"image": [low, high]}} for name, low, high in extents]
    index = pd.DataFrame({"recording": list("bacc")})
    dataset = Dataset(Path("nowhere"), index, {"recordings": recordings}, {})
    start = np.array([7.25, -1.5, 24.0, 1e6 + 1 / 3])
    columns, fraction = cut_window(dataset, "image", start, 4)
    assert set(columns) == {"image_start", "image_low", "image_high"}
    assert columns["image_start"].tolist() == [7, -2, 24, 1_000_000]
    assert columns["image_low"].tolist() == [7, 0, 19, 19]
    assert columns["image_high"].tolist() == [19, 7, 25, 25]
    assert fraction.dtype == np.float32
    np.testing.assert_allclose(fraction, [0.25, 0.5, 0, 1 / 3], rtol=1e-6)


def test_prefetch_keeps_order_and_works_ahead_in_a_thread():
    threads: set[threading.Thread] = set()
    made: list[int] = []

    def batches() -> Iterator[int]:
        for number in range(20):
            threads.add(threading.current_thread())
            made.append(number)
            yield number

    ahead = prefetch(batches(), depth=2)
    assert next(ahead) == 0
    assert eventually(lambda: len(made) == 4)  # the one taken, two that wait, one in hand
    time.sleep(0.15)  # longer than the thread's patience
    assert len(made) == 4
    assert list(ahead) == list(range(1, 20))
    assert threading.current_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)
    assert list(prefetch([])) == []


@pytest.mark.parametrize(
    "error", [UserError("night.edf: broken"), OSError(5, "Input/output error"), KeyboardInterrupt()]
)
def test_an_error_comes_out_where_its_batch_would_have(error):
    def batches() -> Iterator[int]:
        yield from (0, 1)
        raise error

    ahead = prefetch(batches())
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(type(error)) as caught:
        next(ahead)
    assert caught.value is error
    with pytest.raises(StopIteration):
        next(ahead)


def test_a_consumer_that_leaves_stops_the_thread():
    workers: list[threading.Thread] = []

    def endless() -> Iterator[int]:
        workers.append(threading.current_thread())
        number = 0
        while True:
            yield number
            number += 1

    def consume() -> None:
        for number in prefetch(endless()):
            if number == 1:
                raise ValueError("enough")

    for batch in prefetch(endless()):
        if batch == 3:
            break
    with pytest.raises(ValueError, match="enough"):
        consume()
    ahead: Any = prefetch(endless())
    next(ahead)
    ahead.close()
    assert len(workers) == 3
    assert eventually(lambda: not any(worker.is_alive() for worker in workers))


def eventually(condition: Any) -> bool:
    """Whether it comes to hold."""
    deadline_s = time.monotonic() + 120
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return condition()

"""A step that doesn't fit: how much it takes, how much there is, and what makes it smaller."""

import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study as tiny
from ml_collections import ConfigDict

from eegjax.errors import UserError
from eegjax.studies.inverse.network import shrink
from eegjax.train import memory

N = 1_000_000  # numbers, so 4 MB
SETTINGS = "make it smaller so"


@pytest.mark.parametrize(("donated", "needed"), [((), 8 * N), ((0,), 4 * N)], ids=["kept", "donated"])
def test_what_is_donated_counts_once(donated, needed):
    """An array and its double, of 4 MB each."""
    compiled = jax.jit(lambda x: x * 2, donate_argnums=donated).lower(jnp.zeros(N)).compile()
    memory.check(compiled, SETTINGS, needed)
    with pytest.raises(UserError) as error:
        memory.check(compiled, SETTINGS, needed - 1)
    assert f"takes {needed / 1e9:g} GB on each device ({needed / 1e9:g} GB of weights and data, 0 GB" in str(
        error.value
    )
    assert str(error.value).endswith(SETTINGS)


def test_a_training_step_s_values_count():
    member = tiny.make_member()
    compiled = member.step.lower(member.state, member.batch([*range(8)])).compile()
    values = compiled.memory_analysis().temp_size_in_bytes
    assert values > 0
    memory.check(compiled, SETTINGS)
    given = sum(leaf.nbytes for leaf in jax.tree.leaves((member.state, member.batch([*range(8)]))))
    with pytest.raises(UserError, match=r"a training step takes .* GB of values .* has 1e-05 GB: make it"):
        memory.check(compiled, SETTINGS, 10_000)
    with pytest.raises(UserError):
        memory.check(compiled, SETTINGS, given + values)  # and the new state


def test_a_device_says_what_it_has(monkeypatch):
    """A CPU's devices share its memory; of other devices some don't say, and nothing is compared."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        total = int(re.search(r"MemTotal: +(\d+) kB", meminfo.read_text())[1]) * 1024
        assert memory.device_bytes() == pytest.approx(total / jax.local_device_count(), rel=1e-3)
    compiled = jax.jit(lambda x: x * 2).lower(jnp.zeros(N)).compile()
    for stats, expected in (({"bytes_limit": 4 * N}, 4 * N), ({}, None), (None, None)):
        device = SimpleNamespace(platform="gpu", memory_stats=lambda stats=stats: stats)
        monkeypatch.setattr(jax, "local_devices", lambda device=device: [device])
        assert memory.device_bytes() == expected
        if expected is None:
            memory.check(compiled, SETTINGS)
        else:
            with pytest.raises(UserError, match=r"has 0\.004 GB"):
                memory.check(compiled, SETTINGS)
    compiled = SimpleNamespace(memory_analysis=lambda: None)
    memory.check(compiled, SETTINGS, 1)


def test_no_memory_left_is_one_line_and_other_errors_stay_theirs():
    with (
        pytest.raises(UserError, match=r"^the device has no memory left \(Out of memory .*\): make it smaller so$"),
        memory.explained(SETTINGS),
    ):
        jax.jit(lambda: jnp.ones(1 << 45))().block_until_ready()  # 141 TB
    for other in (jax.errors.JaxRuntimeError("INTERNAL: broken"), RuntimeError("RESOURCE_EXHAUSTED")):
        with pytest.raises(type(other)) as error, memory.explained(SETTINGS):
            raise other
        assert error.value is other


def proposed(n_devices, space, batch_size, n_voxels=0, places=1, remat=None, training=True, **train):
    """What is proposed, one by one, on a mesh of so many devices in all, with what it does."""
    config = ConfigDict({"train": {"optimizer": "adam", "accumulate_steps": 1, **train}})
    config.update({"data": {"n_voxels": n_voxels}, "model": {"remat": remat is not False}})
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:n_devices]).reshape(-1, space), ("data", "space"))
    found = memory.smaller(config.lock(), mesh, batch_size, places, training, n_voxels, shrink(config, training))
    assert found.startswith("make it smaller with ")
    return [way.replace("--config.", "") for way in found.removeprefix("make it smaller with ").split(", or ")]


def smaller(*given, **fields):
    """The settings alone."""
    return [way.partition(" (")[0] for way in proposed(*given, **fields)]


LAST = "a smaller train.batch_size"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((1, 1, 8), ["train.accumulate_steps=2", LAST]),
        ((4, 1, 8), ["train.accumulate_steps=2", LAST]),
        ((4, 1, 4), [LAST]),  # every device has one example
        ((1, 1, 1, 64), ["data.n_voxels=32", LAST]),
        ((4, 1, 4, 64), ["run.space=2 train.accumulate_steps=2", "data.n_voxels=32", LAST]),
        ((4, 2, 8, 64), ["train.accumulate_steps=2", "run.space=4 train.accumulate_steps=2", "data.n_voxels=32", LAST]),
        ((4, 4, 1, 64), ["data.n_voxels=32", LAST]),
        ((4, 2, 2, 6), ["data.n_voxels=3", LAST]),  # four devices don't divide six voxels
        ((4, 1, 8, 64, 12), ["run.members_at_once=6", "train.accumulate_steps=2", "data.n_voxels=32", LAST]),
        ((4, 1, 8, 0, 4), ["train.accumulate_steps=2", LAST]),  # a member on each
        ((4, 1, 4, 0, 8), ["run.members_at_once=4", LAST]),
    ],
    ids=str,
)
def test_what_changes_least_comes_first(given, expected):
    assert smaller(*given) == expected


def test_each_setting_says_what_it_does():
    halves = "(about halves the values for the gradient)"
    assert proposed(4, 1, 8, 64) == [
        f"train.accumulate_steps=2 {halves}",
        f"run.space=2 train.accumulate_steps=2 {halves}",
        "data.n_voxels=32 (about divides the values for the gradient by eight)",
        f"{LAST} (half of it {halves[1:]}",
    ]


def test_what_only_training_gains_by_is_not_proposed_for_predicting(monkeypatch):
    """A batch is predicted whole, without a gradient."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert proposed(4, 1, 8, 64, 12, False, training=False) == [
        "run.members_at_once=6 (fewer members on a device)",
        "data.n_voxels=32 (about divides the values in between by eight)",
        f"{LAST} (half of it about halves the values in between)",
    ]
    assert smaller(4, 1, 8, 64, remat=False, training=False) == ["data.n_voxels=32", LAST]


def test_pieces_of_pieces():
    assert smaller(1, 1, 12, accumulate_steps=2)[0] == "train.accumulate_steps=4"
    assert smaller(1, 1, 12, accumulate_steps=4) == [LAST]
    assert smaller(2, 1, 2, 8, accumulate_steps=1)[0] == "run.space=2 train.accumulate_steps=2"


def test_lbfgs_takes_no_batches():
    last = "an optimizer that takes batches"
    assert smaller(2, 1, 8, 64, optimizer="lbfgs") == ["data.n_voxels=32", last]


def test_computing_values_again_is_proposed_where_it_gains(monkeypatch):
    assert smaller(1, 1, 1, remat=False) == [LAST]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert smaller(1, 1, 2, remat=False) == ["train.accumulate_steps=2", "model.remat=True", LAST]
    assert smaller(1, 1, 1, remat=True) == [LAST]
    assert smaller(1, 1, 1) == [LAST]


@pytest.fixture
def fresh(network, whole):
    """A network with nothing compiled but its first weights."""
    other = tiny.make_network()
    other.start.compiled = network.start.compiled
    return other


HALVED = r"make it smaller with --config\.train\.accumulate_steps=2 \(about halves the values for the gradient\), or"


def test_a_run_refuses_a_training_step_that_does_not_fit(fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda: 10_000)
    with pytest.raises(UserError, match=rf"^a training step takes \S+ GB on each device .* has 1e-05 GB: {HALVED}"):
        tiny.run(fresh, [0], tmp_path)
    assert not fresh.programs


def compiling(monkeypatch, *results):
    """What compiling gives from now on, one after another: bytes that the program takes on the way, or an error."""
    left = iter(results)

    def compile_(lowered, *_, **__):
        result = next(left)
        if isinstance(result, Exception):
            raise result
        sizes = dict.fromkeys(("argument_size_in_bytes", "output_size_in_bytes", "alias_size_in_bytes"), 0)
        found = SimpleNamespace(**sizes, temp_size_in_bytes=result)
        return SimpleNamespace(memory_analysis=lambda: found)

    monkeypatch.setattr(jax.stages.Lowered, "compile", compile_)


def test_a_run_refuses_to_predict_where_only_training_fits(fresh, tmp_path, monkeypatch):
    """In pieces a training step may take less than the prediction of a batch."""
    monkeypatch.setattr(memory, "device_bytes", lambda: 10**9)
    compiling(monkeypatch, 10**9, 3 * 10**9)
    with pytest.raises(UserError) as error:
        tiny.run(fresh, [0], tmp_path)
    assert str(error.value) == (
        "a prediction step takes 3 GB on each device (0 GB of weights and data, 3 GB of values in between), which has "
        "1 GB: make it smaller with a smaller --config.train.batch_size (half of it about halves the values in between)"
    )


EXHAUSTED = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99 bytes.")


def exhausted(*_):
    raise EXHAUSTED


@pytest.mark.parametrize(("before", "way"), [((), HALVED), ((0,), "smaller --config.train.batch_size")])
def test_a_compiler_without_memory_is_one_line(fresh, tmp_path, monkeypatch, before, way):
    """For training, and for predicting."""
    compiling(monkeypatch, *before, EXHAUSTED)
    with pytest.raises(UserError, match=rf"^the device has no memory left \(Out of memory .*\): .*{way}"):
        tiny.run(fresh, [0], tmp_path)


@pytest.mark.parametrize(("step", "way"), [("train", HALVED), ("predict", "smaller --config.train.batch_size")])
def test_a_run_without_memory_is_one_line(network, whole, tmp_path, step, way):
    other = tiny.sharing(network, ())
    other.programs[1] = other.programs[1]._replace(**{step: exhausted})
    with pytest.raises(UserError, match=rf"^the device has no memory left \(Out of memory .*\): .*{way}"):
        tiny.run(other, [0], tmp_path)

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


def smaller(n_devices, space, batch_size, n_voxels=0, places=1, remat=None, **train):
    """What is proposed, one by one, on a mesh of so many devices in all."""
    config = ConfigDict({"train": {"optimizer": "adam", "accumulate_steps": 1, **train}, "model": {}})
    config.update({"data": {"n_voxels": n_voxels}} if n_voxels else {})
    config.model.update({} if remat is None else {"remat": remat})
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:n_devices]).reshape(-1, space), ("data", "space"))
    found = memory.smaller(config.lock(), mesh, batch_size, places)
    assert found.startswith("make it smaller with ")
    return [way.replace("--config.", "") for way in found.removeprefix("make it smaller with ").split(", or ")]


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

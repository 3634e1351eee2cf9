"""What is measured is what is claimed; and a guard: fast forms stay well ahead of plain ones."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from eegjax import benchmarks
from eegjax.benchmarks import network_jax, operations, rivals, vgg16, vnet
from eegjax.benchmarks.against_torch import CLOSE, NETWORKS
from eegjax.benchmarks.timing import measure_interleaved
from eegjax.errors import UserError
from eegjax.models.vgg import VGG16
from eegjax.models.vnet import VNet

GUARDED = {  # case -> parts that gain at least fivefold; half of the time is allowed
    "depthwise 5x5, stride 2, odd": ("forward", "input gradient"),
    "volume 5^3, odd": ("forward", "input gradient", "kernel gradient"),
    "transposed 2^3, stride 2": ("forward", "kernel gradient"),
    "max-pool 3, stride 2": ("input gradient",),
}


@pytest.mark.slow
def test_fast_forms_are_faster(repository: Path) -> None:
    program = f"""
import json
from eegjax.benchmarks import operations
names = {list(GUARDED)!r}
rows = [row for name in names for row in operations.measure(name, rounds=3) if row["name"] == name]
print(json.dumps([[row["name"], row["part"], row["fast"] / row["plain"]] for row in rows]))
"""
    # one device and the compiler as users have it, unlike the tests themselves
    environment = {
        name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    }
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, env=environment, capture_output=True, text=True, check=True
    )
    ratios = {(name, part): ratio for name, part, ratio in json.loads(done.stdout.splitlines()[-1])}
    slow = {key: ratio for key, ratio in ratios.items() if key[1] in GUARDED[key[0]] and ratio > 0.5}
    assert not slow
    assert len(ratios) == 11


def test_every_operation_is_measured_in_both_directions() -> None:
    names = " ".join(case.name for case in operations.CASES)
    for word in ("depthwise 3x3", "stride 2", "volume 3^3", "volume 5^3", "transposed", "1 channel", "max-pool", "odd"):
        assert word in names
    assert len({case.name for case in operations.CASES}) == len(operations.CASES)
    for case in operations.CASES:
        assert (
            list(operations.parts_of(case))
            == ["forward", "input gradient", "kernel gradient"][: 3 if case.kernel else 2]
        )


def test_rivals_take_turns_and_the_median_is_reported() -> None:
    order: list[int] = []
    seconds = measure_interleaved([lambda: order.append(0), lambda: order.append(1)], 3, lambda value: value)
    assert seconds.shape == (2,)
    assert (seconds > 0).all()
    turns = [name for place, name in enumerate(order) if place == 0 or order[place - 1] != name]
    assert turns[-6:] == [0, 1] * 3


def make(answer: float) -> dict[str, object]:
    """What `Rival` starts in a process of its own."""
    if answer < 0:
        raise ValueError("below zero")
    return {"answer": lambda: answer, "variable": lambda: os.environ.get("OMP_PLACES"), "add": lambda x: answer + x}


def test_a_rival_has_its_own_process_and_environment() -> None:
    rival = rivals.Rival(__name__, rivals.PINNED, answer=2.5)
    try:
        assert rival.ask("value", "answer") == 2.5
        assert rival.ask("value", "add", 1) == 3.5
        assert rival.ask("value", "variable") == "cores"
        assert 0 <= rival.ask("seconds", "answer") < 1
        assert rival.ask("peak_bytes") > 2**20
        assert "OMP_PLACES" not in os.environ
    finally:
        rival.close()


def test_a_rival_that_fails_says_why() -> None:
    rival = rivals.Rival(__name__, {}, answer=-1.0)
    with pytest.raises(RuntimeError, match="ValueError: below zero"):
        rival.ask("value", "answer")
    rival.close()


def shapes_of(params: object) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of every parameter by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): (leaf.shape, leaf.dtype) for path, leaf in leaves}


def initialised(model: object, *sizes: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """The same of a Flax module as it initialises itself."""
    inputs = jax.ShapeDtypeStruct(sizes, np.float32)
    return shapes_of(jax.eval_shape(model.init, jax.random.PRNGKey(0), inputs)["params"])


@pytest.mark.slow
def test_vgg16_has_torchvisions_weights_and_flax_takes_them() -> None:
    state = vgg16.make_weights()
    assert sum(array.size for array in state.values()) == 138_357_544
    assert {array.dtype for array in state.values()} == {np.dtype(np.float32)}
    assert list(state)[:2] == ["features.0.weight", "features.0.bias"]
    assert "features.28.weight" in state
    assert state["classifier.6.weight"].shape == (1000, 4096)
    model, params = vgg16.build_in_jax(state)
    assert shapes_of(params) == initialised(model, 1, 224, 224, 3) == initialised(VGG16(1000), 1, 224, 224, 3)


@pytest.mark.parametrize(("width", "depth"), [(1.0, 5), (0.25, 4), (0.1, 3), (0.01, 2)])
def test_vnets_weights_have_flaxs_names_and_shapes(width: float, depth: int) -> None:
    expected = initialised(VNet(2, width, depth), 1, 32, 32, 32, 1)
    assert {path: (shape, np.float32) for path, shape in vnet.list_shapes(width, depth).items()} == expected
    if width < 1:
        model, params = vnet.build_in_jax(width, depth, vnet.make_weights(width, depth))
        assert shapes_of(params) == expected
        assert model == VNet(2, width, depth)


def test_vnet_is_timed_at_its_full_size() -> None:
    assert sum(int(np.prod(shape)) for shape in vnet.list_shapes(1.0, 5).values()) == 82_026_089
    network = NETWORKS["inverse"]
    assert network.title == "V-Net, width 1, grid 64 x 64 x 64"
    assert [function.args for function in (network.weights, network.in_jax, network.in_torch)] == [(1.0, 5)] * 3


def test_no_weight_of_vnet_is_what_another_is() -> None:
    """A layer that took another's, or none, would give other outputs."""
    weights = vnet.make_weights(0.1, 3)
    for path, array in weights.items():
        assert array.dtype == np.float32
        assert not any(
            array.shape == other.shape and np.array_equal(array, other)
            for other in weights.values()
            if other is not array
        ), path
        assert np.all(array != 0)
        assert np.all(array != 1)


@pytest.mark.parametrize("study", NETWORKS)
def test_a_network_has_all_pieces_and_numpy_alone_makes_its_examples(study: str) -> None:
    network = NETWORKS[study]
    inputs, targets = network.examples(2)
    assert inputs.shape[0] == targets.shape[0] == 2
    assert inputs.dtype == np.float32
    assert targets.dtype == np.int64
    assert np.array_equal(inputs, network.examples(2)[0])
    model = {"sleep": VGG16(1000), "inverse": VNet(2)}[study]
    variables = jax.eval_shape(model.init, jax.random.PRNGKey(0), inputs)
    logits = jax.eval_shape(model.apply, variables, inputs)
    assert logits.shape[:-1] == targets.shape
    assert targets.min() >= 0
    assert targets.max() < logits.shape[-1]
    assert network.batch >= 1
    assert all(map(callable, (network.weights, network.in_jax, network.in_torch)))


def test_what_rivals_are_given_loads_no_framework(repository: Path) -> None:
    program = """
import pickle, sys
from eegjax.benchmarks import network_jax, network_torch
from eegjax.benchmarks.against_torch import NETWORKS
for network in NETWORKS.values():
    pickle.loads(pickle.dumps(network)).examples(1)
from eegjax.benchmarks import vnet
vnet.make_network(0.1, 8, 2).weights()
print([name for name in ("jax", "flax", "torch") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]"]


TINY = vnet.make_network(0.1, 4, 2)


@pytest.mark.slow
def test_eegjaxs_rival_infers_and_trains() -> None:
    functions = network_jax.make(TINY, 2, tuned=False, form="plain")  # the fast forms compile longer
    model, params = TINY.in_jax(TINY.weights())
    expected = jax.jit(model.apply)({"params": params}, TINY.examples(2)[0])
    before = functions["logits"]()
    assert np.allclose(before, expected, atol=1e-5)
    assert functions["n_parameters"]() == sum(map(np.size, TINY.weights().values()))
    assert "--cpu-tuning off" in functions["settings"]()
    for _ in range(2):
        functions["training"]()
    functions["inference"]()
    moved = np.abs(functions["logits"]() - before).max()
    assert 0 < moved < 0.1 * np.abs(before).max()


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_both_rivals_have_the_same_outputs_before_and_after_training() -> None:
    ours = rivals.Rival("eegjax.benchmarks.network_jax", {}, network=TINY, batch=2, tuned=False)
    theirs = rivals.Rival("eegjax.benchmarks.network_torch", rivals.PINNED, network=TINY, batch=2)
    try:
        before = [rival.ask("value", "logits") for rival in (ours, theirs)]
        for rival in (ours, theirs):
            rival.ask("value", "training")
            rival.ask("value", "training")
        moves = [rival.ask("value", "logits") - logits for rival, logits in zip((ours, theirs), before, strict=True)]
        for mine, other in (before, moves):
            assert mine.shape == other.shape == (2, 4, 4, 4, 2)
            assert np.abs(mine - other).max() < CLOSE * np.abs(other).max()
    finally:
        ours.close()
        theirs.close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "say what to measure"),
        ({"study": "sleep"}, "say what to measure"),
        ({"operations": True, "study": "sleep", "against": "torch"}, "say what to measure"),
        ({"study": "sleep", "against": "tensorflow"}, "there is torch"),
        ({"study": "slep", "against": "torch"}, "Did you mean 'sleep'"),
        ({"study": "invers", "against": "torch"}, "Did you mean 'inverse'"),
    ],
)
def test_mistakes_are_said(given: dict[str, object], message: str) -> None:
    whole = {"operations": False, "study": None, "against": None, "only": None, "batch": 1, **given}
    with pytest.raises(UserError, match=message):
        benchmarks.launch(**whole)

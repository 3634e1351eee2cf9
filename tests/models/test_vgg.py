"""VGG16 and its ConvLSTM: published sizes, a NumPy forward pass, causality, padding, precision."""

from collections.abc import Callable
from functools import cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate
from scipy.special import expit

from eegjax.models.vgg import VGG16, VGG16Features
from eegjax.models.vgg_conv_lstm import ConvLSTM, VGG16ConvLSTM

LAYERS = (  # Simonyan & Zisserman (2014), Table 1, column D
    *("1_1", "1_2", "pool"),
    *("2_1", "2_2", "pool"),
    *("3_1", "3_2", "3_3", "pool"),
    *("4_1", "4_2", "4_3", "pool"),
    *("5_1", "5_2", "5_3", "pool"),
)
WIDTH = 1 / 16  # of the networks that are run: 4 to 32 channels


def count(module: nn.Module, *shape: int) -> dict[str, int]:
    """Parameters by top-level name, without making them."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))["params"]
    return {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in shapes.items()}


def test_published_parameter_counts():
    assert sum(count(VGG16(1000), 1, 224, 224, 3).values()) == 138_357_544
    six = count(VGG16(6), 1, 224, 224, 3)
    assert sum(six.values()) == 134_285_126
    assert six["features"] == 14_714_688
    recurrent = count(VGG16ConvLSTM(6), 1, 2, 224, 224, 3)
    assert sum(recurrent.values()) == 117_627_718
    assert recurrent["conv_lstm"] == 102_762_496
    assert recurrent["head"] == 25_088 * 6 + 6
    stacked = count(VGG16ConvLSTM(6, n_cells=2), 1, 2, 224, 224, 3)
    assert stacked == {**recurrent, "conv_lstm_2": 102_762_496}


@cache
def network(kind: type[nn.Module], **fields: Any) -> tuple[nn.Module, Any, Callable[..., Any]]:
    """(module, variables with biases that matter, compiled forward pass) of a narrow network for 32 x 32."""
    return made(kind(n_outputs=6, width=WIDTH, **fields), 32)  # type: ignore[call-arg]


def made(module: nn.Module, size: int) -> tuple[nn.Module, Any, Callable[..., Any]]:
    """Weights drawn with NumPy: compiling Flax's own initialisation takes longer than all the rest."""
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.ndim == 1:
            return rng.uniform(0.1, 0.3, leaf.shape).astype(leaf.dtype)
        return rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape).astype(leaf.dtype)

    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((2, 2, size, size, 1)))
    return module, jax.tree.map(draw, shapes), jax.jit(module.apply)


def pictures(*leading: int, size: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*leading, size, size, 1)).astype(np.float32)


def numpy_conv(x: np.ndarray, weights: dict[str, np.ndarray], padding: str) -> np.ndarray:
    kernel = np.asarray(weights["kernel"], np.float64)
    if padding == "SAME":
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (1, 2))  # [batch, y, x, channel, ky, kx]
    return np.einsum("byxcij,ijco->byxo", windows, kernel, optimize=True) + np.asarray(weights["bias"])


def numpy_vgg16(params: Any, x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    for name in LAYERS:
        if name == "pool":
            batch, height, width, channels = x.shape
            x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))
        else:
            x = np.maximum(numpy_conv(x, params["features"][f"conv{name}"], "SAME"), 0)
    for name in ("fc6", "fc7"):
        x = np.maximum(numpy_conv(x, params[name], "VALID"), 0)
    return numpy_conv(x, params["head"], "VALID")[:, 0, 0]


def test_vgg16_matches_numpy():
    _, variables, apply = made(VGG16(6, WIDTH), 64)  # pool5 is 2 x 2, and so is fc6's filter
    images = pictures(3, size=64)
    expected = numpy_vgg16(variables["params"], images)
    assert expected.std() > 0.05
    np.testing.assert_allclose(apply(variables, images), expected, rtol=1e-4, atol=1e-5)


def test_leading_axes_are_kept():
    _, variables, apply = network(VGG16)
    images = pictures(2, 3)
    outputs = apply(variables, images)
    assert outputs.shape == (2, 3, 6)
    np.testing.assert_allclose(outputs.reshape(6, 6), apply(variables, images.reshape(6, 32, 32, 1)), atol=1e-6)


def test_one_step_needs_no_sequence_axis():
    _, variables, apply = network(VGG16ConvLSTM)
    images = pictures(2, 3)
    first = apply(variables, images[:, 0])
    assert first.shape == (2, 6)
    np.testing.assert_allclose(apply(variables, images)[:, 0], first, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("kind", [VGG16, VGG16ConvLSTM])
def test_kept_maps_give_the_whole_networks_logits(kind, dtype):
    """Bit for bit, by the whole network's other parameters; the maps are kept in float32."""
    _, variables, apply = network(kind, dtype=dtype)
    images = pictures(2, 3)
    features = {"params": variables["params"]["features"]}
    maps = jax.jit(VGG16Features(WIDTH, dtype=dtype).apply)(features, images.reshape(6, 32, 32, 1))
    maps = np.asarray(maps, np.float32).reshape(2, 3, 1, 1, 32)
    assert maps.std() > 0.1
    module = kind(6, WIDTH, dtype=dtype, on_maps=True)
    rest = {name: tree for name, tree in variables["params"].items() if name != "features"}
    logits = jax.jit(module.apply)({"params": rest}, maps)
    assert np.array_equal(logits, apply(variables, images))
    made = jax.eval_shape(module.init, jax.random.key(0), maps)["params"]
    assert jax.tree.map(lambda leaf: leaf.shape, made) == jax.tree.map(lambda leaf: leaf.shape, rest)


@pytest.mark.parametrize("shape", [(31, 64), (64, 16)])
def test_images_below_32_pixels_are_an_error(shape):
    with pytest.raises(ValueError, match=rf"\({shape[0]}, {shape[1]}\) is below 32 x 32"):
        jax.eval_shape(VGG16Features(WIDTH).init, jax.random.key(0), jnp.zeros((1, *shape, 1)))


def numpy_conv_lstm(weights: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """Shi et al. (2015), equation 3, without peepholes; 1 is added to the forget gate. [n_steps, y, x, channels]."""
    kernel, bias = np.asarray(weights["kernel"], np.float64), np.asarray(weights["bias"])
    n_features = kernel.shape[-1] // 4
    hidden = cell = np.zeros((*inputs.shape[1:3], n_features))
    states = []
    for x in inputs:
        both = np.concatenate([x, hidden], -1)
        planes = [
            sum(correlate(both[..., c], kernel[:, :, c, k], "same") for c in range(both.shape[-1])) + bias[k]
            for k in range(kernel.shape[-1])
        ]
        i, j, f, o = np.moveaxis(np.array(planes).reshape(4, n_features, *cell.shape[:2]), 1, -1)
        cell = expit(f + 1) * cell + expit(i) * np.tanh(j)
        hidden = expit(o) * np.tanh(cell)
        states.append(hidden)
    return np.array(states)


def gates(rng: np.random.Generator, kernel_size: int, n_inputs: int, n_features: int) -> dict[str, np.ndarray]:
    shape = (kernel_size, kernel_size, n_inputs + n_features, 4 * n_features)
    return {"kernel": rng.normal(0, 0.3, shape).astype(np.float32), "bias": np.linspace(-1, 1, shape[-1])}


@pytest.mark.parametrize(("kernel_size", "n_steps"), [(3, 4), (5, 1)])
def test_conv_lstm_matches_scipy(kernel_size, n_steps):
    rng = np.random.default_rng(0)
    weights = gates(rng, kernel_size, 3, 2)
    inputs = rng.normal(size=(2, n_steps, 5, 4, 3)).astype(np.float32)
    hidden = jax.jit(ConvLSTM(2, kernel_size).apply)({"params": {"gates": weights}}, inputs)
    np.testing.assert_allclose(hidden, [numpy_conv_lstm(weights, one) for one in inputs], rtol=1e-4, atol=1e-5)


def test_the_first_step_forgets_nothing_since_there_is_nothing():
    """From a zero state the forget gate has no say: what the paper's one-step network amounts to."""
    rng = np.random.default_rng(1)
    weights = gates(rng, 3, 2, 2)
    inputs = rng.normal(size=(1, 2, 4, 4, 2)).astype(np.float32)
    apply = jax.jit(ConvLSTM(2, 3).apply)
    before = apply({"params": {"gates": weights}}, inputs)
    forgetting = weights["bias"] - 5 * np.repeat([0, 0, 1, 0], 2)
    after = apply({"params": {"gates": {**weights, "bias": forgetting}}}, inputs)
    assert np.array_equal(before[:, 0], after[:, 0])
    assert np.abs(before[:, 1] - after[:, 1]).max() > 1e-3


def test_stacked_cells_are_one_after_another_with_dropout_after_each():
    module, variables, apply = made(VGG16ConvLSTM(6, WIDTH / 4, on_maps=True, n_cells=2), 2)
    params, maps = variables["params"], pictures(2, 3, size=2)
    hidden = maps
    for name in ("conv_lstm", "conv_lstm_2"):
        hidden = np.array([numpy_conv_lstm(params[name]["gates"], one) for one in hidden])
    expected = hidden.reshape(2, 3, -1) @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(apply(variables, maps), expected, rtol=1e-4, atol=1e-5)

    @jax.jit
    def training(key: Any) -> Any:
        return module.apply(
            variables,
            maps,
            train=True,
            rngs={"dropout": key},
            capture_intermediates=lambda part, _: isinstance(part, nn.Dropout),
            mutable=["intermediates"],
        )

    _, captured = training(jax.random.key(0))
    dropped = [float(np.mean(leaf == 0)) for leaf in jax.tree.leaves(captured)]
    assert len(dropped) == 2
    assert all(0.35 < share < 0.65 for share in dropped)


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_an_epoch_is_scored_from_itself_and_those_before_it(changed):
    _, variables, apply = network(VGG16ConvLSTM)
    images = pictures(2, 3)
    other = images.copy()
    other[0, changed] = pictures(1, seed=9)[0]
    differs = np.abs(apply(variables, images) - apply(variables, other)).max(-1)
    assert (differs[0, :changed] < 1e-6).all()
    assert (differs[0, changed:] > 1e-5).all()
    assert (differs[1] < 1e-6).all()


@pytest.mark.parametrize("kind", [VGG16, VGG16ConvLSTM])
def test_dropout_works_in_training_only(kind):
    module, variables, apply = network(kind)
    images = pictures(2, 3)
    assert np.array_equal(apply(variables, images), apply(variables, images))  # no key given: it would be missed
    train = jax.jit(lambda key: module.apply(variables, images, train=True, rngs={"dropout": key}))
    assert not np.array_equal(train(jax.random.key(1)), apply(variables, images))
    assert np.array_equal(train(jax.random.key(1)), train(jax.random.key(1)))
    assert np.abs(train(jax.random.key(1)) - train(jax.random.key(2))).max() > 1e-3


@pytest.mark.parametrize("kind", [VGG16, VGG16ConvLSTM])
def test_padded_images_leave_no_trace(kind):
    module, variables, _ = network(kind, batch_norm=True, dropout=0.0)
    train = jax.jit(lambda images, mask: module.apply(variables, images, True, mask, mutable=["batch_stats"]))
    images, mask = pictures(2, 3), np.array([[True, True, True], [True, True, False]])
    images[1, 2] = 0
    zeros, zeros_after = train(images, mask)
    images[1, 2] = 100
    huge, huge_after = train(images, mask)
    np.testing.assert_allclose(zeros[mask], huge[mask], rtol=1e-5, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), zeros_after, huge_after)
    assert not np.allclose(train(images, np.ones_like(mask))[0][mask], huge[mask], atol=1e-2)


@pytest.mark.parametrize("kind", [VGG16, VGG16ConvLSTM])
def test_bfloat16_keeps_float32_weights_and_logits_near(kind):
    _, variables, apply = network(kind)
    _, half_variables, half_apply = network(kind, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(half_variables)} == {jnp.dtype("float32")}
    images = pictures(2, 3)
    logits, half = apply(variables, images), half_apply(variables, images)
    assert half.dtype == jnp.float32
    error = np.linalg.norm(half - logits) / np.linalg.norm(logits)
    assert 1e-5 < error < 0.03  # bfloat16 has 8 bits: 0.4 % an operation

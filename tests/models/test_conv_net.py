"""ConvNet: its published size, the lengths of time by hand, a NumPy forward pass."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eegjax.models.conv_net import ConvNet, smallest_n_times

LENGTHS = (981, 326, 307, 101, 82, 26, 7, 1)  # after each convolution and pool, of 1000 samples


def shapes(module: ConvNet, n_times: int, n_chans: int = 22) -> Any:
    trial = jax.ShapeDtypeStruct((1, n_times, n_chans), jnp.float32)
    return jax.eval_shape(lambda key, x: module.init(key, x, train=False), jax.random.key(0), trial)


def made(module: ConvNet, n_times: int, n_chans: int) -> Any:
    """Weights and running statistics that matter."""
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.ndim == 1:
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)

    return jax.tree.map(draw, shapes(module, n_times, n_chans))


@pytest.mark.parametrize(
    ("module", "n_times", "published"),
    [
        (ConvNet(4), 1000, 541_254),
        (ConvNet(4), 2000, 550_854),
        (ConvNet(4, pooling="adaptive"), 2000, 541_254),
        (ConvNet(4), 961, 541_254),
    ],
)
def test_published_parameter_counts(module, n_times, published):
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes(module, n_times)["params"])) == published


def test_lengths_by_hand():
    """1000 - 19 = 981, (981 - 6) // 3 + 1 = 326, and so on."""
    n_times, found = 1000, []
    for _ in range(4):
        n_times -= 19
        found.append(n_times)
        n_times = (n_times - 6) // 3 + 1
        found.append(n_times)
    assert tuple(found) == (981, 326, 307, 101, 82, 26, 7, 1) == LENGTHS

    def outputs(key: Any, x: Any) -> Any:
        module = ConvNet(4)
        variables = module.init(key, x, train=False)
        return module.apply(variables, x, train=False, capture_intermediates=True, mutable=["intermediates"])[1]

    trial = jax.ShapeDtypeStruct((2, 1000, 22), jnp.float32)
    captured = jax.eval_shape(outputs, jax.random.key(0), trial)["intermediates"]
    shape = {name: parts["__call__"][0].shape for name, parts in captured.items() if name != "__call__"}
    assert shape["conv_time"] == (2 * 22, 981, 25)
    assert shape["norm_time"] == (2, 981, 22, 25)
    assert shape["conv_space"] == (2, 981, 25)
    assert [shape[f"Dropout_{block}"] for block in range(4)] == [(2, 326, 25), (2, 101, 50), (2, 26, 100), (2, 1, 200)]
    assert [shape[f"conv_{block}"] for block in (2, 3, 4)] == [(2, 307, 50), (2, 82, 100), (2, 7, 200)]


@pytest.mark.parametrize(("n_blocks", "smallest"), [(4, 961), (3, 313), (2, 97), (1, 25)])
def test_smallest_n_times(n_blocks, smallest):
    assert smallest_n_times(n_blocks) == smallest
    n_times = smallest
    for _ in range(n_blocks):
        n_times = (n_times - 19 - 6) // 3 + 1
    assert n_times == 1


def numpy_conv(x: np.ndarray, weights: Any) -> np.ndarray:
    """[batch, time, ..., channels] by [taps, channels, features], without padding."""
    windows = np.lib.stride_tricks.sliding_window_view(x, len(weights["kernel"]), 1)
    return np.einsum("bt...ck,kcf->bt...f", windows, weights["kernel"], optimize=True) + weights["bias"]


def numpy_norm_elu(x: np.ndarray, name: str, variables: Any) -> np.ndarray:
    running, weights = variables["batch_stats"][name], variables["params"][name]
    x = (x - running["mean"]) / np.sqrt(running["var"] + 1e-5) * weights["scale"] + weights["bias"]
    return np.where(x > 0, x, np.expm1(x))


def numpy_conv_net(variables: Any, x: np.ndarray, n_blocks: int = 4) -> np.ndarray:
    """Table 1, line by line: the features after the last pool, [batch, time, features]."""
    params = variables["params"]
    x = numpy_norm_elu(numpy_conv(x[..., None], params["conv_time"]), "norm_time", variables)
    space = params["conv_space"]["kernel"].reshape(x.shape[2], x.shape[3], -1)  # [electrode, filter, features]
    x = np.einsum("btef,efg->btg", x, space, optimize=True) + params["conv_space"]["bias"]
    x = numpy_norm_elu(x, "norm_space", variables)
    for block in range(1, n_blocks + 1):
        if block > 1:
            x = numpy_norm_elu(numpy_conv(x, params[f"conv_{block}"]), f"norm_{block}", variables)
        x = np.lib.stride_tricks.sliding_window_view(x, 6, 1)[:, ::3].max(-1)
    return x


@pytest.mark.parametrize(
    ("fields", "n_times", "n_left"),
    [
        ({}, 961, 1),
        ({}, 1050, 2),
        ({"pooling": "adaptive"}, 1050, 2),
        ({"pooling": "adaptive", "n_blocks": 2}, 130, 4),
    ],
)
def test_logits_match_numpy(fields, n_times, n_left):
    module = ConvNet(4, **fields)
    variables = made(module, n_times, 3)
    x = np.random.default_rng(1).normal(size=(2, n_times, 3)).astype(np.float32)
    exact = jax.tree.map(lambda leaf: leaf.astype(np.float64), variables)
    features = numpy_conv_net(exact, x.astype(np.float64), module.n_blocks)
    assert features.shape[1] == n_left
    features = features.mean(1) if module.pooling == "adaptive" else features.reshape(2, -1)
    expected = features @ exact["params"]["head"]["kernel"] + exact["params"]["head"]["bias"]
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    logits = jax.jit(lambda v, x: module.apply(v, x, train=False))(variables, x)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)

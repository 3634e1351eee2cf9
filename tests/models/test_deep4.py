"""Deep4Net: braindecode's size, and a NumPy forward pass of two first convolutions where the network has one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eegjax.models.deep4 import Deep4Net


def shapes(n_times: int, n_chans: int) -> Any:
    trial = jax.ShapeDtypeStruct((1, n_times, n_chans), jnp.float32)
    return jax.eval_shape(lambda key, x: Deep4Net(4).init(key, x, train=False), jax.random.key(0), trial)


@pytest.mark.parametrize(("n_times", "published"), [(1000, 282_879), (441, 282_879 - 6 * 200 * 4)])
def test_published_parameter_counts(n_times, published):
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes(n_times, 22)["params"])) == published


def numpy_conv(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, len(kernel), 1)  # [batch, time, ..., channels, taps]
    return np.einsum("bt...ck,kcf->bt...f", windows, kernel, optimize=True)


def test_logits_match_numpy():
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.ndim == 1:
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)

    variables = jax.tree.map(draw, shapes(530, 3))
    eeg = rng.normal(size=(2, 530, 3)).astype(np.float32)
    params, running = variables["params"], variables["batch_stats"]
    filters = params["filters"]
    x = numpy_conv(eeg.astype(np.float64)[..., None], filters["time_kernel"]) + filters["time_bias"]
    x = np.einsum("btef,efg->btg", x, filters["space_kernel"], optimize=True)
    lengths = [x.shape[1]]
    for block in range(1, 5):
        if block > 1:
            x = numpy_conv(x, params[f"conv_{block}"]["kernel"])
        name = f"norm_{block}"
        x = (x - running[name]["mean"]) / np.sqrt(running[name]["var"] + 1e-5)
        x = x * params[name]["scale"] + params[name]["bias"]
        x = np.where(x > 0, x, np.expm1(x))
        n_left = x.shape[1] // 3
        x = x[:, : 3 * n_left].reshape(2, n_left, 3, -1).max(2)
        lengths.append(n_left)
    assert lengths == [521, 173, 54, 15, 2]
    expected = x.reshape(2, -1) @ params["head"]["kernel"] + params["head"]["bias"]
    logits = jax.jit(lambda v, x: Deep4Net(4).apply(v, x, train=False))(variables, eeg)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)

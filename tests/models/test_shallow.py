"""ShallowConvNet: braindecode's size, and a NumPy forward pass of two convolutions where the network has one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eegjax.models.layers import FilterBank
from eegjax.models.shallow import ShallowConvNet


def shapes(n_times: int, n_chans: int) -> Any:
    trial = jax.ShapeDtypeStruct((1, n_times, n_chans), jnp.float32)
    return jax.eval_shape(lambda key, x: ShallowConvNet(4).init(key, x, train=False), jax.random.key(0), trial)


@pytest.mark.parametrize(("n_times", "published"), [(1000, 46_084), (99, 46_084 - 60 * 40 * 4)])
def test_published_parameter_counts(n_times, published):
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes(n_times, 22)["params"])) == published


def test_logits_match_numpy():
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.ndim == 1:
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return rng.normal(0, 0.1, leaf.shape).astype(np.float32)

    variables = jax.tree.map(draw, shapes(130, 3))
    eeg = rng.normal(size=(2, 130, 3)).astype(np.float32)
    params, running = variables["params"], variables["batch_stats"]["norm"]
    filters = params["filters"]
    windows = np.lib.stride_tricks.sliding_window_view(eeg.astype(np.float64), 25, 1)  # [batch, time, channel, tap]
    x = np.einsum("btek,kf->btef", windows, filters["time_kernel"][:, 0]) + filters["time_bias"]
    x = np.einsum("btef,efg->btg", x, filters["space_kernel"])
    x = (x - running["mean"]) / np.sqrt(running["var"] + 1e-5) * params["norm"]["scale"] + params["norm"]["bias"]
    assert x.shape[1] == 106
    x = np.log(np.stack([(x[:, begin : begin + 75] ** 2).mean(1) for begin in (0, 15, 30)], 1))
    expected = x.reshape(2, -1) @ params["head"]["kernel"] + params["head"]["bias"]
    logits = jax.jit(lambda v, x: ShallowConvNet(4).apply(v, x, train=False))(variables, eeg)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_silence_is_no_logarithm_of_zero():
    module, silence = ShallowConvNet(4), jnp.zeros((2, 120, 3))
    variables = jax.jit(lambda key: module.init(key, silence, train=False))(jax.random.key(0))
    logits = module.apply(variables, silence, train=False)
    expected = np.log(1e-6) * np.asarray(variables["params"]["head"]["kernel"]).sum(0)
    np.testing.assert_allclose(logits, np.broadcast_to(expected, (2, 4)), rtol=1e-4, atol=1e-5)


def test_the_weights_start_as_two_convolutions():
    """Glorot & Bengio's bounds of a [25, 1, 1, 40] and of a [1, 22, 40, 40] kernel."""
    params = FilterBank(40, 25).init(jax.random.key(0), jnp.zeros((1, 30, 22)))["params"]
    for name, bound in (("time_kernel", np.sqrt(6 / (25 + 25 * 40))), ("space_kernel", np.sqrt(6 / (2 * 22 * 40)))):
        assert 0.9 * bound < np.abs(params[name]).max() <= bound
    assert not params["time_bias"].any()

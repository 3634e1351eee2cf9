"""EEGNet: braindecode's size, a NumPy forward pass, norms within their limits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eegjax.models.eegnet import EEGNet, limit_norm


def shapes(module: EEGNet, n_times: int, n_chans: int) -> Any:
    trial = jax.ShapeDtypeStruct((1, n_times, n_chans), jnp.float32)
    return jax.eval_shape(lambda key, x: module.init(key, x, train=False), jax.random.key(0), trial)


@pytest.mark.parametrize(("n_times", "published"), [(512, 2_484), (1000, 2_484 + 15 * 16 * 4)])
def test_published_parameter_counts(n_times, published):
    """512 samples leave 16, 1000 leave 31."""
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes(EEGNet(4), n_times, 22)["params"])) == published


def made(module: EEGNet, n_times: int, n_chans: int, scale: float) -> Any:
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.ndim == 1:
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return rng.normal(0, scale, leaf.shape).astype(np.float32)

    return jax.tree.map(draw, shapes(module, n_times, n_chans))


def numpy_within(kernel: np.ndarray, limit: float) -> np.ndarray:
    norms = np.linalg.norm(kernel.astype(np.float64), axis=0)
    return kernel * limit / np.maximum(norms, limit)


def numpy_same(x: np.ndarray, width: int) -> np.ndarray:
    """Windows of [batch, time, ...] with zeros around: [batch, time, ..., width]; even ones see one more to come."""
    edges = [(0, 0), ((width - 1) // 2, width // 2), *[(0, 0)] * (x.ndim - 2)]
    return np.lib.stride_tricks.sliding_window_view(np.pad(x, edges), width, 1)


@pytest.mark.parametrize("scale", [0.02, 0.5])
def test_logits_match_numpy(scale):
    """With weights within the limits, and beyond."""
    module = EEGNet(4)
    variables = made(module, 70, 3, scale)
    params, running = variables["params"], variables["batch_stats"]
    eeg = np.random.default_rng(1).normal(size=(2, 70, 3)).astype(np.float32)

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - running[name]["mean"]) / np.sqrt(running[name]["var"] + 1e-3)
        return scaled * params[name]["scale"] + params[name]["bias"]

    def pool(x: np.ndarray, width: int) -> np.ndarray:
        n_left = x.shape[1] // width
        x = np.where(x > 0, x, np.expm1(x))
        return x[:, : width * n_left].reshape(len(x), n_left, width, -1).mean(2)

    x = norm(np.einsum("btek,kf->btef", numpy_same(eeg, 64), params["conv_time"]["kernel"][:, 0]), "norm_time")
    space = numpy_within(params["conv_space"]["kernel"][:, 0], 1.0)
    # filters 2 f and 2 f + 1 see temporal feature f
    x = np.stack([x[..., group // 2] @ space[:, group] for group in range(16)], -1)
    x = pool(norm(x, "norm_space"), 4)
    assert x.shape == (2, 17, 16)
    x = np.einsum("btck,kc->btc", numpy_same(x, 16), params["conv_depthwise"]["kernel"][:, 0])
    x = pool(norm(x @ params["conv_pointwise"]["kernel"][0], "norm_separable"), 8)
    assert x.shape == (2, 2, 16)
    expected = x.reshape(2, -1) @ numpy_within(params["head"]["kernel"], 0.25) + params["head"]["bias"]
    logits = jax.jit(lambda v, x: module.apply(v, x, train=False))(variables, eeg)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    beyond = np.linalg.norm(params["conv_space"]["kernel"], axis=0).max() > 1
    assert beyond == (scale == 0.5)


@pytest.mark.parametrize("limit", [0.25, 1.0])
def test_norms_are_bounded_and_gradients_stay_finite(limit):
    kernel = np.random.default_rng(0).normal(0, 0.3, (6, 40)).astype(np.float32)
    kernel[:, 0] = 0
    bounded = limit_norm(kernel, limit)
    np.testing.assert_allclose(bounded, numpy_within(kernel, limit), rtol=1e-5, atol=1e-7)
    norms = np.linalg.norm(kernel, axis=0)
    np.testing.assert_allclose(np.linalg.norm(bounded, axis=0), np.minimum(norms, limit), rtol=1e-5)
    gradient = jax.grad(lambda kernel: jnp.sum(limit_norm(kernel, limit) ** 3))(kernel)
    assert np.isfinite(gradient).all()
    # a filter at its limit only turns: its gradient has no part along it
    along = np.sum(gradient * kernel, 0)
    assert np.abs(along[norms > limit]).max() < 1e-6
    assert np.abs(along[(norms < limit) & (norms > 0)]).min(initial=1) > 0


def test_other_sizes():
    module = EEGNet(3, n_filters=4, depth=3, n_separable=5, kernel_size=32)
    params = shapes(module, 128, 6)["params"]
    assert params["conv_time"]["kernel"].shape == (32, 1, 4)
    assert params["conv_space"]["kernel"].shape == (6, 1, 12)
    assert params["conv_depthwise"]["kernel"].shape == (16, 1, 12)
    assert params["conv_pointwise"]["kernel"].shape == (1, 12, 5)
    assert params["head"]["kernel"].shape == (4 * 5, 3)


def test_running_statistics_move_by_a_hundredth():
    """Keras's momentum, not torch's."""
    module = EEGNet(4)
    variables = made(module, 70, 3, 0.1)
    eeg = np.random.default_rng(1).normal(size=(2, 70, 3)).astype(np.float32)
    kernel = variables["params"]["conv_time"]["kernel"][:, 0]
    features = np.einsum("btek,kf->btef", numpy_same(eeg, 64), kernel)
    run = jax.jit(lambda v, key: module.apply(v, eeg, train=True, rngs={"dropout": key}, mutable=["batch_stats"]))
    after = run(variables, jax.random.key(0))[1]["batch_stats"]["norm_time"]
    before = variables["batch_stats"]["norm_time"]
    np.testing.assert_allclose(
        after["mean"], 0.99 * before["mean"] + 0.01 * features.mean((0, 1, 2)), rtol=1e-4, atol=1e-7
    )
    np.testing.assert_allclose(after["var"], 0.99 * before["var"] + 0.01 * features.var((0, 1, 2)), rtol=1e-4)

"""ResNet-1D: both published sizes, the lengths of time by hand, a NumPy forward pass."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eegjax.models.resnet_1d import ResNet1D


def shapes(module: ResNet1D, n_times: int, n_chans: int) -> Any:
    trial = jax.ShapeDtypeStruct((1, n_times, n_chans), jnp.float32)
    return jax.eval_shape(lambda key, x: module.init(key, x, train=False), jax.random.key(0), trial)


@pytest.mark.parametrize(("variant", "published"), [("text", 7_735_876), ("code", 3_050_052)])
def test_published_parameter_counts(variant, published):
    params = shapes(ResNet1D(4, variant), 1000, 22)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == published
    assert params["head"]["kernel"].shape == (124_928, 4)  # 512 channels, and 1000 -> 500 -> 250 -> 244 samples
    names = [f"block_{stage}_{block}" for stage, n in enumerate((3, 4, 6, 3), 1) for block in range(1, n + 1)]
    assert set(params) == {"stem", "norm_stem", "head", *names}
    assert [name for name in names if "conv_around" in params[name]] == ["block_2_1", "block_3_1", "block_4_1"]


def numpy_conv_norm(
    x: np.ndarray, params: Any, running: Any, name: str, norm: str, padding: int, stride: int = 1
) -> Any:
    kernel = params[name]["kernel"]
    x = np.pad(x, ((0, 0), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, len(kernel), 1)[:, ::stride]  # [batch, time, channels, taps]
    taps = windows.swapaxes(2, 3).reshape(*windows.shape[:2], -1)
    x = taps @ kernel.reshape(-1, kernel.shape[-1]) + params[name]["bias"]
    scaled = (x - running[norm]["mean"]) / np.sqrt(running[norm]["var"] + 1e-5)
    return scaled * params[norm]["scale"] + params[norm]["bias"]


@pytest.mark.parametrize(("variant", "width"), [("text", 3), ("code", 1)])
def test_logits_match_numpy(variant, width):
    module, rng = ResNet1D(4, variant, ((2, 64), (1, 8))), np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.ndim == 1:
            return rng.uniform(0.5, 1, leaf.shape).astype(np.float32)
        return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)

    variables = jax.tree.map(draw, shapes(module, 31, 2))
    eeg = rng.normal(size=(2, 31, 2)).astype(np.float32)
    params, running = variables["params"], variables["batch_stats"]
    x = np.maximum(numpy_conv_norm(eeg, params, running, "stem", "norm_stem", 3, 2), 0)
    assert x.shape[1] == 16
    x = np.pad(x, ((0, 0), (1, 1), (0, 0)), constant_values=-np.inf)
    x = np.lib.stride_tricks.sliding_window_view(x, 3, 1)[:, ::2].max(-1)
    assert x.shape[1] == 8
    for name in sorted(name for name in params if name.startswith("block")):
        block = (params[name], running[name])
        around = numpy_conv_norm(x, *block, "conv_around", "norm_around", 0) if "conv_around" in params[name] else x
        x = np.maximum(numpy_conv_norm(x, *block, "conv_1", "norm_1", width // 2), 0)
        x = np.maximum(numpy_conv_norm(x, *block, "conv_2", "norm_2", width // 2) + around, 0)
    x = np.lib.stride_tricks.sliding_window_view(x, 7, 1).mean(-1)
    assert x.shape == (2, 2, 8)
    expected = x.reshape(2, -1) @ params["head"]["kernel"] + params["head"]["bias"]
    logits = jax.jit(lambda v, x: module.apply(v, x, train=False))(variables, eeg)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert np.abs(expected[0] - expected[1]).max() > 1e-2 * np.abs(expected).max()

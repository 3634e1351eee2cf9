"""The layers against NumPy and SciPy, and padding that leaves no trace."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from eegjax.errors import UserError
from eegjax.models import layers


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("padding", "mode", "strides"), [("SAME", "same", 1), ("VALID", "valid", 1), ("VALID", "valid", 2)]
)
def test_conv_matches_scipy(padding, mode, strides):
    x = images(2, 9, 8, 3)
    module = layers.conv(4, (3, 5), strides=strides, padding=padding)
    variables = module.init(jax.random.key(0), x)
    variables["params"]["bias"] = jnp.arange(4.0)
    kernel = np.asarray(variables["params"]["kernel"])
    planes = [[correlate(image, kernel[..., k], mode) for k in range(4)] for image in x]
    middle = np.array(planes)[..., x.shape[-1] // 2 if mode == "same" else 0]  # the channels overlap wholly there
    expected = np.moveaxis(middle[:, :, ::strides, ::strides], 1, -1) + np.arange(4)
    np.testing.assert_allclose(module.apply(variables, x), expected, rtol=1e-4, atol=1e-4)


def test_weights_start_with_the_fields_variances_in_float32():
    x = jnp.zeros((1, 3, 3, 64))
    for module, variance in ((layers.conv(64, (3, 3), dtype=jnp.bfloat16), 2 / (9 * 64)), (layers.dense(256), 1 / 64)):
        params = module.init(jax.random.key(1), x)["params"]
        assert params["kernel"].dtype == params["bias"].dtype == jnp.float32
        assert float(params["kernel"].var()) == pytest.approx(variance, rel=0.05)
        assert not params["bias"].any()
    bare = jax.eval_shape(layers.conv(2, (3, 3), use_bias=False).init, jax.random.key(0), x)
    assert set(bare["params"]) == {"kernel"}


def test_dense_is_a_matrix_product_over_the_last_axis():
    x = images(2, 3, 5)
    variables = layers.dense(4).init(jax.random.key(0), x)
    np.testing.assert_allclose(
        layers.dense(4).apply(variables, x), x @ np.asarray(variables["params"]["kernel"]), rtol=1e-5, atol=1e-5
    )


def test_max_pool_matches_numpy():
    x = images(2, 7, 8, 3) - 100  # a padding of zeros would win
    expected = x[:, :6].reshape(2, 3, 2, 4, 2, 3).max((2, 4))
    assert np.array_equal(layers.max_pool(x, (2, 2)), expected)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 2), (1, 2))
    assert np.array_equal(layers.max_pool(x, (3, 2), (2, 1)), windows[:, ::2].max((-1, -2)))


class Normed(nn.Module):
    dtype: object = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, mask: jax.Array | None) -> jax.Array:
        return layers.batch_norm(x, train, mask, dtype=self.dtype, name="norm")


def normed(x: np.ndarray, mask: np.ndarray | None = None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A training step: outputs, running statistics."""
    variables = Normed().init(jax.random.key(0), x, False, None)
    assert set(variables["params"]["norm"]) == {"scale", "bias"}
    out, after = Normed().apply(variables, x, True, mask, mutable=["batch_stats"])
    return np.asarray(out), jax.tree.map(np.asarray, after["batch_stats"]["norm"])


def test_batch_norm_matches_numpy():
    x = images(4, 5, 6, 3)
    out, running = normed(x)
    exact = x.astype(np.float64)
    mean, variance = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    np.testing.assert_allclose(out, (exact - mean) / np.sqrt(variance + 1e-5), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(running["mean"], 0.1 * mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * variance, rtol=1e-5)


def test_batch_norm_applies_the_running_statistics():
    x = images(2, 4, 3)
    running = {"mean": jnp.array([1.0, 2.0, 3.0]), "var": jnp.array([4.0, 1.0, 0.25])}
    scaling = {"scale": jnp.array([1.0, 2.0, 3.0]), "bias": jnp.array([0.0, 0.0, 1.0])}
    variables = {"params": {"norm": scaling}, "batch_stats": {"norm": running}}
    out = Normed().apply(variables, x, False, jnp.array([True, False]))
    np.testing.assert_allclose(out, (x - [1, 2, 3]) / [2, 1, 0.5] * [1, 2, 3] + [0, 0, 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("filling", [0.0, 1e6, np.nan])
def test_padded_rows_leave_no_trace_in_batch_norm(filling):
    x = images(4, 5, 6, 3)
    out, running = normed(x)
    padded = np.concatenate([x[:1], np.full_like(x[:2], filling), x[1:]])
    mask = np.array([True, False, False, True, True, True])
    padded_out, padded_running = normed(padded, mask)
    np.testing.assert_allclose(padded_out[mask], out, rtol=1e-5, atol=1e-6)
    for name in ("mean", "var"):
        np.testing.assert_allclose(padded_running[name], running[name], rtol=1e-6, atol=1e-7)


def test_batch_norm_survives_a_large_offset():
    """Raw EEG may stand a thousand standard deviations off zero; E[x²] - E[x]² is noise there."""
    x = images(64, 100, 2) + 1e4
    out, _ = normed(x)
    np.testing.assert_allclose(out.std((0, 1)), 1, rtol=1e-3)


def test_batch_norm_keeps_float32_statistics_under_bfloat16():
    x = jnp.asarray(images(4, 5, 3), jnp.bfloat16)
    out, variables = Normed(jnp.bfloat16).init_with_output(jax.random.key(0), x, True, None)
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("window", [(2, 2), (3, 2), (4,), (2, 2, 2)])
def test_max_pool_and_its_gradient_equal_the_plain_form(window: tuple[int, ...]) -> None:
    """Odd sizes, and ties: the gradient goes to the first of equal values."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(-2, 3, (3, *(2 * w + 1 + k for k, w in enumerate(window)), 5)), jnp.float32)
    weight = jnp.asarray(rng.normal(size=nn.max_pool(x, window, window).shape), jnp.float32)
    plain = jax.value_and_grad(lambda x: jnp.vdot(nn.max_pool(x, window, window), weight))(x)
    ours = jax.value_and_grad(lambda x: jnp.vdot(layers.max_pool(x, window), weight))(x)
    for expected, found in zip(plain, ours, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_max_pool_keeps_nan() -> None:
    x = jnp.zeros((1, 2, 2, 4)).at[0, [0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 2, 3]].set(jnp.nan)
    assert jnp.isnan(layers.max_pool(x, (2, 2))).all()


def test_a_dtype_is_had_by_its_name() -> None:
    assert layers.dtype_of("float32") == jnp.float32
    assert layers.dtype_of("bfloat16") == jnp.bfloat16
    with pytest.raises(UserError, match=r"precision is 'float61'; there are float32, bfloat16\. "):
        layers.dtype_of("float61")

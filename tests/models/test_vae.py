"""The variational autoencoder: its published size, a NumPy forward pass, what it draws."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eegjax.errors import UserError
from eegjax.models.vae import VAE


def made(module: VAE) -> Any:
    rng = np.random.default_rng(0)
    trial = jnp.zeros((1, module.n_times, module.n_chans))
    shapes = jax.eval_shape(lambda key: module.init(key, trial, train=False), jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), shapes)


@pytest.mark.parametrize(
    ("module", "n_parameters"),
    [
        (VAE(), 88_146_040),
        (VAE(2000, 2000, 5000), 44_002_000 + 2 * 4_002_000 + 10_005_000 + 110_022_000),  # the report's code
        (VAE(n_times=2000), 88_146_040 + 22_000 * 2000 + 22_000 * 2001),
    ],
)
def test_published_parameter_counts(module, n_parameters):
    trial = jax.ShapeDtypeStruct((1, module.n_times, module.n_chans), jnp.float32)
    shapes = jax.eval_shape(lambda key, x: module.init(key, x, train=False), jax.random.key(0), trial)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == n_parameters
    assert shapes["params"]["head"]["kernel"].shape == (module.n_decoder, module.n_times * module.n_chans)


def test_the_reconstruction_at_test_matches_numpy():
    module = VAE(7, 3, 6, n_times=5, n_chans=2)
    variables = made(module)
    x = np.random.default_rng(1).normal(size=(4, 5, 2)).astype(np.float32)
    params = variables["params"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ params[name]["kernel"] + params[name]["bias"]

    hidden = np.maximum(linear(x.reshape(4, 10), "encoder"), 0)
    mean, log_variance = linear(hidden, "mean"), linear(hidden, "log_variance")
    expected = linear(np.maximum(linear(mean, "decoder"), 0), "head").reshape(4, 5, 2)
    found = module.apply(variables, x, train=False)
    for one, other in zip(found, (expected, mean, log_variance), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(module.apply(variables, mean, method="decode"), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("std_is_exp_log_variance", [False, True])
def test_training_draws_the_code_from_its_distribution(std_is_exp_log_variance):
    """The decoder passes the code on as it is, so that the reconstruction is the code."""
    module = VAE(4, 2, 2, n_times=2, n_chans=1, std_is_exp_log_variance=std_is_exp_log_variance)
    variables = made(module)
    params = variables["params"]
    params["decoder"] = {"kernel": np.eye(2, dtype=np.float32), "bias": np.full(2, 50, np.float32)}
    params["head"] = {"kernel": np.eye(2, dtype=np.float32), "bias": np.full(2, -50, np.float32)}
    x = np.repeat(np.random.default_rng(1).normal(size=(1, 2, 1)), 20_000, 0).astype(np.float32)
    z, mean, log_variance = module.apply(variables, x, train=True, rngs={"latent": jax.random.key(0)})
    std = np.exp(log_variance[0] * (1 if std_is_exp_log_variance else 0.5))
    assert np.abs(np.log(std)).min() > 0.02  # so that the two forms differ
    np.testing.assert_allclose(z[..., 0].mean(0), mean[0], atol=5 * std.max() / np.sqrt(20_000))
    np.testing.assert_allclose(z[..., 0].std(0), std, rtol=0.03)
    assert abs(np.corrcoef(z[..., 0].T)[0, 1]) < 0.03
    again, _, _ = module.apply(variables, x[:3], train=True, rngs={"latent": jax.random.key(1)})
    assert np.abs(again[0] - again[1]).max() > 1e-3  # each trial its own


def test_the_mask_changes_nothing():
    module = VAE(7, 3, 6, n_times=5, n_chans=2)
    variables, x = made(module), np.ones((2, 5, 2), np.float32)
    plain = module.apply(variables, x, train=False)
    masked = module.apply(variables, x, train=False, mask=np.array([True, False]))
    jax.tree.map(np.testing.assert_array_equal, plain, masked)


def test_bfloat16_keeps_float32_weights_and_outputs():
    module = VAE(7, 3, 6, n_times=5, n_chans=2)
    variables, x = made(module), np.random.default_rng(1).normal(size=(4, 5, 2)).astype(np.float32)
    with jax.numpy_dtype_promotion("strict"):
        half = module.clone(dtype=jnp.bfloat16).apply(variables, x, train=True, rngs={"latent": jax.random.key(0)})
    full = module.apply(variables, x, train=True, rngs={"latent": jax.random.key(0)})
    for one, other in zip(half, full, strict=True):
        assert one.dtype == jnp.float32
        assert 1e-6 < np.linalg.norm(one - other) / np.linalg.norm(other) < 0.05


def test_trials_of_another_shape_are_an_error():
    module = VAE(7, 3, 6, n_times=5, n_chans=2)
    with pytest.raises(UserError, match="of 5 samples and 2 channels, the trials have 4 and 3: set its n_times"):
        module.apply(made(module), np.zeros((1, 4, 3)), train=False)

"""Losses of variational autoencoders against SciPy, Monte Carlo, quadrature and the report's formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import log_expit

from eegjax.train import variational

numbers = st.floats(-3, 3)


@settings(max_examples=25)
@given(mean=numbers, log_variance=numbers)
def test_the_divergence_is_the_integral(mean, log_variance):
    there, normal = stats.norm(mean, np.exp(log_variance / 2)), stats.norm()
    expected, _ = integrate.quad(
        lambda z: there.pdf(z) * (there.logpdf(z) - normal.logpdf(z)), *there.interval(1 - 1e-13), limit=200
    )
    found = variational.kl_divergence(jnp.array([[mean]]), jnp.array([[log_variance]]))
    assert found.shape == (1,)
    assert float(found[0]) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_divergence_matches_monte_carlo_and_is_zero_at_the_prior():
    rng = np.random.default_rng(0)
    mean, log_variance = rng.normal(size=(2, 3, 4)).astype(np.float32)
    std = np.exp(log_variance / 2)
    z = mean + std * rng.normal(size=(100_000, 3, 4))
    ratio = (stats.norm(mean, std).logpdf(z) - stats.norm.logpdf(z)).sum(-1)
    found = variational.kl_divergence(mean, log_variance)
    np.testing.assert_array_less(np.abs(found - ratio.mean(0)), 5 * ratio.std(0) / np.sqrt(len(z)))
    assert not variational.kl_divergence(jnp.zeros((2, 3)), jnp.zeros((2, 3))).any()


def test_the_gaussian_loss_is_scipys_logarithm():
    x, reconstruction = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    expected = -stats.norm(reconstruction, 1).logpdf(x).sum((1, 2))
    np.testing.assert_allclose(
        variational.gaussian_loss(x, reconstruction), expected, rtol=1e-5, atol=1e-5
    )  # sums of twenty


@settings(max_examples=25)
@given(slope=st.floats(-2, 2), x=numbers)
def test_the_loss_bounds_the_evidence_and_meets_it_at_the_posterior(slope, x):
    """z ~ N(0, 1), x | z ~ N(slope z, 1): all of it is known, and quadrature over z is exact."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)

    def loss(mean: float, variance: float) -> float:
        z = mean + np.sqrt(variance) * nodes
        column = (len(nodes), 1, 1)
        outputs = (slope * z.reshape(column), np.full(column[:2], mean), np.full(column[:2], np.log(variance)))
        return float(np.average(variational.vae_loss(jnp.full(column, x), outputs), weights=weights))

    evidence = stats.norm(0, np.sqrt(1 + slope**2)).logpdf(x)
    variance = 1 / (1 + slope**2)
    assert loss(slope * x * variance, variance) == pytest.approx(-evidence, rel=1e-4, abs=1e-4)
    assert loss(slope * x * variance + 0.5, 2 * variance) > -evidence


def test_the_published_loss_is_the_reports():
    """Its sum over a batch, which is divided by the batch's size here, as every loss per example is."""
    rng = np.random.default_rng(0)
    x, logits = rng.normal(0, 2, (2, 6, 5, 4)).astype(np.float32)
    mean, log_std = rng.normal(size=(2, 6, 3)).astype(np.float32)
    cross_entropy = -(x * log_expit(logits) + (1 - x) * log_expit(-logits)).sum()
    divergence = -0.5 * np.mean(np.sum(1 + 2 * log_std - mean**2 - np.exp(log_std) ** 2, 1))
    found = variational.published_vae_loss(x, (logits, mean, log_std), batch_size=6)
    assert found.shape == (6,)
    assert float(found.mean()) == pytest.approx((cross_entropy + divergence) / 6, rel=1e-5, abs=1e-5)
    parts = variational.binary_loss(x, logits) + variational.kl_divergence(mean, 2 * log_std) / 6
    np.testing.assert_allclose(found, parts, rtol=1e-5, atol=1e-5)  # of either sign


def test_nothing_bounds_the_published_loss():
    """A z-score of 2 is no probability: ever larger logits make the loss ever smaller."""
    x = jnp.full((1, 1, 1), 2.0)
    losses = [float(variational.binary_loss(x, jnp.full((1, 1, 1), logit))[0]) for logit in (1.0, 10.0, 100.0)]
    assert losses[0] > losses[1] > losses[2] == pytest.approx(-100)


def test_gradients_are_finite():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 5, 4)).astype(np.float32)
    outputs = tuple(rng.normal(0, 5, shape).astype(np.float32) for shape in ((3, 5, 4), (3, 2), (3, 2)))
    for loss in (variational.vae_loss, lambda x, o: variational.published_vae_loss(x, o, 3)):
        gradients = jax.grad(lambda o, loss=loss: loss(x, o).sum())(outputs)
        assert all(np.isfinite(leaf).all() and leaf.any() for leaf in gradients)

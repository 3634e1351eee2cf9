"""Losses over volumes against torch's and the papers' formulas in NumPy, finite differences and known limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from eegjax.train import volume_losses as losses

SHAPE = (3, 4, 5)
PAPER = (1e-7, 1.0)
ATOL = 4 * np.finfo(np.float32).eps  # of log p where p is nearly 1

CLASSIFICATION = {
    "paper": lambda logits, targets, mask=None: losses.weighted_cross_entropy(logits, targets, PAPER, mask),
    "balanced": lambda logits, targets, mask=None: losses.weighted_cross_entropy(
        logits, targets, losses.balanced_weights(targets, mask), mask
    ),
    "dice": losses.soft_dice,
    "focal": losses.focal,
}
REGRESSION = {"mse": losses.mse, "l1": losses.l1}
LOSSES = CLASSIFICATION | REGRESSION


def case(name: str, seed: int = 0, p_source: float = 0.2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs, targets, and a mask per example; the first example has no source."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(0, 2, (4, *SHAPE, 2 if name in CLASSIFICATION else 1)).astype(np.float32)
    targets = (rng.uniform(0.1, 1, (4, *SHAPE)) * (rng.random((4, *SHAPE)) < p_source)).astype(np.float32)
    targets[0] = 0
    return outputs, targets, rng.random((4, *SHAPE)) < 0.6


def probabilities(logits: np.ndarray) -> np.ndarray:
    """[n_voxels, 2] float64."""
    e = np.exp(logits.astype(np.float64).reshape(-1, 2))
    return e / e.sum(-1, keepdims=True)


def reference(name: str, outputs: np.ndarray, targets: np.ndarray) -> float:
    """One example's loss: torch's forms and the papers', voxel by voxel in float64."""
    y = targets.ravel().astype(np.float64)
    g = (y > 0).astype(int)
    if name in REGRESSION:
        error = outputs.ravel().astype(np.float64) - y
        return float(np.mean(error**2) if name == "mse" else np.mean(np.abs(error)))
    p = probabilities(outputs)
    p_true = p[np.arange(len(g)), g]
    if name == "dice":
        source = p[:, 1]
        if not g.any():
            return float((source**2).sum() / ((source**2).sum() + 1))
        return float(1 - 2 * (source * g).sum() / ((source**2).sum() + (g**2).sum()))
    if name == "focal":
        alpha = np.where(g == 1, 0.25, 0.75)
        return float(-(alpha * (1 - p_true) ** 2 * np.log(p_true)).sum() / max(g.sum(), 1))
    n_source, n_background = max(g.sum(), 1), max((1 - g).sum(), 1)
    weights = np.array(PAPER if name == "paper" else (n_source / n_background, 1))[g]
    return float((weights * -np.log(p_true)).sum() / weights.sum())


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=10)
@given(seed=st.integers(0, 999), p_source=st.sampled_from([0.03, 0.3, 1.0]))
def test_each_example_has_the_formulas_loss(name, seed, p_source):
    outputs, targets, mask = case(name, seed, p_source)
    found = LOSSES[name](outputs, targets)
    assert found.shape == (4,)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, [reference(name, o, t) for o, t in zip(outputs, targets, strict=True)], rtol=2e-5, atol=ATOL
    )
    masked = [reference(name, o[m], t[m]) for o, t, m in zip(outputs, targets, mask, strict=True)]
    np.testing.assert_allclose(LOSSES[name](outputs, targets, jnp.asarray(mask)), masked, rtol=2e-5, atol=ATOL)
    common = [reference(name, o[mask[0]], t[mask[0]]) for o, t in zip(outputs, targets, strict=True)]
    np.testing.assert_allclose(LOSSES[name](outputs, targets, jnp.asarray(mask[0])), common, rtol=2e-5, atol=ATOL)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_differences(name):
    outputs, targets, mask = case(name)

    def total(x):
        return LOSSES[name](x, targets, mask).sum()

    check_grads(total, (outputs,), order=1, modes=["rev"], eps=1e-2, rtol=2e-2, atol=1e-3)
    gradient = np.asarray(jax.grad(total)(outputs))
    assert not gradient[~mask].any()
    assert gradient[mask].any(axis=-1).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_mask_of_nothing_is_no_loss_and_no_gradient(name):
    outputs, targets, _ = case(name)
    value, gradient = jax.value_and_grad(lambda x: LOSSES[name](x, targets, jnp.zeros(SHAPE, bool)).sum())(outputs)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_without_source_a_loss_is_finite_and_falls_to_zero_with_the_prediction(name):
    targets = jnp.zeros((1, *SHAPE))

    def loss(logit):
        return CLASSIFICATION[name](jnp.stack([jnp.zeros(SHAPE), jnp.full(SHAPE, logit)], -1)[None], targets)[0]

    values, slopes = jax.vmap(jax.value_and_grad(loss))(jnp.array([-20.0, -2.0, 0.0, 2.0]))
    assert 0 <= float(values[0]) < 1e-6
    assert (np.diff(values) > 0).all()
    assert (slopes[1:] > 0).all()


@pytest.mark.parametrize("name", CLASSIFICATION)
@pytest.mark.parametrize("size", [50.0, 1e4, 1e30])
def test_sure_predictions_keep_finite_gradients(name, size):
    _, targets, _ = case(name)
    for sign in (1, -1):
        right = sign * size * np.where(targets > 0, 1, -1)
        logits = np.stack([-right / 2, right / 2], -1).astype(np.float32)
        value, gradient = jax.value_and_grad(lambda x: CLASSIFICATION[name](x, targets).sum())(logits)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        assert (value < 1e-6) == (sign == 1)


def test_torchs_batch_is_the_mean_over_examples_that_have_equally_many_sources():
    logits, targets, _ = case("paper", 1)
    targets = np.stack([np.random.default_rng(i).permutation(np.arange(60) < 7) for i in range(4)]).reshape(4, *SHAPE)
    weights = np.array(PAPER)[targets.ravel().astype(int)]
    of_voxel = -np.log(probabilities(logits)[np.arange(targets.size), targets.ravel().astype(int)])
    torchs = (weights * of_voxel).sum() / weights.sum()
    assert float(losses.weighted_cross_entropy(logits, targets, PAPER).mean()) == pytest.approx(
        torchs, rel=1e-5, abs=float(ATOL)
    )


def test_balanced_weights_give_both_classes_equal_say():
    logits, targets, mask = case("balanced")
    weights = np.asarray(losses.balanced_weights(targets, mask))
    source = (targets > 0) & mask
    n_source, n_background = source.sum((1, 2, 3)), (mask & ~source).sum((1, 2, 3))
    np.testing.assert_allclose(weights[1:], np.stack([n_source / n_background, np.ones(4)], -1)[1:], rtol=1e-6)
    of_voxel = -np.log(probabilities(logits)[np.arange(targets.size), (targets > 0).astype(int).ravel()])
    of_voxel = of_voxel.reshape(targets.shape)
    halves = [(v[s].mean() + v[m & ~s].mean()) / 2 for v, s, m in zip(of_voxel, source, mask, strict=True) if s.any()]
    np.testing.assert_allclose(CLASSIFICATION["balanced"](logits, targets, mask)[1:], halves, rtol=1e-5, atol=ATOL)


def test_dice_of_known_overlaps():
    """A prediction that is sure of half the source: 1 - 2 * 5 / (5 + 10); of the source and as much again: the same."""
    targets = np.zeros((1, 1, 4, 5), np.float32)
    targets[:, :, :2] = 0.7  # any value above 0
    for rows, expected in ((slice(0, 1), 1 / 3), (slice(0, 4), 1 / 3), (slice(0, 2), 0.0), (slice(2, 4), 1.0)):
        logits = np.full((1, 1, 4, 5, 2), [20.0, -20.0], np.float32)
        logits[:, :, rows] = [-20, 20]
        assert float(losses.soft_dice(logits, targets)[0]) == pytest.approx(expected, abs=1e-6)


def test_focal_without_focus_is_the_cross_entropy():
    logits, targets, _ = case("focal")
    plain = losses.weighted_cross_entropy(logits, targets, (1.0, 1.0)) * targets[0].size
    n_source = np.maximum((targets > 0).sum((1, 2, 3)), 1)
    np.testing.assert_allclose(
        losses.focal(logits, targets, alpha=0.5, gamma=0.0), plain / n_source / 2, rtol=1e-5, atol=ATOL
    )


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_outputs_are_computed_in_single(name):
    outputs, targets, mask = case(name)
    halved = jnp.asarray(outputs, jnp.bfloat16)
    found = LOSSES[name](halved, targets, mask)
    assert found.dtype == np.float32
    assert np.array_equal(found, LOSSES[name](halved.astype(jnp.float32), targets, mask))

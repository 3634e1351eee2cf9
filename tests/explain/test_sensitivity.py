"""Sensitivity maps against finite differences, an analytic case and NumPy sums."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from eegjax.explain.sensitivity import accumulate, class_means, compute_gradients
from eegjax.models.vgg import VGG16
from eegjax.models.vgg_conv_lstm import VGG16ConvLSTM
from eegjax.train.losses import cross_entropy

N_CLASSES = 6


def losses_of(kind: type[nn.Module], *leading: int) -> tuple[Callable[..., Any], np.ndarray]:
    """(images -> float64 losses, images [*leading, 32, 32, 1]) of a narrow network; call under x64.

    The models round their logits to float32, too coarse for differences: the head's own output isn't rounded.
    """
    model = kind(n_outputs=N_CLASSES, width=1 / 64, dtype=jnp.float64)  # type: ignore[call-arg]
    rng = np.random.default_rng(0)
    images = rng.normal(size=(*leading, 32, 32, 1))
    labels = rng.integers(0, N_CLASSES, leading)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.ndim == 1:
            return rng.uniform(0.1, 0.3, leaf.shape)
        return rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape)

    variables = jax.tree.map(draw, jax.eval_shape(model.init, jax.random.key(0), images))

    def losses(images: Any) -> jax.Array:
        _, state = model.apply(
            variables, images, capture_intermediates=lambda module, _: module.name == "head", mutable="intermediates"
        )
        (logits,) = state["intermediates"]["head"]["__call__"]
        return cross_entropy(logits.reshape(*leading, N_CLASSES), labels, np.ones(N_CLASSES))

    return losses, images


@pytest.mark.parametrize(("kind", "leading"), [(VGG16, (2,)), (VGG16ConvLSTM, (2, 3))])
def test_gradients_match_central_differences(kind, leading):
    """Of each epoch's own loss: in a sequence one image is moved at a time, and only its own loss is read."""
    eps = 1e-6
    with jax.enable_x64(True):
        losses, images = losses_of(kind, *leading)
        found = np.asarray(jax.jit(partial(compute_gradients, losses))(images))
        compiled = jax.jit(losses)
        assert compiled(images).dtype == np.float64
        assert found.shape == images.shape
        rng = np.random.default_rng(1)
        largest = np.argsort(found.sum(tuple(range(len(leading)))).ravel())[::-1]
        pixels = [*largest[:2], *rng.integers(0, largest.size, 2)]
        for step in range(leading[1]) if len(leading) > 1 else [...]:
            here = np.s_[:] if step is ... else np.s_[:, step]
            for y, x, _ in np.transpose(np.unravel_index(pixels, images.shape[-3:])):
                moved = np.zeros_like(images)
                moved[here][..., y, x, 0] = eps
                slopes = np.asarray(compiled(images + moved) - compiled(images - moved)) / (2 * eps)
                np.testing.assert_allclose(found[here][..., y, x, 0], np.abs(slopes[here]), rtol=1e-5, atol=1e-9)
                if step == 0:  # the later losses move as well, or the test wouldn't see them counted
                    assert np.abs(slopes[:, 1:]).max() > 1e-4 * np.abs(slopes[:, 0]).max()
    assert found.max() > 1e-3


@pytest.mark.parametrize("leading", [(5,), (2, 4), (3, 1)])
def test_linear_softmax(leading):
    """Cross-entropy of softmax(x W) has the gradient W (p - y)."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(12, N_CLASSES)).astype(np.float32)
    images = rng.normal(size=(*leading, 2, 3, 2)).astype(np.float32)
    labels = rng.integers(0, N_CLASSES, leading)

    def loss(images: jax.Array) -> jax.Array:
        return cross_entropy(images.reshape(*leading, -1) @ weights, labels, np.ones(N_CLASSES, np.float32))

    p = softmax(images.reshape(*leading, -1) @ weights, -1)
    expected = np.abs((p - np.eye(N_CLASSES)[labels]) @ weights.T).reshape(images.shape)
    np.testing.assert_allclose(jax.jit(partial(compute_gradients, loss))(images), expected, rtol=1e-4, atol=1e-6)


def night(n: int = 23) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(gradients [n, 2, 3, 1], labels [n], mask [n]); class 4 never occurs, some are unscored."""
    rng = np.random.default_rng(0)
    return (
        rng.exponential(size=(n, 2, 3, 1)).astype(np.float32),
        rng.choice([-1, 0, 1, 2, 3, 5], n).astype(np.int8),
        rng.random(n) < 0.7,
    )


def summed(parts: list[tuple[np.ndarray, ...]]) -> tuple[jax.Array, jax.Array]:
    total, count = jnp.zeros((N_CLASSES, 2, 3, 1)), jnp.zeros(N_CLASSES, jnp.int32)
    for part in parts:
        total, count = jax.jit(accumulate)(total, count, *part)
    return total, count


def test_means_per_class():
    values, labels, mask = night()
    with jax.numpy_dtype_promotion("strict"):
        total, count = summed([(values, labels, mask)])
        means = np.asarray(jax.jit(class_means)(total, count))
    assert count.tolist() == [np.sum(mask & (labels == number)) for number in range(N_CLASSES)]
    assert count[4] == 0
    assert 0 < count.sum() < mask.sum()
    for number in range(N_CLASSES):
        chosen = values[mask & (labels == number)]
        expected = chosen.mean(0) if len(chosen) else np.zeros((2, 3, 1))
        np.testing.assert_allclose(means[number], expected, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 4, 9])
def test_any_split_into_batches_gives_the_same(size):
    values, labels, mask = night()
    expected_total, expected_count = summed([(values, labels, mask)])
    starts = range(0, len(values), size)
    total, count = summed([tuple(array[s : s + size] for array in (values, labels, mask)) for s in starts])
    np.testing.assert_array_equal(count, expected_count)
    np.testing.assert_allclose(total, expected_total, rtol=1e-6)


def test_sequences_are_epochs():
    values, labels, mask = (array[:20] for array in night())
    flat, shaped = (
        summed([(values, labels, mask)]),
        summed([(values.reshape(5, 4, 2, 3, 1), *(array.reshape(5, 4) for array in (labels, mask)))]),
    )
    jax.tree.map(np.testing.assert_array_equal, flat, shaped)


def test_padding_leaves_no_trace():
    values, labels, mask = night()
    dirty = np.where(mask[:, None, None, None], values, np.nan).astype(np.float32)
    jax.tree.map(np.testing.assert_array_equal, summed([(values, labels, mask)]), summed([(dirty, labels, mask)]))


def test_what_is_not_a_number_stays_in_its_class():
    values, labels, _ = night()
    values[np.flatnonzero(labels == 2)[0], 0, 0, 0] = np.nan
    total, _ = summed([(values, labels, np.ones(len(values), bool))])
    assert np.argwhere(np.isnan(total)).tolist() == [[2, 0, 0, 0]]

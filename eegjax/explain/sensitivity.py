"""Sensitivity maps: which pixels of an image the loss depends on, on average over the epochs of a class.

Equation 3 of the sleep paper (after Vilamala, Madsen & Hansen, 2017), for pixel j of the images x_n with targets t_n:

    s_j = 1/N Σ_n |∂L(f(x), t) / ∂x_j| at x = x_n, t = t_n
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def compute_gradients(
    loss: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    features: Callable[[jax.Array], jax.Array] = lambda images: images,
) -> jax.Array:
    """|∂L_n/∂x_n|: how each epoch's own loss depends on its own image.

    In a sequence the later epochs' losses depend on an image too; that isn't counted.

    Args:
        loss: features -> the losses of the same examples, [batch] or, of sequences, [batch, n_steps] float; no example
            of the batch may depend on another one (so no batch statistics: the network as it predicts).
        images: [batch, *image] or [batch, n_steps, *image] float. What pads a sequence must be finite, since a number
            that isn't would reach the epochs before it as 0 times NaN.
        features: `images` -> what `loss` takes, each image's own: of a sequence, gradients then pass through it once
            for all steps.

    Returns:
        [batch, *image] or [batch, n_steps, *image], the dtype of `images`, at least 0; unit: that of the loss per unit
        of a pixel.
    """
    maps, pull_features = jax.vjp(features, images)
    losses, pull = jax.vjp(loss, maps)
    if losses.ndim == 1:
        (own,) = pull(jnp.ones_like(losses))
    else:
        steps = jnp.eye(losses.shape[1], dtype=losses.dtype)
        each = jax.vmap(lambda step: pull(jnp.broadcast_to(step, losses.shape))[0])(steps)  # [n_steps, *maps.shape]
        own = jnp.einsum("tbt...->bt...", each)
    return jnp.abs(pull_features(own)[0])


def accumulate(
    total: jax.Array, count: jax.Array, gradients: jax.Array, labels: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Add a batch to the sums per class; both begin as zeros.

    Args:
        total: [n_classes, *image] float32, the sums so far.
        count: [n_classes] int32, the epochs in them.
        gradients: [..., *image] float32, from `compute_gradients`.
        labels: [...] int, the class of each epoch; one outside 0..n_classes - 1 belongs to none.
        mask: [...] bool, False for padding, which may hold anything, even what is not a number.

    Returns:
        The new total, [n_classes, *image] float32, and count, [n_classes] int32.
    """
    image = total.shape[1:]
    member = mask.ravel() & (labels.ravel() == jnp.arange(len(total), dtype=labels.dtype)[:, None])  # [n_classes, n]
    # Selected and summed: a matrix product would be rounded on accelerators, and spread one NaN to all classes.
    chosen = jnp.where(member.reshape(*member.shape, *[1] * len(image)), gradients.reshape(-1, *image), 0)
    return total + jnp.sum(chosen, 1), count + jnp.sum(member, 1, dtype=count.dtype)


def class_means(total: jax.Array, count: jax.Array) -> jax.Array:
    """The sensitivity map of each class: what `accumulate` summed, divided by the number of epochs.

    Args:
        total: [n_classes, *image] float32.
        count: [n_classes] int32.

    Returns:
        [n_classes, *image] float32; zeros where `count` is 0.
    """
    n = jnp.maximum(count, 1).astype(total.dtype)
    return total / n.reshape(-1, *[1] * (total.ndim - 1))

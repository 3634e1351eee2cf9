"""Losses per example; the step averages them under the mask."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array, class_weights: jax.Array | None = None) -> jax.Array:
    """Weighted cross-entropy per example.

    Args:
        logits: [..., n_classes] float32.
        labels: [...] int, the class.
        class_weights: [n_classes] float32; None for the plain form.

    Returns:
        [...] float32.
    """
    plain = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return plain if class_weights is None else plain * jnp.asarray(class_weights)[labels]

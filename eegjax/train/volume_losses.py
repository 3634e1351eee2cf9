"""Losses over volumes, per example; the step averages them over examples.

Outputs are [batch, d, h, w, c] (any float), targets [batch, d, h, w], and everything is computed in float32. A mask,
[d, h, w] or [batch, d, h, w] bool, says which voxels count (those that can hold a source); without it all do. An
example whose mask is empty has the loss 0.

For classification the outputs are two logits, background and source, and a voxel is of a source where its target is
above 0. Every loss is defined, with a finite gradient, where no voxel is.
"""

import jax
import jax.numpy as jnp

VOXELS = (-3, -2, -1)


def mse(outputs: jax.Array, targets: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Squared error, the mean over voxels: torch's `MSELoss` is the mean of it over examples.

    Args:
        outputs: [batch, d, h, w, 1] float.
        targets: [batch, d, h, w] float, of the outputs' unit.
        mask: [d, h, w] or [batch, d, h, w] bool.

    Returns:
        [batch] float32.
    """
    return _mean(jnp.square(_error(outputs, targets)), mask)


def l1(outputs: jax.Array, targets: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Absolute error, the mean over voxels, as torch's `L1Loss`; shapes as for `mse`."""
    return _mean(jnp.abs(_error(outputs, targets)), mask)


def weighted_cross_entropy(
    logits: jax.Array, targets: jax.Array, class_weights: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """Cross-entropy with a weight per class, divided by the sum of the weights of the voxels, not by their number.

    That is torch's `CrossEntropyLoss(weight=...)` for one example. Torch divides a batch by the sum of all its
    weights; the mean over examples is the same where they have equally many source voxels.

    Args:
        logits: [batch, d, h, w, 2] float, background and source.
        targets: [batch, d, h, w], above 0 where there is a source.
        class_weights: [2] or [batch, 2] float32, background and source: (1e-7, 1) is the inverse paper's,
            `balanced_weights` those of equal say. An example whose weights sum to 0 has the loss 0.
        mask: [d, h, w] or [batch, d, h, w] bool.

    Returns:
        [batch] float32.
    """
    of_source, of_background = _log_probabilities(logits)
    source = targets > 0
    class_weights = jnp.broadcast_to(jnp.asarray(class_weights, jnp.float32), (len(targets), 2))[..., None, None, None]
    weights = _counted(jnp.where(source, class_weights[:, 1], class_weights[:, 0]), mask)
    total = weights.sum(VOXELS)
    loss = -(weights * jnp.where(source, of_source, of_background)).sum(VOXELS)
    return loss / jnp.where(total > 0, total, 1)


def balanced_weights(targets: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Class weights that give background and source equal say: n+/n- and 1, per example.

    Args:
        targets: [batch, d, h, w], above 0 where there is a source.
        mask: [d, h, w] or [batch, d, h, w] bool.

    Returns:
        [batch, 2] float32; n+ is taken to be at least 1, so that an example without source is all background, and n-
        likewise.
    """
    n_source = _counted((targets > 0).astype(jnp.float32), mask).sum(VOXELS)
    n_background = _counted((targets <= 0).astype(jnp.float32), mask).sum(VOXELS)
    background = jnp.maximum(n_source, 1) / jnp.maximum(n_background, 1)
    return jnp.stack([background, jnp.ones_like(background)], -1)


def soft_dice(logits: jax.Array, targets: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """1 - Dice coefficient of the source's probabilities p and the target g (0 or 1), squares in the denominator.

        1 - 2 sum(p g) / (sum(p^2) + sum(g^2))

    Milletari, Navab & Ahmadi, "V-Net: fully convolutional neural networks for volumetric medical image segmentation"
    (2016), section 3. It is 1 whatever is predicted where there is no source; there it is sum(p^2) / (sum(p^2) + 1)
    here, one voxel being added above and below: 0 if nothing is predicted, and with a gradient.

    Args:
        logits: [batch, d, h, w, 2] float, background and source.
        targets: [batch, d, h, w], above 0 where there is a source.
        mask: [d, h, w] or [batch, d, h, w] bool.

    Returns:
        [batch] float32 in 0..1.
    """
    p = _counted(jnp.exp(_log_probabilities(logits)[0]), mask)
    g = _counted((targets > 0).astype(jnp.float32), mask)
    n_source = g.sum(VOXELS)  # g^2 = g
    empty = (n_source == 0).astype(jnp.float32)
    return 1 - (2 * (p * g).sum(VOXELS) + empty) / (jnp.square(p).sum(VOXELS) + n_source + empty)


def focal(
    logits: jax.Array, targets: jax.Array, mask: jax.Array | None = None, alpha: float = 0.25, gamma: float = 2.0
) -> jax.Array:
    """Focal loss, the sum over voxels divided by the number of source voxels (at least 1).

        -alpha_t (1 - p_t)^gamma log p_t

    Lin, Goyal, Girshick, He & Dollár, "Focal loss for dense object detection" (2017), equation 5 and section 4.1,
    with p_t the probability of the true class and alpha_t alpha for source, 1 - alpha for background.

    Args:
        logits: [batch, d, h, w, 2] float, background and source.
        targets: [batch, d, h, w], above 0 where there is a source.
        mask: [d, h, w] or [batch, d, h, w] bool.
        alpha: 0..1.
        gamma: at least 0; 0 is the cross-entropy.

    Returns:
        [batch] float32.
    """
    of_source, of_background = _log_probabilities(logits)
    source = targets > 0
    right = jnp.where(source, of_source, of_background)
    wrong = jnp.where(source, of_background, of_source)
    # exp(gamma log(1 - p_t)): a power of 1 - p_t has no gradient where that rounds to 0
    loss = -jnp.where(source, alpha, 1 - alpha) * jnp.exp(gamma * wrong) * right
    n_source = _counted(source.astype(jnp.float32), mask).sum(VOXELS)
    return _counted(loss, mask).sum(VOXELS) / jnp.maximum(n_source, 1)


def _error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    return outputs[..., 0].astype(jnp.float32) - targets.astype(jnp.float32)


def _log_probabilities(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The logarithms of the probabilities of source and of background, [batch, d, h, w] float32 each."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32), -1)
    return log_p[..., 1], log_p[..., 0]


def _counted(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Zero outside the mask."""
    return values if mask is None else jnp.where(mask, values, 0)


def _mean(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    """The mean over the voxels of the mask."""
    if mask is None:
        return values.mean(VOXELS)
    return _counted(values, mask).sum(VOXELS) / jnp.maximum(mask.sum(VOXELS), 1)

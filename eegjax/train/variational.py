"""What a variational autoencoder is trained on, per example; Kingma & Welling (2013), equation 10.

Each is a number of nats per trial, summed over its samples and channels.
"""

import jax
import jax.numpy as jnp
import optax

Outputs = tuple[jax.Array, jax.Array, jax.Array]  # a reconstruction, a mean and a log variance


def vae_loss(x: jax.Array, outputs: Outputs) -> jax.Array:
    """The negative evidence lower bound under a normal likelihood.

    Args:
        x: [batch, n_times, n_chans] float32 z-scores.
        outputs: `eegjax.models.vae.VAE`'s: the reconstruction, of x's shape, and z's mean and log variance,
            [batch, n_latent].

    Returns:
        [batch] float32.
    """
    reconstruction, mean, log_variance = outputs
    return gaussian_loss(x, reconstruction) + kl_divergence(mean, log_variance)


def published_vae_loss(x: jax.Array, outputs: Outputs, batch_size: int) -> jax.Array:
    """What the motor-imagery report's code minimises instead.

    The cross-entropy, of z-scores, is summed over the batch and the divergence averaged, which makes it the smaller by
    the batch's size; log variances are logarithms of standard deviations (`std_is_exp_log_variance`). Nothing bounds
    it from below.

    Args:
        x: [batch, n_times, n_chans] float32 z-scores.
        outputs: as for `vae_loss`.
        batch_size: of the training, 50 in the report.

    Returns:
        [batch] float32; its mean is the report's sum over a batch, divided by `batch_size`.
    """
    logits, mean, log_std = outputs
    return binary_loss(x, logits) + kl_divergence(mean, 2 * log_std) / batch_size


def gaussian_loss(x: jax.Array, reconstruction: jax.Array) -> jax.Array:
    """-log N(x; reconstruction, 1): [batch, n_times, n_chans] twice -> [batch] float32."""
    return jnp.sum(jnp.square(x - reconstruction) + jnp.log(2 * jnp.pi), (-2, -1)) / 2


def binary_loss(x: jax.Array, logits: jax.Array) -> jax.Array:
    """Cross-entropy with logits, x being what is to be a probability: [batch, n_times, n_chans] twice -> [batch]."""
    return jnp.sum(optax.sigmoid_binary_cross_entropy(logits, x), (-2, -1))


def kl_divergence(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, variance) || N(0, 1)), appendix B: [batch, n_latent] twice -> [batch] float32."""
    return jnp.sum(jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance, -1) / 2

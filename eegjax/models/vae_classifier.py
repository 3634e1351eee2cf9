"""A classifier of what a variational autoencoder leaves of each trial: the motor-imagery report's VAE + CNN hybrids."""

import flax.linen as nn
import jax


class VAEClassifier(nn.Module):
    """Logits per trial: the VAE's reconstruction is the classifier's input.

    vae: as `eegjax.models.vae.VAE`, its parameters under `vae`.
    classifier: any network over [batch, n_times, n_chans], its parameters under `classifier`.
    """

    vae: nn.Module
    classifier: nn.Module

    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Classify.

        Args:
            x: [batch, n_times, n_chans] z-scores.
            train: dropout and batch statistics on, and the VAE's code drawn by the random stream `latent`.
            mask: [batch] bool, False for padded trials.

        Returns:
            [batch, n_outputs] float32 logits.
        """
        reconstruction, _, _ = self.vae(x, train=train, mask=mask)
        return self.classifier(reconstruction, train=train, mask=mask)

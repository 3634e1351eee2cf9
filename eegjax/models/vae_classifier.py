"""A classifier of what a variational autoencoder leaves of each trial: the motor-imagery report's VAE + CNN hybrids."""

import flax.linen as nn
import jax
import jax.numpy as jnp

Reconstructed = tuple[jax.Array, jax.Array, jax.Array]


class VAEClassifier(nn.Module):
    """The VAE's reconstruction of each trial is the classifier's input, in the trial's place or beside it.

    Both learn at the same time, each from its own loss: no gradient of the classifier reaches the VAE, which learns as
    it would alone. (The report trains the VAE first.)

    vae: as `eegjax.models.vae.VAE`, its parameters under `vae`.
    classifier: any network over [batch, n_times, n_chans], its parameters under `classifier`.
    extra: the reconstructions are additional trials to train on, and what is classified at test are the trials.
    """

    vae: nn.Module
    classifier: nn.Module
    extra: bool = False

    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> tuple[jax.Array, Reconstructed]:
        """Reconstruct and classify.

        Args:
            x: [batch, n_times, n_chans] z-scores.
            train: dropout and batch statistics on, and the VAE's code drawn by the random stream `latent`.
            mask: [batch] bool, False for padded trials.

        Returns:
            [1, batch, n_outputs] float32 logits of the reconstructions; with `extra` of the trials, followed in
            training by those of their reconstructions: [2, batch, n_outputs].
            And what the VAE returns, for its loss.
        """
        reconstructed = self.vae(x, train=train, mask=mask)
        seen = [jax.lax.stop_gradient(reconstructed[0])]
        if self.extra:
            seen = [x, *seen] if train else [x]
        # A trial's forms lie beside each other: so they stay on one device, and one pass sees all of them.
        batch = jnp.stack(seen, 1).reshape(-1, *x.shape[1:])
        mask = None if mask is None else jnp.repeat(mask, len(seen))
        logits = self.classifier(batch, train=train, mask=mask)
        return logits.reshape(len(x), len(seen), -1).swapaxes(0, 1), reconstructed

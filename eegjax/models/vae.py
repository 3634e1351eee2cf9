"""A variational autoencoder of whole trials: Table 2 of the motor-imagery report.

Kingma & Welling, "Auto-encoding variational Bayes" (2013). Its losses are in `eegjax.train.variational`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from eegjax.errors import UserError
from eegjax.models import layers


class VAE(nn.Module):
    """A trial, what it is reconstructed from, and back; 88,146,040 parameters at 22 channels and 1000 samples.

    n_hidden, n_latent, n_decoder: units of the encoder, of the code z and of the decoder; 2000, 2000 and 5000 in the
        report's code.
    n_times, n_chans: of a trial.
    std_is_exp_log_variance: what the report's code does: the second output is the logarithm of z's standard deviation.
    """

    n_hidden: int = 2000
    n_latent: int = 20
    n_decoder: int = 2000
    n_times: int = 1000
    n_chans: int = 22
    std_is_exp_log_variance: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.encoder = layers.dense(self.n_hidden, dtype=self.dtype)
        self.mean = layers.dense(self.n_latent, dtype=self.dtype)
        self.log_variance = layers.dense(self.n_latent, dtype=self.dtype)
        self.decoder = layers.dense(self.n_decoder, dtype=self.dtype)
        self.head = layers.dense(self.n_times * self.n_chans, dtype=self.dtype)

    def __call__(
        self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Reconstruct.

        Args:
            x: [batch, n_times, n_chans] z-scores.
            train: z is drawn, by the random stream `latent`; else it is its mean.
            mask: [batch] bool, of no effect: no trial sees another.

        Returns:
            The reconstruction, [batch, n_times, n_chans], and z's mean and log variance, [batch, n_latent]; float32.

        Raises:
            UserError: the trials of `x` are not `n_times` by `n_chans`.
        """
        mean, log_variance = self.encode(x)
        z = mean
        if train:
            std = jnp.exp(log_variance if self.std_is_exp_log_variance else log_variance / 2)
            z = mean + std * jax.random.normal(self.make_rng("latent"), mean.shape)
        return self.decode(z), mean, log_variance

    def encode(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[batch, n_times, n_chans] -> z's mean and log variance given x, [batch, n_latent] float32.

        Raises:
            UserError: the trials of `x` are not `n_times` by `n_chans`.
        """
        if x.shape[1:] != (self.n_times, self.n_chans):
            raise UserError(
                f"this VAE is of {self.n_times} samples and {self.n_chans} channels, the trials have "
                f"{x.shape[1]} and {x.shape[2]}: set its n_times and n_chans"
            )
        hidden = nn.relu(self.encoder(x.astype(self.dtype).reshape(len(x), -1)))
        return self.mean(hidden).astype(jnp.float32), self.log_variance(hidden).astype(jnp.float32)

    def decode(self, z: jax.Array) -> jax.Array:
        """[batch, n_latent] -> [batch, n_times, n_chans] float32; of a normally distributed z: new trials."""
        x = self.head(nn.relu(self.decoder(z.astype(self.dtype))))
        return x.reshape(len(z), self.n_times, self.n_chans).astype(jnp.float32)

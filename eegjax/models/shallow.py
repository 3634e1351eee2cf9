"""ShallowConvNet: band power by learnt filters, as in filter bank common spatial patterns.

Schirrmeister et al., "Deep learning with convolutional neural networks for EEG decoding and visualization" (2017);
braindecode's ShallowFBCSPNet.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from eegjax.models import layers

KERNEL = 25  # samples of the temporal filters
POOL = 75  # samples of the average pool
STRIDE = 15  # samples between its windows
SMALLEST_N_TIMES = KERNEL - 1 + POOL


class ShallowConvNet(nn.Module):
    """Logits per trial: 46,084 parameters at 22 channels, 1000 samples and four classes."""

    n_outputs: int
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Classify.

        Args:
            x: [batch, n_times, n_chans] z-scores.
            train: dropout and batch statistics on.
            mask: [batch] bool, False for padded trials.

        Returns:
            [batch, n_outputs] float32 logits.

        Raises:
            UserError: `x` has fewer than `SMALLEST_N_TIMES` samples.
        """
        layers.check_n_times(x.shape[1], SMALLEST_N_TIMES, "ShallowConvNet")
        x = layers.FilterBank(40, KERNEL, self.dtype, name="filters")(x.astype(self.dtype))
        x = layers.batch_norm(x, train, mask, dtype=self.dtype, name="norm")
        power = nn.avg_pool(jnp.square(x.astype(jnp.float32)), (POOL,), (STRIDE,))  # a long sum
        x = nn.Dropout(self.dropout, deterministic=not train)(jnp.log(jnp.maximum(power, 1e-6)))
        head = layers.dense(self.n_outputs, kernel_init=layers.xavier_uniform, dtype=self.dtype, name="head")
        return head(x.reshape(len(x), -1)).astype(jnp.float32)

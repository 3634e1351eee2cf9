"""The motor-imagery report's ConvNet: a temporal and a spatial convolution, then three more temporal ones.

Table 1 of the report, after Schirrmeister et al., "Deep learning with convolutional neural networks for EEG decoding
and visualization" (2017), with batch normalisation and an ELU between the first two convolutions as well.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from eegjax.errors import UserError
from eegjax.models import layers

KERNEL = 20  # samples of every temporal convolution
POOL = 6  # samples of every max-pool
STRIDE = 3  # samples between its windows
N_FILTERS = (25, 50, 100, 200)  # of each block


def smallest_n_times(n_blocks: int = 4) -> int:
    """The fewest samples of which one is left after the last pool: 97, 313 and 961 for two, three and four blocks."""
    n_times = 1
    for _ in range(n_blocks):
        n_times = (n_times - 1) * STRIDE + POOL + KERNEL - 1
    return n_times


class ConvNet(nn.Module):
    """Logits per trial: 541,254 parameters at 22 channels, 1000 samples and four classes, 550,854 at 2000 samples.

    dropout: after each pool; .25 in the report's table, .5 in its code.
    pooling: how time ends: `flatten`, or `adaptive`, its mean.
    n_blocks: convolutions with a pool after them, four in the report; fewer for windows below 961 samples.
    """

    n_outputs: int
    dropout: float = 0.25
    pooling: str = "flatten"
    n_blocks: int = 4
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
            UserError: `x` has fewer samples than `smallest_n_times(n_blocks)`, `pooling` is none of `POOLINGS`, or
                `n_blocks` isn't one to four.
        """
        if not 1 <= self.n_blocks <= len(N_FILTERS):
            raise UserError(f"n_blocks is {self.n_blocks}; ConvNet has 1 to {len(N_FILTERS)}")
        layers.check_n_times(x.shape[1], smallest_n_times(self.n_blocks), "ConvNet", ", or choose fewer blocks")

        def normed(x: jax.Array, name: str) -> jax.Array:
            return nn.elu(layers.batch_norm(x, train, mask, dtype=self.dtype, name=f"norm_{name}"))

        conv_time = layers.conv(N_FILTERS[0], (KERNEL,), padding="VALID", dtype=self.dtype, name="conv_time")
        x = normed(layers.convolve_each_channel(conv_time, x.astype(self.dtype)), "time")
        # A filter over all channels at once is a matrix product, which is faster than a convolution.
        x = layers.dense(N_FILTERS[0], dtype=self.dtype, name="conv_space")(x.reshape(*x.shape[:2], -1))
        x = normed(x, "space")
        for block, n_filters in enumerate(N_FILTERS[: self.n_blocks], 1):
            if block > 1:
                x = layers.conv(n_filters, (KERNEL,), padding="VALID", dtype=self.dtype, name=f"conv_{block}")(x)
                x = normed(x, str(block))
            x = layers.max_pool(x, (POOL,), (STRIDE,))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = layers.pool_time(x, self.pooling)
        return layers.dense(self.n_outputs, dtype=self.dtype, name="head")(x).astype(jnp.float32)

"""Deep4Net, the deep ConvNet: four blocks of convolution and max-pool.

Schirrmeister et al., "Deep learning with convolutional neural networks for EEG decoding and visualization" (2017);
braindecode's Deep4Net.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from eegjax.models import layers

KERNEL = 10  # samples of every convolution
POOL = 3  # samples of every max-pool
SMALLEST_N_TIMES = 441  # 432, 144, 135, 45, 36, 12, 3, 1


class Deep4Net(nn.Module):
    """Logits per trial: 282,879 parameters at 22 channels, 1000 samples and four classes."""

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
        layers.check_n_times(x.shape[1], SMALLEST_N_TIMES, "Deep4Net")

        def pooled(x: jax.Array, block: int) -> jax.Array:
            x = nn.elu(layers.batch_norm(x, train, mask, dtype=self.dtype, name=f"norm_{block}"))
            return layers.max_pool(x, (POOL,))

        x = pooled(layers.FilterBank(25, KERNEL, self.dtype, name="filters")(x.astype(self.dtype)), 1)
        for block, n_filters in enumerate((50, 100, 200), 2):
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            options: Any = {"use_bias": False, "kernel_init": layers.xavier_uniform, "dtype": self.dtype}
            conv = layers.conv(n_filters, (KERNEL,), padding="VALID", name=f"conv_{block}", **options)
            x = pooled(conv(x), block)
        head = layers.dense(self.n_outputs, kernel_init=layers.xavier_uniform, dtype=self.dtype, name="head")
        return head(x.reshape(len(x), -1)).astype(jnp.float32)

"""EEGNet, version 4: temporal filters, spatial filters of each, and a separable convolution.

Lawhern et al., "EEGNet: a compact convolutional neural network for EEG-based brain-computer interfaces" (2018), Table
2; braindecode's EEGNet.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from eegjax.models import layers

SMALLEST_N_TIMES = 32  # the two pools: 4 and 8 samples


def limit_norm(kernel: jax.Array, limit: float) -> jax.Array:
    """[n_inputs, ...]: every filter scaled down to an L2 norm, over the first axis, of `limit` where it exceeds it."""
    squares = jnp.sum(jnp.square(kernel), 0)
    return kernel * limit * jax.lax.rsqrt(jnp.maximum(squares, limit**2))


class SpatialFilters(nn.Module):
    """`depth` filters over all channels for each feature: [..., n_chans, features] -> [..., features * depth]."""

    depth: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        n_chans, features = x.shape[-2:]
        # stored as a grouped convolution's
        kernel = self.param("kernel", layers.xavier_uniform, (n_chans, 1, features * self.depth))
        kernel = limit_norm(kernel, 1.0).astype(self.dtype).reshape(n_chans, features, self.depth)
        x = jnp.einsum("...ef,efd->...fd", x, kernel)
        return x.reshape(*x.shape[:-2], features * self.depth)


class BoundedDense(nn.Module):
    """A linear layer whose units' weights have a norm of `limit` at most."""

    features: int
    limit: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", layers.xavier_uniform, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return x @ limit_norm(kernel, self.limit).astype(self.dtype) + bias.astype(self.dtype)


class EEGNet(nn.Module):
    """Logits per trial: 2,484 parameters at 22 channels, 512 samples and four classes, 3,444 at 1000 samples.

    The norms of the spatial filters and of the head's units stay within 1 and .25: the forward pass sees the scaled
    weights, and so does the gradient. What the optimiser holds may be larger.

    n_filters, depth, n_separable: F1, D and F2 of the paper.
    kernel_size: samples of the temporal filters; the paper takes half a second (64 at 128 Hz).
    dropout: .5 within a subject and .25 across subjects in the paper.
    """

    n_outputs: int
    n_filters: int = 8
    depth: int = 2
    n_separable: int = 16
    kernel_size: int = 64
    dropout: float = 0.25
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
        layers.check_n_times(x.shape[1], SMALLEST_N_TIMES, "EEGNet")

        def conv(n_filters: int, width: int, name: str, groups: int = 1) -> nn.Conv:
            # always XLA's plain form: on a CPU the one that `layers.conv` chooses for 64 samples is slower
            options: Any = {"use_bias": False, "kernel_init": layers.xavier_uniform, "dtype": self.dtype}
            return nn.Conv(n_filters, (width,), feature_group_count=groups, name=name, **options)

        def normed(x: jax.Array, name: str) -> jax.Array:
            # Keras's momentum and epsilon, which are the paper's
            norm = nn.BatchNorm(
                not train, momentum=0.99, epsilon=1e-3, dtype=self.dtype, use_fast_variance=False, name=f"norm_{name}"
            )
            return norm(x, mask=None if mask is None else mask.reshape(-1, *[1] * (x.ndim - 1)))

        def pooled(x: jax.Array, width: int) -> jax.Array:
            return nn.Dropout(self.dropout, deterministic=not train)(nn.avg_pool(nn.elu(x), (width,), (width,)))

        x = layers.convolve_each_channel(conv(self.n_filters, self.kernel_size, "conv_time"), x.astype(self.dtype))
        x = SpatialFilters(self.depth, self.dtype, name="conv_space")(normed(x, "time"))
        x = pooled(normed(x, "space"), 4)
        x = conv(x.shape[-1], 16, "conv_depthwise", groups=x.shape[-1])(x)
        x = conv(self.n_separable, 1, "conv_pointwise")(x)
        x = pooled(normed(x, "separable"), 8)
        return BoundedDense(self.n_outputs, 0.25, self.dtype, name="head")(x.reshape(len(x), -1)).astype(jnp.float32)

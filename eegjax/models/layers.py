"""Every convolution, pool and normalisation of the models.

Channels come last. The defaults are the field's: He initialisation, float32 parameters, `dtype` for the arithmetic.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from eegjax.models import operations

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


def conv(
    features: int,
    kernel_size: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    padding: str | int | Sequence[tuple[int, int]] = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    use_bias: bool = True,
    dtype: Any = jnp.float32,
    name: str | None = None,
) -> nn.Conv:
    """A convolution over [batch, *space, channels] -> [batch, *space, features], with float32 parameters.

    Its form is chosen by `operations`. `groups` equal to the channels makes it depthwise.
    """
    return nn.Conv(
        features,
        tuple(kernel_size),
        strides=strides,
        padding=padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=he_normal,
        conv_general_dilated=operations.convolution,
        name=name,
    )


def conv_transpose(
    features: int, kernel_size: Sequence[int], *, dtype: Any = jnp.float32, name: str | None = None
) -> "ConvTranspose":
    """A transposed convolution with stride = kernel: every input becomes a block of the kernel's size."""
    return ConvTranspose(features, tuple(kernel_size), dtype, name=name)


class ConvTranspose(nn.Module):
    """[batch, *space, channels] -> [batch, *(space * kernel_size), features]; parameters as `nn.ConvTranspose` has."""

    features: int
    kernel_size: tuple[int, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, *space, channels] -> [batch, *(space * kernel_size), features]."""
        kernel = self.param("kernel", he_normal, (*self.kernel_size, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return operations.transposed_convolution(x, kernel, self.kernel_size) + bias


def max_pool(x: jax.Array, window: Sequence[int], strides: Sequence[int] | None = None) -> jax.Array:
    """The maximum over windows of [batch, *space, channels], without padding; strides default to the window."""
    return operations.max_pool(x, tuple(window), tuple(strides or window))


def dense(features: int, *, dtype: Any = jnp.float32, name: str | None = None) -> nn.Dense:
    """A linear layer over the last axis, with float32 parameters."""
    return nn.Dense(features, dtype=dtype, kernel_init=nn.initializers.lecun_normal(), name=name)


def batch_norm(x: jax.Array, train: bool, mask: jax.Array | None, *, dtype: Any, name: str) -> jax.Array:
    """Batch normalisation of [batch, *space, channels] with the statistics of the whole, unpadded batch.

    Args:
        x: [batch, *space, channels].
        train: batch statistics (and update the running ones), or the running ones.
        mask: [batch] bool, False for padded rows: those never touch the statistics.
        dtype: of the arithmetic; statistics and parameters stay float32.
        name: the parameters' name.
    """
    # momentum .9 and epsilon 1e-5 are torch's (.1 there); the exact variance, since EEG may have a large offset
    norm = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=dtype, use_fast_variance=False, name=name)
    return norm(x, mask=None if mask is None else mask.reshape(-1, *[1] * (x.ndim - 1)))

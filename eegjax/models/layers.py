"""Every convolution, pool, upsampling and normalisation of the models.

Channels come last. The defaults are the field's: He initialisation, float32 parameters, `dtype` for the arithmetic.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from eegjax.errors import check_choice
from eegjax.models import operations

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}  # of the arithmetic, by name

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")
lecun_normal = nn.initializers.lecun_normal()
xavier_uniform = nn.initializers.xavier_uniform()


def conv(
    features: int,
    kernel_size: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    padding: str | int | Sequence[tuple[int, int]] = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    use_bias: bool = True,
    kernel_init: Callable[..., jax.Array] = he_normal,
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
        kernel_init=kernel_init,
        conv_general_dilated=_convolution,
        name=name,
    )


def _convolution(x: jax.Array, kernel: jax.Array, *window: Any, **settings: Any) -> jax.Array:
    return _safely_split(lambda x: operations.convolution(x, kernel, *window, **settings), x, kernel.shape[0])


def _safely_split(operation: Callable[[jax.Array], jax.Array], x: jax.Array, reach: int) -> jax.Array:
    """operation(x), the short volumes of the lowest levels whole on their devices.

    Where a split along depth over the mesh's axis `space` leaves devices without slabs, or a kernel of `reach` slabs is
    longer than the volume, XLA may compute a wrong gradient.
    """
    mesh = jax.sharding.get_abstract_mesh()
    n_parts = mesh.shape["space"] if "space" in mesh.auto_axes else 1
    if n_parts == 1:
        return operation(x)
    depths = x.shape[1], jax.eval_shape(operation, x).shape[1]
    if reach <= min(depths) and not any(depth % n_parts for depth in depths):
        return operation(x)
    whole = PartitionSpec(PartitionSpec.UNCONSTRAINED, *[None] * (x.ndim - 1))
    y = operation(jax.lax.with_sharding_constraint(x, whole))
    return jax.lax.with_sharding_constraint(y, whole)


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
        widened = partial(operations.transposed_convolution, kernel=kernel, strides=self.kernel_size)
        return _safely_split(widened, x, self.kernel_size[0]) + bias


def max_pool(x: jax.Array, window: Sequence[int], strides: Sequence[int] | None = None) -> jax.Array:
    """The maximum over windows of [batch, *space, channels], without padding; strides default to the window."""
    return operations.max_pool(x, tuple(window), tuple(strides or window))


def upsample(x: jax.Array, factor: int) -> jax.Array:
    """Nearest neighbours: every value of [batch, *space, channels] becomes a block of `factor` per axis of space."""
    batch, *space, channels = x.shape
    blocks = jnp.expand_dims(x, range(2, 2 * len(space) + 1, 2))  # [batch, (size, 1) per axis, channels]
    blocks = jnp.broadcast_to(blocks, (batch, *(n for size in space for n in (size, factor)), channels))
    return blocks.reshape(batch, *(size * factor for size in space), channels)


def dense(
    features: int,
    *,
    kernel_init: Callable[..., jax.Array] = lecun_normal,
    dtype: Any = jnp.float32,
    name: str | None = None,
) -> nn.Dense:
    """A linear layer over the last axis, with float32 parameters."""
    return nn.Dense(features, dtype=dtype, kernel_init=kernel_init, name=name)


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


def instance_norm(x: jax.Array, *, dtype: Any, name: str) -> jax.Array:
    """Instance normalisation: each example and channel of [batch, *space, channels] by its own mean and variance."""
    return nn.InstanceNorm(epsilon=1e-5, dtype=dtype, use_fast_variance=False, name=name)(x)


def group_norm(x: jax.Array, *, dtype: Any, name: str) -> jax.Array:
    """Group normalisation of [batch, *space, channels]: eight groups, or one where eight don't divide the channels."""
    n_groups = 1 if x.shape[-1] % 8 else 8
    return nn.GroupNorm(n_groups, epsilon=1e-5, dtype=dtype, use_fast_variance=False, name=name)(x)


def prelu(x: jax.Array, *, name: str) -> jax.Array:
    """x where it is positive, else x by a learned slope, one for all channels and a quarter at first."""
    return nn.PReLU(negative_slope_init=0.25, name=name)(x)


def dtype_of(precision: str) -> Any:
    """The dtype of the arithmetic by its name, `float32` or `bfloat16`.

    Raises:
        UserError: `precision` is none of `DTYPES`.
    """
    check_choice("precision", precision, DTYPES)
    return DTYPES[precision]

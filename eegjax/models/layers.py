"""Every convolution, pool, upsampling and normalisation of the models, and what several architectures share.

Channels come last. The defaults are the field's: He initialisation, float32 parameters, `dtype` for the arithmetic.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from eegjax.errors import UserError, check_choice
from eegjax.models import operations

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}  # of the arithmetic, by name
POOLINGS = ("flatten", "adaptive")  # how a network's time ends

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
        """[batch, *space, channels] -> [batch, *(space * kernel_size), features], in `dtype`."""
        kernel = self.param("kernel", he_normal, (*self.kernel_size, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        widened = partial(operations.transposed_convolution, kernel=kernel, strides=self.kernel_size)
        return _safely_split(widened, x, self.kernel_size[0]) + bias


def max_pool(x: jax.Array, window: Sequence[int], strides: Sequence[int] | None = None) -> jax.Array:
    """The maximum over windows, without padding: [batch, *space, channels] -> [batch, *outputs, channels], same dtype.

    Strides default to the window.
    """
    return operations.max_pool(x, tuple(window), tuple(strides or window))


def upsample(x: jax.Array, factor: int) -> jax.Array:
    """Nearest neighbours: [batch, *space, channels] -> [batch, *(space * factor), channels] of the same dtype.

    Every value becomes a block of `factor` per axis of space.
    """
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
        x: [batch, *space, channels] float.
        train: batch statistics (and update the running ones), or the running ones.
        mask: [batch] bool, False for padded rows: those never touch the statistics.
        dtype: of the arithmetic; statistics and parameters stay float32.
        name: the parameters' name.

    Returns:
        [batch, *space, channels], in `dtype`.
    """
    # momentum .9 and epsilon 1e-5 are torch's (.1 there); the exact variance, since EEG may have a large offset
    norm = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=dtype, use_fast_variance=False, name=name)
    return norm(x, mask=None if mask is None else mask.reshape(-1, *[1] * (x.ndim - 1)))


def instance_norm(x: jax.Array, *, dtype: Any, name: str) -> jax.Array:
    """Instance normalisation: [batch, *space, channels] -> [batch, *space, channels], in `dtype`.

    Each example and channel by its own mean and variance.
    """
    return nn.InstanceNorm(epsilon=1e-5, dtype=dtype, use_fast_variance=False, name=name)(x)


def group_norm(x: jax.Array, *, dtype: Any, name: str) -> jax.Array:
    """Group normalisation: [batch, *space, channels] -> [batch, *space, channels], in `dtype`.

    Eight groups, or one where eight don't divide the channels.
    """
    n_groups = 1 if x.shape[-1] % 8 else 8
    return nn.GroupNorm(n_groups, epsilon=1e-5, dtype=dtype, use_fast_variance=False, name=name)(x)


def prelu(x: jax.Array, *, name: str) -> jax.Array:
    """x where it is positive, else x by a learned slope: [...] -> [...] of the same dtype.

    The slope is one for all channels and a quarter at first.
    """
    return nn.PReLU(negative_slope_init=0.25, name=name)(x)


class FilterBank(nn.Module):
    """Temporal filters, then spatial ones over all of them: [batch, n_times, n_chans] -> [batch, n_left, features].

    Nothing stands between the two, so that both are one convolution, whose kernel is their product: it costs less than
    the temporal filters of every channel alone. The weights start as those of the two convolutions.
    """

    features: int
    kernel_size: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, n_times, n_chans] -> [batch, n_times - kernel_size + 1, features], in `dtype`."""
        n_chans = x.shape[-1]
        features = self.features
        time = self.param("time_kernel", xavier_uniform, (self.kernel_size, 1, features))
        bias = self.param("time_bias", nn.initializers.zeros_init(), (features,))
        space = self.param("space_kernel", xavier_uniform, (n_chans, features, features))
        kernel = jnp.einsum("kof,efg->keg", time, space).astype(self.dtype)
        shift = jnp.einsum("f,efg->g", bias, space).astype(self.dtype)
        return operations.convolution(x, kernel, (1,), "VALID") + shift


def convolve_each_channel(conv: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """The same temporal convolution of every channel: [batch, n_times, n_chans] -> [batch, n_left, n_chans, features].

    `conv` takes [batch * n_chans, n_times, 1] and returns [batch * n_chans, n_left, features], whose dtype stays.

    The channels go to the batch: along one axis a convolution is several times faster than along one of two.
    """
    batch, n_times, n_chans = x.shape
    x = conv(x.swapaxes(1, 2).reshape(batch * n_chans, n_times, 1))
    return x.reshape(batch, n_chans, *x.shape[1:]).swapaxes(1, 2)


def pool_time(x: jax.Array, pooling: str) -> jax.Array:
    """[batch, n_times, features] -> [batch, n_times * features] by `flatten`, [batch, features] by `adaptive`: means.

    After `adaptive` the number of parameters no longer depends on the window's length.

    Raises:
        UserError: `pooling` is none of `POOLINGS`.
    """
    check_choice("pooling", pooling, POOLINGS)
    return x.reshape(len(x), -1) if pooling == "flatten" else x.mean(1)


# ---- sizes and dtypes


def scale_channels(channels: int, width: float) -> int:
    """The number of channels at a `width` multiplier, at least one."""
    return max(1, round(channels * width))


def dtype_of(precision: str) -> Any:
    """The dtype of the arithmetic by its name, `float32` or `bfloat16`.

    Raises:
        UserError: `precision` is none of `DTYPES`.
    """
    check_choice("precision", precision, DTYPES)
    return DTYPES[precision]


def check_n_times(n_times: int, smallest: int, network: str, otherwise: str = "") -> None:
    """Refuse windows of which nothing would be left for the last layer.

    Args:
        n_times: samples of a window.
        smallest: the fewest that the network can do with.
        network: its name.
        otherwise: names a further way out, after a comma.

    Raises:
        UserError: `n_times` is below `smallest`.
    """
    if n_times < smallest:
        ways = f"take longer windows{otherwise and ','} or resample them to a higher rate{otherwise}"
        raise UserError(f"{network} needs windows of at least {smallest} samples, these have {n_times}: {ways}")


def check_grid(sides: Sequence[int], depth: int, n_levels: int, smallest_bottom: int, network: str) -> None:
    """Refuse grids that can't be halved from level to level.

    Args:
        sides: voxels along each axis.
        depth: levels, one more than halvings.
        n_levels: the most levels that the network has.
        smallest_bottom: the fewest voxels a side of the last level.
        network: its name.

    Raises:
        UserError: `depth` is below 2 or above `n_levels`; or a side isn't a multiple of 2 ** (depth - 1), or leaves
            fewer than `smallest_bottom` voxels at the last level.
    """
    if not 2 <= depth <= n_levels:
        raise UserError(f"depth is {depth}; {network} has 2 to {n_levels} levels")
    multiple = 2 ** (depth - 1)
    smallest = multiple * smallest_bottom
    if any(side < smallest or side % multiple for side in sides):
        raise UserError(
            f"{network} with {depth} levels needs a grid of at least {smallest} voxels a side, in multiples of "
            f"{multiple}; this one is {' x '.join(map(str, sides))}: choose another grid, or fewer levels"
        )

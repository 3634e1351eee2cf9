"""Convolution over volumes, stride 1: matrix products along depth, which stay in cache and need little memory.

XLA's own form runs at a twentieth of a processor's speed.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from eegjax.models.fast_cpu.geometry import Sizes, Window, matmul, outer, pad

FEW_VOXELS = 1024
FEW_CHANNELS = 4


def is_large(outputs: Sizes) -> bool:
    """Whether there are enough voxels for the kernel's gradient to be worth a scan over depth."""
    return math.prod(outputs) >= 512


def forward(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """[batch, depth, height, width, channels] by [*kernel, channels, features] -> [batch, *outputs, features]."""
    n_depth, n_rows, n_columns = window.outputs(x.shape[1:-1])
    x = pad(x, window.padding)
    if kernel.shape[3] <= FEW_CHANNELS:
        return _pairs_of_slabs(x, kernel, (n_depth, n_rows, n_columns))
    if n_depth * n_rows * n_columns <= FEW_VOXELS:
        return _small(x, kernel, (n_depth, n_rows, n_columns))
    return _slab_by_slab(x, kernel, (n_depth, n_rows, n_columns))


def _slab_by_slab(x: jax.Array, kernel: jax.Array, sizes: tuple[int, int, int]) -> jax.Array:
    """A scan over the padded depth: one product per slab gives what it adds to every output slab that sees it.

    The columns' taps lie in the channels, those of depth and rows in the product's columns. A rolling sum holds the
    `depth` output slabs that aren't finished.
    """
    _, n_rows, n_columns = sizes
    deep, high, wide, channels, features = kernel.shape
    weights = kernel.transpose(2, 3, 1, 0, 4).reshape(wide * channels, high * deep * features)

    def step(unfinished: jax.Array, slab: jax.Array) -> tuple[jax.Array, jax.Array]:
        columns = jnp.concatenate([slab[:, :, at : at + n_columns] for at in range(wide)], -1)
        products = matmul(columns, weights)  # [batch, padded rows, columns, high * deep * features]
        for row in range(high):
            part = products[:, row : row + n_rows, :, row * deep * features : (row + 1) * deep * features]
            unfinished = unfinished + part
        done = unfinished[..., -features:]
        return jnp.concatenate([jnp.zeros_like(done), unfinished[..., :-features]], -1), done

    nothing = jnp.zeros((x.shape[0], n_rows, n_columns, deep * features), x.dtype)
    _, slabs = lax.scan(step, nothing, jnp.moveaxis(x, 1, 0))
    return jnp.moveaxis(slabs[deep - 1 :], 0, 1)


def _pairs_of_slabs(x: jax.Array, kernel: jax.Array, sizes: tuple[int, int, int]) -> jax.Array:
    """Few channels: the depth's taps become channels, two output slabs at once, and the plane is convolved."""
    n_depth, n_rows, n_columns = sizes
    batch, _, height, width, channels = x.shape
    deep, high, wide, _, features = kernel.shape
    n_pairs = -(-n_depth // 2)
    x = pad(x, ((0, 2 * n_pairs - n_depth), (0, 0), (0, 0)))
    seen = [x[:, at : at + 2 * n_pairs - 1 : 2] for at in range(deep + 1)]
    planes = jnp.concatenate(seen, -1).reshape(batch * n_pairs, height, width, (deep + 1) * channels)
    taps = jnp.moveaxis(kernel, 0, 2)  # [high, wide, deep, channels, features]
    both = [jnp.pad(taps, ((0, 0), (0, 0), (late, 1 - late), (0, 0), (0, 0))) for late in (0, 1)]
    weights = jnp.stack(both, -2).reshape(high, wide, (deep + 1) * channels, 2 * features)
    y = lax.conv_general_dilated(planes, weights, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    y = y.reshape(batch, n_pairs, n_rows, n_columns, 2, features).transpose(0, 1, 4, 2, 3, 5)
    return y.reshape(batch, 2 * n_pairs, n_rows, n_columns, features)[:, :n_depth]


def _small(x: jax.Array, kernel: jax.Array, sizes: tuple[int, int, int]) -> jax.Array:
    """Few voxels: the plane's patches, and one product per tap of depth."""
    n_depth, n_rows, n_columns = sizes
    deep, high, wide, channels, features = kernel.shape
    parts = [x[:, :, i : i + n_rows, j : j + n_columns] for i in range(high) for j in range(wide)]
    planes = jnp.concatenate(parts, -1)
    weights = kernel.reshape(deep, high * wide * channels, features)
    return sum(matmul(planes[:, at : at + n_depth], weights[at]) for at in range(deep))  # type: ignore[return-value]


def kernel_gradient(x: jax.Array, gradient: jax.Array, window: Window) -> jax.Array:
    """[*kernel, channels, features]: a scan over depth, the output slabs that see a slab side by side."""
    deep, high, wide = window.kernel
    _, n_rows, n_columns, features = gradient.shape[1:]
    channels = x.shape[-1]
    x = pad(x, window.padding)
    gradient = pad(gradient, ((deep - 1, deep - 1), (0, 0), (0, 0)))

    def step(total: tuple[jax.Array, ...], at: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
        slab = lax.dynamic_index_in_dim(x, at, 1, keepdims=False)
        near = lax.dynamic_slice_in_dim(gradient, at, deep, 1)
        beside = jnp.concatenate([near[:, deep - 1 - tap] for tap in range(deep)], -1)
        columns = jnp.concatenate([slab[:, :, tap : tap + n_columns] for tap in range(wide)], -1)
        return tuple(part + outer(columns[:, row : row + n_rows], beside) for row, part in enumerate(total)), None

    nothing = tuple(jnp.zeros((wide * channels, deep * features), x.dtype) for _ in range(high))
    total, _ = lax.scan(step, nothing, jnp.arange(x.shape[1]))
    return jnp.moveaxis(jnp.stack(total).reshape(high, wide, channels, deep, features), 3, 0)

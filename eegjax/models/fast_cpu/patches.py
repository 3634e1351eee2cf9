"""Windows that don't overlap, one way and back: space becomes channels, and one matrix product does the rest."""

import jax
import jax.numpy as jnp

from eegjax.models.fast_cpu.geometry import Sizes, matmul


def to_channels(x: jax.Array, block: Sizes) -> jax.Array:
    """[batch, *space, channels] -> [batch, *(space // block), n_in_block * channels]; what is over is left out."""
    n = len(block)
    counts = [size // b for size, b in zip(x.shape[1:-1], block, strict=True)]
    x = x[(slice(None), *(slice(0, c * b) for c, b in zip(counts, block, strict=True)))]
    split = [size for pair in zip(counts, block, strict=True) for size in pair]
    order = [0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2), 2 * n + 1]
    return x.reshape(x.shape[0], *split, x.shape[-1]).transpose(order).reshape(x.shape[0], *counts, -1)


def to_space(x: jax.Array, block: Sizes) -> jax.Array:
    """[batch, *space, n_in_block * channels] -> [batch, *(space * block), channels]: the way back."""
    n = len(block)
    space = x.shape[1:-1]
    order = [0, *(axis for k in range(n) for axis in (1 + k, 1 + n + k)), 2 * n + 1]
    y = x.reshape(x.shape[0], *space, *block, -1).transpose(order)
    return y.reshape(x.shape[0], *(size * b for size, b in zip(space, block, strict=True)), -1)


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Stride = kernel, or one window in all: [batch, *space, channels] by [*kernel, channels, features]."""
    return matmul(to_channels(x, kernel.shape[:-2]), kernel.reshape(-1, kernel.shape[-1]))


def transposed_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Stride = kernel, every input its own block: [*kernel, channels, features], the taps as they lie in space."""
    weights = jnp.moveaxis(kernel, -2, 0).reshape(kernel.shape[-2], -1)
    return to_space(matmul(x, weights), kernel.shape[:-2])

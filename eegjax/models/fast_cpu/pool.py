"""The gradient of the maximum over windows, without XLA's select-and-scatter."""

import math

import jax
import jax.numpy as jnp

from eegjax.models.fast_cpu.geometry import Sizes, Window, pad, tap_of, to_inputs


def _parts(x: jax.Array, window: Window) -> list[jax.Array]:
    sizes = window.outputs(x.shape[1:-1])
    return [tap_of(x, window.offsets(tap), sizes, window.strides) for tap in window.taps()]


def input_gradient(x: jax.Array, gradient: jax.Array, window: Window) -> jax.Array:
    """[batch, *outputs, channels] -> [batch, *space, channels]: to the first of equal values, as XLA and torch do."""
    largest, *others = _parts(x, window)
    first = jnp.zeros(largest.shape, jnp.int16)  # the number of the tap that the maximum came from
    for number, part in enumerate(others, 1):
        larger = (part > largest) | jnp.isnan(part)
        largest = jnp.where(larger, part, largest)
        first = jnp.where(larger, jnp.int16(number), first)
    if window.kernel == window.strides:
        return _to_blocks(gradient, first, window.kernel, x.shape[1:-1])
    numbers = {tap: number for number, tap in enumerate(window.taps())}

    def through(tap: tuple[int, ...], parts: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jnp.where(parts[1] == numbers[tap], parts[0], 0)

    return to_inputs((gradient, first), window, x.shape[1:-1], through)


def _to_blocks(gradient: jax.Array, first: jax.Array, block: Sizes, sizes: Sizes) -> jax.Array:
    """Windows that don't overlap: each position of a block compares its own number, and nothing has to be moved."""
    n = len(block)
    counts = gradient.shape[1:-1]
    within = tuple(range(2, 2 * n + 1, 2))  # axes of the positions in a block, each behind its blocks' axis
    numbers = jnp.arange(math.prod(block), dtype=first.dtype).reshape(block)
    here = jnp.expand_dims(first, within) == numbers.reshape([1, *(k for b in block for k in (1, b)), 1])
    found = jnp.where(here, jnp.expand_dims(gradient, within), 0)
    found = found.reshape(len(gradient), *(c * b for c, b in zip(counts, block, strict=True)), gradient.shape[-1])
    over = [(0, size - c * b) for size, c, b in zip(sizes, counts, block, strict=True)]
    return pad(found, over)

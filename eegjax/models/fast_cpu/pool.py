"""The gradient of the maximum over windows, without XLA's select-and-scatter."""

import jax
import jax.numpy as jnp

from eegjax.models.fast_cpu.geometry import Window, tap_of, to_inputs


def _parts(x: jax.Array, window: Window) -> list[jax.Array]:
    sizes = window.outputs(x.shape[1:-1])
    return [tap_of(x, window.offsets(tap), sizes, window.strides) for tap in window.taps()]


def input_gradient(x: jax.Array, gradient: jax.Array, window: Window) -> jax.Array:
    """[batch, *outputs, channels] -> [batch, *space, channels]: to the first of equal values, as XLA and torch do."""
    largest, *others = _parts(x, window)
    first = jnp.zeros(largest.shape, jnp.int16)  # the number of the tap that the maximum came from
    for number, part in enumerate(others, 1):
        larger = (part > largest) | jnp.isnan(part)
        largest, first = jnp.where(larger, part, largest), jnp.where(larger, jnp.int16(number), first)
    numbers = {tap: number for number, tap in enumerate(window.taps())}

    def through(tap: tuple[int, ...], parts: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jnp.where(parts[1] == numbers[tap], parts[0], 0)

    return to_inputs((gradient, first), window, x.shape[1:-1], through)

"""Depthwise convolution, every channel by itself: a sum of shifted slices times a weight per channel."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from eegjax.models.fast_cpu.geometry import Window, fence, matmul, pad, tap_of, to_inputs


def forward(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """[batch, *space, channels] by [*kernel, 1, channels] -> [batch, *outputs, channels]."""
    sizes = window.outputs(x.shape[1:-1])

    def sum_of_taps(x: jax.Array, kernel: jax.Array) -> jax.Array:
        x = pad(x, window.padding)
        return sum(tap_of(x, window.offsets(tap), sizes, window.strides) * kernel[tap][0] for tap in window.taps())  # type: ignore[return-value]

    return fence(sum_of_taps, x, kernel)


def input_gradient(gradient: jax.Array, kernel: jax.Array, window: Window, sizes: tuple[int, ...]) -> jax.Array:
    """[batch, *outputs, channels] -> [batch, *sizes, channels]."""

    def back(gradient: jax.Array, kernel: jax.Array) -> jax.Array:
        return to_inputs(gradient, window, sizes, lambda tap, part: part * kernel[tap][0])

    return fence(back, gradient, kernel)


def kernel_gradient(x: jax.Array, gradient: jax.Array, window: Window) -> jax.Array:
    """[*kernel, 1, channels]: image by image, so that a tap's products stay in cache until they are summed.

    The sum is a product with ones: XLA's reduction of all axes but the last is several times slower.
    """
    sizes = gradient.shape[1:-1]
    channels = x.shape[-1]

    def sums(x: jax.Array, gradient: jax.Array) -> jax.Array:
        ones = jnp.ones((1, math.prod(sizes)), x.dtype)

        def step(total: jax.Array, one: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            parts = [tap_of(one[0][None], window.offsets(tap), sizes, window.strides)[0] for tap in window.taps()]
            sums = [matmul(ones, (part * one[1]).reshape(-1, channels)) for part in parts]
            return total + jnp.concatenate(sums), None

        return lax.scan(step, jnp.zeros((window.n_taps, channels), x.dtype), (pad(x, window.padding), gradient))[0]

    return fence(sums, x, gradient).reshape(*window.kernel, 1, channels)

"""The gradient of an image convolution's kernel, stride 1, as matrix products."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from eegjax.models.fast_cpu.geometry import Sizes, Window, outer, pad, patches

ROWS = 16  # of an image at once: what they hold stays in cache
FEW_VALUES = 64  # in a window


def pays(window: Window, outputs: Sizes, channels: int, features: int) -> bool:
    """Whether this file's form was found faster than XLA's: for one channel, and in wide layers on large images."""
    if window.n_taps == 1:
        return False
    if channels == 1:
        return window.n_taps <= FEW_VALUES
    wide = channels >= 64 or channels * window.n_taps <= FEW_VALUES
    image = len(outputs) == 2 and min(window.kernel) > 1 and {*window.dilation} == {1}
    return image and wide and features >= 64 and math.prod(outputs) >= 512


def kernel_gradient(x: jax.Array, gradient: jax.Array, window: Window) -> jax.Array:
    """[*kernel, channels, features] from [batch, *space, channels] and [batch, *outputs, features]."""
    channels = x.shape[-1]
    features = gradient.shape[-1]
    x = pad(x, window.padding)
    if channels * window.n_taps <= FEW_VALUES:
        found = outer(patches(x, window, gradient.shape[1:-1]), gradient)
    else:
        found = _blocks_of_rows(x, gradient, window)
    return found.reshape(*window.kernel, channels, features)


def _blocks_of_rows(x: jax.Array, gradient: jax.Array, window: Window) -> jax.Array:
    """[high, wide * channels, features]: a scan over blocks of rows, the columns' taps in the channels."""
    batch, n_rows, n_columns, features = gradient.shape
    high, wide = window.kernel
    channels = x.shape[-1]
    rows = next(n for n in range(min(ROWS, n_rows), 0, -1) if n_rows % n == 0)
    n_blocks = n_rows // rows

    def step(total: tuple[jax.Array, ...], number: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
        image = number // n_blocks
        first = number % n_blocks * rows
        seen = lax.dynamic_slice(x, (image, first, 0, 0), (1, rows + high - 1, *x.shape[2:]))[0]
        back = lax.dynamic_slice(gradient, (image, first, 0, 0), (1, rows, n_columns, features))
        columns = jnp.concatenate([seen[:, at : at + n_columns] for at in range(wide)], -1)
        return tuple(part + outer(columns[at : at + rows], back) for at, part in enumerate(total)), None

    nothing = tuple(jnp.zeros((wide * channels, features), x.dtype) for _ in range(high))
    total, _ = lax.scan(step, nothing, jnp.arange(batch * n_blocks))
    return jnp.stack(total)

"""Where a window's taps lie: what convolutions and pools of all forms share.

A window at output position o reads the padded input at strides * o + dilation * tap, for every tap of the kernel.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Sizes = tuple[int, ...]


class Window(NamedTuple):
    """A window that moves over space; hashable, one number (or pair) per axis of space."""

    kernel: Sizes
    strides: Sizes
    dilation: Sizes
    padding: tuple[tuple[int, int], ...]

    @property
    def n_taps(self) -> int:
        """Values that one window reads per channel."""
        return math.prod(self.kernel)

    def taps(self) -> Iterator[Sizes]:
        """Every tap, the last axis fastest."""
        return itertools.product(*map(range, self.kernel))

    def offsets(self, tap: Sizes) -> Sizes:
        """Where a tap lies within the window."""
        return tuple(t * d for t, d in zip(tap, self.dilation, strict=True))

    def outputs(self, sizes: Sequence[int]) -> Sizes:
        """Windows per axis over an input of these sizes, before padding."""
        rows = zip(sizes, self.kernel, self.strides, self.dilation, self.padding, strict=True)
        return tuple((n + sum(p) - (k - 1) * d - 1) // s + 1 for n, k, s, d, p in rows)

    def padded(self, sizes: Sequence[int]) -> Sizes:
        """The input's sizes after padding."""
        return tuple(n + sum(p) for n, p in zip(sizes, self.padding, strict=True))


def pad(x: jax.Array, padding: Sequence[tuple[int, int]]) -> jax.Array:
    """[batch, *space, channels] with zeros around its space; what is padded by less than 0 is cut."""
    if not any(map(any, padding)):
        return x
    zero = jnp.zeros((), x.dtype)
    return lax.pad(x, zero, [(0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0)])


def tap_of(x: jax.Array, offsets: Sizes, sizes: Sizes, strides: Sizes) -> jax.Array:
    """[batch, *sizes, channels]: what one tap reads of the padded input, at every output position."""
    limits = tuple(at + (n - 1) * s + 1 for at, n, s in zip(offsets, sizes, strides, strict=True))
    return lax.slice(x, (0, *offsets, 0), (x.shape[0], *limits, x.shape[-1]), (1, *strides, 1))


def patches(x: jax.Array, window: Window, sizes: Sizes) -> jax.Array:
    """[batch, *sizes, n_taps * channels]: every window of the padded input, tap after tap."""
    found = [tap_of(x, window.offsets(tap), sizes, window.strides) for tap in window.taps()]
    return jnp.concatenate(found, -1) if len(found) > 1 else found[0]


def to_inputs(outputs: Any, window: Window, sizes: Sizes, value: Callable[[Sizes, Any], jax.Array]) -> jax.Array:
    """What flows back to every input position: the sum over the windows and taps that read it.

    An input position has one phase per axis (its index modulo the stride), and only taps of that phase read it. So
    every phase is a sum of shifted slices of the outputs, and the phases are interleaved: nothing is scattered.

    Args:
        outputs: [batch, *outputs, channels], or several of these.
        window: the window.
        sizes: of the input's space, before padding.
        value: (tap, its slices of the outputs [batch, *positions, channels]) -> what comes through this tap; nothing
            may come of zeros.

    Returns:
        [batch, *sizes, channels].
    """
    strides = window.strides
    padded = window.padded(sizes)
    positions = tuple(-(-n // s) for n, s in zip(padded, strides, strict=True))  # of one phase
    reach = tuple((k - 1) * d // s for k, d, s in zip(window.kernel, window.dilation, strides, strict=True))
    edges = [(far, max(n - o, 0)) for far, n, o in zip(reach, positions, window.outputs(sizes), strict=True)]
    around = jax.tree.map(lambda leaf: pad(leaf, edges), outputs)
    ones = (1,) * len(strides)
    phases: list[Any] = []
    for phase in itertools.product(*map(range, strides)):
        total = None
        for tap in window.taps():
            at = window.offsets(tap)
            if tuple(a % s for a, s in zip(at, strides, strict=True)) != phase:
                continue
            back = tuple(far - a // s for far, a, s in zip(reach, at, strides, strict=True))
            part = value(tap, jax.tree.map(partial(tap_of, offsets=back, sizes=positions, strides=ones), around))
            total = part if total is None else total + part
        phases.append(total)
    nothing = jnp.zeros_like(next(total for total in phases if total is not None))  # a phase that no tap reads
    phases = [nothing if total is None else total for total in phases]
    whole = phases[0] if len(phases) == 1 else _interleaved(jnp.stack(phases, 1), strides)
    low = tuple(p[0] for p in window.padding)
    return tap_of(whole, low, tuple(sizes), ones)


def _interleaved(phases: jax.Array, strides: Sizes) -> jax.Array:
    """[batch, phase, *positions, channels] -> [batch, *(positions * strides), channels]."""
    batch, _, *positions, channels = phases.shape
    n = len(strides)
    split = phases.reshape(batch, *strides, *positions, channels)
    order = [axis for k in range(n) for axis in (1 + n + k, 1 + k)]
    joined = [size * s for size, s in zip(positions, strides, strict=True)]
    return split.transpose(0, *order, 2 * n + 1).reshape(batch, *joined, channels)


def fence(function: Callable[..., jax.Array], *operands: jax.Array) -> jax.Array:
    """A function that XLA compiles by itself, because it stands in a branch that is always taken.

    XLA would otherwise fuse what comes before (a padding, a normalisation) into every tap and compute it as often; an
    optimisation barrier is gone before that happens.
    """
    # nothing is above infinity, and not even NaN is: always true, which the compiler doesn't find out
    always = ~(operands[0].ravel()[0] > jnp.inf)
    shape = jax.eval_shape(function, *operands)
    return lax.cond(always, function, lambda *_: jnp.zeros(shape.shape, shape.dtype), *operands)


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., n] by [n, m] -> [..., m]."""
    return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


def outer(x: jax.Array, y: jax.Array) -> jax.Array:
    """Sum over positions of x [..., n] by y [..., m] -> [n, m]."""
    return lax.dot_general(x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1]), (((0,), (0,)), ((), ())))

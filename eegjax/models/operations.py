"""Convolution, transposed convolution and max-pool: the one place where their form is chosen.

XLA's plain forms run on accelerators, where several members run as one program (`vmap`), where arrays are spread over
devices, and in bfloat16. On one CPU device in float32, the forms of `fast_cpu` replace those that XLA compiles badly;
each gains 15 % or more on the shapes that it is chosen for (`launch/benchmark.py --operations`).
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from eegjax.errors import note
from eegjax.models.fast_cpu import depthwise, patches, plane, pool, volume
from eegjax.models.fast_cpu.geometry import Sizes, Window, pad, tap_of

_asked: ContextVar[str] = ContextVar("form", default="")


@contextmanager
def use_form(name: str) -> Iterator[None]:
    """Trace what follows in the `plain` or the `fast` form, wherever it runs: to compare them."""
    token = _asked.set(name)
    try:
        yield
    finally:
        _asked.reset(token)


def is_fast(x: jax.Array) -> bool:
    """Whether fast forms are chosen for an array in this trace."""
    if x.dtype != jnp.float32:
        return False
    n_devices = max(jax.sharding.get_abstract_mesh().size, 1)
    chosen = jax.default_backend() == "cpu" and n_devices == 1
    _say("fast, for one CPU device" if chosen else f"plain, for {n_devices} {jax.default_backend().upper()} device(s)")
    return _asked.get() == "fast" or (chosen and _asked.get() != "plain")


@functools.cache
def _say(choice: str) -> None:
    note(f"form of convolutions and pools: {choice}")


# ---- max-pool


def max_pool(x: jax.Array, kernel: Sizes, strides: Sizes) -> jax.Array:
    """The maximum over windows of [batch, *space, channels], without padding."""
    window = Window(kernel, strides, (1,) * len(kernel), ((0, 0),) * len(kernel))
    return _pooled(x, window) if is_fast(x) else plain_max_pool(x, window)


def plain_max_pool(x: jax.Array, window: Window) -> jax.Array:
    """XLA's own form."""
    over = (1, *window.kernel, 1)
    by = (1, *window.strides, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, over, by, "VALID")


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _pooled(x: jax.Array, window: Window) -> jax.Array:
    return plain_max_pool(x, window)


def _pooled_forward(x: jax.Array, window: Window) -> tuple[jax.Array, jax.Array]:
    return _pooled(x, window), x


def _pooled_backward(window: Window, x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    def plain(x: jax.Array, gradient: jax.Array) -> jax.Array:
        return jax.vjp(functools.partial(plain_max_pool, window=window), x)[1](gradient)[0]

    return (_unless_mapped(functools.partial(pool.input_gradient, window=window), plain)(x, gradient),)


_pooled.defvjp(_pooled_forward, _pooled_backward)


# ---- convolution


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int] | None,
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> jax.Array:
    """As `lax.conv_general_dilated`, for [batch, *space, channels] by [*kernel, channels / groups, features]."""
    n = x.ndim - 2
    ones = (1,) * n
    strides = tuple(strides or ones)
    dilation = tuple(rhs_dilation or ones)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:n], dilation, strict=True)]
    pairs = lax.padtype_to_pads(x.shape[1:-1], reach, strides, padding) if isinstance(padding, str) else padding
    window = Window(kernel.shape[:n], strides, dilation, tuple((int(low), int(high)) for low, high in pairs))
    if not is_fast(x) or kernel.dtype != x.dtype or precision is not None or tuple(lhs_dilation or ones) != ones:
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            window.padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers or _dimension_numbers(n),
            feature_group_count,
            precision=precision,
        )
    return _fast_convolution(x, kernel, window, feature_group_count)


def _dimension_numbers(n: int) -> tuple[str, str, str]:
    space = "DHW"[3 - n :]
    return f"N{space}C", f"{space}IO", f"N{space}C"


def plain_convolution(x: jax.Array, kernel: jax.Array, window: Window, groups: int = 1) -> jax.Array:
    """XLA's own form."""
    numbers = _dimension_numbers(x.ndim - 2)
    return lax.conv_general_dilated(
        x, kernel, window.strides, window.padding, None, window.dilation, numbers, feature_group_count=groups
    )


def transposed_convolution(x: jax.Array, kernel: jax.Array, strides: Sizes) -> jax.Array:
    """As `lax.conv_transpose` without padding, for [batch, *space, channels] by [*kernel, channels, features]."""
    if is_fast(x) and kernel.dtype == x.dtype and kernel.shape[:-2] == strides:
        # there the kernel runs backwards over an input with holes: its last tap lies first in space
        return patches.transposed_convolution(x, jnp.flip(kernel, tuple(range(len(strides)))))
    return lax.conv_transpose(x, kernel, strides, "VALID", dimension_numbers=_dimension_numbers(len(strides)))


class Forms(NamedTuple):
    """The three parts of a convolution."""

    forward: Callable[[jax.Array, jax.Array], jax.Array]  # x, kernel -> y
    input_gradient: Callable[[jax.Array, jax.Array], jax.Array]  # gradient, kernel -> x
    kernel_gradient: Callable[[jax.Array, jax.Array], jax.Array]  # x, gradient -> kernel


def _plain_forms(sizes: Sizes, channels: int, kernel: Sizes, window: Window, groups: int) -> Forms:
    plain = functools.partial(plain_convolution, window=window, groups=groups)

    def input_gradient(gradient: jax.Array, weights: jax.Array) -> jax.Array:
        x = jax.ShapeDtypeStruct((len(gradient), *sizes, channels), gradient.dtype)
        return jax.linear_transpose(lambda x: plain(x, weights), x)(gradient)[0]

    def kernel_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
        weights = jax.ShapeDtypeStruct(kernel, x.dtype)
        return jax.linear_transpose(lambda weights: plain(x, weights), weights)(gradient)[0]

    return Forms(plain, input_gradient, kernel_gradient)


def _fast_convolution(x: jax.Array, kernel: jax.Array, window: Window, groups: int) -> jax.Array:
    n = x.ndim - 2
    ones = (1,) * n
    apart = window.kernel in (window.strides, x.shape[1:-1])  # windows that don't overlap, or a single one
    if groups == 1 and apart and window.dilation == ones and not any(map(any, window.padding)):
        return patches.convolution(x, kernel)
    if groups == 1 and window.n_taps == 1:
        sizes = window.outputs(x.shape[1:-1])
        return patches.convolution(tap_of(pad(x, window.padding), (0,) * n, sizes, window.strides), kernel)
    if not any(_fast_forms(x.shape, kernel.shape, window, groups)):
        return plain_convolution(x, kernel, window, groups)
    return _convolved(x, kernel, window, groups)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolved(x: jax.Array, kernel: jax.Array, window: Window, groups: int) -> jax.Array:
    return _chosen(x.shape, kernel.shape, window, groups).forward(x, kernel)


def _convolved_forward(x: jax.Array, kernel: jax.Array, window: Window, groups: int) -> tuple[jax.Array, Any]:
    return _convolved(x, kernel, window, groups), (x, kernel)


def _convolved_backward(window: Window, groups: int, kept: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    forms = _chosen(x.shape, kernel.shape, window, groups)
    return forms.input_gradient(gradient, kernel), forms.kernel_gradient(x, gradient)


_convolved.defvjp(_convolved_forward, _convolved_backward)


def _chosen(x: Sizes, kernel: Sizes, window: Window, groups: int) -> Forms:
    """The forms for one shape, each of them the plain one under `vmap`."""
    fast = _fast_forms(x, kernel, window, groups)
    plain = _plain_forms(x[1:-1], x[-1], kernel, window, groups)
    return Forms(*(q if p is None else _unless_mapped(p, q) for p, q in zip(fast, plain, strict=True)))


def _fast_forms(x: Sizes, kernel: Sizes, window: Window, groups: int) -> tuple[Any, Any, Any]:
    """Forward, input gradient and kernel gradient; None where the plain one is as good."""
    sizes = x[1:-1]
    n = len(x) - 2
    channels, features = kernel[-2:]
    unstrided = {*window.strides} == {1}
    if 1 < groups == x[-1] == features and n == 2 and window.n_taps > 1:
        return (
            functools.partial(depthwise.forward, window=window),
            functools.partial(depthwise.input_gradient, window=window, sizes=sizes),
            functools.partial(depthwise.kernel_gradient, window=window),
        )
    if groups == 1 and n == 3 and unstrided and {*window.dilation} == {1}:
        outputs = window.outputs(sizes)
        back = functools.partial(_volume_input_gradient, window=_backwards(window))
        gradient = functools.partial(volume.kernel_gradient, window=window)
        return functools.partial(volume.forward, window=window), back, gradient if volume.is_large(outputs) else None
    if groups == 1 and n < 3 and unstrided and plane.pays(window, window.outputs(sizes), channels, features):
        return None, None, functools.partial(plane.kernel_gradient, window=window)
    return None, None, None


def _backwards(window: Window) -> Window:
    """The window of the convolution that takes the gradient from outputs to inputs, at stride 1."""
    rows = zip(window.kernel, window.dilation, window.padding, strict=True)
    return window._replace(padding=tuple(((k - 1) * d - low, (k - 1) * d - high) for k, d, (low, high) in rows))


def _volume_input_gradient(gradient: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    return volume.forward(gradient, jnp.swapaxes(jnp.flip(kernel, (0, 1, 2)), -1, -2), window)


def _unless_mapped(fast: Callable[..., jax.Array], plain: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The fast form; under `vmap` the plain one, which XLA then makes a grouped convolution of."""
    function = custom_vmap(fast)

    @function.def_vmap
    def mapped(axis_size: int, in_batched: Sequence[bool], *operands: jax.Array) -> tuple[jax.Array, bool]:
        axes = tuple(0 if batched else None for batched in in_batched)
        return jax.vmap(plain, axes)(*operands), True

    return function

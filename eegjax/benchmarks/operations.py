"""Plain and fast forms of the operations beside each other, on the shapes of the studies and on odd ones."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eegjax.benchmarks.rivals import PINNED, Rival
from eegjax.benchmarks.timing import measure_interleaved
from eegjax.models import operations


class Case(NamedTuple):
    """A convolution (or, without a kernel, a pool over `window`) on an input."""

    name: str
    x: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    strides: int = 1
    padding: Any = "SAME"
    groups: int = 1
    window: tuple[int, ...] = ()
    transposed: bool = False


HEAD = """| operation | input | part | plain ms | fast ms | fast / plain | torch ms | fast / torch |
|---|---|---|---|---|---|---|---|"""
CASES = (
    Case("depthwise 3x3", (16, 64, 128, 96), (3, 3, 1, 96), groups=96),
    Case("depthwise 5x5", (16, 16, 32, 240), (5, 5, 1, 240), groups=240),
    Case("depthwise 3x3, stride 2", (16, 64, 128, 96), (3, 3, 1, 96), strides=2, groups=96),
    Case("depthwise 5x5, stride 2, odd", (5, 33, 61, 144), (5, 5, 1, 144), strides=2, groups=144),
    Case("depthwise 7x7", (8, 28, 28, 96), (7, 7, 1, 96), groups=96),
    Case("image 3x3, 224", (4, 224, 224, 64), (3, 3, 64, 64)),
    Case("image 3x3, 3 channels", (4, 224, 224, 3), (3, 3, 3, 64)),
    Case("image 3x3, 56", (8, 56, 56, 256), (3, 3, 256, 256)),
    Case("image 3x3, 14", (8, 14, 14, 512), (3, 3, 512, 512)),
    Case("image 3x3, odd", (5, 61, 45, 24), (3, 3, 24, 40)),
    Case("image 3x3, narrow", (32, 64, 64, 8), (3, 3, 8, 8)),
    Case("image 3x3, stride 2", (16, 128, 256, 3), (3, 3, 3, 32), strides=2),
    Case("image 7x7, stride 2", (8, 112, 112, 3), (7, 7, 3, 64), strides=2),
    Case("image 1x1", (16, 32, 64, 96), (1, 1, 96, 24)),
    Case("image 1x1, stride 2", (8, 56, 56, 64), (1, 1, 64, 128), strides=2),
    Case("image 4x4, stride 4", (8, 224, 224, 3), (4, 4, 3, 96), strides=4, padding="VALID"),
    Case("image 2x2, stride 2", (8, 56, 56, 96), (2, 2, 96, 192), strides=2, padding="VALID"),
    Case("electrodes 20x1, 1 channel", (64, 1000, 22, 1), (20, 1, 1, 25), padding="VALID"),
    Case("electrodes 20x1, 25 channels", (64, 326, 1, 25), (20, 1, 25, 50), padding="VALID"),
    Case("line 3, 8 channels", (16, 2000, 8), (3, 8, 16)),
    Case("line 3, 64 channels", (64, 125, 64), (3, 64, 64)),
    Case("line 20, stride 4", (64, 1000, 22), (20, 22, 40), strides=4, padding="VALID"),
    Case("line 7, stride 2", (64, 1000, 22), (7, 22, 64), strides=2),
    Case("line 20", (64, 326, 25), (20, 25, 50), padding="VALID"),
    Case("volume 3^3, 64^3", (1, 64, 64, 64, 16), (3, 3, 3, 16, 16)),
    Case("volume 3^3, 32^3", (1, 32, 32, 32, 64), (3, 3, 3, 64, 64)),
    Case("volume 3^3, 8^3", (2, 8, 8, 8, 256), (3, 3, 3, 256, 256)),
    Case("volume 5^3, 64^3", (1, 64, 64, 64, 16), (5, 5, 5, 16, 16)),
    Case("volume 5^3, 32^3", (1, 32, 32, 32, 32), (5, 5, 5, 32, 32)),
    Case("volume 5^3, 1 channel", (1, 64, 64, 64, 1), (5, 5, 5, 1, 16)),
    Case("volume 5^3, odd", (3, 13, 17, 11, 6), (5, 5, 5, 6, 10)),
    Case("volume 5^3, 4^3", (2, 4, 4, 4, 256), (5, 5, 5, 256, 256)),
    Case("volume 1^3", (1, 64, 64, 64, 32), (1, 1, 1, 32, 2)),
    Case("volume 2^3, stride 2", (1, 64, 64, 64, 16), (2, 2, 2, 16, 32), strides=2, padding="VALID"),
    Case("transposed 2^3, stride 2", (1, 32, 32, 32, 32), (2, 2, 2, 32, 16), strides=2, transposed=True),
    Case("transposed 2x2, stride 2, odd", (5, 31, 17, 24), (2, 2, 24, 12), strides=2, transposed=True),
    Case("max-pool 2x2", (8, 224, 224, 64), strides=2, window=(2, 2)),
    Case("max-pool 3, stride 2", (64, 500, 64), strides=2, window=(3,)),
    Case("max-pool 6, stride 3", (64, 981, 25), strides=3, window=(6,)),
    Case("max-pool 2^3", (1, 64, 64, 64, 64), strides=2, window=(2, 2, 2)),
)


def function_of(case: Case) -> Callable[..., jax.Array]:
    """(x) or (x, kernel) -> y."""
    strides = (case.strides,) * (len(case.x) - 2)
    if case.window:
        return functools.partial(operations.max_pool, kernel=case.window, strides=strides)
    if case.transposed:
        return functools.partial(operations.transposed_convolution, strides=strides)
    return lambda x, kernel: operations.convolution(x, kernel, strides, case.padding, feature_group_count=case.groups)


def measure(only: str = "", rounds: int = 7, torch: bool = False) -> Iterator[dict[str, Any]]:
    """A row per case (with `only` in its name) and part.

    Yields:
        `name`, `shape`, `part`, seconds of `plain` and `fast`, and of `torch` where asked for.
    """
    rival = Rival("eegjax.benchmarks.operations_torch", PINNED) if torch else None
    for case in CASES:
        if only not in case.name:
            continue
        operands = operands_of(case)
        for part, function in parts_of(case).items():
            plain, fast = measure_interleaved(
                [_compiled(form, function, operands) for form in ("plain", "fast")], rounds
            )
            row = {"name": case.name, "shape": case.x, "part": part, "plain": plain, "fast": fast}
            if rival is not None:
                row["torch"] = rival.ask("value", "seconds", case._asdict(), part, rounds)
            yield row
    if rival is not None:
        rival.close()


def operands_of(case: Case) -> list[jax.Array]:
    """The output's gradient, the input and, of convolutions, the kernel: random numbers."""
    shapes = [case.x, case.kernel] if case.kernel else [case.x]
    with operations.use_form("plain"):
        output = jax.eval_shape(function_of(case), *[jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes])
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in (output.shape, *shapes)]


def parts_of(case: Case) -> dict[str, Callable[..., jax.Array]]:
    """The functions of `operands_of` that are timed."""
    function = function_of(case)
    parts: dict[str, Callable[..., jax.Array]] = {"forward": lambda gradient, *operands: function(*operands)}
    for at, part in enumerate(("input gradient", "kernel gradient")[: 2 if case.kernel else 1]):
        parts[part] = functools.partial(_gradient, function, at)
    return parts


def _gradient(function: Callable[..., jax.Array], at: int, gradient: jax.Array, *operands: jax.Array) -> jax.Array:
    def of_one(operand: jax.Array) -> jax.Array:
        return function(*operands[:at], operand, *operands[at + 1 :])

    return jax.vjp(of_one, operands[at])[1](gradient)[0]


def _compiled(form: str, function: Callable[..., jax.Array], operands: list[jax.Array]) -> Callable[[], Any]:
    with operations.use_form(form):  # a function of its own: JAX would find the other form's trace again
        compiled = jax.jit(lambda *given: function(*given)).lower(*operands).compile()
    return lambda: compiled(*operands)


def format_row(row: dict[str, Any]) -> str:
    """A row as Markdown, in milliseconds; below `HEAD`."""
    shape = " x ".join(map(str, row["shape"]))
    times = f"{1e3 * row['plain']:.2f} | {1e3 * row['fast']:.2f} | {row['fast'] / row['plain']:.2f}"
    torch = f"{1e3 * row['torch']:.2f} | {row['fast'] / row['torch']:.2f}" if "torch" in row else " | "
    return f"| {row['name']} | {shape} | {row['part']} | {times} | {torch} |"

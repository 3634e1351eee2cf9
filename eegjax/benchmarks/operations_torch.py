"""The operations in PyTorch, channels first as its users have them, eager."""

from collections.abc import Callable
from typing import Any

import numpy as np

from eegjax.benchmarks.timing import measure_interleaved


def make() -> dict[str, Callable[..., Any]]:
    """`measure_seconds`(a case's fields, a part's name, rounds) of one call."""
    return {"seconds": measure_seconds}


def measure_seconds(case: dict[str, Any], part: str, rounds: int) -> float:
    """Of the forward pass, or of the gradient for one operand."""
    import torch  # type: ignore[import-not-found]

    n = len(case["x"]) - 2
    rng = np.random.default_rng(0)
    function, shapes = _function(case, n)
    operands = [torch.from_numpy(rng.normal(size=shape).astype(np.float32)) for shape in shapes]
    at = {"forward": None, "input gradient": 0, "kernel gradient": 1}[part]

    if at is None:

        def forward() -> None:
            with torch.no_grad():
                function(*operands)

        return float(measure_interleaved([forward], rounds, lambda value: value)[0])
    operands[at].requires_grad_()
    output = function(*operands)
    gradient = torch.ones_like(output)

    def backward() -> None:
        torch.autograd.grad(output, operands[at], gradient, retain_graph=True)

    return float(measure_interleaved([backward], rounds, lambda value: value)[0])


def _function(case: dict[str, Any], n: int) -> tuple[Callable[..., Any], list[tuple[int, ...]]]:
    from torch.nn import functional

    batch, *space, channels = case["x"]
    x = (batch, channels, *space)
    stride = case["strides"]
    name = f"{n}d"
    if case["window"]:
        pool = getattr(functional, f"max_pool{name}")
        return lambda x: pool(x, case["window"], stride), [x]
    *kernel, n_in, n_out = case["kernel"]
    if case["transposed"]:
        up = getattr(functional, f"conv_transpose{name}")
        return lambda x, w: up(x, w, stride=stride), [x, (n_in, n_out, *kernel)]
    conv = getattr(functional, f"conv{name}")
    padding = [k // 2 if case["padding"] == "SAME" else 0 for k in kernel]
    return (
        lambda x, w: conv(x, w, stride=stride, padding=padding, groups=case["groups"]),
        [x, (n_out, n_in, *kernel)],
    )

"""Timing: rivals take turns, so that whatever else the machine does befalls all of them."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LEAST_S = 0.05
ROUNDS = 7


def measure_interleaved(
    rivals: Sequence[Callable[[], Any]], rounds: int = ROUNDS, wait: Callable[[Any], Any] | None = None
) -> np.ndarray:
    """[n_rivals] seconds per call: the median over rounds, in each of which all take their turn.

    Args:
        rivals: without arguments; what they return is waited for. Each is called once beforehand, to compile.
        rounds: turns of each; short calls are repeated within a turn.
        wait: for what a call returns; `jax.block_until_ready` by default.
    """
    if wait is None:
        import jax  # not at the top: torch's process has none

        wait = jax.block_until_ready
    repeats = [max(1, int(LEAST_S / max(_seconds(rival, 1, wait, warm_up=True), 1e-6))) for rival in rivals]
    seconds = [[_seconds(rival, n, wait) for rival, n in zip(rivals, repeats, strict=True)] for _ in range(rounds)]
    return np.median(seconds, 0)


def _seconds(function: Callable[[], Any], n: int, wait: Callable[[Any], Any], warm_up: bool = False) -> float:
    if warm_up:
        wait(function())
    begun_s = time.perf_counter()
    for _ in range(n):
        wait(function())
    return (time.perf_counter() - begun_s) / n

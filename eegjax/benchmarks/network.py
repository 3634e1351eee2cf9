"""A network in both frameworks, as `network_jax` and `network_torch` time it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Weights = Mapping[str, np.ndarray]


class Network(NamedTuple):
    """What a comparison has to know of a network.

    Examples and weights are of NumPy alone, so that both rivals have the same; `in_jax` and `in_torch` import their
    framework when they are called, because a process has one of them.
    """

    title: str  # name, width and size of an input
    batch: int  # examples per step where nobody says how many
    examples: Callable[[int], tuple[np.ndarray, np.ndarray]]  # [n, *space, channels] float32, [n, ...] int64 classes
    weights: Callable[[], Weights]  # name -> float32 array
    in_jax: Callable[[Weights], tuple[Any, Any]]  # the Flax module and its parameters
    in_torch: Callable[[Weights], Any]  # the torch module, [n, channels, *space] -> [n, classes, ...]

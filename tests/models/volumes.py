"""Networks from volume to volume: what their tests run them on, and compare."""

from functools import cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def volumes(batch: int, size: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(batch, size, size, size, channels)).astype(np.float32)


def shapes(module: nn.Module, *shape: int) -> Any:
    return jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))["params"]


def count(module: nn.Module, *shape: int) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(module, *shape)))


@cache
def made(module: nn.Module, size: int, channels: int = 1) -> Any:
    """Parameters that all matter, drawn with NumPy; biases keep most ReLUs alive."""
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.ndim < 2:
            return rng.uniform(0.2, 1, leaf.shape).astype(np.float32)
        return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)

    return jax.tree.map(draw, shapes(module, 1, size, size, size, channels))


@cache
def compiled(module: nn.Module) -> Any:
    """(parameters, volumes) -> outputs, and gradients of a mean to which voxels contribute differently."""

    def objective(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = module.apply({"params": params}, x, mask=jnp.ones(len(x), bool))
        return jnp.mean(out * jnp.cos(jnp.arange(out.size).reshape(out.shape))), out

    def evaluated(params: Any, x: jax.Array) -> Any:
        (_, out), gradients = jax.value_and_grad(objective, has_aux=True)(params, x)
        return out, gradients

    return jax.jit(evaluated)


def assert_near(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Leaf by leaf, relative to the largest of all leaves."""
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    for path, leaf in jax.tree.leaves_with_path(jax.tree.map(lambda a, b: np.abs(a - b).max(), found, expected)):
        assert leaf <= tolerance * largest, (jax.tree_util.keystr(path), leaf, largest)

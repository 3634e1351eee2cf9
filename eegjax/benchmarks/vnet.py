"""V-Net in both frameworks, two classes per voxel; its weights have Flax's names."""

from functools import partial
from math import prod
from typing import Any

import numpy as np

from eegjax.benchmarks.network import Network, Weights

LEVELS = ((16, 1), (32, 2), (64, 3), (128, 3), (256, 3))  # (channels on the way down, convolutions); twice as many up
MEANS = {"kernel": 0, "bias": 0, "scale": 1, "negative_slope": 0.25}
Shapes = dict[str, tuple[int, ...]]


def make_network(width: float = 1.0, grid: int = 64, depth: int = 5) -> Network:
    """V-Net of one channel on a cube of `grid` voxels a side."""
    title = f"V-Net, width {width:g}, grid {grid} x {grid} x {grid}"
    size = width, depth
    return Network(
        title,
        1,
        partial(make_examples, grid),
        partial(make_weights, *size),
        partial(build_in_jax, *size),
        partial(build_in_torch, *size),
    )


def make_examples(grid: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Volumes [batch, grid, grid, grid, 1] float32, and a class per voxel, one of a hundred 1, int64."""
    rng = np.random.default_rng(1)
    shape = (batch, grid, grid, grid)
    return rng.standard_normal((*shape, 1), dtype=np.float32), (rng.random(shape) < 0.01).astype(np.int64)


def make_weights(width: float, depth: int) -> Weights:
    """Random numbers, float32: kernels He-scaled, the others about what they are at first, no two alike."""
    rng = np.random.default_rng(0)
    found = {}
    for path, shape in list_shapes(width, depth).items():
        kind = path.rpartition("/")[2]
        scale = (2 / prod(shape[:-1])) ** 0.5 if kind == "kernel" else 0.1
        numbers = np.asarray(rng.standard_normal(shape, np.float32))
        found[path] = numbers * np.float32(scale) + np.float32(MEANS[kind])
    return found


def list_shapes(width: float, depth: int) -> Shapes:
    """The shape of every parameter, by Flax's path, such as `left_2/conv_1/kernel`."""
    found: Shapes = {}
    before = 1
    levels = list(enumerate(list_levels(width, depth), 1))
    for level, (features, _, n_convs) in levels:
        path = f"left_{level}"
        if level > 1:
            found |= _conv(f"{path}/down", 2, before, features) | _prelu(f"{path}/prelu_down")
            before = features
        found |= _conv(f"{path}/skip", 1, before, features)
        for index in range(1, n_convs + 1):
            found |= _unit(path, str(index), before, features)
            before = features
    for level, (encoded, features, n_convs) in levels[-2::-1]:
        path = f"right_{level}"
        found |= _conv(f"{path}/up", 2, before, features) | _prelu(f"{path}/prelu_up")
        found |= _unit(path, "encoded", encoded, features)
        before = 2 * features
        for index in range(1, n_convs + 1):
            found |= _conv(f"{path}/conv_{index}", 5, before, features) | _prelu(f"{path}/prelu_{index}")
            before = features
    return found | _conv("last", 5, before, 2) | _conv("head", 1, 2, 2)


def list_levels(width: float, depth: int) -> list[tuple[int, int, int]]:
    """Per level: channels on the way down, on the way up, convolutions."""
    return [(max(1, round(n * width)), max(1, round(2 * n * width)), n_convs) for n, n_convs in LEVELS[:depth]]


def _conv(path: str, size: int, before: int, features: int) -> Shapes:
    return {f"{path}/kernel": (size, size, size, before, features), f"{path}/bias": (features,)}


def _prelu(path: str) -> Shapes:
    return {f"{path}/negative_slope": ()}


def _unit(path: str, name: str, before: int, features: int) -> Shapes:
    norm = {f"{path}/norm_{name}/{kind}": (features,) for kind in ("scale", "bias")}
    return _conv(f"{path}/conv_{name}", 5, before, features) | norm | _prelu(f"{path}/prelu_{name}")


def build_in_jax(width: float, depth: int, weights: Weights) -> tuple[Any, Any]:
    """The Flax module and its parameters."""
    from flax.traverse_util import unflatten_dict

    from eegjax.models.vnet import VNet

    return VNet(2, width, depth), unflatten_dict(dict(weights), sep="/")


def build_in_torch(width: float, depth: int, weights: Weights) -> Any:
    """The torch module, the weights in its layouts."""
    import torch  # type: ignore[import-not-found]

    from eegjax.benchmarks.vnet_torch import VNet

    model = VNet(list_levels(width, depth))
    layouts = ((name, _from_flax(name, weights)) for name in model.state_dict())
    model.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in layouts})
    return model


def _from_flax(name: str, weights: Weights) -> np.ndarray:
    """What torch calls `stages.left_2.units.conv_1.weight` and Flax `left_2/conv_1/kernel`, in torch's layout."""
    *groups, layer, kind = name.split(".")
    path = "/".join([*groups[1:2], layer])
    if kind == "weight":
        kind = next(kind for kind in ("kernel", "scale", "negative_slope") if f"{path}/{kind}" in weights)
    array = weights[f"{path}/{kind}"]
    if kind != "kernel":
        return array.reshape(-1)  # torch's slope is an array of one
    if layer == "up":  # Flax's transposed kernel runs backwards
        return np.flip(array, (0, 1, 2)).transpose(3, 4, 0, 1, 2)
    return array.transpose(4, 3, 0, 1, 2)

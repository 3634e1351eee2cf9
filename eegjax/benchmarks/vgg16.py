"""VGG16 in both frameworks, without dropout; its weights have torchvision's names."""

from collections import OrderedDict
from typing import Any

import numpy as np

from eegjax.benchmarks.network import Network, Weights

CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: a max-pool
LINEAR = ((25088, 4096), (4096, 4096), (4096, 1000))
SIZE = 224


def make_network() -> Network:
    """VGG16 of a thousand classes."""
    title = f"VGG16, width 1, images of {SIZE} x {SIZE} x 3"
    return Network(title, 8, make_examples, make_weights, build_in_jax, build_in_torch)


def make_weights() -> Weights:
    """The state dict of torchvision's VGG16, He-scaled random numbers, float32."""
    rng = np.random.default_rng(0)
    found = {}
    index = 0
    before = 3
    for channels in CHANNELS:
        if channels:
            scale = (2 / (9 * before)) ** 0.5
            found[f"features.{index}.weight"] = rng.normal(0, scale, (channels, before, 3, 3)).astype(np.float32)
            found[f"features.{index}.bias"] = rng.normal(0, 0.1, channels).astype(np.float32)
            before = channels
        index += 2 if channels else 1  # a convolution and its ReLU, or a pool
    for number, (n_in, n_out) in enumerate(LINEAR):
        weight = rng.standard_normal((n_out, n_in), dtype=np.float32) * np.float32((2 / n_in) ** 0.5)
        name = f"classifier.{3 * number}"
        found |= {f"{name}.weight": weight, f"{name}.bias": np.zeros(n_out, np.float32)}
    return found


def make_examples(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [batch, 224, 224, 3] float32 and labels [batch] int64."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((batch, SIZE, SIZE, 3), dtype=np.float32), rng.integers(0, 1000, batch)


def build_in_jax(weights: Weights) -> tuple[Any, Any]:
    """The Flax module and its parameters."""
    import jax

    from eegjax.models.pretrained import load_vgg16
    from eegjax.models.vgg import VGG16

    model = VGG16(1000, dropout=0.0)
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.PRNGKey(0), image)["params"]
    return model, load_vgg16(shapes, weights, "made here")


def build_in_torch(weights: Weights) -> Any:
    """The module as torchvision has it, identities for dropout."""
    import torch  # type: ignore[import-not-found]
    from torch import nn

    layers: list[Any] = []
    before = 3
    for channels in CHANNELS:
        layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(True)] if channels else [nn.MaxPool2d(2)]
        before = channels or before
    heads: list[Any] = []
    for n_in, n_out in LINEAR:
        heads += [nn.Linear(n_in, n_out), nn.ReLU(True), nn.Identity()]
    features = nn.Sequential(*layers)
    classifier = nn.Sequential(*heads[:-2])
    model = nn.Sequential(OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return model

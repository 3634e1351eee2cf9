"""Activation maps: how strongly a network's layers answer to each part of an image, layer after layer."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from eegjax.errors import did_you_mean
from eegjax.models.vgg import STAGES

HIDDEN_STATE = "conv_lstm"  # of VGG16ConvLSTM, and `conv_lstm_2` and so on above it: of either sign


def vgg16_layers(batch_norm: bool = False) -> tuple[str, ...]:
    """The last convolution of each of VGG16's five stages, or the normalisation between it and its ReLU."""
    kind = "norm" if batch_norm else "conv"
    return tuple(f"features/{kind}{stage}_{n_convs}" for stage, (n_convs, _) in enumerate(STAGES, 1))


def compute_activation_maps(
    model: nn.Module, variables: Any, images: jax.Array, layers: Sequence[str]
) -> dict[str, jax.Array]:
    """The mean over the channels of what each layer hands on: its ReLU, or of a hidden state the absolute value.

    Args:
        model: VGG16 or VGG16ConvLSTM; it is run as it predicts, without dropout.
        variables: its weights (and batch statistics).
        images: [batch, *image] or [batch, n_steps, *image] float, as the model takes them.
        layers: paths of submodules, such as `vgg16_layers()` and `HIDDEN_STATE`.

    Returns:
        Layer to [batch, h, w] or [batch, n_steps, h, w] float32, at least 0, in the order of `layers`.

    Raises:
        ValueError: one of `layers` is none of the model's.
    """
    seen = set()

    def wanted(module: nn.Module, method: str) -> bool:
        path = "/".join(module.path)
        seen.add(path)
        return path in layers and method == "__call__"

    _, captured = model.apply(variables, images, train=False, capture_intermediates=wanted, mutable=["intermediates"])
    outputs = flatten_dict(captured.get("intermediates", {}), sep="/")
    maps = {}
    for layer in layers:
        if layer not in seen:
            raise ValueError(f"the model has no layer '{layer}'.{did_you_mean(layer, seen)}")
        maps[layer] = _strength(layer, outputs[f"{layer}/__call__"][0], images.shape[:-3])
    return maps


def _strength(layer: str, output: jax.Array, leading: tuple[int, ...]) -> jax.Array:
    """[..., h, w, channels] -> [*leading, h, w]; the features' own leading axis is the flattened one."""
    output = output.astype(jnp.float32)
    size = jnp.abs(output) if layer.startswith(HIDDEN_STATE) else nn.relu(output)
    return jnp.mean(size.reshape(*leading, *output.shape[-3:]), -1)

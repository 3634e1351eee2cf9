"""torchvision's weights in this project's networks."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from eegjax.errors import UserError, note
from eegjax.models.vgg import STAGES

Params = dict[str, Any]
State = Mapping[str, np.ndarray]
Layers = dict[str, tuple[str, tuple[int, ...]]]  # layer -> torchvision's name, its weight's shape (-1: any)

# of torchvision's training images, red, green, blue, in units of the full scale
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)

VGG16_POOL5 = (7, 7)  # at 224 x 224, where torchvision's weights were trained


def _vgg16_features() -> Layers:
    """torchvision's numbers count ReLUs and pools as well."""
    layers: Layers = {}
    index = 0
    n_inputs = 3
    for stage, (n_convs, channels) in enumerate(STAGES, 1):
        for number in range(1, n_convs + 1):
            layers[f"conv{stage}_{number}"] = (f"features.{index}", (channels, n_inputs, 3, 3))
            index = index + 2
            n_inputs = channels
        index += 1
    return layers


VGG16_FEATURES = _vgg16_features()
VGG16_CLASSIFIER: Layers = {
    "fc6": ("classifier.0", (4096, 512 * 7 * 7)),
    "fc7": ("classifier.3", (4096, 4096)),
    "head": ("classifier.6", (-1, 4096)),  # as many classes as it was trained for
}


def load_vgg16(
    params: Params, state: State, path: Path | str, *, features_only: bool = False, raw: bool = False
) -> Params:
    """Put torchvision's VGG16 weights into a `VGG16` or `VGG16ConvLSTM` of width 1, or into its features alone.

    The features are always taken; of a VGG16 also fc6 and fc7, if fc6's filter is 7 x 7 as torchvision's (images of
    224 to 255 pixels), and the head, if the number of classes is the same too. What isn't taken keeps its new values,
    and the log says so. For gray images the first kernel is summed over its colours, which is the same as showing the
    image in all three. torchvision trained on (rgb / 255 - IMAGENET_MEAN) / IMAGENET_STD.

    Args:
        params: the network's parameters, newly initialised, or `{"features": ...}` of them.
        state: torchvision's state dict, name -> array [...] of any floating dtype.
        path: of the file it came from, for messages.
        features_only: keep fc6, fc7 and head new, as the sleep paper's code does.
        raw: the images will be 0..255 as they are: the first kernel is divided by 255 * IMAGENET_STD, so that they
            have the effect of rgb / 255 / IMAGENET_STD. No mean is subtracted, nor does the sleep paper's code do so.

    Returns:
        The parameters with float32 arrays of the same shapes.

    Raises:
        UserError: `params` are of no network that VGG16's weights fit, or `state` isn't VGG16's.
    """
    features = params["features"]
    classifier = "fc6" in params and not features_only
    layers = {**VGG16_FEATURES, **(VGG16_CLASSIFIER if classifier else {})}
    _check_network(features, path)
    _check_names(state, layers, path)
    for name, shape in layers.values():
        _check_shape(state, f"{name}.weight", shape, path)
        _check_shape(state, f"{name}.bias", state[f"{name}.weight"].shape[:1], path)
    loaded = {layer: _convolution(state, name) for layer, (name, _) in VGG16_FEATURES.items()}
    first = loaded["conv1_1"]
    if raw:
        first["kernel"] = first["kernel"] / (255 * IMAGENET_STD[:, None])
    if features["conv1_1"]["kernel"].shape[2] == 1:
        first["kernel"] = first["kernel"].sum(2, keepdims=True)
    if classifier:
        return {**params, "features": loaded, **_vgg16_classifier(params, state, path)}
    if set(params) != {"features"}:
        note(f"{path}: the features are loaded; all after them is newly initialised")
    return {**params, "features": loaded}


def _vgg16_classifier(params: Params, state: State, path: Path | str) -> Params:
    """Those of fc6, fc7 and head that fit."""
    if (pool5 := params["fc6"]["kernel"].shape[:2]) != VGG16_POOL5:
        note(
            f"{path}: the features are loaded; fc6, fc7 and head are newly initialised: the file's fc6 sees 7 x 7 maps "
            f"(images of 224 pixels), this network's {pool5[0]} x {pool5[1]}"
        )
        return {}
    layers = dict(VGG16_CLASSIFIER)
    n_classes = len(state["classifier.6.bias"])
    n_outputs = params["head"]["bias"].shape[0]
    if n_classes != n_outputs:
        del layers["head"]
        note(
            f"{path}: features, fc6 and fc7 are loaded; the head is newly initialised: the file has {n_classes} "
            f"classes, this network {n_outputs}"
        )
    sizes = {"fc6": VGG16_POOL5}  # torch flattens pool5 as (channels, height, width)
    return {layer: _convolution(state, name, sizes.get(layer, (1, 1))) for layer, (name, _) in layers.items()}


def _convolution(state: State, name: str, size: tuple[int, int] | None = None) -> Params:
    """A convolution's parameters, from those of a convolution, or of a linear layer that sees a map of some size."""
    kernel, bias = (np.asarray(state[f"{name}.{part}"], np.float32) for part in ("weight", "bias"))
    if size is not None:
        kernel = kernel.reshape(len(kernel), -1, *size)
    return {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias}


def _check_network(features: Params, path: Path | str) -> None:
    *_, n_channels, width = features["conv1_1"]["kernel"].shape
    expected = VGG16_FEATURES["conv1_1"][1][0]
    if "norm1_1" in features:
        raise UserError(
            f"{path}: VGG16's weights are for a network without batch normalisation; set config.model.batch_norm=false"
        )
    if width != expected:
        raise UserError(
            f"{path}: VGG16's first layer has {expected} channels, this network's {width}; set config.model.width=1"
        )
    if n_channels not in (1, 3):
        raise UserError(f"{path}: VGG16's weights are for images of 3 or 1 channels, this network's have {n_channels}")


def _check_names(state: State, layers: Layers, path: Path | str) -> None:
    """Every name that is needed, and none of another network."""
    needed = {f"{name}.{part}" for name, _ in layers.values() for part in ("weight", "bias")}
    known = {f"{name}.{part}" for name, _ in {**layers, **VGG16_CLASSIFIER}.values() for part in ("weight", "bias")}
    missing = needed - set(state)
    foreign = set(state) - known
    if missing or foreign:
        raise UserError(
            f"{path}: not torchvision's VGG16: {_some(missing)} missing, {_some(foreign)} of another network; "
            "give the state dict of torchvision.models.vgg16"
        )


def _some(names: Iterable[str]) -> str:
    few = sorted(names)
    return f"{len(few)} ({', '.join(few[:3])}{', ...' if len(few) > 3 else ''})" if few else "none"


def _check_shape(state: State, name: str, shape: tuple[int, ...], path: Path | str) -> None:
    found = state[name]
    fits = found.ndim == len(shape) and all(want in (-1, have) for want, have in zip(shape, found.shape, strict=True))
    if not fits or not jnp.issubdtype(found.dtype, jnp.floating):
        expected = str(shape).replace("-1", "any")
        raise UserError(
            f"{path}: {name} has the shape {found.shape} and the type {found.dtype}; expected {expected} and a "
            "floating type, as in the state dict of torchvision.models.vgg16"
        )

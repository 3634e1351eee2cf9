"""The sleep study's networks: what they see, what they learn from, what is made of their answers."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Batch, gather, iterate_in_order
from eegjax.data.formats.weight_file import read_weights
from eegjax.data.splits import Fold
from eegjax.errors import UserError, check_choice
from eegjax.evaluate.transitions import count_transitions, estimate_transitions
from eegjax.models.layers import DTYPES, dtype_of
from eegjax.models.lstm import RawLSTM
from eegjax.models.pretrained import IMAGENET_MEAN, IMAGENET_STD, load_vgg16
from eegjax.models.vgg import VGG16, VGG16Features
from eegjax.models.vgg_conv_lstm import VGG16ConvLSTM
from eegjax.run.study import Task
from eegjax.signal import image as images
from eegjax.studies.sleep.data import (
    ON_SIGNAL,
    classes,
    epochs_uv,
    labels,
    n_frames,
    n_samples,
    positions,
    source,
    units,
)
from eegjax.train.losses import cross_entropy

MODELS = ("vgg16", "vgg16_conv_lstm", "lstm")
TRAINABLE = ("all", "fc", "head")
LARGEST_Z = 20.0  # of the raw signal: beyond it is an artefact, and a network that saw it would learn from that


def fit(config: ConfigDict, dataset: Dataset, fold: Fold) -> dict[str, np.ndarray]:
    """What is learnt from the training part alone.

    Returns:
        As `fit_labels`, and
        eeg_uv: the signal's scale, for networks that read it. mean_image: what is subtracted from images, if asked for.
    """
    stats = fit_labels(config, dataset, fold)
    if config.model.name in ON_SIGNAL:
        some = fold.train[:: max(1, len(fold.train) // 1000)]
        stats["eeg_uv"] = np.median(np.abs(epochs_uv(dataset, some))) / 0.6745  # robust: a Gaussian's deviation
    elif config.inputs.subtract_mean:
        stats["mean_image"] = _mean_image(config, dataset, fold)
    return {name: np.asarray(value, np.float32) for name, value in stats.items()}


def fit_labels(config: ConfigDict, dataset: Dataset, fold: Fold) -> dict[str, np.ndarray]:
    """What the training part's labels say, float64.

    Returns:
        class_weights [n_classes]: inverse to the class's share, their mean over examples 1, or ones.
        prior, trained_prior [n_classes]: the classes' shares, and those that balancing made of them.
        transitions [n_classes, n_classes]: probabilities of the next epoch's class, counted on the training nights.
    """
    targets = labels(config, dataset.index)
    n_classes = len(classes(config))
    counts = np.bincount(targets[fold.train], minlength=n_classes)
    weights = np.ones(n_classes)
    if config.train.class_weights:
        weights = counts.sum() / (np.maximum(counts, 1) * (counts > 0).sum())
    shares = (counts + 1) / (counts + 1).sum()  # Laplace's rule: a class that wasn't seen is rare, not impossible
    drawn = shares if config.train.balance == "none" else _balanced_shares(config, dataset, fold, targets, n_classes)
    index = dataset.index.iloc[fold.train]
    moves = count_transitions(targets[fold.train], index["recording"].to_numpy(), positions(index), n_classes)
    return {
        "class_weights": weights,
        "prior": shares,
        "trained_prior": weights * drawn / (weights * drawn).sum(),
        "transitions": estimate_transitions(moves),
    }


def _balanced_shares(
    config: ConfigDict, dataset: Dataset, fold: Fold, targets: np.ndarray, n_classes: int
) -> np.ndarray:
    """[n_classes]: the classes' shares among what balancing draws: equal, unless a sequence's first epoch decides."""
    drawn, _ = units(config, dataset, fold.train, True)
    drawn = drawn.reshape(len(drawn), -1)
    first = targets[drawn[:, 0]]
    each = np.broadcast_to(1 / np.bincount(first)[first][:, None], drawn.shape)
    counts = np.bincount(targets[drawn[drawn >= 0]], each[drawn >= 0], n_classes)
    return counts / counts.sum()


def _mean_image(config: ConfigDict, dataset: Dataset, fold: Fold) -> np.ndarray:
    """[size, size, n_channels]: the mean of the training part's images, as the network sees them."""
    reader = source(config, dataset)
    total = np.zeros(())
    summed = jax.jit(lambda batch: jnp.where(batch["mask"][:, None, None, None], images_of(config, batch), 0).sum(0))
    for rows, mask in iterate_in_order(fold.train, 64):
        total = total + np.asarray(summed(gather(np, reader, rows, mask)), np.float64)
    return total / len(fold.train)


def model(config: ConfigDict, dataset: Dataset) -> nn.Module:
    """The network named in the configuration, whole.

    Raises:
        UserError: no such network, weights that aren't said, or settings that exclude one another.
    """
    name = config.model.name
    settings = config.model
    check_choice("config.model.name", name, MODELS)
    check_choice("config.train.precision", config.train.precision, DTYPES)
    if not settings.weights and name not in ON_SIGNAL:
        raise UserError(
            "config.model.weights is not set: give --config.model.weights=FILE, the state dict of "
            "torchvision.models.vgg16 (.pth or .safetensors; torchvision's own file is vgg16-397923af.pth), or ask for "
            "random initial weights by --config.model.weights=none"
        )
    if name in ON_SIGNAL and settings.weights not in ("", "none"):
        raise UserError(
            f"config.model.weights is '{settings.weights}', but '{name}' sees no images: VGG16's weights are not for "
            "it; give --config.model.weights=none"
        )
    still = backbone(config)
    if settings.batch_norm and (still or config.test.dropout):
        field = "config.test.dropout=true" if config.test.dropout else f"config.model.trainable={trainable(config)}"
        raise UserError(f"config.model.batch_norm is true, which excludes {field}: choose one of them")
    common = {"n_outputs": len(classes(config)), "width": settings.width, "dropout": settings.dropout}
    common |= {"dtype": dtype_of(config.train.precision)}
    if name == "lstm":
        return RawLSTM(**common, n_cells=settings.n_cells)
    if name == "vgg16":
        return VGG16(**common, batch_norm=settings.batch_norm)
    return VGG16ConvLSTM(**common, batch_norm=settings.batch_norm, n_cells=settings.n_cells)


def trainable(config: ConfigDict) -> str:
    """`all`, `fc` or `head`; where it isn't said: `fc` with a file of weights, `all` without.

    Raises:
        UserError: another word, or a part to be frozen at random weights.
    """
    given = config.model.trainable
    if config.model.name in ON_SIGNAL:
        return "all"
    if not given:
        return "all" if config.model.weights == "none" else "fc"
    check_choice("config.model.trainable", given, TRAINABLE)
    if given != "all" and config.model.weights == "none":
        raise UserError(
            f"config.model.trainable is '{given}', but config.model.weights is 'none': what isn't trained would stay "
            "random; give a file of weights, or --config.model.trainable=all"
        )
    return given


def frozen(config: ConfigDict) -> str:
    """The pattern of the parameters that are not trained, beside a frozen backbone's; the ConvLSTM is always new."""
    return "^(fc6|fc7)/" if trainable(config) == "head" and config.model.name == "vgg16" else ""


def backbone(config: ConfigDict) -> nn.Module | None:
    """What is frozen and comes first, so that its outputs can be kept: `features` of both VGG16s, unless all train.

    Raises:
        UserError: its inputs would differ from fold to fold.
    """
    if trainable(config) == "all" or config.model.name in ON_SIGNAL:
        return None
    if config.inputs.subtract_mean:
        raise UserError(
            "config.inputs.subtract_mean is true, which makes other images of each fold, but a frozen backbone's "
            "features are computed once for all; choose config.model.trainable=all"
        )
    return VGG16Features(config.model.width, dtype=dtype_of(config.train.precision))


def pretrained(config: ConfigDict, params: Any) -> Any:
    """The parameters with those of `config.model.weights` in their places; nothing is read if that is `none`."""
    if config.model.weights in ("", "none"):
        return params
    path = config.model.weights
    part = trainable(config)
    # The paper's code re-initialises the three last layers, its text only the head.
    anew = config.protocol == "paper" and part != "head"
    raw = config.inputs.scale == "raw"
    loaded = load_vgg16(params, read_weights(path), path, features_only=anew, raw=raw)
    if part == "head" and "fc6" in params and loaded["fc6"] is params["fc6"]:
        raise UserError(
            f"config.model.trainable is 'head', but fc6 and fc7 of {path} are for images of 224 pixels and would stay "
            f"random at config.inputs.size={config.inputs.size}; choose 224, or config.model.trainable=fc"
        )
    return loaded


def inputs(config: ConfigDict) -> Callable[[Any, Batch, jax.Array | None, bool], Batch]:
    """Frames of levels -> images [..., size, size, 1 or 3], or samples -> signal [..., n_times, 1]."""
    for field, words in (("colour", ("gray", "jet")), ("scale", ("raw", "standard"))):
        check_choice(f"config.inputs.{field}", config.inputs[field], words)

    def make_image(stats: Any, batch: Batch, key: jax.Array | None, train: bool) -> Batch:
        image = images_of(config, batch)
        return {**batch, "inputs": image - stats["mean_image"] if config.inputs.subtract_mean else image}

    def make_signal(stats: Any, batch: Batch, key: jax.Array | None, train: bool) -> Batch:
        eeg = batch["eeg"][..., : n_samples(config), :] / stats["eeg_uv"]
        return {**batch, "inputs": jnp.clip(eeg, -LARGEST_Z, LARGEST_Z)}

    return make_signal if config.model.name in ON_SIGNAL else make_image


def images_of(config: ConfigDict, batch: Batch) -> jax.Array:
    """Cut at the epoch, coloured, resized, scaled."""
    size = config.inputs.size
    standard = config.inputs.scale == "standard"
    picture = images.to_image(images.crop_frames(batch["image"], batch["fraction"], n_frames(config)))
    if config.inputs.colour == "jet":
        picture = 255 * images.colour(jnp.round(picture[..., 0]), images.jet(255))
        picture = images.resize(picture, size, size)
        return (picture / 255 - IMAGENET_MEAN) / IMAGENET_STD if standard else picture
    # Equalised levels are spread evenly over 0..254: their mean is 127 and their deviation 254 / sqrt(12).
    picture = images.resize(picture, size, size)
    return (picture - 127) / (254 / 12**0.5) if standard else picture


def loss(config: ConfigDict) -> Callable[[Any, Any, Batch], tuple[jax.Array, dict[str, jax.Array]]]:
    """Cross-entropy under the fold's class weights, and the accuracy."""

    def per_example(stats: Any, logits: jax.Array, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
        label = batch["label"].astype(jnp.int32)
        correct = (jnp.argmax(logits, -1) == label).astype(jnp.float32)
        return cross_entropy(logits, label, stats["class_weights"]), {"accuracy": correct}

    return per_example


TASK = Task(
    classes=classes,
    labels=labels,
    source=source,
    units=units,
    fit=fit,
    model=model,
    backbone=backbone,
    frozen=frozen,
    pretrained=pretrained,
    inputs=inputs,
    loss=loss,
)

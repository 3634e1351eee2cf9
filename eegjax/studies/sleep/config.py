"""The configuration of the study `sleep`: a function of the protocol and the keys behind it."""

from ml_collections import ConfigDict

from eegjax import protocols
from eegjax.protocols import ABOVE_0, BELOW_1, LARGEST, Bounds

MODELS = ("vgg16", "vgg16_conv_lstm", "lstm")
PROTOCOLS = ("demo", "standard", "paper")
SIZES = ("tiny", "small", "full")
BOUNDS: dict[str, Bounds] = {
    "data.context_epochs": (0, 1000),
    "data.margin_s": (0, 1e6),
    "data.simulation.seed": (0, LARGEST),
    "data.simulation.n_subjects": (1, 100),
    "data.simulation.n_epochs": (40, 10_000),
    "splits.n_test_subjects": (0, LARGEST),
    "splits.n_folds": (0, LARGEST),
    "splits.n_first": (0, LARGEST),
    "splits.n_validation_subjects": (0, LARGEST),
    "splits.n_blocks": (2, LARGEST),
    "inputs.size": (32, 4096),
    "model.width": (ABOVE_0, 64),
    "model.dropout": (0, BELOW_1),
    "model.sequence_epochs": (1, 10_000),
    "model.n_cells": (1, 100),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "data.crop": ("sleep", "lights"),
    "data.unscored": ("drop", "wake"),
    "inputs.colour": ("gray", "jet"),
    "inputs.scale": ("raw", "standard"),
    "model.name": MODELS,
    "model.trainable": ("", "all", "fc", "head"),
}


KEYS = {"model": MODELS, "size": SIZES}


def get_config(argument: str = "") -> ConfigDict:
    """The configuration of a protocol, with `model=` and `size=`."""
    protocol, keys = protocols.parse(argument, PROTOCOLS, KEYS)
    demo = protocol == "demo"
    config = ConfigDict({"study": "sleep", "protocol": protocol, "seed": 0})
    config.data = _data(demo)
    config.splits = ConfigDict(
        {
            "n_test_subjects": 2 if demo else 0,  # the last ones, as the only fold; 0: every subject tested once
            "n_folds": 0,  # 0: as many as subjects
            "n_first": 0,  # only so many of the folds; 0: all
            "n_validation_subjects": 0,
            "n_blocks": 10,  # where there is one subject only
        }
    )
    config.inputs = ConfigDict(
        {
            "size": 64,
            "colour": "gray",  # jet: red, green and blue of MATLAB's map
            "scale": "standard",  # as the network's weights expect it; raw: 0..255
            "subtract_mean": False,  # the training part's mean image
        }
    )
    config.model = ConfigDict(
        {
            "name": keys.get("model", "vgg16"),
            "beside": (),  # also trained, on the same folds
            "weights": "none" if demo else "",  # a file of VGG16's; must be said, none are random ones
            "trainable": "",  # all, fc, head; empty: fc with a file of weights, all without
            "width": 0.125,
            "dropout": 0.2,
            "batch_norm": False,
            "sequence_epochs": 4,  # of the ConvLSTM
            "n_cells": 1,  # stacked, of the ConvLSTM and the LSTM
        }
    )
    config.train = _train(demo)
    config.test = protocols.test_settings()
    config.test.update(
        {
            "prior_correction": not demo,  # rows beside: what balancing did to the classes' shares is taken back
            "viterbi": True,  # rows beside: the likeliest night, by the training nights' transitions
        }
    )
    config.run = protocols.run_settings()
    if "model" not in keys:
        config.model.beside = ("vgg16_conv_lstm",)
    if protocol == "paper":
        _as_published(config)
    _resize(config, keys.get("size", "small" if demo else "full"))
    return config


def _data(demo: bool) -> ConfigDict:
    """What is read and made of it."""
    return ConfigDict(
        {
            "root": "",  # folder of recordings; the demo has none
            "channel": "",  # empty: Fpz-Cz, or a file's only EEG channel
            "n_classes": 6 if demo else 5,  # 6: W N1 N2 N3 N4 R (Rechtschaffen & Kales); 5: the AASM's
            "context_epochs": 2 if demo else 0,  # epochs before and after the current one that the image shows
            "causal": False,  # context before the current epoch only, as in real time
            "crop": "sleep",  # a margin around sleep; lights: from lights off, where its time is known
            "margin_s": 1800.0,  # of wake kept before and after sleep
            "unscored": "drop",  # wake: epochs without a stage, and of movement, count as W
            "saturate": False,  # log10(S + 1) above 1 becomes the highest level, as in the paper's equalisation
            "simulation": {"seed": 0, "n_subjects": 6, "n_epochs": 960},
        }
    )


def _train(demo: bool) -> ConfigDict:
    """How it is learnt."""
    train = protocols.train_settings()
    train.update(
        {
            "learning_rate": 5e-4,
            "schedule": "cosine",
            "warmup_steps": 100 if demo else 20,
            "weight_decay": 1e-2,  # decoupled
            "clip_norm": 1.0,
            "batch_size": 32,  # epochs per step, sequences counted by their epochs
            "n_epochs": 2 if demo else 40,
            "class_weights": not demo,
            "ema_decay": 0.99,
        }
    )
    return train


def _as_published(config: ConfigDict) -> None:
    """The paper as it was run; what is wrong with it stands below its tables."""
    config.data.update({"n_classes": 6, "context_epochs": 2, "saturate": True})
    config.data.update({"crop": "lights", "margin_s": 900.0, "unscored": "wake"})
    config.splits.update({"n_first": 1, "n_validation_subjects": 2})
    config.inputs.update({"colour": "jet", "scale": "raw"})
    config.model.trainable = "all"
    config.train.update({"schedule": "constant", "warmup_steps": 0, "weight_decay": 0.0, "clip_norm": 0.0})
    config.train.update({"n_epochs": 20, "balance": "under", "class_weights": False, "ema_decay": 0.0})
    config.test.update({"dropout": True, "whole_batches": True, "prior_correction": False, "viterbi": False})


def _resize(config: ConfigDict, size: str) -> None:
    demo = config.protocol == "demo"
    paper = config.protocol == "paper"
    if size == "full":
        config.inputs.update({"size": 224, "colour": "jet"})
        config.model.update({"width": 1.0, "dropout": 0.5, "sequence_epochs": 8})
        config.train.update({"learning_rate": 1e-4, "n_epochs": 20})
    if size == "tiny":
        config.inputs.size = 32
        config.model.width = 0.0625
        config.data.simulation.update({"n_subjects": 3, "n_epochs": 80})
        config.splits.update({"n_test_subjects": 1 if demo else 0, "n_blocks": 3})
        config.train.update({"n_epochs": 2, "warmup_steps": 0 if paper else 2})
        config.model.sequence_epochs = 4
    if paper:
        config.model.sequence_epochs = 1  # from a zero state on shuffled images: nothing recurs

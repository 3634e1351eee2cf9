"""The configuration of the study `motor_imagery`: a function of the protocol and the keys behind it."""

from ml_collections import ConfigDict

from eegjax import protocols
from eegjax.protocols import BELOW_1, LARGEST, Bounds

DATASETS = ("bci_iv_2a", "eegmmidb")
SPLITS = ("official", "loso", "within", "run", "pooled")
NETWORKS = ("conv_net", "resnet", "cnn_lstm", "cnn_gru", "cnn_rnn", "deep4", "shallow", "eegnet")
VAES = ("vae_conv_net", "vae_resnet", "vae_cnn_lstm", "vae_deep4", "conv_net_vae_samples")
SFREQ = {"bci_iv_2a": 250.0, "eegmmidb": 160.0}  # as recorded
PROTOCOLS = ("demo", "standard", "paper")
SIZES = ("tiny", "small", "full")
BOUNDS: dict[str, Bounds] = {
    "data.simulation.seed": (0, LARGEST),
    "data.simulation.n_subjects": (1, 100),
    "data.sfreq": (1, 100_000),
    "data.l_freq_hz": (0, 100_000),
    "data.h_freq_hz": (0, 100_000),
    "data.notch_hz": (0, 100_000),
    "data.simulation.n_runs": (1, 20),
    "data.simulation.n_trials_per_run": (4, 400),
    "inputs.upsample": (1, 16),
    "model.n_blocks": (1, 4),
    "model.vae.n_hidden": (1, 100_000),
    "model.vae.n_latent": (1, 100_000),
    "model.vae.n_decoder": (1, 100_000),
    "splits.n_folds": (0, LARGEST),
    "splits.n_first": (0, LARGEST),
    "model.dropout": (0, BELOW_1),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "model.pooling": ("flatten", "adaptive"),
    "model.variant": ("text", "code"),
    "data.dataset": DATASETS,
    "splits.kind": SPLITS,
    "inputs.scale": ("none", "channel", "time"),
    "inputs.align": ("none", "euclidean"),
}


KEYS = {"dataset": DATASETS, "splits": SPLITS, "model": (*NETWORKS, *VAES), "size": SIZES}


def get_config(argument: str = "") -> ConfigDict:
    """The configuration of a protocol, with its keys."""
    protocol, keys = protocols.parse(argument, PROTOCOLS, KEYS)
    demo = protocol == "demo"
    dataset = keys.get("dataset", "bci_iv_2a")
    config = ConfigDict({"study": "motor_imagery", "protocol": protocol, "seed": 0})
    config.data = _data(dataset, demo)
    config.splits = ConfigDict(
        {
            "kind": keys.get("splits", "run" if dataset == "eegmmidb" else "official"),
            "n_folds": 5,  # of within and pooled
            "n_first": 0,  # only so many of the folds; 0: all
        }
    )
    config.inputs = ConfigDict(
        {
            "scale": "channel",  # z-scores by the training part; time: per time sample, as published; none
            "align": "none",  # euclidean: every subject's trials get the identity as mean covariance
            "upsample": 1,  # 2: twice the samples, as published
        }
    )
    config.model = ConfigDict(
        {
            "name": keys.get("model", "shallow"),
            "beside": () if demo or "model" in keys else ("cnn_lstm",),  # also trained, on the same folds
            "dropout": 0.25,  # of ConvNet and EEGNet
            "pooling": "flatten",  # adaptive: means over time, for windows of any length (ConvNet, CNN + RNN)
            "n_blocks": 3 if demo or dataset == "eegmmidb" else 4,  # of ConvNet: its window is under 961 samples
            "variant": "text",  # of ResNet-1D; code: 1-wide convolutions, as in the authors' code
            "vae": {"n_hidden": 2000, "n_latent": 20, "n_decoder": 2000, "published": False},
        }
    )
    config.train = _train(demo, dataset)
    config.test = protocols.test_settings()
    config.run = protocols.run_settings()
    if protocol == "paper":
        _as_published(config, "model" in keys)
        config.splits.kind = keys.get("splits", "pooled")
    _resize(config, keys.get("size", "small" if demo else "full"), "model" in keys)
    return config


def _data(dataset: str, demo: bool) -> ConfigDict:
    """What is read and made of it."""
    return ConfigDict(
        {
            "root": "",  # folder of recordings; the demo has none
            "dataset": dataset,
            "exclude": (),  # subjects left out
            "window_s": (0.0, 4.0),  # from the cue
            "sfreq": 125.0 if demo else SFREQ[dataset],  # resampled to; ConvNet's four blocks need 961 samples
            "l_freq_hz": 4.0,  # zero-phase Butterworth over whole runs; 0: none
            "h_freq_hz": 38.0,
            "notch_hz": 0.0,
            "causal": False,  # filters that don't look ahead, as in use
            "reference": "",  # average, or a channel's name; empty: as recorded
            "moving": False,  # exponential moving standardisation of whole runs
            "simulation": {"seed": 0, "n_subjects": 4, "n_runs": 6, "n_trials_per_run": 48},
        }
    )


def _train(demo: bool, dataset: str) -> ConfigDict:
    """How it is learnt."""
    train = protocols.train_settings()
    train.update(
        {
            "learning_rate": 2e-3,
            "schedule": "cosine",
            "weight_decay": 1e-2,  # decoupled
            "clip_norm": 1.0,
            "batch_size": 32 if dataset == "bci_iv_2a" else 16,  # of 288 trials, of 60 or 30
            "n_epochs": 20 if demo else 50 if dataset == "bci_iv_2a" else 30,
            "n_seeds": 1 if demo else 3,
        }
    )
    return train


def _as_published(config: ConfigDict, named: bool) -> None:
    """The paper as it was run; what is wrong with it stands below its tables."""
    config.data.update({"sfreq": 250.0, "l_freq_hz": 0.0, "h_freq_hz": 0.0})
    config.inputs.scale = "time"
    if not named:
        config.model.update({"name": "conv_net", "beside": ()})
    config.model.vae.published = True
    config.model.n_blocks = 4
    config.train.update({"learning_rate": 1e-4, "schedule": "constant", "weight_decay": 0.0, "clip_norm": 0.0})
    config.train.update({"batch_size": 50, "n_epochs": 10, "n_seeds": 1, "reuse_params_across_folds": True})
    config.test.train_part = True
    if config.model.name.removeprefix("vae_").startswith("cnn_"):
        config.train.update({"learning_rate": 2e-3, "schedule": "exponential", "decay_per_epoch": 0.95})
        config.train.update({"weight_decay": 1e-2, "batch_size": 100, "n_epochs": 20})


def _resize(config: ConfigDict, size: str, named: bool) -> None:
    if size == "small" and config.protocol != "demo":
        config.train.update({"n_seeds": 1, "n_epochs": config.train.n_epochs // 2})
    if size == "full" and config.protocol == "demo":
        config.data.sfreq = 250.0
        config.data.simulation.n_subjects = 9
        config.model.n_blocks = 4
        config.train.update({"n_seeds": 3, "n_epochs": 50})
    if size == "tiny":
        config.data.window_s = (0.0, 2.0)
        if config.protocol != "paper":  # the course release's trials can't be resampled
            config.data.sfreq = 125.0
        config.data.simulation.update({"n_subjects": 2, "n_runs": 2, "n_trials_per_run": 8})
        config.model.update({"n_blocks": 2, "pooling": "adaptive"})
        config.model.vae.update({"n_hidden": 16, "n_latent": 4, "n_decoder": 16})
        config.train.update({"n_epochs": 2, "n_seeds": 1, "batch_size": 8})
        config.splits.n_folds = 2
        if not named:
            config.model.beside = ("cnn_lstm",) if config.protocol != "paper" else ()

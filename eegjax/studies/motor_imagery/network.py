"""The motor-imagery study's networks: what they see, what they learn from, what is made of their answers."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Batch
from eegjax.data.splits import Fold
from eegjax.errors import UserError, check_choice
from eegjax.models.cnn_rnn import CNNRNN
from eegjax.models.conv_net import ConvNet
from eegjax.models.deep4 import Deep4Net
from eegjax.models.eegnet import EEGNet
from eegjax.models.layers import DTYPES, dtype_of
from eegjax.models.resnet_1d import ResNet1D
from eegjax.models.shallow import ShallowConvNet
from eegjax.models.vae import VAE
from eegjax.models.vae_classifier import VAEClassifier
from eegjax.run.study import Task
from eegjax.signal.alignment import fit_euclidean_alignment
from eegjax.signal.resampling import upsample
from eegjax.signal.standardise import fit_per_channel, fit_per_time_sample
from eegjax.studies.motor_imagery.data import classes, labels, n_times, source
from eegjax.train.losses import cross_entropy
from eegjax.train.variational import published_vae_loss, vae_loss

PLAIN = ("conv_net", "resnet", "cnn_lstm", "cnn_gru", "cnn_rnn", "deep4", "shallow", "eegnet")
FRONT = "vae_"  # a VAE in front of a network
SAMPLES = "_vae_samples"  # its reconstructions as further trials
MODELS = (*PLAIN, *(FRONT + name for name in PLAIN), *(name + SAMPLES for name in PLAIN))


def fit(config: ConfigDict, dataset: Dataset, fold: Fold) -> dict[str, np.ndarray]:
    """What is learnt from the training part alone; the published scale takes the validation part as well.

    Returns:
        mean, sd: [1, n_chans] float32, of the (aligned) training trials; of `scale="time"` [n_times, 1]; of "none" 0
            and 1, [1, 1].
        alignment: [n_subjects, n_chans, n_chans] float32, with `align="euclidean"`; see `_alignment`.

    Raises:
        UserError: a subject's trials can't be aligned.
    """
    stats: dict[str, np.ndarray] = {}
    if config.inputs.align == "euclidean":
        stats["alignment"] = _alignment(config, dataset, fold)
    if config.inputs.scale == "none":
        return {**stats, "mean": np.zeros((1, 1), np.float32), "sd": np.ones((1, 1), np.float32)}
    rows = np.union1d(fold.train, fold.validation) if config.inputs.scale == "time" else fold.train
    trials = _trials(config, dataset, rows)
    if "alignment" in stats:
        number = np.unique(dataset.index["subject"].to_numpy(str), return_inverse=True)[1]
        trials = trials @ stats["alignment"][number[rows]]
    scale = (fit_per_time_sample if config.inputs.scale == "time" else fit_per_channel)(trials)
    return {**stats, "mean": scale.mean, "sd": scale.sd}


def _alignment(config: ConfigDict, dataset: Dataset, fold: Fold) -> np.ndarray:
    """[n_subjects, n_chans, n_chans] float32, 1/µV: a matrix of each subject, in the order of their names.

    That of a subject who isn't in the training part is made of all that subject's trials, without their labels
    (transductive); of one who is in no part of the fold it is the identity.
    """
    subject = dataset.index["subject"].to_numpy(str)
    matrices = []
    present = set(subject[np.concatenate([fold.train, fold.validation, fold.test])])
    for name in np.unique(subject):
        own = np.flatnonzero(subject == name)
        trained = np.intersect1d(own, fold.train)
        if name not in present:
            matrices.append(np.eye(dataset.arrays["eeg"].shape[1]))
            continue
        try:
            matrices.append(fit_euclidean_alignment(_trials(config, dataset, trained if len(trained) else own)))
        except UserError as error:
            raise UserError(f"config.inputs.align is 'euclidean', subject {name}: {error}") from error
    return np.stack(matrices).astype(np.float32)


def _trials(config: ConfigDict, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """[n_rows, n_times, n_chans] float32."""
    start = dataset.index["start"].to_numpy()[rows]
    return dataset.arrays["eeg"][start[:, None] + np.arange(n_times(config))]


def inputs(config: ConfigDict) -> Callable[[Any, Batch, jax.Array | None, bool], Batch]:
    """Samples -> [..., n_times * upsample, n_chans]: aligned, standardised, upsampled."""
    for field, words in (("scale", ("none", "channel", "time")), ("align", ("none", "euclidean"))):
        check_choice(f"config.inputs.{field}", config.inputs[field], words)

    def make(stats: Any, batch: Batch, key: jax.Array | None, train: bool) -> Batch:
        eeg = batch["eeg"][..., : n_times(config), :]
        if config.inputs.align == "euclidean":
            # not rounded, as some accelerators' products are: the smallest components are scaled up the most
            eeg = jnp.matmul(eeg, stats["alignment"][batch["subject"]], precision="highest")
        eeg = (eeg - stats["mean"]) / stats["sd"]
        if config.inputs.upsample > 1:
            eeg = upsample(eeg, config.inputs.upsample)
        return {**batch, "inputs": eeg}

    return make


def model(config: ConfigDict, dataset: Dataset) -> nn.Module:
    """The network named in the configuration.

    Raises:
        UserError: no such network, one of its settings is no word it knows, or the windows are too short for it.
    """
    name = config.model.name
    n_chans = dataset.arrays["eeg"].shape[1]
    check_choice("config.model.name", name, MODELS)
    check_choice("config.train.precision", config.train.precision, DTYPES)
    dtype = dtype_of(config.train.precision)
    classifier = _classifier(config, name.removeprefix(FRONT).removesuffix(SAMPLES), len(classes(config)), dtype)
    trial = jax.ShapeDtypeStruct((1, n_times(config) * config.inputs.upsample, n_chans), jnp.float32)
    # nothing is computed: what doesn't fit is said before anything else of the run is trained
    jax.eval_shape(lambda key, x: classifier.init(key, x, train=False), jax.random.key(0), trial)
    if name in PLAIN:
        return classifier
    settings = config.model.vae
    vae = VAE(
        settings.n_hidden,
        settings.n_latent,
        settings.n_decoder,
        n_times=trial.shape[1],
        n_chans=n_chans,
        std_is_exp_log_variance=settings.published,
        dtype=dtype,
    )
    return VAEClassifier(vae, classifier, extra=name.endswith(SAMPLES))


def _classifier(config: ConfigDict, name: str, n_outputs: int, dtype: Any) -> nn.Module:
    settings = config.model
    if name == "conv_net":
        return ConvNet(n_outputs, settings.dropout, settings.pooling, settings.n_blocks, dtype=dtype)
    if name == "resnet":
        return ResNet1D(n_outputs, variant=settings.variant, dtype=dtype)
    if name.startswith("cnn_"):
        return CNNRNN(n_outputs, name.removeprefix("cnn_"), pooling=settings.pooling, dtype=dtype)
    if name == "eegnet":
        return EEGNet(n_outputs, dropout=settings.dropout, dtype=dtype)
    return {"deep4": Deep4Net, "shallow": ShallowConvNet}[name](n_outputs, dtype=dtype)


def loss(config: ConfigDict) -> Callable[[Any, Any, Batch], tuple[jax.Array, dict[str, jax.Array]]]:
    """Cross-entropy and accuracy; with a VAE also its own loss, which trains nothing but the VAE."""

    def per_example(stats: Any, outputs: Any, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
        label = batch["label"].astype(jnp.int32)
        stacked, reconstructed = outputs if isinstance(outputs, tuple) else (outputs[None], None)
        each = jnp.mean(jnp.stack([cross_entropy(logits, label) for logits in stacked]), 0)
        correct = (jnp.argmax(stacked[0], -1) == label).astype(jnp.float32)
        metrics = {"accuracy": correct}
        if reconstructed is None:
            return each, metrics
        x = batch["inputs"]
        if config.model.vae.published:
            own = published_vae_loss(x, reconstructed, config.train.batch_size)
        else:
            own = vae_loss(x, reconstructed)
        # per sample and channel: the two parts share no parameters, but they do share the clipped norm
        own = own / (x.shape[-1] * x.shape[-2])
        return each + own, {**metrics, "cross_entropy": each, "vae_loss": own}

    return per_example


def predict(config: ConfigDict) -> Callable[[Any], jax.Array]:
    """Logits -> probabilities."""
    return lambda outputs: jax.nn.softmax(outputs[0][0] if isinstance(outputs, tuple) else outputs)


TASK = Task(
    classes=classes,
    labels=labels,
    source=source,
    fit=fit,
    model=model,
    inputs=inputs,
    loss=loss,
    predict=predict,
)

"""What the motor-imagery networks learn from and what is made of their answers, against NumPy, SciPy and theorems."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict
from scipy import signal, special, stats

from eegjax import cli
from eegjax.data.dataset import Dataset
from eegjax.data.feed import gather
from eegjax.data.splits import Fold
from eegjax.errors import UserError
from eegjax.studies.motor_imagery.answers import among_task, decode
from eegjax.studies.motor_imagery.data import source
from eegjax.studies.motor_imagery.folds import TASKS
from eegjax.studies.motor_imagery.network import MODELS, PLAIN, fit, inputs, loss, model, predict

ROOT = Path(__file__).parents[3]
N_TIMES, N_CHANS, N_EACH = 40, 3, 10  # samples and channels of a trial, trials of a subject
SUBJECTS = ("A01", "A02", "A03")
SHORTEST = {  # the fewest samples that a network takes
    "conv_net": 961,
    "resnet": 25,
    "cnn_lstm": 32,
    "cnn_gru": 32,
    "cnn_rnn": 32,
    "deep4": 441,
    "shallow": 99,
    "eegnet": 32,
}
FOUR = ("left_hand", "right_hand", "feet", "tongue")


def configure(argument: str = "standard", **fields: Any) -> ConfigDict:
    """A configuration whose windows have `N_TIMES` samples; `a__b` stands for `a.b`."""
    config = cli.configure(f"{ROOT}/configs/motor_imagery.py:{argument}", ["main.py"])
    small = {"data.sfreq": 100.0, "data.window_s": (0.0, N_TIMES / 100), "model.n_blocks": 1}
    vae = {f"model.vae.{name}": size for name, size in (("n_hidden", 6), ("n_latent", 2), ("n_decoder", 5))}
    with config.unlocked():
        given = {name.replace("__", "."): value for name, value in fields.items()}
        config.update_from_flattened_dict({**small, **vae, **given})
    return config


def trials_of(eeg: np.ndarray) -> Dataset:
    """[n_trials, n_times, n_chans] as a dataset: subjects in turn, a gap between any two trials."""
    n = len(eeg)
    stretch = np.concatenate([eeg, np.full((n, 5, eeg.shape[2]), 1e6, np.float32)], 1)
    subject = np.repeat(SUBJECTS, N_EACH)
    start = np.arange(n) * stretch.shape[1]
    index = pd.DataFrame({"example": np.arange(n), "subject": subject, "session": "T", "recording": subject + "T"})
    index = index.assign(start=start, stop=start + eeg.shape[1], label=(np.arange(n) % 4).astype(np.int8))
    size = N_EACH * stretch.shape[1]
    recordings = [
        {"recording": f"{name}T", "extents": {"eeg": [k * size, (k + 1) * size]}} for k, name in enumerate(SUBJECTS)
    ]
    return Dataset(Path(), index, {"recordings": recordings}, {"eeg": stretch.reshape(-1, eeg.shape[2])})


@pytest.fixture(scope="module")
def eeg() -> np.ndarray:
    """Channels that are mixed differently in each subject, and have an offset."""
    rng = np.random.default_rng(0)
    mixing = np.repeat(rng.normal(size=(3, N_CHANS, N_CHANS)) * [[[1]], [[5]], [[20]]], N_EACH, axis=0)
    return (rng.normal(size=(3 * N_EACH, N_TIMES, N_CHANS)) @ mixing + [1.0, 5.0, -2.0]).astype(np.float32)


@pytest.fixture(scope="module")
def fold(eeg: np.ndarray) -> Fold:
    """The first subject in all parts, the second in the training part, the third tested alone."""
    group = np.arange(len(eeg)).astype(str)
    return Fold("four x", np.r_[0:6, 10:20], np.r_[6:8], np.r_[8:10, 20:30], group)


def changed(eeg: np.ndarray, rows: np.ndarray) -> np.ndarray:
    other = eeg.copy()
    other[rows] = 7 * other[rows][..., ::-1] + 3
    return other


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one | other)


# ---- fit: what is learnt from the training part


@pytest.mark.parametrize("align", ["none", "euclidean"])
@pytest.mark.parametrize("scale", ["channel", "time", "none"])
def test_what_is_fitted_comes_from_the_training_part(eeg, fold: Fold, scale: str, align: str) -> None:
    """Neither the tested trials of a trained subject nor any label; the published scale takes the validation part."""
    config, found = configure(inputs__scale=scale, inputs__align=align), trials_of(eeg)
    learnt = fit(config, found, fold)
    known = fold.test[:2] if align == "euclidean" else fold.test  # an unseen subject's alignment has only its own
    assert equal(learnt, fit(config, trials_of(changed(eeg, known)), fold))
    labels = found.index.assign(label=found.index["label"] * 0)
    assert equal(learnt, fit(config, dataclasses.replace(found, index=labels), fold))
    assert equal(learnt, fit(config, trials_of(changed(eeg, fold.validation)), fold)) == (scale != "time")
    nothing = scale == align == "none"
    assert equal(learnt, fit(config, trials_of(changed(eeg, fold.train[:3])), fold)) == nothing
    assert all(value.dtype == np.float32 for value in learnt.values())


def test_scales_are_means_and_deviations_of_the_trials(eeg, fold: Fold) -> None:
    channel = fit(configure(inputs__scale="channel"), trials_of(eeg), fold)
    time = fit(configure("paper", inputs__scale="time"), trials_of(eeg), fold)
    trained, validated = eeg[fold.train].reshape(-1, N_CHANS).astype(float), eeg[[*range(8), *range(10, 20)]]
    np.testing.assert_allclose(channel["mean"], trained.mean(0, keepdims=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(channel["sd"], trained.std(0, keepdims=True), rtol=1e-4)
    samples = validated.swapaxes(1, 2).reshape(-1, N_TIMES).astype(float)
    np.testing.assert_allclose(time["mean"], samples.mean(0)[:, None], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(time["sd"], samples.std(0)[:, None], rtol=1e-4)


def covariance(trials: np.ndarray) -> np.ndarray:
    return np.mean([trial.T @ trial / len(trial) for trial in trials.astype(float)], 0)


def test_alignment_makes_every_subject_s_mean_covariance_the_identity(eeg, fold: Fold) -> None:
    """Of a trained subject that of the training trials, of an unseen one that of all its trials."""
    config = configure(inputs__align="euclidean")
    learnt = fit(config, trials_of(eeg), fold)
    for number, rows in enumerate((np.arange(6), np.arange(10, 20), np.arange(20, 30))):
        matrix = learnt["alignment"][number]
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
        np.testing.assert_allclose(covariance(eeg[rows] @ matrix), np.eye(N_CHANS), atol=2e-4)
    aligned = np.concatenate([eeg[row] @ learnt["alignment"][row // N_EACH] for row in fold.train])
    np.testing.assert_allclose(learnt["mean"][0], aligned.mean(0), atol=1e-4)
    np.testing.assert_allclose(learnt["sd"][0], aligned.std(0), rtol=1e-4)

    unseen = fit(config, trials_of(changed(eeg, fold.test[2:4])), fold)
    assert [np.array_equal(*pair) for pair in zip(learnt["alignment"], unseen["alignment"], strict=True)] == [
        *(True, True, False)
    ]
    assert np.array_equal(learnt["mean"], unseen["mean"])


def test_a_subject_in_no_part_isn_t_looked_at(eeg, fold: Fold) -> None:
    config, broken = configure(inputs__align="euclidean"), eeg.copy()
    broken[20:] = 0  # can't be aligned
    with pytest.raises(UserError, match=r"align is 'euclidean', subject A03: found 0 independent channels"):
        fit(config, trials_of(broken), fold)
    learnt = fit(config, trials_of(broken), fold._replace(test=np.r_[8:10]))
    assert learnt["alignment"][2].tolist() == np.eye(N_CHANS).tolist()


# ---- inputs


@pytest.mark.parametrize("upsample", [1, 2])
@pytest.mark.parametrize("align", ["none", "euclidean"])
@pytest.mark.parametrize("scale", ["channel", "time", "none"])
def test_inputs_equal_numpy_s(eeg, fold: Fold, scale: str, align: str, upsample: int) -> None:
    config = configure(inputs__scale=scale, inputs__align=align, inputs__upsample=upsample)
    dataset = trials_of(eeg)
    learnt, rows = fit(config, dataset, fold), np.array([1, 9, 15, 29, 22])
    batch = jax.tree.map(jnp.asarray, gather(np, source(config, dataset), rows, rows >= 0))
    found = inputs(config)(learnt, batch, None, False)
    expected, reference = (
        np.stack([eeg[row].astype(float) @ (learnt["alignment"][row // N_EACH] if align != "none" else np.eye(N_CHANS))
                  for row in some])
        for some in (rows, fold.train)
    )  # fmt: skip
    if scale == "channel":
        expected = stats.zmap(expected, reference, axis=(0, 1))
    if scale == "time":
        expected = (expected - learnt["mean"]) / learnt["sd"]
    expected = signal.resample(expected, upsample * N_TIMES, axis=1)
    assert found["inputs"].dtype == jnp.float32
    np.testing.assert_allclose(found["inputs"], expected, rtol=1e-3, atol=2e-3 * np.abs(expected).max())
    assert np.array_equal(found["label"], rows % 4)  # the rest of the batch stays
    assert np.array_equal(found["inputs"], inputs(config)(learnt, batch, jax.random.key(0), True)["inputs"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"inputs__scale": "chanel"},
            r"inputs\.scale is 'chanel'; there are none, channel, time\. Did you mean 'channel'",
        ),
        (
            {"inputs__align": "euclid"},
            r"inputs\.align is 'euclid'; there are none, euclidean\. Did you mean 'euclidean'",
        ),
    ],
)
def test_an_unknown_word_for_inputs_is_said(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        inputs(configure(**fields))


# ---- the networks


def outputs_of(config: ConfigDict, n_times: int, train: bool, batch: int = 2) -> Any:
    """Shapes of what a network gives, and of its parameters; nothing is computed."""
    empty = dataclasses.replace(trials_of(np.zeros((30, 1, N_CHANS), np.float32)))
    net = model(config, empty)
    x = jax.ShapeDtypeStruct((batch, n_times, N_CHANS), jnp.float32)

    def run(key: jax.Array, x: jax.Array) -> Any:
        variables = net.init({"params": key, "dropout": key, "latent": key}, x, train=False)
        rngs = {"dropout": key, "latent": key}
        return net.apply(variables, x, train=train, rngs=rngs, mutable=["batch_stats"])[0]

    return jax.eval_shape(run, jax.random.key(0), x)


@pytest.mark.parametrize("name", MODELS)
def test_every_network_gives_a_logit_per_class(name: str) -> None:
    """From its shortest window; below that the error names it before anything is made."""
    plain = name.removeprefix("vae_").removesuffix("_vae_samples")
    n_times = SHORTEST[plain]
    config = configure(model__name=name, model__n_blocks=4, data__sfreq=1.0, data__window_s=(0.0, float(n_times)))
    found = outputs_of(config, n_times, train=True)
    if name in PLAIN:
        assert found.shape == (2, 4)
    else:
        stacked, (reconstruction, mean, log_variance) = found
        assert stacked.shape == (1 + name.endswith("_vae_samples"), 2, 4)  # training: the trials, their reconstructions
        assert reconstruction.shape == (2, n_times, N_CHANS)
        assert mean.shape == log_variance.shape == (2, 2)
    config.data.window_s = (1.0, float(n_times))
    with pytest.raises(UserError, match=f"at least {n_times} samples, these have {n_times - 1}"):
        outputs_of(config, n_times - 1, train=True)


def test_every_plain_network_has_its_hybrids() -> None:
    assert set(SHORTEST) == set(PLAIN)
    assert len(MODELS) == len(set(MODELS)) == 3 * len(PLAIN)


def test_settings_reach_the_networks() -> None:
    def made(name: str, **fields: Any) -> Any:
        return model(configure(model__name=name, data__window_s=(0.0, 10.0), **fields), trials_of(np.zeros((30, 1, 3))))

    assert made("conv_net", model__dropout=0.4, model__pooling="adaptive", model__n_blocks=2).dropout == 0.4
    assert made("conv_net", model__pooling="adaptive", model__n_blocks=2).pooling == "adaptive"
    assert made("conv_net", model__n_blocks=2).n_blocks == 2
    assert made("eegnet", model__dropout=0.4).dropout == 0.4
    assert made("resnet", model__variant="code").variant == "code"
    assert [made(f"cnn_{cell}").cell for cell in ("lstm", "gru", "rnn")] == ["lstm", "gru", "rnn"]
    assert made("cnn_gru", model__pooling="adaptive").pooling == "adaptive"
    assert made("cnn_lstm", model__dropout=0.1).dropout == 0.5  # the report's own
    assert made("eegnet", train__precision="bfloat16").dtype == jnp.bfloat16
    hybrid = made("vae_eegnet", inputs__upsample=2, model__vae__published=True, train__precision="bfloat16")
    vae = hybrid.vae
    assert (vae.n_hidden, vae.n_latent, vae.n_decoder, vae.n_times, vae.n_chans) == (6, 2, 5, 2000, 3)
    assert vae.std_is_exp_log_variance
    assert vae.dtype == hybrid.classifier.dtype == jnp.bfloat16
    assert not hybrid.extra
    assert made("eegnet_vae_samples").extra


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"model__name": "egnet"},
            r"model\.name is 'egnet'; there are conv_net, .*eegnet_vae_samples\. Did you mean 'eegnet'",
        ),
        ({"model__name": "vae_vae_conv_net"}, r"model\.name is 'vae_vae_conv_net'; .*Did you mean 'vae_conv_net'"),
        ({"model__name": "vae_eegnet_vae_samples"}, r"model\.name is 'vae_eegnet_vae_samples'"),
        ({"train__precision": "half"}, r"train\.precision is 'half'; there are float32, bfloat16"),
        ({"model__name": "conv_net", "model__pooling": "mean"}, r"pooling is 'mean'; there are flatten, adaptive"),
        ({"model__name": "vae_resnet", "model__variant": "cod"}, r"variant is 'cod'; there are .*Did you mean 'code'"),
        ({"model__name": "vae_deep4"}, r"Deep4Net needs windows of at least 441 samples, these have 40"),
    ],
)
def test_a_network_that_can_t_be_is_a_clear_error(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        model(configure(**fields), trials_of(np.zeros((30, 1, N_CHANS))))
    assert "\n" not in str(caught.value)


# ---- loss, prediction


def log_likelihood(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    return special.log_softmax(logits, -1)[np.arange(len(label)), label]


def drawn(n_forms: int) -> tuple[Any, dict[str, np.ndarray]]:
    """Outputs of a VAE network and the batch that they are for."""
    rng = np.random.default_rng(1)
    logits, x, rebuilt = (rng.normal(size=size) for size in ((n_forms, 5, 4), (5, 8, 3), (5, 8, 3)))
    mean, second = rng.normal(size=(2, 5, 2))
    outputs = jax.tree.map(jnp.float32, (logits, (rebuilt, mean, second)))
    return outputs, {"inputs": jnp.float32(x), "label": np.array([0, 3, 1, 2, 0], np.int8)}


def test_loss_of_a_plain_network_is_the_cross_entropy() -> None:
    (logits, _), batch = drawn(1)
    each, metrics = loss(configure())({}, logits[0], batch)
    np.testing.assert_allclose(each, -log_likelihood(np.asarray(logits[0]), batch["label"]), rtol=1e-5, atol=5e-7)
    assert set(metrics) == {"accuracy"}
    assert metrics["accuracy"].tolist() == (logits[0].argmax(-1) == batch["label"]).tolist()
    np.testing.assert_allclose(predict(configure())(logits[0]), special.softmax(logits[0], -1), rtol=1e-5)


@pytest.mark.parametrize("n_forms", [1, 2])
@pytest.mark.parametrize("published", [False, True])
def test_loss_of_a_vae_network_is_both_its_parts_losses(published: bool, n_forms: int) -> None:
    """Kingma & Welling's bound by SciPy's densities; or the report's, of which nothing is bounded."""
    outputs, batch = drawn(n_forms)
    config = configure(model__name="vae_conv_net", model__vae__published=published, train__batch_size=5)
    each, metrics = loss(config)({}, outputs, batch)
    stacked, (rebuilt, mean, second) = jax.tree.map(lambda leaf: np.asarray(leaf, float), outputs)
    x = np.asarray(batch["inputs"], float)
    entropy = np.mean([-log_likelihood(logits, batch["label"]) for logits in stacked], 0)
    if published:  # binary cross-entropy of what is no probability, divergence over the batch's size
        chance, sd = special.expit(rebuilt), np.exp(second)
        fit_of = -(x * np.log(chance) + (1 - x) * np.log(1 - chance)).sum((1, 2))
        own = fit_of + (mean**2 + sd**2 - 1 - 2 * np.log(sd)).sum(1) / 2 / 5
    else:
        fit_of = -stats.norm(rebuilt, 1).logpdf(x).sum((1, 2))
        own = fit_of + (mean**2 + np.exp(second) - 1 - second).sum(1) / 2
    own /= 8 * 3  # per sample and channel
    np.testing.assert_allclose(metrics["cross_entropy"], entropy, rtol=1e-5, atol=5e-7)
    np.testing.assert_allclose(metrics["vae_loss"], own, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(each, entropy + own, rtol=1e-4, atol=1e-6)
    assert metrics["accuracy"].tolist() == (stacked[0].argmax(-1) == batch["label"]).tolist()
    np.testing.assert_allclose(predict(config)(outputs), special.softmax(stacked[0], -1), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae_conv_net", "conv_net_vae_samples"])
def test_neither_part_of_a_vae_network_learns_from_the_other_s_loss(eeg, name: str) -> None:
    config = configure(model__name=name)
    net, per_example = model(config, trials_of(eeg)), loss(config)
    x, key = jnp.asarray(eeg[:4]) / 20, jax.random.key(0)
    batch = {"inputs": x, "label": jnp.arange(4)}
    shapes = jax.eval_shape(lambda: net.init(key, x, train=False))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.uniform(0.1, 0.5, leaf.shape).astype(np.float32), shapes)

    @jax.jit
    def gradients(params: Any) -> tuple[Any, Any]:
        def part(params: Any, which: str) -> jax.Array:
            rngs = {"dropout": key, "latent": key}
            given = {**variables, "params": params}
            outputs, _ = net.apply(given, x, train=True, rngs=rngs, mutable=["batch_stats"])
            return per_example({}, outputs, batch)[1][which].sum()

        return jax.grad(part)(params, "cross_entropy"), jax.grad(part)(params, "vae_loss")

    of_classifier, of_vae = gradients(variables["params"])
    sizes = [{part: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree[part])) for part in tree}
             for tree in (of_classifier, of_vae)]  # fmt: skip
    assert sizes[0]["vae"] == sizes[1]["classifier"] == 0
    assert sizes[0]["classifier"] > 1e-3
    assert sizes[1]["vae"] > 1e-3


# ---- a binary task's answers


def table(probabilities: np.ndarray, tasks: list[str], names: tuple[str, ...] = FOUR) -> pd.DataFrame:
    columns = {f"p_{name}": probabilities[:, k] for k, name in enumerate(names)}
    folds = [f"{task} S00{k} run 4" for k, task in enumerate(tasks)]
    return pd.DataFrame({"example": np.arange(len(tasks)), "fold": folds, **columns})


def values(frame: pd.DataFrame) -> np.ndarray:
    return frame[[f"p_{name}" for name in FOUR]].to_numpy()


answered = given(
    logits=st.lists(st.tuples(*[st.floats(-30, 30)] * 4), min_size=1, max_size=6),
    tasks=st.lists(st.sampled_from(sorted(TASKS)), min_size=6, max_size=6),
)


@answered
def test_a_binary_answer_is_bayes_given_the_task(logits: list, tasks: list[str]) -> None:
    """p(class | task) = p(class) / p(task): sums to 1, nothing outside, odds and order kept, asked twice the same."""
    probabilities = special.softmax(np.array(logits), -1)
    frame = table(probabilities, tasks[: len(logits)])
    found = among_task(frame, FOUR)
    for before, after, task in zip(probabilities, values(found), tasks, strict=False):
        inside = list(TASKS[task])
        np.testing.assert_allclose(after.sum(), 1)
        assert (np.delete(after, inside) == 0).all()
        np.testing.assert_allclose(after[inside], before[inside] / before[inside].sum())
        assert before[inside].argmax() == after[inside].argmax()
    np.testing.assert_allclose(values(among_task(found, FOUR)), values(found))
    assert found.drop(columns=found.filter(like="p_")).equals(frame[["example", "fold"]])


def test_four_classes_stay_and_nothing_inside_is_no_preference() -> None:
    sure = np.eye(4)[[2, 2, 0]]
    found = values(among_task(table(sure, ["four", "left_right", "left_right"]), FOUR))
    assert found.tolist() == [[0, 0, 1, 0], [0.5, 0.5, 0, 0], [1, 0, 0, 0]]


def test_what_is_no_number_stays_none() -> None:
    """A network that has come apart isn't made to guess."""
    found = values(among_task(table(np.full((1, 4), np.nan), ["four"]), FOUR))
    assert np.isnan(found).all()


def test_predictions_are_calibrated_among_their_task() -> None:
    config = configure("standard,dataset=eegmmidb")
    names = ("left_fist", "right_fist", "both_fists", "both_feet")
    frame = table(np.full((3, 4), 0.25), ["four", "left_right", "fists_feet"], names)
    found = decode(config, None, [], frame, Path())[[f"p_{name}" for name in names]].to_numpy()
    assert found.tolist() == [[0.25] * 4, [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]

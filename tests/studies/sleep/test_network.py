"""What the sleep networks learn from and what is made of their answers, against NumPy, Bayes, and all paths."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Sampler, draw_batch, gather
from eegjax.data.splits import Fold
from eegjax.errors import UserError
from eegjax.studies.sleep import network as sleep_network
from eegjax.studies.sleep import study as sleep
from eegjax.studies.sleep.answers import decode
from eegjax.train.step import make_predict_step

N_FREQS, EPOCH_SAMPLES = 154, 3000
FIVE, SIX = ("W", "N1", "N2", "N3", "R"), ("W", "N1", "N2", "N3", "N4", "R")
WEIGHTS = {"model__weights": "vgg16.pth", "model__width": 1.0}


def night_pairs(n_epochs: int = 40, seed: int = 0) -> Dataset:
    """Two subjects with a night each: random levels, EEG of 20 µV and of 90 µV, stages in runs."""
    rng = np.random.default_rng(seed)
    n_frames = int((n_epochs * 30 - 3) / 0.67) + 1
    tables, recordings = [], []
    for number, name in enumerate(("SC4001", "SC4011")):
        onset_s = np.arange(n_epochs) * 30.0
        start = (onset_s - 1.5) / 0.67 + number * n_frames
        named = {"subject": name[:5], "session": "1", "recording": name}
        tables.append(pd.DataFrame({**named, "onset_s": onset_s, "start": start, "stop": start + 30 / 0.67}))
        sizes = {"image": n_frames, "eeg": n_epochs * EPOCH_SAMPLES}
        extents = {array: [number * size, (number + 1) * size] for array, size in sizes.items()}
        recordings.append({"recording": name, "first_s": 0.0, "extents": extents})
    index = pd.concat(tables, ignore_index=True)
    index.insert(0, "example", np.arange(len(index)))
    runs = np.repeat(rng.integers(0, 6, len(index)), rng.integers(1, 5, len(index)))
    index["label"] = runs[: len(index)].astype(np.int8)
    scale_uv = np.repeat([20, 90], n_epochs * EPOCH_SAMPLES)[:, None]
    eeg = (rng.normal(size=(2 * n_epochs * EPOCH_SAMPLES, 1)) * scale_uv).astype(np.float32)
    image = rng.integers(0, 255, (2 * n_frames, N_FREQS)).astype(np.uint8)
    return Dataset(Path(), index, {"recordings": recordings, "simulated": True}, {"image": image, "eeg": eeg})


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return night_pairs()


@pytest.fixture(scope="module")
def fold(dataset: Dataset) -> Fold:
    """The first subject trains, the second is tested."""
    group = dataset.index["subject"].to_numpy(str)
    return Fold("one", np.arange(40), np.array([], np.int64), np.arange(40, 80), group)


def other_test_labels(dataset: Dataset, fold: Fold) -> Dataset:
    label = dataset.index["label"].to_numpy().copy()
    label[fold.test] = (label[fold.test] + 2) % 6  # another one of five, too
    return dataclasses.replace(dataset, index=dataset.index.assign(label=label))


def batch_of(config, dataset: Dataset, rows: np.ndarray) -> dict:
    return jax.tree.map(jnp.asarray, gather(np, sleep.TASK.source(config, dataset), rows, rows >= 0))


# ---- settings that exclude one another, and those that don't


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model__weights": ""}, r"config\.model\.weights is not set.*vgg16-397923af\.pth.*weights=none"),
        ({**WEIGHTS, "model__batch_norm": True}, r"batch_norm is true.*excludes config\.model\.trainable=fc"),
        (
            {"model__batch_norm": True, "test__dropout": True},
            r"batch_norm is true.*excludes config\.test\.dropout=true",
        ),
        ({"model__trainable": "fc"}, r"trainable is 'fc', but config\.model\.weights is 'none'.*trainable=all"),
        ({"model__trainable": "head"}, r"trainable is 'head', but config\.model\.weights is 'none'"),
        ({"model__trainable": "haed"}, r"trainable is 'haed'; there are all, fc, head\. Did you mean 'head'\?"),
        ({**WEIGHTS, "inputs__subtract_mean": True}, r"subtract_mean is true.*frozen backbone.*trainable=all"),
        ({"model__name": "lstm", **WEIGHTS}, r"weights is 'vgg16\.pth', but 'lstm' sees no images.*weights=none"),
        (
            {"model__name": "lsmt"},
            r"model\.name is 'lsmt'; there are vgg16, vgg16_conv_lstm, lstm\. Did you mean 'lstm'",
        ),
        ({"train__precision": "half"}, r"config\.train\.precision is 'half'; there are float32, bfloat16"),
    ],
)
def test_what_excludes_one_another_is_said_in_a_line(configure, fields: dict, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        sleep.TASK.model(configure("standard", **fields), None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["colour", "scale"])
def test_an_unknown_word_for_images_is_said(configure, field: str) -> None:
    with pytest.raises(UserError, match=rf"config\.inputs\.{field} is 'x'; there are "):
        sleep.TASK.inputs(configure("standard", **{f"inputs__{field}": "x"}))


@pytest.mark.parametrize(
    ("name", "given", "what_trains", "pattern", "keeps"),
    [
        ("vgg16", "", "fc", "", True),
        ("vgg16", "head", "head", "^(fc6|fc7)/", True),
        ("vgg16", "all", "all", "", False),
        ("vgg16_conv_lstm", "", "fc", "", True),
        ("vgg16_conv_lstm", "head", "head", "", True),  # the ConvLSTM is always new, and there is no fc6
        ("vgg16_conv_lstm", "all", "all", "", False),
    ],
)
def test_what_is_trained_with_a_file_of_weights(configure, name, given, what_trains, pattern, keeps) -> None:
    config = configure("standard", model__name=name, model__trainable=given, **WEIGHTS)
    assert sleep_network.trainable(config) == what_trains
    assert sleep.TASK.frozen(config) == pattern
    assert (sleep.TASK.backbone(config) is not None) == keeps


@pytest.mark.parametrize("fields", [{}, {"model__name": "lstm", "model__weights": "", "model__trainable": "head"}])
def test_without_weights_all_is_trained(configure, fields: dict) -> None:
    config = configure("standard", **fields)
    assert sleep.TASK.model(config, None)
    assert sleep_network.trainable(config) == "all"
    assert sleep.TASK.frozen(config) == ""
    assert sleep.TASK.backbone(config) is None


@pytest.mark.parametrize(("name", "cells"), [("vgg16_conv_lstm", "conv_lstm"), ("lstm", "lstm")])
def test_cells_are_stacked(configure, dataset: Dataset, name: str, cells: str) -> None:
    config = configure("standard", model__name=name, model__n_cells=3, model__sequence_epochs=2)
    stats = {"eeg_uv": np.float32(20)}
    rows = np.arange(4) if name == "lstm" else np.arange(4).reshape(2, 2)
    images = jax.eval_shape(lambda: sleep.TASK.inputs(config)(stats, batch_of(config, dataset, rows), None, False))[
        "inputs"
    ]
    params = jax.eval_shape(sleep.TASK.model(config, dataset).init, jax.random.key(0), images)["params"]
    assert {cells, f"{cells}_2", f"{cells}_3"} <= set(params)
    assert f"{cells}_4" not in params


# ---- what is learnt from the training part


@pytest.mark.slow
def test_the_mean_image_is_numpys_of_the_training_part(configure, dataset: Dataset, fold: Fold) -> None:
    rng = np.random.default_rng(1)
    image = dataset.arrays["image"].copy()
    image[len(image) // 2 :] = rng.integers(0, 255, (len(image) // 2, N_FREQS))  # the tested night
    other = dataclasses.replace(dataset, arrays={**dataset.arrays, "image": image})
    for colour, scale in (("gray", "standard"), ("gray", "raw"), ("jet", "standard"), ("jet", "raw")):
        plain = configure("standard", inputs__colour=colour, inputs__scale=scale)
        config = configure("standard", inputs__colour=colour, inputs__scale=scale, inputs__subtract_mean=True)
        assert "mean_image" not in sleep.TASK.fit(plain, dataset, fold)
        stats = sleep.TASK.fit(config, dataset, fold)
        images = np.asarray(sleep.TASK.inputs(plain)({}, batch_of(plain, dataset, fold.train), None, True)["inputs"])
        mean = images.astype(np.float64).mean(0)
        tolerance = 1e-5 * np.abs(images).max()
        assert stats["mean_image"].shape == (32, 32, 1 if colour == "gray" else 3)
        np.testing.assert_allclose(stats["mean_image"], mean, atol=tolerance)
        np.testing.assert_array_equal(sleep.TASK.fit(config, other, fold)["mean_image"], stats["mean_image"])
        seen = sleep.TASK.inputs(config)(stats, batch_of(config, dataset, fold.test[:3]), None, False)["inputs"]
        alone = sleep.TASK.inputs(plain)({}, batch_of(plain, dataset, fold.test[:3]), None, False)["inputs"]
        np.testing.assert_allclose(seen, alone - mean, atol=tolerance)


@pytest.mark.parametrize("context", [0, 1])
def test_the_raw_signal_is_scaled_by_the_training_nights_and_clipped(configure, dataset, fold, context: int) -> None:
    config = configure("standard", model__name="lstm", data__context_epochs=context)
    stats = sleep.TASK.fit(config, dataset, fold)
    assert stats["eeg_uv"] == pytest.approx(20, rel=0.01)  # the tested night's 90 µV are not in it
    eeg = dataset.arrays["eeg"].copy()
    eeg[10 * EPOCH_SAMPLES] = 1e6
    broken = dataclasses.replace(dataset, arrays={**dataset.arrays, "eeg": eeg})
    found = sleep.TASK.inputs(config)(stats, batch_of(config, broken, np.array([10, 0, 79])), None, False)["inputs"]
    before, width = context * EPOCH_SAMPLES, (1 + 2 * context) * EPOCH_SAMPLES
    assert found.shape == (3, width, 1)
    begin = 10 * EPOCH_SAMPLES - before
    expected = np.clip(eeg[begin : begin + width] / stats["eeg_uv"], -20, 20)
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    assert found[0].max() == 20
    assert (found[1, :before] == found[1, before]).all()  # before a recording's start its first sample stands
    assert (found[2, width - before :] == found[2, width - before - 1]).all()
    one_sided = configure("standard", model__name="lstm", data__context_epochs=context, data__causal=True)
    past = sleep.TASK.inputs(one_sided)(stats, batch_of(one_sided, broken, np.array([10])), None, False)["inputs"]
    np.testing.assert_array_equal(past[0], found[0, : before + EPOCH_SAMPLES])


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("balance", ["under", "over"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_trained_prior_is_the_shares_that_training_draws(configure, fold, length, balance, weighted) -> None:
    dataset = night_pairs(seed=3)
    config = configure(
        "standard",
        model__name="vgg16_conv_lstm",
        model__sequence_epochs=length,
        train__balance=balance,
        train__class_weights=weighted,
    )
    stats = sleep.TASK.fit(config, dataset, fold)
    targets = sleep.TASK.labels(config, dataset.index)
    units, _ = sleep.TASK.units(config, dataset, fold.train, True)
    first = targets[units.reshape(len(units), -1)[:, 0]]
    sampler = Sampler(units, first, 4, balance)
    drawn = [draw_batch(sampler, 0, epoch, step)[0] for epoch in range(400) for step in range(sampler.n_steps)]
    rows = np.concatenate([part.ravel() for part in drawn])
    counted = np.bincount(targets[rows[rows >= 0]], minlength=5) * stats["class_weights"]
    np.testing.assert_allclose(stats["trained_prior"], counted / counted.sum(), atol=0.02)
    if length == 1 and not weighted:
        np.testing.assert_allclose(stats["trained_prior"], 0.2, atol=1e-6)


def test_without_balancing_the_trained_prior_is_that_of_the_weighted_loss(configure, dataset, fold) -> None:
    counts = np.bincount(sleep.TASK.labels(configure("standard"), dataset.index)[fold.train], minlength=5)
    shares = (counts + 1) / (counts + 1).sum()
    for weighted in (False, True):
        stats = sleep.TASK.fit(configure("standard", train__class_weights=weighted), dataset, fold)
        np.testing.assert_allclose(stats["prior"], shares, rtol=1e-6)
        expected = shares * stats["class_weights"]
        np.testing.assert_allclose(stats["trained_prior"], expected / expected.sum(), rtol=1e-6)
    assert np.ptp(stats["trained_prior"]) < 0.06  # weighted: about a fifth each


# ---- what is made of the answers


def answers(dataset: Dataset, fold: Fold, names: tuple[str, ...], targets: np.ndarray) -> pd.DataFrame:
    probabilities = np.random.default_rng(5).dirichlet(np.full(len(names), 0.5), len(fold.test))
    frame = dataset.index.iloc[fold.test].reset_index(drop=True).drop(columns="label")
    frame = frame.assign(model="vgg16", member=0, fold=fold.name, seed=0, split="test", target=targets[fold.test])
    return frame.assign(**{f"p_{name}": probabilities[:, k] for k, name in enumerate(names)})


@pytest.mark.parametrize(("n_classes", "names"), [(5, FIVE), (6, SIX)])
def test_rows_beside_follow_from_the_training_labels_alone(configure, dataset, fold, n_classes, names) -> None:
    config = configure("standard", data__n_classes=n_classes)
    columns = [f"p_{name}" for name in names]
    other = other_test_labels(dataset, fold)
    frames = []
    for one in (dataset, other):
        given = answers(one, fold, names, sleep.TASK.labels(config, one.index))
        frames.append(decode(config, one, [fold], given, Path()))
    assert list(frames[0]["model"].unique()) == ["vgg16", "vgg16_prior", "vgg16_viterbi"]
    assert not (frames[0]["target"] == frames[1]["target"]).any()
    pd.testing.assert_frame_equal(frames[0].drop(columns="target"), frames[1].drop(columns="target"))

    targets = sleep.TASK.labels(config, dataset.index)[fold.train]
    counts = np.bincount(targets, minlength=n_classes)
    prior = (counts + 1) / (counts + 1).sum()
    trained = prior * (counts.sum() / (np.maximum(counts, 1) * (counts > 0).sum()))
    plain, corrected, smoothed = (part[columns].to_numpy() for _, part in frames[0].groupby("model", sort=False))
    odds = plain / trained * prior
    np.testing.assert_allclose(corrected, odds / odds.sum(1, keepdims=True), rtol=1e-5)
    assert set(np.unique(smoothed)) == {0, 1}
    assert (smoothed.sum(1) == 1).all()


def test_smoothing_finds_the_likeliest_of_all_paths(configure, dataset: Dataset, fold: Fold) -> None:
    """Five epochs in a row, all 3125 paths; then a gap, behind which a path begins anew."""
    config = configure("standard")
    few = fold._replace(test=np.array([40, 41, 42, 43, 44, 60, 61]))
    targets = sleep.TASK.labels(config, dataset.index)
    given = answers(dataset, few, FIVE, targets)
    found = decode(config, dataset, [few], given, Path()).query("model == 'vgg16_viterbi'")
    path = found[[f"p_{name}" for name in FIVE]].to_numpy().argmax(1)
    stats = sleep.TASK.fit(config, dataset, few)
    moves = np.ones((5, 5))
    np.add.at(moves, (targets[:39], targets[1:40]), 1)
    move = np.log(moves / moves.sum(1, keepdims=True))
    np.testing.assert_allclose(np.exp(move), stats["transitions"], rtol=1e-5)
    likelihood = np.log(given[[f"p_{name}" for name in FIVE]].to_numpy() / stats["trained_prior"])
    for part in (slice(0, 5), slice(5, 7)):
        score = {
            chosen: np.log(stats["prior"][chosen[0]])
            + sum(likelihood[part][place, one] for place, one in enumerate(chosen))
            + sum(move[pair] for pair in itertools.pairwise(chosen))
            for chosen in itertools.product(range(5), repeat=part.stop - part.start)
        }
        assert tuple(path[part]) == max(score, key=score.get)


def test_each_network_is_corrected_by_what_it_was_trained_on(configure, fold: Fold) -> None:
    """A balanced epoch is drawn alone, a balanced sequence brings its neighbours: other shares, another correction."""
    dataset = night_pairs(seed=3)
    config = configure("standard", train__balance="under", train__class_weights=False, test__viterbi=False)
    given = answers(dataset, fold, FIVE, sleep.TASK.labels(config, dataset.index))
    both = pd.concat([given, given.assign(model="vgg16_conv_lstm")])
    frame = decode(config, dataset, [fold], both, Path())
    columns, plain = [f"p_{name}" for name in FIVE], given[[f"p_{name}" for name in FIVE]].to_numpy()
    for name in ("vgg16", "vgg16_conv_lstm"):
        one = configure("standard", train__balance="under", train__class_weights=False, model__name=name)
        stats = sleep.TASK.fit(one, dataset, fold)
        odds = plain * stats["prior"] / stats["trained_prior"]
        found = frame.loc[frame["model"] == f"{name}_prior", columns].to_numpy()
        np.testing.assert_allclose(found, odds / odds.sum(1, keepdims=True), rtol=1e-4)


def test_nothing_is_made_where_nothing_is_asked_for(configure, dataset: Dataset, fold: Fold) -> None:
    config = configure("standard", test__prior_correction=False, test__viterbi=False)
    given = answers(dataset, fold, FIVE, sleep.TASK.labels(config, dataset.index))
    assert decode(config, dataset, [fold], given, Path()) is given


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16", "vgg16_conv_lstm"])
def test_dropout_left_on_at_test_changes_the_answers(configure, dataset: Dataset, name: str) -> None:
    config = configure("paper", model__name=name, model__width=1 / 16, inputs__scale="standard")
    rows = np.arange(8)
    batch = batch_of(config, dataset, rows)
    model, inputs = sleep.TASK.model(config, dataset), sleep.TASK.inputs(config)
    variables = jax.jit(model.init)(jax.random.key(0), inputs({}, batch, None, False)["inputs"])
    stats = {"class_weights": np.ones(6, np.float32)}
    parts: list[Callable] = [inputs, sleep.TASK.loss(config), sleep.TASK.predict(config)]
    on, off = (
        np.asarray(jax.jit(make_predict_step(model, *parts, dropout))(variables, stats, batch)[0])
        for dropout in (config.test.dropout, False)
    )
    assert (np.abs(on - off).max(1) > 1e-4).mean() > 0.5

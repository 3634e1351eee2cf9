"""The sleep study: its units, windows, weights and inputs against independent truth, and what its demo can learn."""

import dataclasses
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import mne
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType

from eegjax.data import splits
from eegjax.data.dataset import Dataset
from eegjax.data.feed import gather, make_feed
from eegjax.data.splits import Fold
from eegjax.errors import UserError
from eegjax.run.member import list_members
from eegjax.run.network import Network, Timing
from eegjax.studies.sleep import study as sleep
from eegjax.studies.sleep.data import epochs_uv
from eegjax.studies.sleep.numbers import evaluate
from eegjax.train import members
from eegjax.train.log import MetricLog

EPOCH_S = 30.0
FRAME_S = 0.67
N_FREQS = 154
STAGES = ("W", "N1", "N2", "N3", "N4", "R")
SHORT = {"data__margin_s": 60.0, "data__simulation__n_subjects": 1}


@pytest.fixture(scope="module")
def config(tiny: Callable):
    return tiny("--config.model.beside=()")


def with_fields(config, **fields):
    """A copy with other values, `model__name` standing for `model.name`."""
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return changed


def made(lengths: dict[str, int], levels: np.ndarray | None = None, seed: int = 0) -> Dataset:
    """A dataset in memory: recordings of so many epochs, every epoch scored, random levels and labels."""
    rng = np.random.default_rng(seed)
    recordings, tables, begin = [], [], 0
    for name, n_epochs in lengths.items():
        n_frames = int((n_epochs * EPOCH_S - 3) / FRAME_S) + 1
        onset_s = np.arange(n_epochs) * EPOCH_S
        start = (onset_s - 1.5) / FRAME_S + begin  # a frame's time is the middle of its 3 s window
        names = {"subject": name[:5], "session": "1", "recording": name}
        tables.append(pd.DataFrame({**names, "onset_s": onset_s, "start": start, "stop": start + EPOCH_S / FRAME_S}))
        recordings.append({"recording": name, "first_s": 0.0, "extents": {"image": [begin, begin + n_frames]}})
        begin += n_frames
    index = pd.concat(tables, ignore_index=True)
    index.insert(0, "example", np.arange(len(index)))
    index["label"] = rng.integers(0, 6, len(index)).astype(np.int8)
    image = rng.integers(0, 255, (begin, N_FREQS)).astype(np.uint8) if levels is None else levels
    return Dataset(Path(), index, {"recordings": recordings, "simulated": True}, {"image": image})


# ---- units


@st.composite
def nights(draw) -> tuple[Dataset, np.ndarray]:
    """Recordings with gaps, and some of their rows."""
    dataset = made({f"SC40{k}1": draw(st.integers(1, 25)) for k in range(draw(st.integers(1, 3)))})
    kept = draw(st.lists(st.booleans(), min_size=len(dataset.index), max_size=len(dataset.index)))
    index = dataset.index[np.array(kept)].reset_index(drop=True)
    rows = np.flatnonzero(draw(st.lists(st.booleans(), min_size=len(index), max_size=len(index))))
    return dataclasses.replace(dataset, index=index), rows


@settings(max_examples=150)
@given(nights(), st.integers(1, 9), st.booleans())
def test_sequences_cross_no_gap_and_score_every_row_once(config, night, length: int, train: bool) -> None:
    dataset, rows = night
    changed = with_fields(config, model__name="vgg16_conv_lstm", model__sequence_epochs=length)
    units, scored = sleep.TASK.units(changed, dataset, rows, train)
    assert units.shape == scored.shape
    assert sorted(units[scored].tolist()) == rows.tolist()
    if train:
        assert sorted(units[units >= 0].tolist()) == rows.tolist()
    if length == 1:
        return
    assert units.shape[1:] == (length,)
    position = dataset.index["onset_s"].to_numpy() / EPOCH_S
    recording = dataset.index["recording"].to_numpy()
    known = set(rows.tolist())
    for unit, counts in zip(units, scored, strict=True):
        n_real = int((unit >= 0).sum())
        assert n_real
        assert (unit[n_real:] == -1).all()  # padding is at the end
        assert len(set(recording[unit[:n_real]])) == 1
        assert (np.diff(position[unit[:n_real]]) == 1).all()
        first = unit[0]
        begins = not (
            first - 1 in known
            and recording[first - 1] == recording[first]
            and position[first - 1] == position[first] - 1
        )
        if not train and not begins:  # seen with half a sequence before it
            assert not counts[: length // 2].any()


def test_a_network_without_memory_takes_single_epochs(config) -> None:
    rows = np.array([3, 5, 6])
    units, scored = sleep.TASK.units(config, made({"SC4001": 10}), rows, True)
    assert units.tolist() == rows.tolist()
    assert scored.all()


# ---- windows


def samples_read(source, rows: np.ndarray) -> np.ndarray:
    """[n_samples] bool: of two recordings one after another, those that the windows of some examples are made of."""
    read = np.zeros((len(source.arrays["image"]) + 10) * 67, bool)
    for row in rows:
        low, high = (int(source.table[f"image_{edge}"][row]) for edge in ("low", "high"))
        begin = int(source.table["image_start"][row])
        for frame in np.clip(np.arange(begin, begin + source.lengths["image"]), low, high - 1):
            first = (frame + (5 if low else 0)) * 67  # the first recording's last frame is longer than its step
            read[first : first + 300] = True
    return read


@pytest.mark.parametrize("context", [0, 1, 2, 3])
def test_windows_on_two_sides_of_a_block_share_no_sample(config, context: int) -> None:
    dataset = made({"SC4001": 50, "SC4002": 41})  # two nights of one subject
    changed = with_fields(config, data__context_epochs=context, splits__n_test_subjects=0, splits__n_blocks=3)
    source = sleep.TASK.source(changed, dataset)
    folds = sleep.folds(changed, dataset)
    splits.check_folds(folds)
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(range(len(dataset.index)))
    for fold in folds:
        assert not (samples_read(source, fold.train) & samples_read(source, fold.test)).any()


def test_one_subject_is_said_to_be_one(config, caplog: pytest.LogCaptureFixture) -> None:
    sleep.folds(with_fields(config, splits__n_test_subjects=0, splits__n_blocks=3), made({"SC4001": 30}))
    assert "same person" in caplog.text


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("epoch", [0, 7, 19])
def test_an_impulse_in_time_and_frequency_is_where_the_image_shows_it(config, context: int, epoch: int) -> None:
    size, frequency = 64, 40
    changed = with_fields(config, data__context_epochs=context, inputs__size=size)
    width_s = (2 * context + 1) * EPOCH_S
    for share in (0.3, 0.55, 0.8):  # of the image's width
        time_s = epoch * EPOCH_S + (share - 0.5) * width_s + EPOCH_S / 2
        frame = round((time_s - 1.5) / FRAME_S)
        levels = np.zeros((896, N_FREQS), np.uint8)
        if not 0 <= frame < 893:
            continue
        levels[frame, frequency] = 254
        dataset = made({"SC4001": 20}, levels)
        image = images(changed, dataset, np.array([epoch]))[0, :, :, 0]
        bright = image - image.min()
        column = (bright.sum(0) @ (np.arange(size) + 0.5)) / bright.sum()
        row = (bright.sum(1) @ (np.arange(size) + 0.5)) / bright.sum()
        begins_s = epoch * EPOCH_S - context * EPOCH_S
        assert column == pytest.approx((frame * FRAME_S + 1.5 - begins_s) / width_s * size, abs=0.35)
        assert row == pytest.approx((N_FREQS - 1 - frequency + 0.5) / N_FREQS * size, abs=0.35)  # high ones on top


def images(config, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    batch = gather(np, sleep.TASK.source(config, dataset), rows, rows >= 0)
    return np.asarray(
        sleep.TASK.inputs(config)({}, {name: jnp.asarray(value) for name, value in batch.items()}, None, True)["inputs"]
    )


@pytest.fixture(scope="module")
def even() -> Dataset:
    """255 epochs, each of one level, every level once: evenly spread, as equalised images are."""
    dataset = made({"SC4001": 255})
    begin = np.floor(dataset.index["start"].to_numpy()).clip(0).astype(int)
    levels = np.zeros_like(dataset.arrays["image"])
    for level, first in enumerate(begin):
        levels[first:] = level
    return dataclasses.replace(dataset, arrays={"image": levels})


def test_gray_images_of_even_levels_have_mean_0_and_deviation_1(config, even: Dataset) -> None:
    found = images(with_fields(config, data__context_epochs=0), even, np.arange(255))
    assert found.shape == (255, 32, 32, 1)
    assert found.mean() == pytest.approx(0, abs=0.02)
    assert found.std() == pytest.approx(1, abs=0.02)


def test_jet_images_are_colours_from_blue_to_red(config, even: Dataset) -> None:
    raw = with_fields(config, data__context_epochs=0, inputs__colour="jet", inputs__scale="raw")
    found = images(raw, even, np.arange(255))
    assert found.shape == (255, 32, 32, 3)
    assert 0 <= found.min() < found.max() <= 255.001
    middle = found[:, 16, 16] / 255
    np.testing.assert_allclose(middle[[0, 127, 254]], [[0, 0, 0.5], [0.5, 1, 0.5], [0.5, 0, 0]], atol=0.03)
    assert (found.std(axis=(1, 2)) < 12).all()  # a level is a colour: nothing is mixed


# ---- weights


def fold_of(dataset: Dataset, train: np.ndarray) -> Fold:
    others = np.setdiff1d(np.arange(len(dataset.index)), train)
    return Fold("one", train, np.array([], np.int64), others, np.arange(len(dataset.index)).astype(str))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 40))
def test_class_weights_have_mean_1_over_training_examples_and_know_no_other(config, seed: int, n_train: int) -> None:
    dataset = made({"SC4001": 60}, seed=seed)
    rng = np.random.default_rng(seed)
    fold = fold_of(dataset, np.sort(rng.permutation(60)[:n_train]))
    weighted = with_fields(config, train__class_weights=True)
    weights = sleep.TASK.fit(weighted, dataset, fold)["class_weights"]
    labels = dataset.index["label"].to_numpy()
    assert np.isfinite(weights).all()
    assert weights[labels[fold.train]].mean() == pytest.approx(1, rel=1e-5)
    totals = np.bincount(labels[fold.train], weights[labels[fold.train]], 6)
    assert np.ptp(totals[totals > 0]) < 1e-4 * n_train  # every class counts the same
    changed = dataset.index.assign(label=np.where(np.isin(np.arange(60), fold.train), labels, (labels + 1) % 6))
    again = sleep.TASK.fit(weighted, dataclasses.replace(dataset, index=changed), fold)["class_weights"]
    assert (again == weights).all()


def test_without_class_weights_all_are_1(config) -> None:
    dataset = made({"SC4001": 60})
    fitted = sleep.TASK.fit(with_fields(config, train__class_weights=False), dataset, fold_of(dataset, np.arange(30)))
    assert fitted["class_weights"].tolist() == [1] * 6


def test_a_stage_that_training_lacks_has_a_finite_weight(config) -> None:
    dataset = made({"SC4001": 60})
    without = np.flatnonzero(dataset.index["label"].to_numpy() != STAGES.index("N4"))
    weights = sleep.TASK.fit(with_fields(config, train__class_weights=True), dataset, fold_of(dataset, without))
    assert np.isfinite(weights["class_weights"]).all()


def test_five_classes_merge_n3_and_n4(config) -> None:
    five = with_fields(config, data__n_classes=5)
    index = pd.DataFrame({"label": np.arange(6, dtype=np.int8)})
    assert sleep.TASK.classes(five) == ("W", "N1", "N2", "N3", "R")
    assert [sleep.TASK.classes(five)[label] for label in sleep.TASK.labels(five, index)] == [
        "W",
        "N1",
        "N2",
        "N3",
        "N3",
        "R",
    ]
    assert [sleep.TASK.classes(config)[label] for label in sleep.TASK.labels(config, index)] == list(STAGES)


# ---- preparation


@pytest.fixture(scope="module")
def prepared(config) -> tuple[Dataset, Path]:
    """Two nights of one simulated subject, cropped to a minute around sleep; the folder of their files."""
    changed = with_fields(config, **SHORT)
    dataset = sleep.prepare(changed)
    folders = Path(changed.run.root, "datasets").glob("simulated-sleep-*")
    return dataset, next(folder for folder in folders if len(list(folder.glob("*-PSG.edf"))) == 2)


def scored_epochs(path: Path) -> list[str]:
    """The stage letters that MNE reads, one per 30 s."""
    runs = mne.read_annotations(path)
    letters: list[str] = []
    for onset_s, duration_s, text in zip(runs.onset, runs.duration, runs.description, strict=True):
        assert onset_s == len(letters) * EPOCH_S
        letters += [text[-1]] * round(duration_s / EPOCH_S)
    return letters


def test_the_examples_are_the_scored_epochs_around_sleep(prepared) -> None:
    dataset, folder = prepared
    cropped = 0
    for recording, part in dataset.index.groupby("recording"):
        letters = scored_epochs(folder / f"{recording}EC-Hypnogram.edf")
        asleep = [number for number, letter in enumerate(letters) if letter not in "W?"]
        first, last = max(asleep[0] - 2, 0), min(asleep[-1] + 2, len(letters) - 1)
        cropped += first
        wanted = [number for number in range(first, last + 1) if letters[number] != "?"]
        assert (part["onset_s"].to_numpy() / EPOCH_S).tolist() == wanted  # in the file's own time
        assert [("W", "1", "2", "3", "4", "R")[label] for label in part["label"]] == [letters[n] for n in wanted]
    assert cropped  # else the test says nothing about time
    assert len(dataset.index) == dataset.card["n_examples"]


def test_an_epochs_eeg_is_that_of_the_file(prepared) -> None:
    dataset, folder = prepared
    epochs = epochs_uv(dataset)
    assert epochs.shape == (len(dataset.index), 3000)
    for recording, part in dataset.index.groupby("recording"):
        raw = mne.io.read_raw_edf(folder / f"{recording}E0-PSG.edf", verbose="error")
        signal_uv = raw.get_data()[0] * 1e6
        for row in part.index[:: len(part) // 7]:
            begin = round(dataset.index["onset_s"][row] * 100)
            np.testing.assert_allclose(epochs[row], signal_uv[begin : begin + 3000], atol=1e-3)


def test_the_card_says_simulated_and_from_which_files(prepared) -> None:
    dataset, folder = prepared
    assert dataset.card["simulated"] is True
    named = {name for row in dataset.card["recordings"] for name in row["files"]}
    assert named == {path.name for path in folder.glob("*.edf")}


@pytest.mark.parametrize("limit", [100_000, 600_000, 1_700_000])  # while simulating, preparing, putting together
def test_a_full_disk_while_preparing_loses_nothing(config, tmp_path: Path, prepared, limit: int) -> None:
    changed = with_fields(config, **SHORT, run__root=str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))  # a real error of the kernel, as a quota gives
    try:
        with pytest.raises(UserError, match=r"the disk is full .*free some space and start the same command again"):
            sleep.prepare(changed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in (tmp_path / "datasets").rglob("*") if ".part" in path.name or path.suffix == ".npy"]
    assert all(path.stat().st_size < limit for path in tmp_path.rglob("*") if path.is_file())
    again, whole = sleep.prepare(changed), prepared[0]
    assert again.card["hash"] == whole.card["hash"]
    assert again.index.equals(whole.index)
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)


# ---- what can be learnt


@pytest.fixture(scope="module")
def learnable(tiny: Callable) -> Iterator[tuple]:
    """A demo of four subjects that a small network learns in seconds: configuration, fold, network, baselines."""
    config = tiny(
        "--config.model.beside=()",
        "--config.model.width=0.0625",
        "--config.model.batch_norm=true",
        "--config.data.simulation.n_subjects=4",
        "--config.data.simulation.n_epochs=300",
        "--config.train.learning_rate=1e-3",
        "--config.train.warmup_steps=20",
        "--config.train.batch_size=16",
        "--config.train.n_epochs=4",
        "--config.train.ema_decay=0.9",
    )
    dataset = sleep.prepare(config)
    (fold,) = sleep.folds(config, dataset)
    with pytest.MonkeyPatch.context() as patch:  # 450 steps: here optimising pays, and one device is quicker than four
        compile_ = jax.stages.Lowered.compile
        options = {"xla_backend_optimization_level": 1}
        patch.setattr(jax.stages.Lowered, "compile", lambda self, **_: compile_(self, compiler_options=options))
        mesh = jax.make_mesh((1, 1), ("data", "space"), axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:1])
        patch.setattr(members, "make_mesh", lambda space: mesh)
        network = Network(config, sleep.TASK, dataset, list_members("vgg16", [fold], 1, 1), Timing())
        yield config, fold, network, sleep.baselines(config, dataset, [fold])


def trained(learnable: tuple, folder: Path, label: np.ndarray) -> dict:
    """The metrics, against the true labels, of a network that is trained on these ones."""
    config, _, network, baselines = learnable
    network.source = network.source._replace(table={**network.source.table, "label": label})
    if program := network.programs.get(1):  # compiled before: only its data are others
        network.programs[1] = program._replace(feed=make_feed(network.source, program.feed.sharding, 10**9))
    predictions = network.run(network.members, folder, MetricLog(folder, False, False))
    return evaluate(config, predictions, baselines)


def standard_error(metrics: dict, name: str) -> float:
    """From the 95 % interval of a block bootstrap."""
    return (metrics[f"{name}_high"] - metrics[f"{name}_low"]) / (2 * 1.96)


@pytest.mark.slow
def test_training_draws_every_training_epoch_and_no_other(learnable: tuple) -> None:
    _, fold, network, _ = learnable
    plan = network._plan(network.members, network.members)
    for epoch in (0, 3):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        drawn = np.concatenate([rows[mask] for rows, mask in map(plan.rows, steps)])
        assert sorted(drawn.tolist()) == sorted(fold.train.tolist())
    assert not set(fold.train) & set(fold.test)


@pytest.mark.slow
def test_a_network_lies_between_the_baseline_and_the_ceiling(learnable: tuple, tmp_path: Path) -> None:
    config, _, network, _ = learnable
    metrics = trained(learnable, tmp_path, sleep.TASK.labels(config, network.dataset.index))
    print({name: value for name, value in metrics.items() if "kappa" in name})
    slack = 2 * standard_error(metrics, "kappa")
    assert metrics["majority_kappa"] == 0
    assert metrics["kappa_low"] > 0.2  # well above chance
    assert metrics["band_powers_kappa"] <= metrics["kappa"] + slack
    assert metrics["kappa"] <= metrics["ceiling_kappa"] + slack  # above it: a leak
    assert metrics["ceiling_kappa"] == pytest.approx(0.8, abs=0.1)


@pytest.mark.slow
def test_shuffled_labels_are_learnt_to_chance(learnable: tuple, tmp_path: Path) -> None:
    config, fold, network, _ = learnable
    label = sleep.TASK.labels(config, network.dataset.index).copy()
    label[fold.train] = np.random.default_rng(0).permutation(label[fold.train])
    metrics = trained(learnable, tmp_path, label)
    assert abs(metrics["kappa"]) < max(2 * standard_error(metrics, "kappa"), 0.05)
    assert metrics["kappa"] < 0.1


# ---- a real night


def test_the_baselines_on_a_real_night(tiny: Callable, data_root: Path) -> None:
    config = tiny("--config.model.beside=()").copy_and_resolve_references()
    config.protocol = "standard"
    config.update_from_flattened_dict(
        {
            "data.root": str(data_root / "sleep" / "night_segment"),
            "data.n_classes": 5,
            "data.context_epochs": 0,
            "splits.n_test_subjects": 0,
            "splits.n_blocks": 10,
        }
    )
    dataset = sleep.prepare(config)
    assert len(dataset.index) == 167
    assert dataset.card["simulated"] is False
    real = {"W": 2, "N1": 7, "N2": 95, "N3": 37, "R": 26}
    counts = np.bincount(sleep.TASK.labels(config, dataset.index))
    assert dict(zip(sleep.TASK.classes(config), counts.tolist(), strict=True)) == real
    folds = sleep.folds(config, dataset)
    splits.check_folds(folds)
    assert len(folds) == 10
    frame = sleep.baselines(config, dataset, folds)
    assert "ceiling" not in set(frame["model"])  # nobody knows the truth here
    hits = {}
    for name, part in frame.groupby("model"):
        assert sorted(part["example"]) == list(range(167))
        hits[name] = int((part.filter(like="p_").to_numpy().argmax(1) == part["target"].to_numpy()).sum())
    assert hits["majority"] == 95
    assert hits["nearest_label"] == 138
    assert hits["band_powers"] / 167 == pytest.approx(0.874, abs=0.0005)

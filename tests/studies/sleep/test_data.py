"""Nights as the paper cut them and as the field does, and folds, against MNE's reading of the files and plain sums."""

import dataclasses
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import mne
import numpy as np
import pandas as pd
import pytest
from scipy.signal import periodogram
from scipy.signal.windows import dpss

from eegjax.data.dataset import Dataset
from eegjax.data.feed import gather
from eegjax.data.sleep_edf import simulator, statistics
from eegjax.errors import UserError
from eegjax.run import answers
from eegjax.studies.sleep import study as sleep
from eegjax.studies.sleep.data import epochs_uv

LETTERS = "W1234R"
FRAME_S, WINDOW_S, N_FREQS = 0.67, 3.0, 154
LIGHTS_OFF = {"SC4001": (0, 38), "SC4002": (21, 57), "SC4011": (22, 44)}  # in the table that MNE ships


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """A function: start of the recording, night -> number of epochs -> a folder of such files, many epochs unscored."""
    made: dict[tuple, Path] = {}

    def make(start: str, **lengths: int) -> Path:
        key = (start, *lengths.items())
        if key not in made:
            made[key] = tmp_path_factory.mktemp("nights")
            hour, minute = map(int, start.split(":"))
            patch.setattr(simulator, "START", datetime.datetime(2000, 1, 1, hour, minute))
            for name, n_epochs in lengths.items():
                simulator.write_night(made[key], 0, int(name[3:5]), int(name[5]), n_epochs)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "UNSCORED_SHARE", 0.1)
        yield make


def letters(root: Path, recording: str) -> list[str]:
    """The stage of every epoch of a file as MNE reads it, `?` where there is none."""
    runs = mne.read_annotations(root / f"{recording}EC-Hypnogram.edf")
    return [
        text[-1]
        for duration_s, text in zip(runs.duration, runs.description, strict=True)
        for _ in range(round(duration_s / 30))
    ]


def kept(found: list[str], first: int, margin: int, unscored: bool) -> list[int]:
    """The epochs from `first`, or from a margin before sleep if None, to a margin after the last sleep."""
    asleep = [number for number, letter in enumerate(found) if letter in "1234R"]
    first = max(asleep[0] - margin, 0) if first is None else first
    return [n for n in range(first, min(asleep[-1] + 1 + margin, len(found))) if unscored or found[n] != "?"]


# ---- where a night is cut


@pytest.mark.parametrize(
    ("start", "recording", "n_epochs", "first"),
    [
        ("22:30", "SC4011", 80, 28),  # 14 min after the start
        ("22:30", "SC4001", 300, 256),  # 128 min later, across midnight
        ("23:50", "SC4001", 120, 96),
        ("00:30", "SC4001", 80, 16),
        ("22:30", "SC4002", 80, 0),  # 33 min before the start: all of it is in the dark
        ("02:00", "SC4001", 80, 0),
        ("14:00", "SC4001", 80, None),  # hours after the end of so short a file: the margin decides
    ],
)
def test_a_night_begins_when_the_lights_go_off(nights, configure, caplog, start, recording, n_epochs, first) -> None:
    root = nights(start, **{recording: n_epochs})
    dataset = sleep.prepare(configure("paper", root))
    found = letters(root, recording)
    if first:
        hour, minute = LIGHTS_OFF[recording]
        begun = datetime.datetime.strptime(start, "%H:%M")
        off = begun.replace(hour=hour, minute=minute)
        off += datetime.timedelta(days=off < begun)
        assert first == (off - begun).total_seconds() / 30
    wanted = kept(found, first, 30, unscored=True)
    assert (dataset.index["onset_s"].to_numpy() / 30).tolist() == wanted
    assert (("after all sleep" in caplog.text) and "900 s before sleep" in caplog.text) == (first is None)
    assert dataset.card["recordings"][0]["first_s"] == wanted[0] * 30
    eeg = epochs_uv(dataset, np.array([0, len(wanted) - 1]))
    signal_uv = mne.io.read_raw_edf(root / f"{recording}E0-PSG.edf", verbose="error").get_data()[0] * 1e6
    for row, epoch in zip(eeg, (wanted[0], wanted[-1]), strict=True):
        np.testing.assert_allclose(row, signal_uv[epoch * 3000 : (epoch + 1) * 3000], atol=1e-3)


def test_a_night_without_a_known_time_has_the_margin(nights, configure, tmp_path: Path, caplog) -> None:
    root = nights("22:30", SC4011=80)
    for part in ("PSG", "Hypnogram"):
        path = next(root.glob(f"*{part}.edf"))
        (tmp_path / f"mine-{part}.edf").write_bytes(path.read_bytes())
    dataset = sleep.prepare(configure("paper", tmp_path, data__margin_s=120.0))
    assert (dataset.index["onset_s"] / 30).tolist() == kept(letters(root, "SC4011"), None, 4, unscored=True)
    assert caplog.text == ""
    sleeping = sleep.prepare(configure("standard", root, data__margin_s=120.0))
    assert (sleeping.index["onset_s"] / 30).tolist() == kept(letters(root, "SC4011"), None, 4, unscored=False)


def test_unscored_epochs_are_dropped_or_are_wake(nights, configure) -> None:
    root = nights("22:30", SC4011=80)
    found = letters(root, "SC4011")
    assert found[28:].count("?") > 1
    dropped, wake = (sleep.prepare(configure("paper", root, data__unscored=word)) for word in ("drop", "wake"))
    for dataset, unscored in ((dropped, False), (wake, True)):
        epochs = kept(found, 28, 30, unscored)
        assert [LETTERS[label] for label in dataset.index["label"]] == [found[n].replace("?", "W") for n in epochs]
        counts = dataset.card["recordings"][0]["epochs"]
        assert counts["W"] == sum(found[n] in ("W?" if unscored else "W") for n in epochs)
    assert wake.card["hash"] != dropped.card["hash"]


def test_values_above_1_have_the_highest_level(nights, configure) -> None:
    """log10(S + 1), S from SciPy's periodograms: above 1 all at 254, the others by their order and lower."""
    dataset = sleep.prepare(configure("paper", nights("22:30", SC4011=80)))
    tapers = dpss(300, 3, 5)
    frames = np.arange(5, len(dataset.arrays["image"]) - 5, 23)
    power = np.empty((len(frames), N_FREQS))
    for row, frame in enumerate(frames):
        segment = dataset.arrays["eeg"][frame * 67 : frame * 67 + 300, 0].astype(float)
        each = [
            periodogram(segment, 100, taper, 512, detrend=False, return_onesided=False)[1][:N_FREQS] for taper in tapers
        ]
        power[row] = np.mean(each, axis=0)
    value, levels = np.log10(power + 1), dataset.arrays["image"][frames]
    assert 0.02 < (value > 1.001).mean() < 0.9  # else the test says nothing
    assert (levels[value > 1.001] == 254).all()
    assert (levels[value < 0.97] < 254).all()
    plain = sleep.prepare(configure("paper", nights("22:30", SC4011=80), data__saturate=False))
    assert (plain.arrays["image"][frames][value > 1.001] == 254).mean() < 0.1  # spread over the upper levels


# ---- folds


def subjects(n_nights: dict[str, int], n_epochs: int = 12) -> Dataset:
    """A dataset in memory of so many nights of each subject, all stages in each, random levels."""
    rng = np.random.default_rng(0)
    names = [(subject, night) for subject, count in n_nights.items() for night in range(1, count + 1)]
    n_frames = int((n_epochs * 30 - WINDOW_S) / FRAME_S) + 1
    tables, recordings = [], []
    for number, (subject, night) in enumerate(names):
        onset_s = np.arange(n_epochs) * 30.0
        start = (onset_s - WINDOW_S / 2) / FRAME_S + number * n_frames
        named = {"subject": subject, "session": str(night), "recording": f"{subject}{night}"}
        tables.append(pd.DataFrame({**named, "onset_s": onset_s, "start": start, "stop": start + 30 / FRAME_S}))
        extents = {"image": [number * n_frames, (number + 1) * n_frames]}
        recordings.append({"recording": f"{subject}{night}", "first_s": 0.0, "extents": extents})
    index = pd.concat(tables, ignore_index=True)
    index.insert(0, "example", np.arange(len(index)))
    index["label"] = np.resize(np.arange(6), len(index)).astype(np.int8)
    image = rng.integers(0, 255, (len(names) * n_frames, N_FREQS)).astype(np.uint8)
    return Dataset(Path(), index, {"recordings": recordings, "simulated": True}, {"image": image})


SUBJECTS = {f"SC40{number}": 1 + number % 2 for number in range(6)}


def sides(dataset: Dataset, fold) -> tuple[list[str], list[str], list[str]]:
    return tuple(
        sorted(dataset.index["subject"].iloc[rows].unique()) for rows in (fold.train, fold.validation, fold.test)
    )


def test_the_paper_tests_the_first_subject_and_validates_on_the_last_two(configure) -> None:
    dataset = subjects(SUBJECTS)
    (fold,) = sleep.folds(configure("paper"), dataset)
    names = list(SUBJECTS)
    assert sides(dataset, fold) == (names[1:-2], names[-2:], names[:1])
    assert sum(map(len, fold[1:4])) == len(dataset.index)


def test_the_standard_tests_every_subject_once(configure) -> None:
    dataset, names = subjects(SUBJECTS), list(SUBJECTS)
    folds = sleep.folds(configure("standard"), dataset)
    assert [sides(dataset, fold) for fold in folds] == [
        ([other for other in names if other != name], [], [name]) for name in names
    ]


@pytest.mark.parametrize("n_folds", [2, 3])
def test_the_standard_tests_groups_of_subjects(configure, n_folds: int) -> None:
    dataset = subjects(SUBJECTS)
    folds = sleep.folds(configure("standard", splits__n_folds=n_folds), dataset)
    assert len(folds) == n_folds
    parts = [sides(dataset, fold) for fold in folds]
    assert sorted(name for _, _, tested in parts for name in tested) == list(SUBJECTS)
    for trained, _, tested in parts:
        assert len(tested) == 6 // n_folds
        assert sorted([*trained, *tested]) == list(SUBJECTS)
    first = sleep.folds(configure("standard", splits__n_folds=n_folds, splits__n_first=1), dataset)
    assert [fold.name for fold in first] == [folds[0].name]


@pytest.mark.parametrize("n_validation", [0, 2])
def test_the_demo_tests_the_last_subjects_and_validates_on_those_before(configure, n_validation: int) -> None:
    dataset, names = subjects(SUBJECTS), list(SUBJECTS)
    given = {"splits__n_test_subjects": 2, "splits__n_validation_subjects": n_validation}
    (fold,) = sleep.folds(configure("demo", **given), dataset)
    assert sides(dataset, fold) == (names[: 4 - n_validation], names[4 - n_validation : 4], names[4:])


def test_a_stage_that_a_fold_lacks_is_said_before_anything_is_trained(configure, caplog) -> None:
    dataset = subjects(SUBJECTS)
    label = dataset.index["label"].where(dataset.index["subject"] == "SC403", dataset.index["label"] % 4)
    dataset = dataclasses.replace(dataset, index=dataset.index.assign(label=label))
    for balance in ("under", "over"):
        with pytest.raises(UserError, match=rf"fold subject-SC403: .*stage N4, R, .*balance='{balance}'.*n_classes=5"):
            sleep.folds(configure("standard", data__n_classes=6, train__balance=balance), dataset)
    assert len(sleep.folds(configure("standard", data__n_classes=6), dataset)) == 6
    assert caplog.messages == ["fold subject-SC403: no training epoch of stage N4, R: it can't be learnt in this fold"]


def test_the_last_partial_batch_of_test_epochs_can_be_left_out(configure) -> None:
    """3719 epochs at 32 are 3712, as in the paper's second matrix; nothing else is left out."""
    config = configure("paper")

    def units_of(n_epochs: int, split: str) -> tuple[np.ndarray, np.ndarray]:
        fold = SimpleNamespace(**{split: np.arange(n_epochs)})
        return answers.units_of(config, sleep.TASK, None, fold, split, 32)

    scored = {split: units_of(3719, split) for split in ("test", "validation")}
    assert [len(units) for units, _ in scored.values()] == [3712, 3719]
    assert all(len(units) == len(counts) and counts.all() for units, counts in scored.values())
    assert len(units_of(31, "test")[0]) == 31  # less than a batch is all there is
    config.test.whole_batches = False
    assert len(units_of(3719, "test")[0]) == 3719


def test_the_papers_recurrent_network_takes_single_shuffled_epochs(configure) -> None:
    config = configure("paper", model__name="vgg16_conv_lstm")
    rows = np.arange(4, 9)
    for train in (True, False):
        units, scored = sleep.TASK.units(config, subjects(SUBJECTS), rows, train)
        assert units.tolist() == rows.tolist()
        assert scored.all()


# ---- what a network sees


def seen(config, dataset: Dataset, row: int) -> np.ndarray:
    batch = gather(np, sleep.TASK.source(config, dataset), np.array([row]), np.ones(1, bool))
    return np.asarray(sleep.TASK.inputs(config)({}, batch, None, False)["inputs"])[0]


@pytest.mark.parametrize(
    ("context", "causal", "before", "after"),
    [(0, False, 0, 0), (2, False, 2, 2), (2, True, 2, 0), (0, True, 0, 0), (3, True, 3, 0)],
)
def test_a_network_sees_its_window_and_nothing_else(configure, context, causal, before, after) -> None:
    """Other frames change nothing, those inside do; a frame is of the 3 s around its middle, and pixels blend two."""
    dataset, row = subjects({"SC400": 1, "SC401": 1}, 20), 20 + 9
    config = configure("standard", data__context_epochs=context, data__causal=causal)
    frames = np.arange(len(dataset.arrays["image"])) - len(dataset.arrays["image"]) // 2
    begin_s, end_s = (9 - before) * 30, (9 + after + 1) * 30
    middle_s = frames * FRAME_S + WINDOW_S / 2
    plain = seen(config, dataset, row)

    def changed(which: np.ndarray) -> np.ndarray:
        image = np.where(which[:, None], 254 - dataset.arrays["image"], dataset.arrays["image"])
        return np.abs(seen(config, dataclasses.replace(dataset, arrays={"image": image}), row) - plain)

    assert not changed((middle_s < begin_s - FRAME_S) | (middle_s > end_s + FRAME_S)).any()
    assert not changed(frames * FRAME_S >= end_s).any()  # what is after the end is not seen at all
    inside = (
        changed((middle_s > begin_s) & (middle_s < begin_s + 5)),
        changed((middle_s < end_s) & (middle_s > end_s - 5)),
    )
    for part, edge in zip(inside, (slice(0, 1), slice(-1, None)), strict=True):
        assert part[:, edge].max() > 0.1
        assert part[:, 16 - 4 : 16 + 4].max() < 1e-5  # of 32 columns the middle ones show other seconds

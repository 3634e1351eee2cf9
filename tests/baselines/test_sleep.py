"""The sleep baselines on a real night segment, against brute force, and against sine waves."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegjax.baselines.sleep import BANDS_HZ, band_power_regression, band_powers, predict_majority, predict_nearest

STAGES = ["Sleep stage W", "Sleep stage 1", "Sleep stage 2", "Sleep stage 3", "Sleep stage R"]


@pytest.fixture(scope="module")
def night() -> tuple[np.ndarray, np.ndarray]:
    """Epochs [167, 3000] in µV and stages [167] of the real night segment, read by MNE alone."""
    if "EEGJAX_DATA" not in os.environ:
        pytest.skip("EEGJAX_DATA names no folder of real recordings")
    import mne

    folder = Path(os.environ["EEGJAX_DATA"]) / "sleep" / "night_segment"
    signal_uv = mne.io.read_raw_edf(folder / "segment-PSG.edf", verbose="error").get_data("EEG", units="uV")[0]
    stages = np.full(len(signal_uv) // 3000, -1)
    for scored in mne.read_annotations(folder / "segment-Hypnogram.edf"):
        first, last = np.rint([scored["onset"] / 30, (scored["onset"] + scored["duration"]) / 30]).astype(int)
        stages[first:last] = STAGES.index(scored["description"])
    assert np.bincount(stages).tolist() == [2, 7, 95, 37, 26]
    return signal_uv.reshape(len(stages), 3000).astype(np.float32), stages


def hits_over_blocks(stages: np.ndarray, predict) -> int:
    """Ten contiguous test blocks; training on all else but two epochs on either side."""
    every = np.arange(len(stages))
    hits = 0
    for test in np.array_split(every, 10):
        train = every[(every < test[0] - 2) | (every > test[-1] + 2)]
        probabilities = predict(train, test)
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
        hits += int((probabilities.argmax(1) == stages[test]).sum())
    return hits


def test_majority_on_the_night(night):
    _, stages = night
    assert hits_over_blocks(stages, lambda train, test: predict_majority(stages[train], len(test), 5)) == 95


def test_nearest_label_on_the_night(night):
    _, stages = night

    def predict(train, test):
        return predict_nearest(np.zeros(len(train)), train, stages[train], np.zeros(len(test)), test, 5)

    assert hits_over_blocks(stages, predict) == 138


def test_band_powers_on_the_night(night):
    epochs_uv, stages = night
    features = band_powers(epochs_uv, 100.0)

    def predict(train, test):
        return band_power_regression(features[train], stages[train], features[test], 5, balanced=False)

    assert hits_over_blocks(stages, predict) == pytest.approx(146, abs=1)  # .874; solvers differ in a last digit


def test_majority_gives_the_training_shares():
    assert predict_majority(np.array([2, 2, 0, 2]), 2, 4).tolist() == [[0.25, 0, 0.75, 0]] * 2


@settings(max_examples=60)
@given(st.data())
def test_nearest_label_equals_brute_force(data):
    places = st.tuples(st.sampled_from(["x", "y"]), st.integers(0, 12))
    known = data.draw(st.lists(places, min_size=2, max_size=12, unique=True))
    known += [(name, 20) for name in "xy"]
    labels = data.draw(st.lists(st.integers(0, 3), min_size=len(known), max_size=len(known)))
    wanted = data.draw(st.lists(places, min_size=1, max_size=12))
    expected = []
    for name, place in wanted:
        same = [(abs(p - place), p, label) for (r, p), label in zip(known, labels, strict=True) if r == name]
        expected.append(min(same)[2])  # the nearest, then the earliest
    split = [np.array(column) for column in (*zip(*known, strict=True), labels, *zip(*wanted, strict=True))]
    probabilities = predict_nearest(*split, 4)
    assert probabilities.argmax(1).tolist() == expected
    assert (probabilities.sum(1) == 1).all()


def test_nearest_label_needs_the_same_recording():
    one = np.array([0])
    with pytest.raises(ValueError, match="no training epoch in recording b"):
        predict_nearest(np.array(["a"]), one, one, np.array(["b"]), one, 2)


@pytest.mark.parametrize(("number", "freq_hz"), [(0, 2.0), (1, 6.0), (2, 10.0), (3, 13.5), (4, 20.0)])
def test_band_powers_find_a_sine(number, freq_hz):
    """A sine's power lies in its own band, whatever the amplitude."""
    noise = 0.05 * np.random.default_rng(0).normal(size=3000)
    signal = noise + np.sin(2 * np.pi * freq_hz * np.arange(3000) / 100)
    features = band_powers(np.outer([1, 50], signal).astype(np.float32), 100.0)
    assert features.dtype == np.float32
    assert (np.exp(features[:, number]) > 0.95).all()
    np.testing.assert_allclose(features[0], features[1], atol=1e-3)


def test_band_powers_of_noise_and_of_nothing():
    noise = np.random.default_rng(0).normal(size=(1200, 3000)).astype(np.float32)
    widths = np.array([high - low for low, high in BANDS_HZ.values()])
    np.testing.assert_allclose(np.exp(band_powers(noise, 100.0)).mean(0), widths / widths.sum(), rtol=0.02)
    assert np.isfinite(band_powers(np.zeros((1, 3000), np.float32), 100.0)).all()


def test_regression_never_predicts_what_it_has_not_seen():
    rng = np.random.default_rng(0)
    labels = np.array([1] * 90 + [3] * 10)
    features = rng.normal(size=(100, 2)) + labels[:, None]
    plain, balanced = (band_power_regression(features, labels, features, 5, flag) for flag in (False, True))
    assert (plain[:, [0, 2, 4]] == 0).all()
    np.testing.assert_allclose(plain.sum(1), 1)
    assert balanced[:, 3].mean() > plain[:, 3].mean()  # the rare class gains by balancing
    single = band_power_regression(features[:5], labels[:5], features, 5, balanced=True)
    assert (single == np.eye(5)[1]).all()

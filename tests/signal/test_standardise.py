"""Standardising against braindecode's own lines in pandas, scikit-learn's scaler, and statistics that are known."""

import warnings

import jax
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from eegjax.signal.standardise import exponential_moving_standardise, fit_per_channel, fit_per_time_sample, z_score


def braindecodes(x: np.ndarray, factor_new: float, init_block: int, eps: float) -> np.ndarray:
    """braindecode.preprocessing.exponential_moving_standardize, in float64 on [n_times, n_chans]."""
    frame = pd.DataFrame(x.astype(np.float64))
    demeaned = frame - frame.ewm(alpha=factor_new).mean()
    square = (demeaned * demeaned).ewm(alpha=factor_new).mean()
    out = np.array(demeaned / np.maximum(eps, np.sqrt(np.array(square))))
    if init_block:
        block = x[:init_block].astype(np.float64)
        mean, sd = np.nanmean(block, axis=0, keepdims=True), np.nanstd(block, axis=0, keepdims=True)
        out[:init_block] = (block - mean) / np.maximum(eps, sd)
    return out


def by_hand(x: np.ndarray, factor_new: float, eps: float) -> np.ndarray:
    """The definition, sample by sample, of one channel [n_times]."""
    deviations, out = [], []
    for t in range(len(x)):
        weights = (1 - factor_new) ** np.arange(t, -1, -1.0)
        deviations.append(x[t] - weights @ x[: t + 1] / weights.sum())
        sd = np.sqrt(weights @ np.square(deviations) / weights.sum())
        out.append(deviations[-1] / max(eps, sd))
    return np.array(out)


def eeg(n_times: int, n_chans: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drift = np.cumsum(rng.normal(0, 1, (n_times, n_chans)), axis=0)
    return (rng.normal(0, 15, (n_times, n_chans)) + drift + rng.normal(0, 50, n_chans)).astype(np.float32)


def test_moving_standardising_with_the_papers_settings_is_braindecodes():
    x = eeg(6000)
    y = exponential_moving_standardise(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, braindecodes(x, 1e-3, 1000, 1e-4), atol=2e-3)


def test_moving_standardising_is_its_definition():
    x = eeg(300, 2)
    y = exponential_moving_standardise(x, 0.02, 0)
    np.testing.assert_allclose(y, np.stack([by_hand(each.astype(float), 0.02, 1e-4) for each in x.T], 1), atol=1e-3)


@settings(max_examples=8)
@given(
    n_times=st.sampled_from([1, 37, 400]),
    factor_new=st.sampled_from([1e-3, 0.5]),
    init_block=st.sampled_from([0, 10, 1000]),
    missing=st.lists(st.integers(0, 399), max_size=20),
    seed=st.integers(0, 99),
)
def test_moving_standardising_is_braindecodes(n_times, factor_new, init_block, missing, seed):
    x = eeg(n_times, 2, seed)
    x[[each for each in missing if each < n_times], 0] = np.nan
    y = np.asarray(exponential_moving_standardise(x, factor_new, init_block))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of blocks that are all NaN
        expected = braindecodes(x, factor_new, init_block, 1e-4)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    np.testing.assert_allclose(y, expected, atol=5e-3)


def test_an_offset_or_a_gain_of_the_electrode_changes_nothing():
    x = eeg(3000)
    y = exponential_moving_standardise(x)
    np.testing.assert_allclose(exponential_moving_standardise(8 * x), y, atol=1e-3)
    np.testing.assert_allclose(exponential_moving_standardise(x + 4096), y, atol=0.02)  # float32 of a sample's own


def test_what_comes_later_changes_nothing_before():
    x = eeg(3000)
    changed = x.copy()
    changed[2000:] *= 10
    one, other = (np.asarray(exponential_moving_standardise(each)) for each in (x, changed))
    np.testing.assert_allclose(one[:2000], other[:2000], atol=1e-5)
    assert np.abs(one[2000:] - other[2000:]).max() > 1


def test_a_flat_channel_is_zero_and_leading_axes_are_kept():
    x = np.stack([eeg(500), np.full((500, 3), 7, np.float32)])
    y = np.asarray(exponential_moving_standardise(x, 0.01, 100))
    assert np.array_equal(y[1], np.zeros((500, 3)))
    np.testing.assert_allclose(y[0], exponential_moving_standardise(x[0], 0.01, 100), atol=1e-5)


# ---- fitted on training trials


@pytest.fixture
def trials() -> np.ndarray:
    gains = np.array([1, 5, 20, 0.1])
    return (np.random.default_rng(0).normal(0, 1, (12, 30, 4)) * gains + gains * 3 + 100).astype(np.float32)


def test_a_scale_per_channel_is_scikit_learns(trials):
    scale = fit_per_channel(trials[:8])
    expected = StandardScaler().fit(trials[:8].reshape(-1, 4).astype(float)).transform(trials.reshape(-1, 4))
    np.testing.assert_allclose(z_score(trials, scale).reshape(-1, 4), expected, atol=1e-3)
    np.testing.assert_allclose(z_score(trials[:8], scale).std(axis=(0, 1)), 1, rtol=1e-4)


def test_a_scale_per_time_sample_is_the_papers(trials):
    """scikit-learn's scaler over rows that are channels of trials, and columns that are time samples."""
    rows = trials.swapaxes(1, 2).reshape(-1, 30)
    expected = StandardScaler().fit(rows[: 8 * 4].astype(float)).transform(rows).reshape(12, 4, 30).swapaxes(1, 2)
    scaled = z_score(trials, fit_per_time_sample(trials[:8]))
    np.testing.assert_allclose(scaled, expected, atol=1e-3)
    assert np.ptp(scaled.mean(axis=(0, 1))) > 0.5  # the channels' offsets are still there


@pytest.mark.parametrize(("fit", "shape"), [(fit_per_channel, (1, 4)), (fit_per_time_sample, (30, 1))])
def test_a_scale_fits_one_trial_and_many(trials, fit, shape):
    scale = fit(trials)
    assert scale.mean.shape == scale.sd.shape == shape
    assert scale.mean.dtype == scale.sd.dtype == np.float32
    np.testing.assert_array_equal(z_score(trials[3], scale), z_score(trials, scale)[3])
    np.testing.assert_allclose(z_score(jax.numpy.asarray(trials), scale), z_score(trials, scale), rtol=1e-5, atol=1e-6)


def test_what_never_changes_becomes_zero():
    flat = np.full((3, 10, 2), 4, np.float32)
    for fit in (fit_per_channel, fit_per_time_sample):
        assert np.array_equal(z_score(flat, fit(flat)), np.zeros_like(flat))


def test_a_single_trial_is_no_training_set():
    for fit in (fit_per_channel, fit_per_time_sample):
        with pytest.raises(ValueError, match="2 dimensions"):
            fit(np.zeros((10, 2), np.float32))

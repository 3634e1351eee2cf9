"""Euclidean alignment against its theorem: the mean covariance of aligned trials is the identity."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from eegjax.errors import UserError
from eegjax.signal.alignment import align, fit_euclidean_alignment


def eeg(seed: int, n_trials: int = 5, n_times: int = 50, n_chans: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 10, (n_trials, n_times, n_chans)) @ rng.normal(0, 1, (n_chans, n_chans))).astype(np.float32)


@settings(max_examples=20)
@given(seed=st.integers(0, 999), n_trials=st.integers(1, 6), n_chans=st.integers(1, 8), gain=st.sampled_from([1e-3, 1]))
def test_the_mean_covariance_of_aligned_trials_is_the_identity(seed, n_trials, n_chans, gain):
    trials = eeg(seed, n_trials, 50, n_chans) * np.float32(gain)
    matrix = fit_euclidean_alignment(trials)
    aligned = align(trials.astype(np.float64), matrix)
    np.testing.assert_allclose(np.mean([x.T @ x / 50 for x in aligned], axis=0), np.eye(n_chans), atol=1e-6)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-6, atol=1e-9 / gain)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_the_matrix_is_the_inverse_square_root_of_the_mean_covariance():
    trials = eeg(0).astype(np.float64)
    covariance = np.mean([x.T @ x for x in trials], axis=0) / 50
    np.testing.assert_allclose(fit_euclidean_alignment(trials), linalg.inv(linalg.sqrtm(covariance)), rtol=1e-6)


def test_subjects_who_differ_by_a_mixing_of_channels_differ_by_a_rotation_once_aligned():
    """What is left of an invertible A is orthogonal: |A x| of aligned trials is |x| of aligned trials."""
    trials = eeg(1).astype(np.float64)
    mixed = trials @ np.random.default_rng(2).normal(0, 1, (6, 6))
    one, other = (align(each, fit_euclidean_alignment(each)) for each in (trials, mixed))
    np.testing.assert_allclose(np.linalg.norm(one, axis=2), np.linalg.norm(other, axis=2), rtol=1e-6)


def test_aligning_keeps_dtype_and_shape_on_either_side():
    trials = eeg(0)
    matrix = fit_euclidean_alignment(trials)
    assert matrix.dtype == np.float64
    aligned = align(trials, matrix)
    assert (aligned.dtype, aligned.shape) == (np.float32, trials.shape)
    on_device = align(jax.numpy.asarray(trials), matrix)
    assert on_device.dtype == np.float32
    np.testing.assert_allclose(on_device, aligned, atol=1e-4)


@pytest.mark.parametrize("spoil", ["average", "dead", "doubled", "few"])
def test_channels_that_depend_on_each_other_are_an_error(spoil):
    trials = eeg(0)
    if spoil == "average":
        trials -= trials.mean(axis=2, keepdims=True)
    elif spoil == "dead":
        trials[:, :, 2] = 0
    elif spoil == "doubled":
        trials[:, :, 2] = trials[:, :, 1]
    else:
        trials = trials[:1, :5]
    with pytest.raises(UserError, match="found 5 independent channels among 6"):
        fit_euclidean_alignment(trials)


def test_no_trials_or_nan_are_errors():
    with pytest.raises(UserError, match="found no trial"):
        fit_euclidean_alignment(np.zeros((0, 10, 3)))
    trials = eeg(0)
    trials[1, 2, 3] = np.nan
    with pytest.raises(UserError, match="found NaN"):
        fit_euclidean_alignment(trials)

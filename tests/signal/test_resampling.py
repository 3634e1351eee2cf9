"""Resampling against sinusoids, whose samples at any rate are known, and SciPy's Fourier method."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from eegjax.errors import UserError
from eegjax.signal.resampling import resample, upsample

RATES = [(160.0, 250.0), (250.0, 125.0), (200.0, 40.0), (128.0, 250.0), (512.0, 250.0), (250.0, 500.0)]


def sines(hz: list[float], sfreq: float, seconds: float) -> np.ndarray:
    time_s = np.arange(round(seconds * sfreq)) / sfreq
    return np.stack([np.sin(2 * np.pi * each * time_s + each) for each in hz], axis=1)


@pytest.mark.parametrize(("sfreq", "to_sfreq"), RATES)
def test_slow_sinusoids_are_kept_and_stay_where_they_are(sfreq, to_sfreq):
    nyquist = min(sfreq, to_sfreq) / 2
    hz = [0.05 * nyquist, 0.5 * nyquist, 0.9 * nyquist]
    y = resample(sines(hz, sfreq, 8), sfreq, to_sfreq)
    expected = sines(hz, to_sfreq, 8)
    assert y.shape == expected.shape
    middle = slice(round(2 * to_sfreq), round(6 * to_sfreq))
    np.testing.assert_allclose(y[middle], expected[middle], atol=1e-3)


@pytest.mark.parametrize(("sfreq", "to_sfreq"), [rates for rates in RATES if rates[1] < rates[0]])
def test_nothing_folds_back(sfreq, to_sfreq):
    hz = [factor * to_sfreq / 2 for factor in (1.01, 1.3, 1.9) if factor * to_sfreq < sfreq]
    y = resample(sines(hz, sfreq, 8), sfreq, to_sfreq)
    assert np.abs(y[round(2 * to_sfreq) : round(6 * to_sfreq)]).max() < 1e-3
    # plain decimation would show them whole
    assert np.abs(sines(hz, sfreq, 8)[:: round(sfreq / to_sfreq)]).max() > 0.9


@settings(max_examples=10)
@given(n_times=st.integers(1, 900), rates=st.sampled_from(RATES), offset=st.floats(-5000, 5000))
def test_an_offset_rings_nowhere_and_the_length_is_the_new_rates(n_times, rates, offset):
    y = resample(np.full((n_times, 2), offset), *rates)
    assert y.shape == (-(-n_times * round(rates[1]) // round(rates[0])), 2)
    np.testing.assert_allclose(y, offset, atol=1e-8)
    if n_times < 100:
        return  # where a ramp ends it stands still, and that edge rings on for some samples of the lower rate
    time = np.arange(n_times)[:, None]
    middle = slice(len(y) // 4, -len(y) // 4)
    expected = offset + np.arange(len(y))[:, None] * rates[0] / rates[1]
    np.testing.assert_allclose(resample(time + offset, *rates)[middle], expected[middle], atol=0.05)


def test_no_change_of_rate_changes_nothing_and_dtypes_stay():
    x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    np.testing.assert_allclose(resample(x, 250, 250), x, atol=1e-6)
    assert resample(x, 160, 250).dtype == np.float32
    assert resample(np.arange(100).reshape(50, 2), 160, 250).dtype == np.float64


@pytest.mark.parametrize(
    ("rates", "found"),
    [((250, 0), "found 250 and 0 Hz"), ((-1, 250), "found -1 and 250 Hz"), ((250, 250 * 2**0.5), "ratio of whole")],
)
def test_impossible_rates_are_errors(rates, found):
    with pytest.raises(UserError, match=found):
        resample(np.zeros((100, 1)), *rates)


def test_nan_is_an_error():
    x = np.zeros((100, 2))
    x[40:, 1] = np.nan
    with pytest.raises(UserError, match="NaN at sample 40"):
        resample(x, 160, 250)


# ---- upsampling trials


@pytest.mark.parametrize(
    ("n_times", "factor", "leading"),
    [(1000, 2, (3,)), (61, 2, (2, 2)), (60, 3, ()), (2, 2, (1,)), (7, 1, ()), (8, 1, ())],
)
def test_upsampling_is_scipys_fourier_method(n_times, factor, leading):
    x = np.random.default_rng(n_times).normal(0, 20, (*leading, n_times, 3)).astype(np.float32)
    y = upsample(x, factor)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, signal.resample(x.astype(np.float64), factor * n_times, axis=-2), atol=1e-4)


@pytest.mark.parametrize("n_times", [63, 64])
def test_upsampling_keeps_the_samples_that_were_there_and_adds_no_frequency(n_times):
    x = np.random.default_rng(0).normal(size=(2, n_times, 3)).astype(np.float32)
    y = np.asarray(upsample(x))
    np.testing.assert_allclose(y[:, ::2], x, atol=1e-5)
    assert np.abs(np.fft.rfft(y, axis=1)[:, n_times // 2 + 1 :]).max() < 1e-4

"""The multitaper spectrogram against SciPy's periodogram, Parseval's theorem and signals whose power is known."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import periodogram
from scipy.signal.windows import dpss

from eegjax.signal.multitaper import Multitaper, multitaper_spectrogram


def reference(signal: np.ndarray, s: Multitaper) -> np.ndarray:
    """[..., n_frames, n_freqs]: SciPy's periodograms, window by window and taper by taper."""
    frames = np.stack([signal[..., t : t + s.window] for t in range(0, signal.shape[-1] - s.window + 1, s.step)], -2)
    tapers = dpss(s.window, s.time_bandwidth, s.n_tapers)
    arguments = {"nfft": s.n_fft, "detrend": False, "scaling": "density", "return_onesided": False}
    power = np.mean([periodogram(frames, s.sfreq, window=taper, **arguments)[1] for taper in tapers], 0)
    freqs = periodogram(frames, s.sfreq, **arguments)[0]
    return power[..., (freqs >= 0) & (freqs <= s.f_max_hz)]


def assert_matches(signal: np.ndarray, s: Multitaper) -> None:
    power, expected = np.asarray(multitaper_spectrogram(signal, s)), reference(signal, s)
    assert power.dtype == np.float32
    assert power.shape == expected.shape
    assert np.linalg.norm(power - expected) <= 1e-6 * np.linalg.norm(expected)
    tall = expected > 1e-2 * expected.max(-1, keepdims=True)
    np.testing.assert_allclose(power[tall], expected[tall], rtol=1e-5)


def test_the_papers_settings_match_scipy():
    signal = np.random.default_rng(0).normal(0, 30, 6000).astype(np.float32)
    assert_matches(signal, Multitaper())
    assert Multitaper().freqs_hz[[0, 1, -1]] == pytest.approx([0, 100 / 512, 153 * 100 / 512])


@settings(max_examples=8)
@given(
    sfreq=st.sampled_from([100.0, 128.0, 200.0]),
    window=st.integers(64, 512),
    step=st.integers(1, 400),
    time_bandwidth=st.sampled_from([2.0, 3.0, 4.0]),
    leading=st.sampled_from([(), (3,), (2, 2)]),
    extra=st.integers(0, 500),
    seed=st.integers(0, 99),
)
def test_matches_scipy(sfreq, window, step, time_bandwidth, leading, extra, seed):
    n_tapers = int(2 * time_bandwidth - 1)
    s = Multitaper(sfreq, window, step, time_bandwidth, n_tapers, n_fft=512, f_max_hz=min(40.0, sfreq / 2.5))
    signal = np.random.default_rng(seed).normal(0, 30, (*leading, window + extra)).astype(np.float32)
    assert_matches(signal, s)


def test_parseval():
    """Over all bins the density sums to the energy under the tapers: the power is neither doubled nor lost."""
    s = Multitaper(sfreq=100.0, window=200, step=50, n_fft=256, f_max_hz=50.0)
    signal = np.random.default_rng(1).normal(0, 10, 500)
    power = np.asarray(multitaper_spectrogram(signal, s), np.float64)
    both_sides = 2 * power.sum(-1) - power[:, 0] - power[:, -1]
    tapers = dpss(200, s.time_bandwidth, s.n_tapers)
    energy = [np.mean(((signal[t : t + 200] * tapers) ** 2).sum(-1)) for t in range(0, 301, 50)]
    np.testing.assert_allclose(both_sides * s.sfreq / s.n_fft, energy, rtol=1e-5)


def test_a_sine_has_its_power_at_its_frequency_and_noise_its_variance_everywhere():
    s = Multitaper(n_fft=2048, f_max_hz=50.0)
    sine = 8 * np.sin(2 * np.pi * 10 * np.arange(3000) / s.sfreq)
    power = np.asarray(multitaper_spectrogram(sine, s)).mean(0)
    near = np.abs(s.freqs_hz - 10) < 2 * s.time_bandwidth * s.sfreq / s.window
    assert 2 * power[near].sum() * s.sfreq / s.n_fft == pytest.approx(8**2 / 2, rel=0.01)
    assert power[~near].max() < 0.01 * power.max()
    noise = np.random.default_rng(2).normal(0, 5, 100_000)
    assert np.asarray(multitaper_spectrogram(noise, Multitaper())).mean() == pytest.approx(25 / 100, rel=0.02)


@given(n_times=st.integers(0, 3000), window=st.integers(1, 600), step=st.integers(1, 600))
def test_n_frames_counts_the_whole_windows(n_times, window, step):
    assert Multitaper(window=window, step=step).n_frames(n_times) == len(range(0, n_times - window + 1, step))


def test_frame_at_finds_the_window_centred_there():
    s = Multitaper()
    frames = np.arange(4)
    np.testing.assert_allclose(s.frame_at((frames * s.step + s.window / 2) / s.sfreq), frames)
    click = np.zeros(6000)
    click[round(31.7 * 100)] = 1
    power = np.asarray(multitaper_spectrogram(click, s._replace(n_tapers=1))).sum(-1)
    assert power.argmax() == round(s.frame_at(31.7))


def test_a_signal_shorter_than_one_window_is_an_error():
    assert multitaper_spectrogram(np.zeros((2, 300)), Multitaper()).shape == (2, 1, 154)
    with pytest.raises(ValueError, match="299 samples is shorter than one window of 300"):
        multitaper_spectrogram(np.zeros((300, 299)), Multitaper())


def test_nights_of_equal_length_share_one_program(caplog):
    """Whatever made the settings, and whatever array holds the samples."""
    rng = np.random.default_rng(3)

    def compiled(signal: object) -> bool:
        caplog.clear()
        with jax.log_compiles():
            multitaper_spectrogram(signal, Multitaper(window=150))
        return any("Compiling" in record.getMessage() and "_power" in record.getMessage() for record in caplog.records)

    assert compiled(rng.normal(size=1000).astype(np.float32))
    assert not compiled(rng.normal(size=1000).astype(np.float32))
    assert not compiled(rng.normal(size=1000))
    assert not compiled(jax.numpy.ones(1000))
    assert compiled(rng.normal(size=1001))

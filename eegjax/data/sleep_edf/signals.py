"""One EEG channel (Fpz-Cz) of a sleeper whose stages are known.

What tells the stages apart is what tells a human scorer: rhythms that come and go (alpha, theta), short events
(spindles, K-complexes, sawtooth waves) and how much of an epoch slow waves fill (Rechtschaffen & Kales 1968). What
doesn't: amplitude, spectral slope, drift, blinks, muscle and mains are the same in every stage.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import fft, signal, special

from eegjax.data.sleep_edf.statistics import N1, REM

SFREQ = 100.0
EPOCH_S = 30
LIMIT_UV = 500.0

Gain = Callable[[np.ndarray], np.ndarray]  # frequencies in Hz to amplitudes

# Columns: W, N1, N2, N3, N4, R, and an epoch that is N1 or R and looks like both.
AMBIGUOUS = 6
AMBIGUOUS_SHARE = 0.2
ALPHA_SHARE = np.array([0.60, 0.20, 0.03, 0.02, 0.02, 0.06, 0.13])  # of the time
THETA_SHARE = np.array([0.12, 0.70, 0.25, 0.15, 0.10, 0.35, 0.52])
SLOW_SHARE = np.array([0.03, 0.04, 0.10, 0.37, 0.72, 0.04, 0.04])
BETA_SHARE = np.array([0.45, 0.30, 0.15, 0.10, 0.10, 0.30, 0.30])
SPINDLES = np.array([0.05, 0.15, 3.3, 1.2, 0.4, 0.05, 0.10])  # per epoch
K_COMPLEXES = np.array([0.02, 0.10, 1.5, 0.8, 0.3, 0.02, 0.06])
SAWTOOTHS = np.array([0.0, 0.05, 0.0, 0.0, 0.0, 1.8, 0.9])


class Sleeper(NamedTuple):
    """What one subject's nights share: amplitudes in units of the background's rms, frequencies in Hz."""

    level_uv: float
    slope: float
    alpha_hz: float
    alpha: float
    spindle_hz: float
    spindle: float
    slow: float
    mains_uv: float


def draw_sleeper(rng: np.random.Generator) -> Sleeper:
    """Draw a subject."""
    return Sleeper(
        level_uv=22 * rng.lognormal(0, 0.2),
        slope=rng.normal(1.8, 0.15),
        alpha_hz=rng.uniform(8.5, 11.0),
        alpha=rng.lognormal(-0.2, 0.3),
        spindle_hz=rng.uniform(12.2, 14.2),
        spindle=rng.lognormal(0.1, 0.2),
        slow=rng.lognormal(1.0, 0.15),
        mains_uv=rng.uniform(0.2, 1.0),
    )


def draw_eeg(rng: np.random.Generator, sleeper: Sleeper, stages: np.ndarray) -> np.ndarray:
    """Make the EEG of a night.

    Args:
        rng: source of randomness.
        sleeper: the subject.
        stages: [n_epochs] int8, true stages.

    Returns:
        [n_epochs * 3000] float32, µV at 100 Hz, within ±500 µV.
    """
    n_times = int(len(stages) * EPOCH_S * SFREQ)
    content = _content(rng, stages)
    eeg = _background(rng, sleeper, n_times)
    for share, burst_s, centre_hz, width_hz, amplitude in (
        (ALPHA_SHARE, 2.0, sleeper.alpha_hz, 0.5, sleeper.alpha),
        (THETA_SHARE, 3.0, 5.5, 0.8, 0.6),
        (SLOW_SHARE, 1.5, 1.0, 0.35, sleeper.slow),
        (BETA_SHARE, 5.0, 20.0, 4.0, 0.15),
        (np.full(7, 0.15), 6.0, 13.0, 1.0, 0.25),  # sigma that is no spindle, in every stage
    ):
        rhythm = _noise(rng, n_times, _band(centre_hz, width_hz))
        eeg += amplitude * _upsampled(_bursts(rng, share[content], burst_s), n_times) * rhythm
    _add_events(rng, eeg, SPINDLES[content], lambda n: sleeper.spindle * _spindles(rng, n, sleeper.spindle_hz))
    _add_events(rng, eeg, K_COMPLEXES[content], lambda n: sleeper.slow * _k_complexes(rng, n))
    _add_events(rng, eeg, SAWTOOTHS[content], lambda n: _sawtooths(rng, n))
    eeg *= _level(rng, eeg) * np.float32(sleeper.level_uv)
    eeg += _nuisances(rng, sleeper, n_times)
    return np.clip(eeg, -LIMIT_UV, LIMIT_UV)


def _content(rng: np.random.Generator, stages: np.ndarray) -> np.ndarray:
    """Return what each second looks like, [n_epochs * 30].

    Borders lie up to 10 s inside an epoch, so the label still holds for most of it; some of N1 and REM is ambiguous.
    """
    n_epochs = len(stages)
    ambiguous = np.isin(stages, (N1, REM)) & (rng.random(n_epochs) < AMBIGUOUS_SHARE)
    looks = np.where(ambiguous, AMBIGUOUS, stages)
    late_s = rng.integers(-10, 11, n_epochs + 1)  # the border before each epoch
    second = np.arange(EPOCH_S)
    epoch = np.arange(n_epochs)[:, None]
    epoch = epoch - (second < late_s[:-1, None]) + (second >= EPOCH_S + late_s[1:, None])
    return looks[np.clip(epoch, 0, n_epochs - 1)].ravel()


def _noise(rng: np.random.Generator, n_times: int, gain: Gain) -> np.ndarray:
    """Return Gaussian noise [n_times] float32 of rms 1 whose amplitude spectrum is gain(frequency in Hz)."""
    n_fft = fft.next_fast_len(n_times, real=True)
    gains = gain(fft.rfftfreq(n_fft, 1 / SFREQ)).astype(np.float32)
    spectrum = np.zeros(len(gains), np.complex64)
    heard = np.flatnonzero(gains > 1e-4 * gains.max())
    parts = rng.standard_normal((2, len(heard)), dtype=np.float32)
    spectrum[heard] = (parts[0] + 1j * parts[1]) * gains[heard]
    noise = fft.irfft(spectrum, n_fft)[:n_times]
    return noise / noise.std()


def _band(centre_hz: float, width_hz: float) -> Gain:
    """Return the gain of a rhythm."""
    return lambda f: np.exp(-0.5 * ((f - centre_hz) / width_hz) ** 2)


def _one_over_f(slope: float) -> Gain:
    """Return the gain of noise whose power falls as f^-slope above 0.4 Hz; an amplifier's high-pass below 0.1 Hz."""
    return lambda f: np.maximum(f, 0.4) ** (-slope / 2) * (f > 0.1)


def _background(rng: np.random.Generator, sleeper: Sleeper, n_times: int) -> np.ndarray:
    """Return 1/f noise [n_times] of rms about 1 whose slope wanders through the night whatever the stage."""
    flat, steep = (_noise(rng, n_times, _one_over_f(sleeper.slope + change)) for change in (-0.3, 0.3))
    mix = _upsampled(special.ndtr(_walk(rng, int(n_times / SFREQ), 120)), n_times)
    return mix * flat + (1 - mix) * steep


def _bursts(rng: np.random.Generator, share: np.ndarray, burst_s: float) -> np.ndarray:
    """Return an envelope [n_seconds] that is near 1 for the given share of the time, in bursts, and near 0 else."""
    walk = _walk(rng, len(share), burst_s)
    return special.expit(6 * (walk - special.ndtri(1 - share)))


def _walk(rng: np.random.Generator, n_steps: int, length: float) -> np.ndarray:
    """Return a first-order autoregression [n_steps], standard normal, that forgets in `length` steps."""
    pole = np.exp(-1 / length)
    return signal.lfilter([np.sqrt(1 - pole**2)], [1, -pole], rng.standard_normal(n_steps + int(5 * length)))[-n_steps:]


def _upsampled(envelope: np.ndarray, n_times: int) -> np.ndarray:
    """Return an envelope [n_seconds] as [n_times] float32, straight between the seconds' centres."""
    seconds = np.arange(n_times, dtype=np.float64) / SFREQ - 0.5
    return np.interp(seconds, np.arange(len(envelope)), envelope).astype(np.float32)


def _add_events(
    rng: np.random.Generator, eeg: np.ndarray, per_epoch: np.ndarray, waves: Callable[[int], np.ndarray]
) -> None:
    """Add events [n_events, n_samples] at random onsets; per_epoch [n_seconds] is their rate per 30 s."""
    seconds = np.flatnonzero(rng.random(len(per_epoch)) < per_epoch / EPOCH_S)
    shapes = waves(len(seconds))
    onsets = (seconds * SFREQ).astype(int) + rng.integers(0, int(SFREQ), len(seconds))
    onsets = np.minimum(onsets, len(eeg) - shapes.shape[1])
    np.add.at(eeg, onsets[:, None] + np.arange(shapes.shape[1]), shapes.astype(np.float32))


def _hann(t: np.ndarray, length_s: np.ndarray) -> np.ndarray:
    """Return a Hann window from 0 to length_s at the times t, zero outside."""
    return np.where(t < length_s, np.sin(np.pi * t / length_s) ** 2, 0)


def _spindles(rng: np.random.Generator, n_events: int, centre_hz: float) -> np.ndarray:
    """Return spindles [n_events, 200]: 0.7 to 1.8 s of waxing and waning 12-14 Hz."""
    t = np.arange(200) / SFREQ
    hz, length_s, height = (
        x[:, None]
        for x in (
            rng.normal(centre_hz, 0.25, n_events),
            rng.uniform(0.7, 1.8, n_events),
            rng.lognormal(0.3, 0.3, n_events),
        )
    )
    return height * _hann(t, length_s) * np.sin(2 * np.pi * hz * t)


def _k_complexes(rng: np.random.Generator, n_events: int) -> np.ndarray:
    """Return K-complexes [n_events, 150]: a sharp negative wave, then a slower positive one."""
    t = np.arange(150) / SFREQ
    stretch, height = (x[:, None] for x in (rng.uniform(0.8, 1.2, n_events), rng.lognormal(0.5, 0.25, n_events)))
    sharp = np.exp(-0.5 * ((t - 0.3 * stretch) / (0.07 * stretch)) ** 2)
    slow = np.exp(-0.5 * ((t - 0.65 * stretch) / (0.16 * stretch)) ** 2)
    return height * (0.7 * slow - sharp)


def _sawtooths(rng: np.random.Generator, n_events: int) -> np.ndarray:
    """Return trains of sawtooth waves [n_events, 500]: 2 to 5 s at 2-4 Hz, a steep rise and a slow fall."""
    t = np.arange(500) / SFREQ
    hz = rng.uniform(2.2, 3.8, n_events)[:, None]
    length_s = rng.uniform(2, 5, n_events)[:, None]
    return 1.6 * _hann(t, length_s) ** 0.5 * signal.sawtooth(2 * np.pi * hz * t, width=0.25)


def _level(rng: np.random.Generator, eeg: np.ndarray) -> np.ndarray:
    """Return a gain [n_times] that gives each epoch an rms drawn without regard to its stage.

    Slow waves are large in life; here amplitude alone must not tell the stage, or there is nothing to learn.
    """
    length = int(EPOCH_S * SFREQ)
    rms = eeg.reshape(-1, length).std(axis=1)
    gain = np.exp(0.2 * _walk(rng, len(rms), 20) + 0.1 * rng.standard_normal(len(rms))) / rms
    centres = np.arange(len(rms)) * length
    corners = (centres[:, None] + (0.05 * length, 0.95 * length)).ravel()  # a step at a border would ring in every band
    return np.interp(np.arange(len(eeg)), corners, np.repeat(gain, 2)).astype(np.float32)


def _nuisances(rng: np.random.Generator, sleeper: Sleeper, n_times: int) -> np.ndarray:
    """Return what has nothing to do with sleep [n_times], µV: drift, blinks, muscle, mains and one bad stretch."""
    n_seconds = int(n_times / SFREQ)
    uv = 4 * _noise(rng, n_times, lambda f: (f > 0.02) * (f < 0.3))
    muscle = _bursts(rng, np.full(n_seconds, 0.06), 4.0) * rng.uniform(3, 10)
    uv += _upsampled(muscle, n_times) * _noise(rng, n_times, lambda f: f > 20)
    _add_events(rng, uv, np.full(n_seconds, 0.6), lambda n: _blinks(rng, n))
    # 50 Hz is the Nyquist frequency of 100 Hz: mains that drifts a little is what such a recording shows.
    uv += sleeper.mains_uv * np.sin(2 * np.pi * 49.9 * np.arange(n_times) / SFREQ).astype(np.float32)
    n_bad = int(min(rng.uniform(60, 180), n_seconds / 20) * SFREQ)
    start = int(rng.integers(0, n_times - n_bad))
    uv[start : start + n_bad] += np.float32(rng.uniform(40, 100)) * _noise(rng, n_bad, _one_over_f(2.0))
    return uv


def _blinks(rng: np.random.Generator, n_events: int) -> np.ndarray:
    """Return blinks [n_events, 60], µV, up and down again within half a second."""
    t = np.arange(60) / SFREQ
    return rng.uniform(20, 80, n_events)[:, None] * np.exp(-0.5 * ((t - 0.3) / 0.08) ** 2)

"""The EEG of somebody who imagines moving a hand, the feet or the tongue, on the channels of BCI Competition IV 2a.

What tells the classes apart is what does so in life: the mu and beta rhythms of an area of the motor cortex lose power
while its part of the body is imagined, and regain more than that afterwards (Pfurtscheller & Lopes da Silva 1999).
Their phase is random: nothing is locked to the cue. What doesn't: background, alpha of other areas, eyes, muscle,
mains, drift, gains and bad stretches have the same distribution whatever the class.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import fft, signal, special

SFREQ = 250.0
N_EEG = 22
CLASSES = ("left hand", "right hand", "feet", "tongue")
WIDTHS_HZ = (1.0, 2.0)  # standard deviation of the spectra of mu and beta
STEP_S = 0.5  # of whatever changes slowly

Gain = Callable[[np.ndarray], np.ndarray]  # frequencies in Hz to amplitudes

# Places on the scalp, in units of 3.5 cm from Cz: to the right, to the front. Fz, FC3 ... POz, then three at the eyes.
_ROWS = ((2, 0), (1, 2), (0, 3), (-1, 2), (-2, 1), (-3, 0))
_EYES = ((-1.5, 5.0), (0.0, 5.3), (1.5, 5.0))
ELECTRODES = np.array([(x, y) for y, widest in _ROWS for x in range(-widest, widest + 1)] + list(_EYES), float)
# Sources of rhythms: hand area beside C3, beside C4, foot area under Cz, tongue area left, right; parietal, occipital.
AREAS = np.array([(-2, 0), (2, 0), (0, -0.2), (-3.3, 0.3), (3.3, 0.3), (0.5, -2), (0, -4)], float)
AREA_WIDTHS = np.array([1.0, 1.0, 0.9, 1.3, 1.3, 1.3, 1.8])  # standard deviation of the pattern on the scalp
AREA_UV = np.array([(5, 2.5), (5, 2.5), (4, 2.5), (4, 2), (4, 2), (4, 1), (7, 1)], float)  # rms of mu and beta
# How much of the subject's depth each class takes from each area: the other hand's a little, the tongue's weakly.
SUPPRESSED = np.array(
    [(0.3, 1, 0, 0, 0, 0, 0), (1, 0.3, 0, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0, 0), (0, 0, 0, 0.7, 0.7, 0, 0)]
)
REBOUND = np.array([0.3, 1.2])  # of mu and beta, in units of the depth
# Sources of the background, all over the head.
_GRID = 0.75 * np.array([(x, y) for x in range(-7, 8) for y in range(-7, 8) if x**2 + y**2 < 50], float)
SOURCES = np.tile(_GRID, (2, 1))
SOURCE_WIDTHS = np.repeat([0.6, 1.5], len(_GRID))
SENSOR_UV = 0.6
LIMITS_UV = np.repeat(np.array([100, 1000], np.float32), (N_EEG, 3))  # what the amplifier can record


class Brain(NamedTuple):
    """One subject in one session."""

    depth: float  # the share of a rhythm's power that imagery takes away with full effort
    centres_hz: np.ndarray  # [2], of mu and beta
    rms_uv: np.ndarray  # [n_areas, 2], where the pattern is 1
    patterns: np.ndarray  # [n_areas, 22], of the rhythms
    slope: float  # the background's power falls as f^-slope
    mixing_uv: np.ndarray  # [25, 25], of the background from independent noises
    gains: np.ndarray  # [25]


def draw_brain(subject: np.random.Generator, session: np.random.Generator, depth: float) -> Brain:
    """Draw what is the subject's in every session, and how it is shifted in this one."""
    centres_hz = np.array([subject.uniform(9.0, 11.5), subject.uniform(18.0, 23.0)])
    rms_uv = AREA_UV * subject.lognormal(0, 0.15, AREA_UV.shape)
    centres = AREAS + subject.normal(0, 0.2, AREAS.shape)
    tilts = subject.normal(0, 0.15, AREAS.shape)
    level_uv = 5 * subject.lognormal(0, 0.1)
    slope = subject.normal(1.2, 0.1)
    strengths = subject.lognormal(0, 0.4, len(SOURCES))
    cap = session.normal(0, 0.04, 2)  # as if the cap sat a little elsewhere
    centres = centres + cap + session.normal(0, 0.05, centres.shape)
    sources = strengths[:, None] * _patterns(SOURCES + cap, SOURCE_WIDTHS, np.zeros_like(SOURCES), ELECTRODES)
    covariance = sources.T @ sources
    # the reference electrode's own noise is in every channel, and each has some that no other has
    covariance = covariance / np.trace(covariance) * len(covariance) + 0.1 + 0.05 * np.eye(len(covariance))
    return Brain(
        depth=depth,
        centres_hz=centres_hz + session.normal(0, (0.15, 0.3)),
        rms_uv=rms_uv * session.lognormal(0, 0.03, rms_uv.shape),
        patterns=_patterns(centres, AREA_WIDTHS, tilts, ELECTRODES[:N_EEG]),
        slope=slope,
        mixing_uv=level_uv * np.linalg.cholesky(covariance).T,
        gains=session.lognormal(0, 0.04, len(ELECTRODES)),
    )


def _patterns(centres: np.ndarray, widths: np.ndarray, tilts: np.ndarray, electrodes: np.ndarray) -> np.ndarray:
    """Return how sources reach electrodes, [n_sources, n_electrodes]: bells, aslant as dipoles are."""
    away = (electrodes - centres[:, None]) / widths[:, None, None]
    return np.exp(-0.5 * np.sum(away**2, axis=2)) * (1 + np.sum(away * tilts[:, None], axis=2))


def compute_task_power(time_s: np.ndarray, labels: np.ndarray, efforts: np.ndarray, depth: float) -> np.ndarray:
    """Return what imagery makes of the rhythms' power, 1 at rest.

    Args:
        time_s: [n_trials, n_times], since the cue, on each trial's own clock.
        labels: [n_trials] int, class numbers.
        efforts: [n_trials] in 0..1.
        depth: the subject's.

    Returns:
        [n_trials, n_areas, 2, n_times] float64: down from .5 to 3.5 s after the cue, above 1 for a second after 4 s.
    """
    down = special.expit((time_s - 0.6) / 0.1) * special.expit((3.7 - time_s) / 0.1)
    up = np.exp(-0.5 * ((time_s - 4.7) / 0.35) ** 2)
    change = REBOUND[:, None] * up[:, None] - down[:, None]
    return 1 + depth * np.einsum("n,na,nbt->nabt", efforts, SUPPRESSED[labels], change)


def draw_waxing(rng: np.random.Generator, n_steps: int) -> np.ndarray:
    """Return how the rhythms' amplitudes wax and wane by themselves, [n_areas, n_steps] at every half second."""
    return np.exp(0.2 * _walks(rng, len(AREAS), n_steps, 20.0))


def draw_brain_eeg(rng: np.random.Generator, brain: Brain, power: np.ndarray) -> np.ndarray:
    """Make rhythms and background: Gaussian, stationary but for the rhythms' amplitudes.

    Args:
        rng: source of randomness.
        brain: the subject in this session.
        power: [n_areas, 2, n_times], what the task makes of the rhythms' power.

    Returns:
        [n_times, 25] float32, µV.
    """
    n_times = power.shape[2]
    eeg = _noise(rng, n_times, len(brain.mixing_uv), one_over_f(brain.slope)).T @ brain.mixing_uv.astype(np.float32)
    eeg += np.float32(SENSOR_UV) * rng.standard_normal(eeg.shape, dtype=np.float32)
    envelopes = _interpolated(draw_waxing(rng, _n_steps(n_times)), n_times)
    for rhythm, (centre_hz, width_hz) in enumerate(zip(brain.centres_hz, WIDTHS_HZ, strict=True)):
        waves = _noise(rng, n_times, len(AREAS), band(centre_hz, width_hz))
        waves *= (envelopes * np.sqrt(power[:, rhythm])).astype(np.float32)
        eeg[:, :N_EEG] += waves.T @ (brain.rms_uv[:, [rhythm]] * brain.patterns).astype(np.float32)
    return eeg


def draw_artifacts(rng: np.random.Generator, n_times: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Make what has nothing to do with the brain: eyes, muscle, mains, drift, and one bad stretch.

    Returns:
        [n_times, 25] float32, µV; and the samples between which the bad stretch lies.
    """
    uv = 4 * _slow(rng, n_times, len(ELECTRODES), 3.0).T.astype(np.float32)
    eyes = 0.8 * np.exp((ELECTRODES[:, 1] - 4) / 1.5)  # how blinks reach the electrodes, 1 at the eyes
    eyes[N_EEG:] = 1
    uv += _blinks(rng, n_times)[:, None] * eyes.astype(np.float32)
    sideways = 0.6 * eyes * ELECTRODES[:, 0]
    uv += 15 * _noise(rng, n_times, 1, lambda f: (f > 0.3) / np.maximum(f, 1)).T @ sideways[None].astype(np.float32)
    angles = rng.uniform(0, 2 * np.pi, 3)
    rim = _patterns(3.5 * np.stack([np.cos(angles), np.sin(angles)], axis=1), np.ones(3), np.zeros((3, 2)), ELECTRODES)
    bursts = special.expit(6 * (_slow(rng, n_times, 3, 2.0) - 1.6)) * rng.uniform(4, 12, (3, 1))
    uv += (bursts.astype(np.float32) * _noise(rng, n_times, 3, lambda f: f > 20)).T @ rim.astype(np.float32)
    hum = np.sin(2 * np.pi * 50 * np.arange(n_times) / SFREQ + rng.uniform(0, 2 * np.pi))
    uv += hum[:, None].astype(np.float32) * rng.uniform(0.1, 0.8, len(ELECTRODES)).astype(np.float32)
    n_bad = int(n_times * rng.uniform(0.01, 0.04))
    start = int(rng.integers(0, n_times - n_bad))
    loose = rng.choice(N_EEG, 3, replace=False)
    uv[start : start + n_bad, loose] += np.float32(rng.uniform(30, 80)) * _noise(rng, n_bad, 3, one_over_f(2.0)).T
    return uv, (start, start + n_bad)


def amplify(rng: np.random.Generator, brain: Brain, uv: np.ndarray) -> np.ndarray:
    """Apply the session's gains, the run's own slow change of them and its own offsets to [n_times, 25] µV."""
    first, last = (np.exp(rng.normal(0, 0.06, (2, len(ELECTRODES)))) * brain.gains).astype(np.float32)
    late = np.linspace(0, 1, len(uv), dtype=np.float32)[:, None]
    everywhere, frontal = rng.normal(0, 10, 2)
    offsets = everywhere + frontal * ELECTRODES[:, 1] / 3
    return np.clip(uv * (first + late * (last - first)) + offsets.astype(np.float32), -LIMITS_UV, LIMITS_UV)


def band(centre_hz: float, width_hz: float) -> Gain:
    """Return the gain of a rhythm."""
    return lambda f: np.exp(-0.5 * ((f - centre_hz) / width_hz) ** 2)


def one_over_f(slope: float) -> Gain:
    """Return the gain of noise whose power falls as f^-slope above 1 Hz; an amplifier's high-pass below .5 Hz."""
    return lambda f: np.maximum(f, 1) ** (-slope / 2) * (f > 0.5)


def _noise(rng: np.random.Generator, n_times: int, n_sources: int, gain: Gain) -> np.ndarray:
    """Return Gaussian noise [n_sources, n_times] float32 of rms 1 whose amplitude spectrum is gain(frequency in Hz)."""
    n_fft = fft.next_fast_len(n_times, real=True)
    gains = gain(fft.rfftfreq(n_fft, 1 / SFREQ)).astype(np.float32)
    spectrum = np.zeros((n_sources, len(gains)), np.complex64)
    heard = np.flatnonzero(gains > 1e-4 * gains.max())
    parts = rng.standard_normal((2, n_sources, len(heard)), dtype=np.float32)
    spectrum[:, heard] = (parts[0] + 1j * parts[1]) * gains[heard]
    noise = fft.irfft(spectrum, n_fft, axis=1)[:, :n_times]
    return noise / noise.std(axis=1, keepdims=True)


def _walks(rng: np.random.Generator, n_sources: int, n_steps: int, length_s: float) -> np.ndarray:
    """Return first-order autoregressions [n_sources, n_steps] over half seconds, standard normal."""
    pole = np.exp(-STEP_S / length_s)
    before = int(5 * length_s / STEP_S)
    shocks = np.sqrt(1 - pole**2) * rng.standard_normal((n_sources, before + n_steps))
    return signal.lfilter([1], [1, -pole], shocks, axis=1)[:, before:]


def _slow(rng: np.random.Generator, n_times: int, n_sources: int, length_s: float) -> np.ndarray:
    """Return such autoregressions sample by sample, [n_sources, n_times]."""
    return _interpolated(_walks(rng, n_sources, _n_steps(n_times), length_s), n_times)


def _n_steps(n_times: int) -> int:
    return int(n_times / SFREQ / STEP_S) + 2


def _interpolated(steps: np.ndarray, n_times: int) -> np.ndarray:
    """Return what is known at every half second, [n_sources, n_steps], at every sample, [n_sources, n_times]."""
    at = np.arange(n_times) / SFREQ / STEP_S
    return np.stack([np.interp(at, np.arange(len(row)), row) for row in steps])


def _blinks(rng: np.random.Generator, n_times: int) -> np.ndarray:
    """Return blinks [n_times] float32, µV at the eyes: about 10 a minute, half a second each."""
    height_uv = np.zeros(n_times)
    at = np.flatnonzero(rng.random(n_times) < 10 / 60 / SFREQ)
    height_uv[at] = rng.uniform(60, 200, len(at))
    shape = np.exp(-0.5 * (np.arange(-75, 76) / SFREQ / 0.08) ** 2)
    return signal.fftconvolve(height_uv, shape, mode="same").astype(np.float32)

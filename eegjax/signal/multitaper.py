"""Multitaper spectrogram on the device: one matrix product per night.

Thomson, "Spectrum estimation and harmonic analysis", Proc. IEEE 70 (1982): the average of K periodograms, each
under one discrete prolate spheroidal (DPSS) taper. Tapering, zero padding and the Fourier transform are linear, and
only the bins up to `f_max_hz` are wanted, so all of it folds into one matrix that is made once on the host.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.signal.windows import dpss


class Multitaper(NamedTuple):
    """Settings of a multitaper spectrogram; the defaults are the sleep paper's."""

    sfreq: float = 100.0
    window: int = 300  # samples
    step: int = 67  # samples
    time_bandwidth: float = 3.0
    n_tapers: int = 5
    n_fft: int = 512
    f_max_hz: float = 30.0

    @property
    def freqs_hz(self) -> np.ndarray:
        """[n_freqs] float64, Hz: the bins that are kept, from 0 to `f_max_hz`."""
        freqs = np.arange(self.n_fft // 2 + 1) * self.sfreq / self.n_fft
        return freqs[freqs <= self.f_max_hz]

    def n_frames(self, n_times: int) -> int:
        """The number of whole windows in `n_times` samples."""
        return max(0, (n_times - self.window) // self.step + 1)

    def frame_at(self, time_s: np.ndarray | float) -> np.ndarray | float:
        """The (fractional) frame whose window is centred at a time: [...] float, seconds -> [...] float64."""
        return (time_s * self.sfreq - self.window / 2) / self.step


@lru_cache(maxsize=8)
def _transform(settings: Multitaper) -> np.ndarray:
    """[window, n_tapers * n_freqs * 2] float32: taper, scale and Fourier transform (cosine and sine) in one."""
    tapers = dpss(settings.window, settings.time_bandwidth, settings.n_tapers)  # [n_tapers, window], unit energy
    phase = 2 * np.pi * np.outer(np.arange(settings.window), settings.freqs_hz / settings.sfreq)
    fourier = np.stack([np.cos(phase), np.sin(phase)], -1)
    folded = tapers.T[:, :, None, None] * fourier[:, None] / np.sqrt(settings.sfreq * settings.n_tapers)
    return folded.reshape(settings.window, -1).astype(np.float32)


@partial(jax.jit, static_argnames="settings")
def _power(signal: jax.Array, transform: jax.Array, settings: Multitaper) -> jax.Array:
    n_frames = settings.n_frames(signal.shape[-1])
    samples = jnp.arange(n_frames)[:, None] * settings.step + jnp.arange(settings.window)
    frames = signal[..., samples]
    # HIGHEST: accelerators otherwise round the factors, and a weak band beside a strong one drowns in that.
    parts = jnp.matmul(frames, transform, precision=jax.lax.Precision.HIGHEST)
    parts = parts.reshape(*parts.shape[:-1], settings.n_tapers, -1, 2)
    return jnp.sum(parts**2, axis=(-3, -1))


def multitaper_spectrogram(signal: jax.Array | np.ndarray, settings: Multitaper) -> jax.Array:
    """Power spectral density over time, one-sided without doubling.

    Args:
        signal: [..., n_times] float32, any unit (µV here).
        settings: window, step and tapers in samples of `settings.sfreq`.

    Returns:
        [..., n_frames, n_freqs] float32, unit²/Hz: the mean over tapers of SciPy's
        `periodogram(window=taper, nfft=n_fft, detrend=False)`, without doubling.

    Raises:
        ValueError: `signal` is shorter than one window.
    """
    if signal.shape[-1] < settings.window:
        raise ValueError(f"signal of {signal.shape[-1]} samples is shorter than one window of {settings.window}")
    return _power(jnp.asarray(signal, jnp.float32), _transform(settings), settings)

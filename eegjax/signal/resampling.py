"""Another number of samples per second: for recordings, and for trials on the device."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from scipy import signal

from eegjax.errors import UserError

LARGEST_FACTOR = 10_000
CUTOFF = 0.95  # of the smaller Nyquist frequency
HALF_LENGTH = 64  # samples at the lower rate
KAISER_BETA = 8.0  # 80 dB


def resample(x: np.ndarray, sfreq: float, to_sfreq: float) -> np.ndarray:
    """Resample a recording by a polyphase filter that lets nothing fold back (SciPy's `resample_poly`).

    Args:
        x: [n_times, n_chans] float without NaN, any unit.
        sfreq: samples per second now.
        to_sfreq: samples per second afterwards; sample 0 stays where it is.

    Returns:
        [ceil(n_times * to_sfreq / sfreq), n_chans] of x's dtype, computed in float64. What is slower than .9 of the
        smaller Nyquist frequency is kept, what is faster than that frequency is gone, both to a thousandth.

    Raises:
        UserError: a rate isn't positive, the two stand in no ratio of whole numbers up to 10,000, or `x` holds NaN.
    """
    if not (sfreq > 0 and to_sfreq > 0):
        raise UserError(f"sampling rates: found {sfreq:g} and {to_sfreq:g} Hz, expected more than 0")
    ratio = Fraction(to_sfreq / sfreq).limit_denominator(LARGEST_FACTOR)
    if not np.isclose(float(ratio) * sfreq, to_sfreq, rtol=1e-9, atol=0) or ratio.numerator > LARGEST_FACTOR:
        raise UserError(
            f"sampling rates: found {sfreq!r} and {to_sfreq!r} Hz, expected a ratio of whole numbers up to "
            f"{LARGEST_FACTOR}: name the rate that the recording truly has"
        )
    if np.isnan(x).any():
        first = int(np.flatnonzero(np.isnan(x).any(axis=1))[0])
        raise UserError(f"NaN at sample {first}: a resampled NaN would spread; cut or fill such stretches first")
    longest = max(ratio.numerator, ratio.denominator)
    taps = signal.firwin(2 * HALF_LENGTH * longest + 1, CUTOFF / longest, window=("kaiser", KAISER_BETA))
    wide = x.astype(np.float64)
    offset = wide.mean(axis=0)  # an electrode's may be a thousand times its EEG: the filter's ripple would show it
    arguments = {"axis": 0, "window": taps, "padtype": "edge"}
    resampled = signal.resample_poly(wide - offset, ratio.numerator, ratio.denominator, **arguments) + offset
    return resampled.astype(x.dtype if np.issubdtype(x.dtype, np.floating) else np.float64)


def upsample(trials: jax.Array | np.ndarray, factor: int = 2) -> jax.Array:
    """Give trials more samples by the Fourier method, each trial taken as one period of a periodic signal.

    The motor-imagery paper upsamples by 2 and doesn't say how. This adds no information and no filter: every
    `factor`-th sample is the one that was there, and nothing is above the old Nyquist frequency.

    Args:
        trials: [..., n_times, n_chans] float32.
        factor: a whole number, at least 1.

    Returns:
        [..., factor * n_times, n_chans] float32.
    """
    trials = jnp.asarray(trials, jnp.float32)
    n_times = trials.shape[-2]
    spectrum = jnp.fft.rfft(trials, axis=-2)
    if factor > 1 and n_times % 2 == 0:  # the old Nyquist frequency, once in the old spectrum, is twice in the new one
        spectrum = spectrum.at[..., -1, :].multiply(0.5)
    return factor * jnp.fft.irfft(spectrum, factor * n_times, axis=-2)

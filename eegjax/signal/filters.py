"""Butterworth filters for recordings: zero-phase or causal, and no sample that is missing spoils the others."""

import numpy as np
from scipy import signal

from eegjax.errors import UserError

ORDER = 4  # of the Butterworth prototype; forwards and backwards doubles what is taken away
NOTCH_WIDTH_HZ = 2.0
PADDING_PERIODS = 3  # a zero-phase filter settles in this many periods of its slowest edge, before the first sample


def band_pass(
    x: np.ndarray, sfreq: float, l_freq_hz: float | None, h_freq_hz: float | None, *, causal: bool
) -> np.ndarray:
    """Keep what lies between two frequencies.

    Args:
        x: [n_times, n_chans] float, any unit. NaN is a sample that is missing: each stretch without it is filtered by
            itself, per channel.
        sfreq: samples per second.
        l_freq_hz: lower edge; None keeps all that is slower.
        h_freq_hz: upper edge; None keeps all that is faster.
        causal: filter forwards only, as a device in use must, from the steady state of each stretch's first sample;
            else forwards and backwards, which moves nothing in time and takes twice the decibels: -6 at the edges.

    Returns:
        [n_times, n_chans] of x's dtype, computed in float64. NaN stays NaN, and with a zero-phase filter so becomes a
        stretch that is too short for it.

    Raises:
        UserError: an edge isn't between 0 and half the sampling rate, or the two aren't in order; or a zero-phase
            filter is given less than three periods of its slowest edge.
    """
    edges = {"l_freq_hz": l_freq_hz, "h_freq_hz": h_freq_hz}
    given = [edge for edge in edges.values() if edge is not None]
    if not given:
        raise ValueError("a filter needs at least one edge")
    for name, edge in edges.items():
        if edge is not None:
            _check_edge(name, edge, sfreq)
    if len(given) == 2 and given[0] >= given[1]:
        raise UserError(f"l_freq_hz: found {given[0]:g} Hz, expected less than h_freq_hz, which is {given[1]:g} Hz")
    kind = "bandpass" if len(given) == 2 else "highpass" if h_freq_hz is None else "lowpass"
    sos = signal.butter(ORDER, given if len(given) == 2 else given[0], kind, fs=sfreq, output="sos")
    return _filtered(sos, x, sfreq, min(given), causal)


def notch(x: np.ndarray, sfreq: float, freq_hz: float, *, causal: bool) -> np.ndarray:
    """Take mains hum away: a Butterworth band-stop of 2 Hz around `freq_hz`.

    Args:
        x: [n_times, n_chans] float, any unit; NaN as in `band_pass`.
        sfreq: samples per second.
        freq_hz: 50 or 60, where the recording was made.
        causal: as in `band_pass`.

    Returns:
        [n_times, n_chans] of x's dtype, computed in float64.

    Raises:
        UserError: the band around `freq_hz` isn't between 0 and half the sampling rate, or a zero-phase filter is given
            less than three periods of its width.
    """
    edges = (freq_hz - NOTCH_WIDTH_HZ / 2, freq_hz + NOTCH_WIDTH_HZ / 2)
    for edge in edges:
        _check_edge(f"an edge of the notch at {freq_hz:g} Hz", edge, sfreq)
    sos = signal.butter(ORDER, edges, "bandstop", fs=sfreq, output="sos")
    return _filtered(sos, x, sfreq, NOTCH_WIDTH_HZ, causal)


def _check_edge(name: str, edge_hz: float, sfreq: float) -> None:
    if not 0 < edge_hz < sfreq / 2:
        raise UserError(
            f"{name}: found {edge_hz:g} Hz, expected more than 0 and less than {sfreq / 2:g} Hz, half the sampling "
            f"rate of {sfreq:g} Hz"
        )


def _filtered(sos: np.ndarray, x: np.ndarray, sfreq: float, slowest_hz: float, causal: bool) -> np.ndarray:
    """Filter [n_times, n_chans] stretch by stretch."""
    if x.ndim != 2:
        raise ValueError(f"found an array of {x.ndim} dimensions, expected [n_times, n_chans]")
    padding = 0 if causal else int(np.ceil(PADDING_PERIODS * sfreq / slowest_hz))
    if len(x) <= padding:
        raise UserError(
            f"found {len(x) / sfreq:g} s of signal, too short for a zero-phase filter with an edge of {slowest_hz:g} "
            f"Hz, which needs more than {padding / sfreq:g} s: filter the recording before it is cut, or causally"
        )
    # float32 holds a filter's state too coarsely: an edge of .5 Hz at 250 Hz has poles within 1e-2 of the unit circle
    wide = x.astype(np.float64)
    missing = np.isnan(wide)
    if not missing.any():
        return _stretch(sos, wide, padding).astype(_dtype(x))
    out = np.full(wide.shape, np.nan)
    for channel, gaps in enumerate(missing.T):
        edges = np.flatnonzero(np.diff(np.r_[True, gaps, True]))
        for start, stop in edges.reshape(-1, 2):
            if stop - start > padding:
                out[start:stop, channel] = _stretch(sos, wide[start:stop, [channel]], padding)[:, 0]
    return out.astype(_dtype(x))


def _stretch(sos: np.ndarray, x: np.ndarray, padding: int) -> np.ndarray:
    """Filter a stretch [n_times, n_chans] float64 without gaps; without padding, causally."""
    if padding:
        return signal.sosfiltfilt(sos, x, axis=0, padlen=padding)
    start = signal.sosfilt_zi(sos)[:, :, None] * x[0]
    return signal.sosfilt(sos, x, axis=0, zi=start)[0]


def _dtype(x: np.ndarray) -> np.dtype:
    return x.dtype if np.issubdtype(x.dtype, np.floating) else np.dtype(np.float64)

"""Is this array an EEG in microvolts? Checks that every dataset's reader runs before it hands a signal on."""

import numpy as np

from eegjax.errors import UserError, note

PLAUSIBLE_UV = (0.5, 1000.0)
BLOCK_S = 10.0  # amplitudes are judged within it: DC-coupled amplifiers drift by millivolts over a night
MAX_CLIPPED = 0.05
MAX_FLAT = 0.5
NOTED_FLAT = 0.1
_FLAT_RUN_SAMPLES = 1000  # seconds at any EEG rate: an amplifier's noise never holds still for so long
_TYPICAL_UV = 20.0
_MISTAKES = {
    1e6: "volts taken for µV: multiply by 1e6, or set the unit (in EDF the physical dimension) to 'V'",
    1e3: "millivolts taken for µV: multiply by 1e3, or set the unit (in EDF the physical dimension) to 'mV'",
    1e-3: "nanovolts taken for µV, or µV for millivolts: multiply by 1e-3, or correct the unit in the header",
    1e-6: "µV taken for volts and scaled once more: multiply by 1e-6, or set the unit in the header to 'uV'",
}


def check_eeg(eeg_uv: np.ndarray, where: str, sfreq: float) -> None:
    """Raise if one channel is not finite, flat, clipped, or not in microvolts; note long flat stretches.

    Long nights have artefacts and loose electrodes, so every measure is robust: flat stretches (over 1000 equal
    samples) are set aside before clipping and amplitude are judged, only over half a recording flat is an error, and
    the amplitude is that of a typical stretch of 10 s, whatever level it lies on.

    Args:
        eeg_uv: [n_times] float, µV, one channel as recorded (before resampling and filtering, which hide clipping).
        where: file and channel, the start of every message.
        sfreq: sampling rate in Hz.

    Raises:
        UserError: NaN or infinite samples; flat (over half of the samples, or no deviation from their median); over 5 %
            of the samples at exactly the minimum or maximum; robust amplitude outside 0.5 to 1000 µV.
    """
    _check_finite(eeg_uv, where, sfreq)
    flat = _in_flat_stretch(eeg_uv)
    moving = eeg_uv[~flat]
    amplitude_uv = level_and_amplitude(moving, sfreq)[1] if moving.size else 0.0
    if flat.mean() > MAX_FLAT or amplitude_uv == 0:
        raise UserError(
            f"{where}: flat: {flat.mean():.0%} of the samples stand in constant stretches and the rest deviates by "
            f"{amplitude_uv:.3g} µV; expected a living EEG; choose another channel or leave the recording out"
        )
    clipped = np.mean((moving == moving.min()) | (moving == moving.max()))
    if clipped > MAX_CLIPPED:
        raise UserError(
            f"{where}: clipped: {clipped:.1%} of the samples are exactly {moving.min():.6g} or {moving.max():.6g} µV, "
            f"expected at most {MAX_CLIPPED:.0%}; choose another channel or record with a wider range"
        )
    _check_amplitude(amplitude_uv, where)
    if flat.mean() > NOTED_FLAT:
        note(f"{where}: {flat.mean():.0%} of the samples stand in flat stretches (electrode off?); they are kept")


def level_and_amplitude(eeg_uv: np.ndarray, sfreq: float) -> tuple[float, float]:
    """How far from zero a channel typically lies, and how far it typically swings.

    Args:
        eeg_uv: [n_times] float, µV; n_times is 1 or more.
        sfreq: sampling rate in Hz.

    Returns:
        Of blocks of 10 s, in µV: the median distance of their medians from zero, and the median of their robust
        amplitudes (1.4826 times the median absolute deviation, a Gaussian's standard deviation).
    """
    length = min(max(1, round(BLOCK_S * sfreq)), eeg_uv.size)
    blocks = eeg_uv[: eeg_uv.size // length * length].reshape(-1, length)
    levels = np.median(blocks, 1)
    deviations = np.median(np.abs(blocks - levels[:, None]), 1)
    return float(np.median(np.abs(levels))), float(1.4826 * np.median(deviations))


def _check_finite(eeg_uv: np.ndarray, where: str, sfreq: float) -> None:
    if eeg_uv.size == 0:
        raise UserError(f"{where}: holds no samples; expected an EEG; leave the recording out or fetch it again")
    bad = np.flatnonzero(~np.isfinite(eeg_uv))
    if bad.size:
        raise UserError(
            f"{where}: {bad.size} of {eeg_uv.size} samples are NaN or infinite, the first at sample {bad[0]} "
            f"({bad[0] / sfreq:.2f} s); expected numbers in µV; interpolate or cut them"
        )


def _in_flat_stretch(eeg_uv: np.ndarray) -> np.ndarray:
    """Mark the samples in runs of equal values; in short arrays a tenth of the array counts as long."""
    starts = np.concatenate(([0], np.flatnonzero(np.diff(eeg_uv)) + 1))
    lengths = np.diff(starts, append=eeg_uv.size)
    return np.repeat(lengths >= max(2, min(_FLAT_RUN_SAMPLES, eeg_uv.size // 10)), lengths)


def _check_amplitude(amplitude_uv: float, where: str) -> None:
    low, high = PLAUSIBLE_UV
    if low <= amplitude_uv <= high:
        return
    factor = min(_MISTAKES, key=lambda factor: abs(np.log10(amplitude_uv * factor / _TYPICAL_UV)))
    explained = _TYPICAL_UV / 10 <= amplitude_uv * factor <= _TYPICAL_UV * 10
    cure = _MISTAKES[factor] if explained else "no mistaken unit explains it: check gain and channel"
    raise UserError(f"{where}: amplitude {amplitude_uv:.3g} µV (robust), expected {low:g} to {high:g} µV; {cure}")

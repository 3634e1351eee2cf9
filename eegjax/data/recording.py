"""One EEG channel of a recording, whatever its format: found by name, checked, in µV, at the rate asked for.

DC-coupled recordings, of which BioSemi's are all, lie tens of millivolts from zero and drift: they are high-passed.

Formats: EDF and EDF+ (`.edf`), BioSemi's BDF (`.bdf`), BrainVision (`.vhdr` with `.eeg` and `.vmrk`) and MNE's own FIF
(`.fif`, `.fif.gz`). Only the channel asked for is held in memory.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.signal import butter, resample_poly, sosfiltfilt

from eegjax.data.formats.edf_header import ANNOTATIONS_LABELS, EdfHeader, EdfSignalHeader, read_edf_header
from eegjax.data.signal_checks import check_eeg, level_and_amplitude
from eegjax.errors import UserError, did_you_mean, note

if TYPE_CHECKING:
    from mne.io import BaseRaw

# What MNE's volts must be multiplied by: of EDF's units it knows µV and mV and takes every other for volts.
_EDF_VOLTS = {"uV": 1.0, "µV": 1.0, "mV": 1.0, "V": 1.0, "nV": 1e-9}
_BRAINVISION_VOLTS = ("", "uV", "µV", "mV", "V", "nV")  # all known to MNE; none given means µV
_FIF_VOLTS = ("eeg", "eog", "emg", "ecg", "bio", "ecog", "seeg", "dbs")  # channel types that FIF holds in volts
HIGH_PASS_HZ = 0.3  # what the AASM's manual recommends for EEG
_MAX_LEVEL = 0.5  # of the amplitude, which changes images as much as the filter does; AC-coupled nights: under 0.1
PASSED = 0.35  # of the lower rate: what `resample` leaves whole
_EDF_NO_START = datetime(1985, 1, 1)  # what EDF writes for an unknown one, and FIF takes over from it
_MNE_LOCK = threading.Lock()  # MNE's log level is one for all threads, and nights are read in several


class EegChannel(NamedTuple):
    """One channel read: `eeg` [n_times] float32, µV, at the rate asked for; `ch_names` are all that the file has.

    `start` is what the file's clock said at the first sample (in FIF that of UTC), None where the file doesn't tell.
    `high_passed_hz` is None where the recording needed no high-pass.
    """

    ch_name: str
    eeg: np.ndarray
    start: datetime | None
    ch_names: tuple[str, ...]
    sfreq_recorded: float
    high_passed_hz: float | None


class _Signal(NamedTuple):
    """A channel as recorded: [n_times] float64, µV."""

    eeg_uv: np.ndarray
    sfreq: float
    start: datetime | None


class _Opened(NamedTuple):
    """What all formats have in common: `eeg_names` are the channels that are EEG, as far as the file tells."""

    ch_names: list[str]
    eeg_names: list[str]
    load: Callable[[str], _Signal]


def read_eeg_channel(
    path: str | Path,
    channel: str | None = None,
    sfreq: float = 100.0,
    default: str | None = None,
    min_s: float = 0.0,
) -> EegChannel:
    """Read one EEG channel, checked as it was recorded, then high-passed if it is DC-coupled, then resampled.

    Args:
        path: the recording: `.edf`, `.bdf`, `.vhdr`, `.fif` or `.fif.gz`.
        channel: its name, in upper or lower case, with or without 'EEG '. Where the file has no channel `A-B` but both
            electrodes `A` and `B`, their difference is computed, which is said in a note. By default `default`, or the
            only EEG channel.
        sfreq: rate in Hz to resample to (`resample`, said in a note) where the file has another.
        default: the channel to prefer where none is named.
        min_s: the least number of seconds that a recording must have.

    Returns:
        The channel.

    Raises:
        UserError: the file or a file that belongs to it is missing, broken, of no known format, has gaps (EDF+D) or
            isn't continuous; the channel is missing, has a unit that is no voltage, is shorter than `min_s`, or its
            signal is no EEG in microvolts (`check_eeg`).
    """
    path = Path(path)
    opened = _opener(path)(path)
    names = _choose(path, opened, channel, default)
    signals = [_load_checked(path, opened, name, min_s) for name in names]
    signal = signals[0] if len(signals) == 1 else _difference(path, names, signals)
    signal, high_passed_hz = _without_drift(signal, _where(path, *names))
    if not np.isclose(signal.sfreq, sfreq):
        note(f"{_where(path, *names)}: resampled from {signal.sfreq:g} Hz to {sfreq:g} Hz")
    eeg = resample(signal.eeg_uv, signal.sfreq, sfreq).astype(np.float32)
    return EegChannel("-".join(names), eeg, signal.start, tuple(opened.ch_names), signal.sfreq, high_passed_hz)


def resample(x: np.ndarray, sfreq_from: float, sfreq_to: float) -> np.ndarray:
    """Resample by a polyphase filter, which takes a tenth of a Fourier transform's time and a quarter of its memory.

    The filter is a Kaiser-windowed sinc over ten periods of the lower rate on either side: sines below 0.35 times the
    lower rate come out within 2e-4 of their amplitude, and what lies above 0.65 times it is damped by 80 dB.

    Args:
        x: [n_times] float.
        sfreq_from: its rate in Hz.
        sfreq_to: the rate wanted in Hz.

    Returns:
        [ceil(n_times * sfreq_to / sfreq_from)] float; `x` itself where the rates are equal.
    """
    if np.isclose(sfreq_from, sfreq_to):
        return x
    ratio = Fraction(sfreq_to / sfreq_from).limit_denominator(10_000)  # off by under 1 ms in a night
    return resample_poly(x, ratio.numerator, ratio.denominator, window=("kaiser", 8.0), padtype="reflect")


def high_pass(x: np.ndarray, sfreq: float, cutoff_hz: float = HIGH_PASS_HZ) -> np.ndarray:
    """Take off offset and drift without shifting anything in time: Butterworth's filter, there and back.

    Args:
        x: [n_times] float.
        sfreq: its rate in Hz.
        cutoff_hz: where half of the amplitude is left; a tenth of it leaves a ten-thousandth.

    Returns:
        [n_times] float64.
    """
    sections = butter(2, cutoff_hz, "highpass", fs=sfreq, output="sos")
    return sosfiltfilt(sections, x, padlen=min(x.size - 1, round(3 * sfreq / cutoff_hz)))


def _opener(path: Path) -> Callable[[Path], _Opened]:
    openers = {
        ".edf": _open_edf,
        ".bdf": _open_edf,
        ".vhdr": _open_brainvision,
        ".fif": _open_fif,
        ".fif.gz": _open_fif,
    }
    name = path.name.lower()
    if name.endswith((".eeg", ".vmrk")):
        raise UserError(
            f"{path}: a companion file of BrainVision, expected the header that names it; give the .vhdr "
            f"({path.with_suffix('.vhdr').name}) instead"
        )
    found = [opener for suffix, opener in openers.items() if name.endswith(suffix)]
    if not found:
        raise UserError(
            f"{path}: no format that can be read ('{path.suffix}'), expected {', '.join(openers)}; export it as EDF"
        )
    try:
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); check the path and its permissions") from None
    return found[0]


# ---- which channel


def _choose(path: Path, opened: _Opened, channel: str | None, default: str | None) -> list[str]:
    """Return the name of the channel to read, or of the two whose difference it is."""
    wanted = channel or default or ""
    if not opened.ch_names:
        raise UserError(f"{path}: holds no signals, expected a recording; is it the hypnogram of one?")
    found = _named(opened.ch_names, wanted) if wanted else []
    if len(found) == 1:
        return found
    poles = [_named(opened.ch_names, pole) for pole in wanted.split("-")]
    if not found and [len(names) for names in poles] == [1, 1]:
        return [poles[0][0], poles[1][0]]
    if not found and channel is None and len(opened.eeg_names) == 1:
        return opened.eeg_names
    what = f"{len(found) or 'no'} channels named '{wanted}'" if wanted else f"{len(opened.eeg_names)} EEG channels"
    raise UserError(
        f"{path}: {what}, expected one of: {', '.join(opened.ch_names)}; name the channel to read, or two electrodes "
        f"as A-B.{did_you_mean(wanted, opened.ch_names)}"
    )


def _named(ch_names: list[str], wanted: str) -> list[str]:
    """The names that mean the same; of several, the one that is written the same."""
    alike = [name for name in ch_names if plain_name(name) == plain_name(wanted)]
    return [wanted] if alike.count(wanted) == 1 else alike


def plain_name(ch_name: str) -> str:
    """What two names of the same channel have in common: 'EEG Fpz-Cz' and 'FPZ-CZ' are both 'fpz-cz'."""
    return ch_name.casefold().removeprefix("eeg ").replace(" ", "")


def _where(path: Path, *names: str) -> str:
    return f"{path}, channel '{'-'.join(names)}'"


# ---- what it holds


def _load_checked(path: Path, opened: _Opened, name: str, min_s: float) -> _Signal:
    signal = opened.load(name)
    duration_s = signal.eeg_uv.size / signal.sfreq
    if duration_s < min_s:
        raise UserError(
            f"{_where(path, name)}: {duration_s:g} s long, expected at least {min_s:g} s; record for longer"
        )
    check_eeg(signal.eeg_uv, _where(path, name), signal.sfreq)
    return signal


def _difference(path: Path, names: list[str], signals: list[_Signal]) -> _Signal:
    one, other = signals
    if (one.sfreq, one.eeg_uv.size) != (other.sfreq, other.eeg_uv.size):
        raise UserError(
            f"{path}: channels '{names[0]}' at {one.sfreq:g} Hz and '{names[1]}' at {other.sfreq:g} Hz, expected the "
            "same rate in both for their difference; name another channel"
        )
    note(f"{path}: no channel '{'-'.join(names)}'; computed as '{names[0]}' minus '{names[1]}'")
    difference = one._replace(eeg_uv=one.eeg_uv - other.eeg_uv)
    check_eeg(difference.eeg_uv, _where(path, *names), one.sfreq)
    return difference


def _without_drift(signal: _Signal, where: str) -> tuple[_Signal, float | None]:
    """The one rule of what is high-passed; before resampling, in which an offset of millivolts would ring."""
    level_uv, amplitude_uv = level_and_amplitude(signal.eeg_uv, signal.sfreq)
    if level_uv <= _MAX_LEVEL * amplitude_uv:
        return signal, None
    note(
        f"{where}: DC-coupled ({level_uv:.3g} µV from zero, with an EEG of {amplitude_uv:.3g} µV): high-passed at "
        f"{HIGH_PASS_HZ:g} Hz"
    )
    return signal._replace(eeg_uv=high_pass(signal.eeg_uv, signal.sfreq)), HIGH_PASS_HZ


def _signal(raw: "BaseRaw", name: str, volts_to_uv: float = 1e6) -> _Signal:
    begun = raw.info["meas_date"] and raw.info["meas_date"].replace(tzinfo=None)
    start = begun + timedelta(seconds=float(raw.first_time)) if begun not in (None, _EDF_NO_START) else None
    return _Signal(raw.get_data(picks=[name])[0] * volts_to_uv, float(raw.info["sfreq"]), start)


def _load_from(path: Path, raw: "BaseRaw", units: dict[str, str], mend: str, name: str) -> _Signal:
    """Load a channel of an MNE recording; `units` are those of the channels whose unit is no voltage."""
    if name in units:
        raise UserError(f"{_where(path, name)}: {units[name]}, expected a voltage; choose an EEG channel or {mend}")
    with quiet_mne(path):
        return _signal(raw, name)


# ---- formats


def _open_edf(path: Path) -> _Opened:
    header = read_edf_header(path)
    signals = [signal for signal in header.signals if signal.label not in ANNOTATIONS_LABELS]
    names = [signal.label for signal in signals]
    marked = [name for name in names if name.casefold().startswith("eeg")]  # as EDF+ wants it
    volts = [signal.label for signal in signals if signal.unit in _EDF_VOLTS]
    return _Opened(names, marked or volts or names, partial(_load_edf, path, header))


def _load_edf(path: Path, header: EdfHeader, name: str) -> _Signal:
    header_of_name = next(signal for signal in header.signals if signal.label == name)
    _check_readable(_where(path, name), header, header_of_name)
    with quiet_mne(path) as mne:
        read = mne.io.read_raw_bdf if path.suffix.lower() == ".bdf" else mne.io.read_raw_edf
        # Latin-1 knows every byte: annotations are not needed here, and many aren't in the UTF-8 that EDF+ wants.
        raw = read(path, include=[name], encoding="latin1")
        return _signal(raw, name, 1e6 * _EDF_VOLTS[header_of_name.unit])


def _check_readable(where: str, header: EdfHeader, signal: EdfSignalHeader) -> None:
    """Raise where MNE would go on with a scale, a record length or a time axis of its own making."""
    if signal.unit not in _EDF_VOLTS:
        raise UserError(
            f"{where}: unit (physical dimension) is '{signal.unit}', expected uV, µV, mV, V or nV; "
            "choose an EEG channel or correct the header"
        )
    if not np.isfinite(signal.scale) or signal.scale == 0 or header.record_s <= 0 or signal.n_samples < 1:
        raise UserError(
            f"{where}: header gives {signal.scale:g} {signal.unit} per digital step and {signal.n_samples} samples per "
            f"record of {header.record_s:g} s, expected numbers other than 0; correct the header"
        )
    if header.kind[:5] in ("EDF+D", "BDF+D"):
        raise UserError(
            f"{where}: recorded with gaps ({header.kind[:5]}), which would shift all that follows, expected EDF or "
            "EDF+C; convert it to EDF+C with the gaps filled"
        )


def _open_brainvision(path: Path) -> _Opened:
    with quiet_mne(path) as mne:
        raw = mne.io.read_raw_brainvision(path)
    given, n_times = _read_vhdr(path)
    if n_times is not None and n_times != raw.n_times:
        raise UserError(
            f"{path}: header announces {n_times} samples (DataPoints), its data file has {raw.n_times}; fetch it again"
        )
    units = {raw.ch_names[i]: f"unit is '{unit}'" for i, unit in given.items() if unit not in _BRAINVISION_VOLTS}
    pauses_s = [
        mark["onset"] for mark in raw.annotations if mark["description"].startswith("New Segment") and mark["onset"] > 0
    ]
    if pauses_s:
        note(
            f"{path}: paused {len(pauses_s)} time(s) (New Segment), first after {pauses_s[0]:g} s; pauses aren't "
            "counted in the times given here"
        )
    types = zip(raw.ch_names, raw.get_channel_types(), strict=True)
    names = [name for name, kind in types if kind == "eeg" and name not in units]
    return _Opened(raw.ch_names, names, partial(_load_from, path, raw, units, "correct the header"))


def _read_vhdr(path: Path) -> tuple[dict[int, str], int | None]:
    """What MNE doesn't tell of a BrainVision header: the units by number of channel, and DataPoints."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        text = path.read_text(encoding="latin-1")
    channels = re.search(r"^\[Channel Infos\](.*?)(?=^\[|\Z)", text, re.M | re.S | re.I)
    lines = re.findall(r"^Ch(\d+)\s*=(.*)", channels[1] if channels else "", re.M | re.I)
    units = {int(number) - 1: [*fields.split(","), "", "", ""][3].strip() for number, fields in lines}
    n_times = re.search(r"^DataPoints\s*=\s*(\d+)", text, re.M | re.I)
    return units, int(n_times[1]) if n_times else None


def _open_fif(path: Path) -> _Opened:
    with quiet_mne(path) as mne:
        kind = mne.what(path)
    if kind not in ("raw", "unknown"):  # of the unknown, MNE's reader says more
        raise UserError(f"{path}: holds {kind}, expected a continuous recording (raw); save that")
    with quiet_mne(path) as mne:
        raw = mne.io.read_raw_fif(path)
    marks = [mark for mark in raw.annotations if mark["description"] == "BAD_ACQ_SKIP"]
    gaps_s = {round(mark["onset"], 1): mark["duration"] for mark in marks}  # once each: MNE's and the file's own marks
    if gaps_s:
        note(
            f"{path}: {sum(gaps_s.values()):g} s were not recorded ({len(gaps_s)} gap(s), BAD_ACQ_SKIP) and are zeros; "
            "what is said of them means nothing"
        )
    types = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    units = {name: f"channel type is '{kind}'" for name, kind in types.items() if kind not in _FIF_VOLTS}
    names = [name for name, kind in types.items() if kind == "eeg"]
    mend = "set its type with raw.set_channel_types and save again"
    return _Opened(raw.ch_names, names, partial(_load_from, path, raw, units, mend))


@contextmanager
def quiet_mne(path: Path) -> Iterator[Any]:
    """Hand out a silent MNE, whose own errors become the user's.

    Raises:
        UserError: the block raises an error of any kind.
    """
    import mne

    try:
        with _MNE_LOCK, mne.use_log_level("error"):
            yield mne
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: needs {error.filename}, which isn't there; put it beside, or correct the name in the header"
        ) from error
    except Exception as error:
        raise UserError(
            f"{path}: MNE can't read it ({' '.join(str(error).split())}); repair or fetch it again"
        ) from error

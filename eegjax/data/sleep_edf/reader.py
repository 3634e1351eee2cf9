"""Sleep recordings: PSG files with an EDF+ hypnogram beside each, in the layout of Sleep-EDF.

Sleep-EDF Expanded (Kemp et al. 2000, PhysioNet `sleep-edfx`) names a night `SC4011E0-PSG.edf` and its scoring
`SC4011EH-Hypnogram.edf`: the first seven characters pair them, the eighth of the hypnogram is the scorer. Any other
night is `<name>-PSG.edf` with `<name>-Hypnogram.edf`. Stages are those of Rechtschaffen & Kales or of the AASM.
"""

import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eegjax.data.formats.edf_header import ANNOTATIONS_LABEL, EdfHeader, read_edf_header
from eegjax.data.recording import quiet_mne, read_eeg_channel
from eegjax.errors import UserError, did_you_mean, note

STAGES = ("W", "N1", "N2", "N3", "N4", "R")
EPOCH_S = 30.0
LABELS = {f"Sleep stage {stage}": code for stage, code in zip("W1234R", range(6), strict=True)} | {
    "Sleep stage N1": 1,
    "Sleep stage N2": 2,
    "Sleep stage N3": 3,
    "Sleep stage ?": -1,
    "Movement time": -1,
}
_PSG = "-PSG.edf"
_HYPNOGRAM = "-Hypnogram.edf"
_SLEEP_EDF_NAME = re.compile(r"(S[CT]\d{3})(\d)[A-Z]\d")
_DEFAULT_CHANNEL = "EEG Fpz-Cz"
_ANONYMOUS_DATE = "01.01.85"
_ANONYMOUS_TIME = "00.00.00"


class Pair(NamedTuple):
    """A night: its PSG file and its hypnogram."""

    recording: str
    subject: str
    session: str
    psg: Path
    hypnogram: Path


class SleepRecording(NamedTuple):
    """A night read: `eeg` [n_times] float32, µV, at `sfreq` Hz; `stages` [n_epochs] int8, one code per 30 s.

    A stage is its index in STAGES, or -1 where the epoch is unscored or movement.
    """

    pair: Pair
    ch_name: str
    sfreq: float
    eeg: np.ndarray
    stages: np.ndarray


def find_pairs(root: str | Path) -> list[Pair]:
    """Find all nights under a folder, however deep.

    Args:
        root: folder with `*-PSG.edf` files and their `*-Hypnogram.edf` beside them.

    Returns:
        The pairs, sorted by recording.

    Raises:
        UserError: the folder is missing or has no PSG, a PSG has no hypnogram or several, or two PSGs have one name.
    """
    root = Path(root)
    psgs = sorted(root.rglob(f"[!.]*{_PSG}"))
    if not psgs:
        found = "holds no recordings" if root.is_dir() else "is no folder"
        raise UserError(
            f"{root}: {found}; expected SC4001E0-PSG.edf with SC4001EC-Hypnogram.edf, or NAME-PSG.edf with "
            "NAME-Hypnogram.edf, at any depth; Sleep-EDF is had from PhysioNet "
            "(https://physionet.org/content/sleep-edfx) by eegjax prepare --dataset=sleep_edf --root=FOLDER "
            "--download"
        )
    pairs = sorted(_pair(psg) for psg in psgs)
    for one, other in pairwise(pairs):
        if one.recording == other.recording:
            raise UserError(
                f"{other.psg}: recording '{one.recording}' is also {one.psg}; expected one name per night, because the "
                "name tells subjects apart; rename one or remove the copy"
            )
    alone = sorted(set(root.rglob(f"[!.]*{_HYPNOGRAM}")) - {pair.hypnogram for pair in pairs})
    if alone:
        note(f"{root}: {len(alone)} hypnogram(s) have no PSG and are left out, the first: {alone[0]}")
    return pairs


def _pair(psg: Path) -> Pair:
    name = psg.name.removesuffix(_PSG)
    sleep_edf = _SLEEP_EDF_NAME.fullmatch(name)
    stem = name[:7] if sleep_edf else name
    expected = f"{stem}{'?' if sleep_edf else ''}{_HYPNOGRAM}"
    candidates = sorted(psg.parent.glob(f"*{_HYPNOGRAM}"))
    found = [path for path in candidates if path.name.startswith(stem) and len(path.name) == len(expected)]
    if len(found) != 1:
        what = f"{len(found)} hypnograms ({', '.join(path.name for path in found)})" if found else "no hypnogram"
        cure = "keep one scorer's" if found else "fetch it, or move the PSG out of the folder"
        raise UserError(f"{psg}: {what} beside it, expected one named {expected}; {cure}")
    subject, session = sleep_edf.groups() if sleep_edf else (name, "1")
    return Pair(subject + session if sleep_edf else name, subject, session, psg, found[0])


def read_recording(pair: Pair, channel: str | None = None, sfreq: float = 100.0) -> SleepRecording:
    """Read one EEG channel of a night and its stages, both checked.

    Args:
        pair: from `find_pairs`.
        channel: as in `read_channel`.
        sfreq: as in `read_channel`.

    Returns:
        The recording. `eeg` is whole; `stages` ends with the last whole epoch that both files have.

    Raises:
        UserError: the two files of `pair` aren't of one recording; and what `read_channel` and `read_hypnogram` raise.
    """
    _check_same_recording(pair, read_edf_header(pair.psg), read_edf_header(pair.hypnogram))
    stages = read_hypnogram(pair.hypnogram)
    ch_name, eeg = read_channel(pair.psg, channel, sfreq)
    n_epochs = int(eeg.size // (EPOCH_S * sfreq))
    extra = stages.size - n_epochs
    if extra > 0:
        n_scored = np.count_nonzero(stages[n_epochs:] >= 0)
        note(f"{pair.hypnogram}: {extra} epochs longer than its PSG; cut ({n_scored} of them scored)")
    elif extra < 0:
        note(f"{pair.hypnogram}: {-extra} epochs shorter than its PSG; those epochs are left out as unscored")
    return SleepRecording(pair, ch_name, sfreq, eeg, stages[:n_epochs])


def read_channel(path: Path, channel: str | None = None, sfreq: float = 100.0) -> tuple[str, np.ndarray]:
    """Read one EEG channel of an EDF file, checked as it was recorded and then resampled.

    Args:
        path: the EDF or EDF+C file.
        channel: its name, in upper or lower case, with or without 'EEG '; by default Fpz-Cz, or the only EEG
            channel.
        sfreq: rate in Hz to resample to (said in a note) where the file has another.

    Returns:
        The name in the file, and the signal [n_times] float32, µV.

    Raises:
        UserError: the file is broken or has gaps, it has no `channel`, the channel's unit is no voltage or its scale no
            number (`read_edf_header`), or its signal is no EEG in microvolts (`check_eeg`).
    """
    read = read_eeg_channel(path, channel, sfreq, default=_DEFAULT_CHANNEL)
    return read.ch_name, read.eeg


def read_hypnogram(path: Path) -> np.ndarray:
    """Read the stages of an EDF+ hypnogram.

    Runs of any length, with gaps or overlaps, are taken as they are: an epoch has the stage at its centre (that of
    the later run where two overlap), or -1 where there is none. Unknown annotations without a duration are events,
    such as lights off, and not stages.

    Args:
        path: EDF+ file with the stages as annotations, named as in Sleep-EDF (R&K) or as in EDF+ (AASM).

    Returns:
        [n_epochs] int8, an index into STAGES or -1 (unscored, movement), one per 30 s from the start of the file.

    Raises:
        UserError: the file is broken, isn't EDF+, has no stage, or has one that isn't in LABELS.
    """
    if ANNOTATIONS_LABEL not in [signal.label for signal in read_edf_header(path).signals]:
        raise UserError(
            f"{path}: no signal '{ANNOTATIONS_LABEL}', expected an EDF+ hypnogram; save the scoring as EDF+"
        )
    runs = _read_runs(path)
    n_epochs = max((stop for _, stop, _ in runs), default=0)
    if n_epochs == 0:
        raise UserError(f"{path}: no stage covers the centre of an epoch, expected runs with durations; score it")
    stages = np.full(n_epochs, -1, np.int8)
    for start, stop, code in runs:
        stages[start:stop] = code
    return stages


def _read_runs(path: Path) -> list[tuple[int, int, int]]:
    """Return the runs in order of onset: the first epoch with its centre in the run, the first after it, the code."""
    with quiet_mne(path) as mne:
        annotations = mne.read_annotations(path)  # sorted by onset
    runs = []
    for onset_s, duration_s, label in zip(
        annotations.onset, annotations.duration, annotations.description, strict=True
    ):
        if duration_s == 0 and not label.startswith("Sleep stage"):
            continue
        if label not in LABELS:
            raise UserError(
                f"{path}: unknown stage '{label}' at {onset_s:g} s, expected one of {', '.join(LABELS)}; rename it."
                f"{did_you_mean(label, LABELS)}"
            )
        if duration_s == 0 and LABELS[label] >= 0:
            raise UserError(
                f"{path}: '{label}' at {onset_s:g} s has no duration, expected seconds; export runs with them"
            )
        runs.append((_first_centre(onset_s), _first_centre(onset_s + duration_s), LABELS[label]))
    return runs


def _first_centre(time_s: float) -> int:
    return max(0, int(np.ceil(time_s / EPOCH_S - 0.5)))


def crop_to_sleep(stages: np.ndarray, margin_s: float = 1800.0, epoch_s: float = EPOCH_S) -> slice:
    """Return the epochs from a margin before the first to the same margin after the last sleep epoch.

    Args:
        stages: [n_epochs] int codes; sleep is every code above 0.
        margin_s: seconds kept on either side, as far as the recording goes.
        epoch_s: seconds per epoch.

    Returns:
        A slice of epochs.

    Raises:
        UserError: no epoch of `stages` is sleep.
    """
    sleep = np.flatnonzero(np.asarray(stages) > 0)
    if not sleep.size:
        raise UserError(f"stages: none of the {len(stages)} epochs is sleep, expected a night; leave the recording out")
    margin = round(margin_s / epoch_s)
    return slice(max(0, int(sleep[0]) - margin), min(len(stages), int(sleep[-1]) + 1 + margin))


def merge_to_aasm(stages: np.ndarray) -> np.ndarray:
    """Merge N4 into N3, as the AASM does: W N1 N2 N3 R are 0 to 4, and -1 stays.

    Args:
        stages: [...] int codes of STAGES, or -1.

    Returns:
        [...] int8.
    """
    return np.array([0, 1, 2, 3, 3, 4, -1], np.int8)[stages]  # -1 picks the last


def _check_same_recording(pair: Pair, psg: EdfHeader, hypnogram: EdfHeader) -> None:
    """Compare what both headers give; EDF+ writes X for an unknown and 01.01.85 00.00.00 for an unknown start."""
    anonymous = (_ANONYMOUS_DATE, _ANONYMOUS_TIME)
    starts = [(header.start_date, header.start_time) for header in (psg, hypnogram)]
    dates_differ = starts[0][0] != starts[1][0] and _ANONYMOUS_DATE not in (starts[0][0], starts[1][0])
    if anonymous not in starts and (dates_differ or starts[0][1] != starts[1][1]):
        what = [f"starts {' '.join(start)}" for start in starts]
    elif any(a != b and "X" not in (a, b) for a, b in zip(*map(_patient_fields, (psg, hypnogram)), strict=False)):
        what = [f"is of patient '{header.patient}'" for header in (psg, hypnogram)]
    else:
        return
    raise UserError(
        f"{pair.hypnogram}: hypnogram of another recording: it {what[1]}, {pair.psg.name} {what[0]}; expected the "
        "same in both; put the right hypnogram beside the PSG, or correct the wrong header"
    )


def _patient_fields(header: EdfHeader) -> list[str]:
    """Return code, sex, birth date and name of an EDF+ patient field; plain EDF has free text, which tells nothing."""
    fields = header.patient.split()
    return fields[:4] if len(fields) >= 4 and fields[1] in ("F", "M", "X") else []

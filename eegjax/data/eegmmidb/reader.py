"""Motor imagery of 109 people: PhysioNet's EEG Motor Movement/Imagery, EDF+ files such as `S001R04.edf`.

Schalk et al. 2004, IEEE-BME 51(6):1034-1043; Goldberger et al. 2000, Circulation 101(23):e215-e220; ODC-By. 64 channels
at 160 Hz. Imagery runs alone: in 4, 8 and 12 the cue T1 is the left fist and T2 the right one, in 6, 10 and 14 T1 is
both fists and T2 both feet. T0 is rest. A run so holds one pair of classes: what tells the run tells half the label.

In the published data set S088, S092 and S100 are at 128 Hz and have trials of other lengths.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eegjax.data.formats.edf_header import ANNOTATIONS_LABEL, EdfSignalHeader, read_edf_header
from eegjax.data.recording import quiet_mne
from eegjax.data.trials import REST, Trials, check_trials, leave_out, make_trial_table
from eegjax.errors import UserError, did_you_mean

CLASSES = ("left_fist", "right_fist", "both_fists", "both_feet")
RUNS = {4: (0, 1), 6: (2, 3), 8: (0, 1), 10: (2, 3), 12: (0, 1), 14: (2, 3)}  # imagery: the classes of T1 and T2
_NAME = re.compile(r"(S\d{3})R(\d{2})")
_MICROVOLTS = ("uV", "µV")


class File(NamedTuple):
    """A run of one person."""

    recording: str
    subject: str
    session: str
    run: str
    path: Path


def find(root: str | Path, exclude: Collection[str] = ()) -> list[File]:
    """Find all imagery runs under a folder, however deep; other runs of the data set are passed over.

    Args:
        root: folder with files such as `S001/S001R04.edf`.
        exclude: subjects to leave out, such as S088.

    Returns:
        The runs, sorted by name.

    Raises:
        UserError: `root` is missing or holds no imagery run, a run is there twice, a file is broken
            (`read_edf_header`), or the files have two sampling rates.
    """
    root = Path(root)
    files: dict[str, File] = {}
    for path in sorted(root.rglob("*.edf")):
        found = _NAME.fullmatch(path.stem)
        if not found or int(found[2]) not in RUNS:
            continue
        if path.stem in files:
            raise UserError(
                f"{path}: also {files[path.stem].path}, expected one file of this name under the root; remove one"
            )
        files[path.stem] = File(path.stem, found[1], "1", str(int(found[2])), path)
    if not files:
        found_none = "holds no imagery runs" if root.is_dir() else "is no folder"
        raise UserError(
            f"{root}: {found_none}; expected files such as S001/S001R04.edf (runs 4, 6, 8, 10, 12, 14), at any depth; "
            "they are had from PhysioNet (https://physionet.org/content/eegmmidb) by eegjax prepare "
            "--dataset=eegmmidb --root=FOLDER --download"
        )
    left = leave_out([files[name] for name in sorted(files)], exclude, "S088")
    _check_one_rate(left, root)
    return left


def read(file: File, window_s: tuple[float, float], ch_names: Sequence[str] | None = None) -> list[Trials]:
    """Read a run.

    Args:
        file: from `find`.
        window_s: seconds from the cue, first and last; trials whose window isn't wholly in the recording are left out.
        ch_names: the channels to read, in this order, such as C3 or FCz; all of the file by default.

    Returns:
        One recording: `eeg` [n_times, n_chans] float32 in µV, a row per T0 (REST), T1 and T2; labels are indices into
        CLASSES.

    Raises:
        UserError: the file is broken, has gaps, a unit other than µV, annotations other than T0, T1 and T2, or no
            trial; it lacks one of `ch_names`; or its signal is no EEG in microvolts (`check_eeg`).
    """
    signals = _signals(file.path, ch_names)
    labels = [signal.label for signal in signals.values()]
    with quiet_mne(file.path) as mne:
        raw = mne.io.read_raw_edf(file.path, include=labels)
        eeg = raw.get_data(picks=labels).T * 1e6
        marks = raw.annotations
    codes = dict(zip(("T0", "T1", "T2"), (REST, *RUNS[int(file.run)]), strict=True))
    unknown = sorted(set(marks.description) - set(codes))
    if unknown or not {"T1", "T2"} & set(marks.description):
        what = f"annotation '{unknown[0]}'" if unknown else "no trial in it"
        raise UserError(f"{file.path}: {what}, expected T0, T1 and T2; fetch it again")
    sfreq = float(raw.info["sfreq"])
    trials = Trials(
        file.recording,
        file.subject,
        file.session,
        eeg.astype(np.float32),
        sfreq,
        tuple(signals),
        make_trial_table(np.rint(marks.onset * sfreq), np.array([codes[mark] for mark in marks.description]), file.run),
    )
    return [check_trials(trials, window_s, str(file.path))]


def standard_name(label: str) -> str:
    """The usual name of a channel: `Fc5.` is FC5, `Cz..` Cz, `Fp1.` Fp1, `Afz.` AFz."""
    name = label.strip(". ").upper()
    name = name[:-1] + "z" if name.endswith("Z") else name
    return name.replace("FP", "Fp")


def _signals(path: Path, ch_names: Sequence[str] | None) -> dict[str, EdfSignalHeader]:
    """Standard name -> header of the channels to read, in their order, each checked."""
    header = read_edf_header(path)
    signals = {standard_name(signal.label): signal for signal in header.signals if signal.label != ANNOTATIONS_LABEL}
    missing = [name for name in ch_names or () if name not in signals]
    if missing:
        raise UserError(
            f"{path}: no channel {', '.join(missing)}, expected some of {', '.join(signals)}; name channels that all "
            f"files have, or leave the subject out (config.data.exclude).{did_you_mean(missing[0], signals)}"
        )
    chosen = {name: signals[name] for name in ch_names or signals}
    for name, signal in chosen.items():
        if signal.unit not in _MICROVOLTS:
            raise UserError(
                f"{path}: channel '{name}' is in '{signal.unit}', expected uV; choose others or correct the header"
            )
    if header.kind.startswith("EDF+D"):
        raise UserError(
            f"{path}: recorded with gaps (EDF+D), which would shift the cues, expected EDF+C; fetch it again"
        )
    return chosen


def _check_one_rate(files: list[File], root: Path) -> None:
    rates = {file.recording: _rate(file.path) for file in files}
    usual = Counter(rates.values()).most_common(1)[0][0]
    others = [f"{name} at {rate:g} Hz" for name, rate in rates.items() if rate != usual]
    if others:
        subjects = sorted({file.subject for file in files if rates[file.recording] != usual})
        raise UserError(
            f"{root}: two sampling rates: {', '.join(others)}, the other {len(files) - len(others)} runs at "
            f"{usual:g} Hz; expected one; leave subjects out with config.data.exclude={tuple(subjects)}"
        )


def _rate(path: Path) -> float:
    header = read_edf_header(path)
    counts = [signal.n_samples for signal in header.signals if signal.label != ANNOTATIONS_LABEL]
    if not counts or min(counts) < 1 or header.record_s <= 0:
        raise UserError(
            f"{path}: {len(counts)} signals, records of {header.record_s:g} s; expected EEG; fetch the file again"
        )
    return max(counts) / header.record_s

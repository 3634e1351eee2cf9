"""Motor imagery of nine people: BCI Competition IV, data set 2a, in the three forms that it is handed on in.

Brunner et al. 2008, https://www.bbci.de/competition/iv/desc_2a.pdf; Tangermann et al. 2012, Front. Neurosci. 6:55. Two
sessions (T, E) of six runs of 48 trials; 22 EEG channels at 250 Hz; an arrow (the cue) 2 s after the fixation cross.

Competition: `A01T.gdf`, `A01E.gdf` and their true labels `A01T.mat`, `A01E.mat` (variable `classlabel`).
BNCI Horizon 2020 (001-2014): `A01T.mat`, `A01E.mat` (variable `data`), signals and labels in one.
Course release: `X_`, `y_` and `person_` of `train_valid.npy` and `test.npy`, 4 s from the cue on, of session T alone.

What the amplifier couldn't record (beyond ±100 µV, and the gaps between runs) is NaN where BioSig reads it as NaN: in
the GDF. It stays NaN in `eeg`. The BNCI files hold ±100 µV in the same samples.
"""

import re
from collections.abc import Collection, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from eegjax.data.recording import quiet_mne
from eegjax.data.trials import Trials, check_trials, leave_out, make_trial_table
from eegjax.errors import UserError

CLASSES = ("left_hand", "right_hand", "feet", "tongue")
CH_NAMES = (
    "Fz", "FC3", "FC1", "FCz", "FC2", "FC4", "C5", "C3", "C1", "Cz", "C2", "C4", "C6",
    "CP3", "CP1", "CPz", "CP2", "CP4", "P1", "Pz", "P2", "POz",
)  # fmt: skip
N_EOG = 3  # the last channels of a recording; left out
SFREQ = 250.0
PARTS = ("train_valid", "test")  # of the course release
_RELEASE_TIMES = 1000
_CUE_S = 2.0  # after the fixation cross
_NAME = re.compile(r"(A\d\d)([TE])")
_NAMED = {0: "Fz", 7: "C3", 9: "Cz", 11: "C4", 19: "Pz"}  # channels that the GDF names; the others are 'EEG'
# GDF events
_FIRST_CUE = 769
_UNKNOWN_CUE = 783
_REJECTED = 1023
_NEW_RUN = 32766
_BNCI_FIELDS = ("X", "trial", "y", "fs", "classes", "artifacts")


class File(NamedTuple):
    """A session of one person: `form` is gdf, bnci or release; `labels` are those of a GDF, where they are there."""

    form: str
    subject: str
    session: str
    path: Path
    labels: Path | None = None


def find(root: str | Path, exclude: Collection[str] = ()) -> list[File]:
    """Find all sessions under a folder, however deep.

    Args:
        root: folder that holds the data set in one of its forms.
        exclude: subjects to leave out, such as A04.

    Returns:
        The sessions, by subject and session.

    Raises:
        UserError: `root` is missing or holds no session, it holds more than one form or a session twice, a session E as
            GDF lacks its labels, a MAT file is neither labels nor a recording, or a course release isn't whole.
    """
    root = Path(root)
    gdf = _named(root.rglob("*.gdf"))
    mats = sorted(root.rglob("*.mat"))
    variables = {path: _variables(path) for path in mats if _NAME.fullmatch(path.stem)}
    labels = _named(path for path, names in variables.items() if "classlabel" in names)
    bnci = _named(path for path, names in variables.items() if "classlabel" not in names)
    release = sorted({path.parent for part in PARTS for path in root.rglob(f"X_{part}.npy")})
    forms = [name for name, files in (("A01T.gdf", gdf), ("BNCI's A01T.mat", bnci)) if files] + list(map(str, release))
    if len(forms) != 1:
        raise UserError(_not_one_form(root, forms))
    files = [File("gdf", *key, path, labels.get(key)) for key, path in gdf.items()]
    files += [File("bnci", *key, path) for key, path in bnci.items()]
    files += [file for folder in release for file in _find_release(folder)]
    files = leave_out(sorted(files), exclude, "A04")
    for file in files:
        if file.form == "gdf" and file.session == "E" and file.labels is None:
            raise UserError(_no_labels(file.path))
    return files


def read(file: File, window_s: tuple[float, float]) -> list[Trials]:
    """Read a session.

    Args:
        file: from `find`.
        window_s: seconds from the cue, first and last; trials whose window isn't wholly in the recording are left out.

    Returns:
        A recording per run that has trials, `A01T-run4` being the fourth of the file; of the course release one per
        part and person, `A01-train_valid`, its trials one after another (without a run's name, and with none marked as
        an artifact). `eeg` is [n_times, 22] float32 in µV, with NaN where the file has none; labels are indices into
        CLASSES.

    Raises:
        UserError: the file is broken, has other channels than CH_NAMES (as far as it tells), another sampling rate than
            250 Hz, no trials, or unknown classes; labels and trials differ in number or kind; or the signal is no EEG
            in microvolts (`check_eeg`).
    """
    runs = {"gdf": _read_gdf, "bnci": _read_bnci, "release": _read_release}[file.form](file, window_s)
    if not runs:
        raise UserError(f"{file.path}: no trials in it, expected cues; is it whole?")
    return runs


# ---- the competition's GDF


def _read_gdf(file: File, window_s: tuple[float, float]) -> list[Trials]:
    with quiet_mne(file.path) as mne:
        raw = mne.io.read_raw_gdf(file.path)
    _check_rate(raw.info["sfreq"], str(file.path))
    names = [name for name in raw.ch_names if name.upper().startswith("EEG")]
    _check_order(names, raw.ch_names, file.path)
    with quiet_mne(file.path):
        eeg = raw.get_data(picks=names).T * 1e6
        samples = np.rint(raw.annotations.onset * SFREQ).astype(np.int64)
        codes = raw.annotations.description.astype(int)
    eeg[_beyond_range(eeg, file.path, len(raw.ch_names))] = np.nan
    is_cue = (codes >= _FIRST_CUE) & (codes < _FIRST_CUE + len(CLASSES)) | (codes == _UNKNOWN_CUE)
    cues = samples[is_cue]
    rejected = np.searchsorted(cues, samples[codes == _REJECTED])  # the mark is at the cross, the cue is the next
    table = make_trial_table(cues, _labels(file, codes[is_cue]), "", np.isin(np.arange(cues.size), rejected))
    borders = np.unique([0, *samples[codes == _NEW_RUN], len(eeg)])
    runs = [
        _gdf_run(file, eeg, table, slice(*border), str(number)) for number, border in enumerate(pairwise(borders), 1)
    ]
    return [check_trials(run, window_s, f"{file.path}, run {run.table['run'][0]}") for run in runs if len(run.table)]


def _gdf_run(file: File, eeg: np.ndarray, table: pd.DataFrame, run: slice, number: str) -> Trials:
    """Cut a run out, without the gap in front of it in which no channel has samples."""
    there = np.flatnonzero(~np.isnan(eeg[run]).all(axis=1))
    first, stop = (run.start + there[0], run.start + there[-1] + 1) if there.size else (run.start, run.stop)
    rows = table[(table["cue"] >= run.start) & (table["cue"] < run.stop)]
    return Trials(
        f"{file.subject}{file.session}-run{number}",
        file.subject,
        file.session,
        eeg[first:stop].astype(np.float32),
        SFREQ,
        CH_NAMES,
        make_trial_table(rows["cue"].to_numpy() - first, rows["label"].to_numpy(), number, rows["artifact"].to_numpy()),
    )


def _check_order(names: list[str], all_names: list[str], path: Path) -> None:
    """The five names that the GDF has must stand where they belong, between them 'EEG' with MNE's number or none."""
    short = [re.sub(r"^EEG[- ]?\d*", "", name, flags=re.IGNORECASE) for name in names]
    missing = sorted(set(_NAMED.values()) - set(short))
    if len(names) != len(CH_NAMES) or missing or names != all_names[: len(names)]:
        what = f"without {', '.join(missing)}" if missing else f"in the order {', '.join(all_names)}"
        raise UserError(
            f"{path}: {len(names)} EEG channels, {what}; expected {len(CH_NAMES)}, first in the file: "
            f"{', '.join(CH_NAMES)}; leave the subject out (config.data.exclude) or fetch it again"
        )
    for index, name in enumerate(short):
        expected = (CH_NAMES[index],) if index in _NAMED else ("", CH_NAMES[index])
        if name not in expected:
            raise UserError(
                f"{path}: channel {index + 1} is '{names[index]}', expected {CH_NAMES[index]}; a wrong order would "
                "only show as a worse score: fetch the file again"
            )


def _beyond_range(eeg: np.ndarray, path: Path, n_chans: int) -> np.ndarray:
    """Mark what BioSig reads as NaN: what is at or beyond the range that the header gives (in GDF 1 and 2 alike)."""
    with open(path, "rb") as file:
        file.seek(256 + 104 * n_chans)
        low, high = np.frombuffer(file.read(16 * n_chans), "<f8").reshape(2, n_chans)[:, : eeg.shape[1]]
    rounding = (high - low) * 1e-6  # a step is more: 16 bits
    beyond = (eeg <= low + rounding) | (eeg >= high - rounding)
    if beyond.mean() > 0.5:
        raise UserError(
            f"{path}: {beyond.mean():.0%} of the samples are beyond {low[0]:g} to {high[0]:g}, the header's range, "
            "expected few: its unit isn't uV; fetch it again"
        )
    return beyond


def _labels(file: File, codes: np.ndarray) -> np.ndarray:
    """[n] int: the classes of the cues, from their file; what the events tell must agree with it."""
    known = np.where(codes == _UNKNOWN_CUE, -1, codes - _FIRST_CUE)
    if file.labels is None:
        if (known < 0).any():
            raise UserError(_no_labels(file.path))
        return known
    given = _vector(_load_mat(file.labels, "classlabel"), f"{file.labels}, variable 'classlabel'")
    if given.size != codes.size:
        raise UserError(
            f"{file.labels}: {given.size} labels, {file.path.name} has {codes.size} trials; expected as many; fetch "
            "both again"
        )
    labels = _classes(given, str(file.labels))
    different = np.flatnonzero((known >= 0) & (known != labels))
    if different.size:
        raise UserError(
            f"{file.labels}: trial {different[0] + 1} is {CLASSES[labels[different[0]]]}, in {file.path.name} "
            f"{CLASSES[known[different[0]]]} ({different.size} such trials); expected the same; fetch both again"
        )
    return labels


def _no_labels(path: Path) -> str:
    return (
        f"{path}: its cues don't tell the class and it has no labels, expected {path.stem}.mat with 'classlabel' under "
        "the same root; they are the true labels at https://www.bbci.de/competition/iv/results/"
    )


# ---- BNCI Horizon 2020's MAT


def _read_bnci(file: File, window_s: tuple[float, float]) -> list[Trials]:
    data = _load_mat(file.path, "data")
    runs = [data] if isinstance(data, dict) else list(np.atleast_1d(np.asarray(data, object)))
    return [
        check_trials(trials, window_s, f"{file.path}, run {number}")
        for number, run in enumerate(runs, 1)
        if (trials := _bnci_run(file, run, str(number))) is not None
    ]


def _bnci_run(file: File, run: Any, number: str) -> Trials | None:
    """None for a run without trials, which is a calibration of the eye movements."""
    where = f"{file.path}, run {number}"
    fields = run.keys() if isinstance(run, dict) else ()
    missing = [field for field in _BNCI_FIELDS if field not in fields]
    if missing:
        raise UserError(f"{where}: no field {', '.join(missing)}, expected those of BNCI's 001-2014; fetch it again")
    crosses, given, artifacts = (_vector(run[name], f"{where}, '{name}'") for name in ("trial", "y", "artifacts"))
    if not crosses.size:
        return None
    x = np.asarray(run["X"])
    names = [str(name) for name in np.atleast_1d(run["classes"])]
    if x.ndim != 2 or x.shape[1] != len(CH_NAMES) + N_EOG or x.dtype.kind not in "iuf":
        raise UserError(
            f"{where}: X is {x.shape} {x.dtype}, expected numbers [n_times, {len(CH_NAMES) + N_EOG}], the channels "
            f"{', '.join(CH_NAMES)} and {N_EOG} EOG; leave the subject out (config.data.exclude) or fetch it again"
        )
    _check_rate(run["fs"], where)
    if tuple(name.removeprefix("both ").replace(" ", "_") for name in names) != CLASSES:
        raise UserError(f"{where}: classes are {', '.join(names)}, expected {', '.join(CLASSES)}; fetch it again")
    if not crosses.size == given.size == artifacts.size:
        raise UserError(
            f"{where}: {crosses.size} trials, {given.size} labels (y) and {artifacts.size} artifacts; expected as many "
            "of each; fetch it again"
        )
    return Trials(
        f"{file.subject}{file.session}-run{number}",
        file.subject,
        file.session,
        np.ascontiguousarray(x[:, : len(CH_NAMES)], np.float32),
        SFREQ,
        CH_NAMES,
        make_trial_table(crosses - 1 + _CUE_S * SFREQ, _classes(given, where), number, artifacts != 0),  # 1-based
    )


# ---- the course release


def _find_release(folder: Path) -> list[File]:
    return [
        File("release", f"A{person + 1:02d}", part, folder / f"X_{part}.npy")
        for part in PARTS
        for person in np.unique(_load_release(folder / f"X_{part}.npy", part)[2])
    ]


def _read_release(file: File, window_s: tuple[float, float]) -> list[Trials]:
    x, codes, persons = _load_release(file.path, file.session)
    if window_s[0] < 0 or round(window_s[1] * SFREQ) > _RELEASE_TIMES:
        raise UserError(
            f"window_s is {window_s}, but {file.path} holds {_RELEASE_TIMES / SFREQ:g} s from the cue on; choose a "
            "window in it"
        )
    rows = np.flatnonzero(persons == int(file.subject[1:]) - 1)
    trials = Trials(
        f"{file.subject}-{file.session}",
        file.subject,
        file.session,
        x[rows].transpose(0, 2, 1).reshape(-1, len(CH_NAMES)).astype(np.float32),
        SFREQ,
        CH_NAMES,
        make_trial_table(np.arange(rows.size) * _RELEASE_TIMES, codes[rows] - _FIRST_CUE, ""),
    )
    return [check_trials(trials, window_s, f"{file.path}, {file.subject}")]


def _load_release(path: Path, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X [n, 22, 1000] mapped from disk, y [n] int (769 to 772), persons [n] int (0 to 8)."""
    x, y, person = (_load_npy(path.with_name(f"{name}_{part}.npy")) for name in ("X", "y", "person"))
    if x.shape != (y.size, len(CH_NAMES), _RELEASE_TIMES) or person.size != y.size or x.dtype.kind not in "iuf":
        raise UserError(
            f"{path}: X is {x.shape} {x.dtype}, y {y.shape}, person {person.shape}; expected numbers "
            f"[n, {len(CH_NAMES)}, {_RELEASE_TIMES}], [n], [n, 1]; fetch the six files again"
        )
    for name, values, low, high in (("y", y, 769, 772), ("person", person, 0, 8)):
        if not np.isin(values, np.arange(low, high + 1)).all():
            raise UserError(f"{path.with_name(f'{name}_{part}.npy')}: expected {low} to {high} alone; fetch it again")
    return x, y.ravel().astype(int), person.ravel().astype(int)


# ---- reading safely


def _load_npy(path: Path) -> np.ndarray:
    try:
        return np.lib.format.open_memmap(path, mode="r")  # which never unpickles
    except (OSError, ValueError, EOFError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{path}: can't be read ({why}); the release has six files, see that all are whole") from error


def _variables(path: Path) -> list[str]:
    names = [name for name, *_ in _scipy_io(path, "whosmat")]
    if not {"classlabel", "data"} & set(names):
        raise UserError(
            f"{path}: holds {', '.join(names) or 'nothing'}, expected 'classlabel' (labels of the GDF) or 'data' "
            "(BNCI's recording); move it elsewhere"
        )
    return names


def _load_mat(path: Path, name: str) -> Any:
    loaded = _scipy_io(path, "loadmat", variable_names=[name], simplify_cells=True)
    if name not in loaded:
        raise UserError(f"{path}: holds no variable '{name}'; fetch it again")
    return loaded[name]


def _scipy_io(path: Path, function: str, **arguments: Any) -> Any:
    """Call scipy's reader, which knows MATLAB's formats up to 7 and raises whatever comes."""
    import scipy.io

    try:
        return getattr(scipy.io, function)(path, **arguments)
    except Exception as error:
        why = " ".join(str(error).split())
        raise UserError(f"{path}: can't be read as MAT, versions 4 to 7 ({why}); fetch it again") from error


def _vector(value: Any, where: str) -> np.ndarray:
    """[n] float64 of whole numbers, of whatever shape MATLAB gave them."""
    array = np.asarray(value).ravel()
    if array.dtype.kind not in "biuf" or not np.array_equal(array, np.floor(array)):
        raise UserError(f"{where}: expected whole numbers, found {str(array)[:60]!r}; fetch the file again")
    return array.astype(float)


def _classes(given: np.ndarray, where: str) -> np.ndarray:
    if not np.isin(given, np.arange(len(CLASSES)) + 1).all():
        found = ", ".join(f"{value:g}" for value in np.unique(given))
        raise UserError(f"{where}: labels are {found}, expected 1 to {len(CLASSES)}; fetch it again")
    return given.astype(int) - 1


def _check_rate(sfreq: Any, where: str) -> None:
    if np.size(sfreq) != 1 or not np.isclose(np.asarray(sfreq, float), SFREQ).all():
        raise UserError(f"{where}: {sfreq} Hz, expected {SFREQ:g} Hz, as all of data set 2a has; fetch it again")


def _named(paths: Iterable[Path]) -> dict[tuple[str, str], Path]:
    """(Subject, session) -> file; others are passed over."""
    named: dict[tuple[str, str], Path] = {}
    for path in sorted(paths):
        if found := _NAME.fullmatch(path.stem):
            if (found[1], found[2]) in named:
                raise UserError(
                    f"{path}: also {named[found[1], found[2]]}, expected one file of this name under the root; remove "
                    "one"
                )
            named[found[1], found[2]] = path
    return named


def _not_one_form(root: Path, forms: list[str]) -> str:
    if forms:
        return f"{root}: the data set {len(forms)} times ({', '.join(forms)}), expected once; keep one below the root"
    what = "holds no recordings" if root.is_dir() else "is no folder"
    return (
        f"{root}: {what}; expected A01T.gdf with A01T.mat, BNCI's A01T.mat, or X_train_valid.npy and its five fellows, "
        "at any depth; BNCI's are had from https://bnci-horizon-2020.eu/database/data-sets by eegjax prepare "
        "--dataset=bci_iv_2a --root=FOLDER --download"
    )

"""What every reader of cued trials gives: one recording, and where its cues are; and what all of them do."""

import re
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from eegjax.data.signal_checks import PLAUSIBLE_UV, check_eeg, level_and_amplitude
from eegjax.errors import UserError, note

REST = -1  # the label of a stretch without a task


class Trials(NamedTuple):
    """One recording of cued trials.

    recording, subject, session: names; a recording is one continuous stretch of time.
    eeg: [n_times, n_chans] float32, µV.
    sfreq: samples per second.
    ch_names: names of the channels, in the order of `eeg`.
    table: a row per trial: `cue` (int64, the sample at which the cue came), `label` (int8, the class, or `REST`), `run`
        (str), `artifact` (bool, marked as unusable by those who recorded it). Trials that the recording cuts off are
        not in it.
    n_cut: how many those were.
    """

    recording: str
    subject: str
    session: str
    eeg: np.ndarray
    sfreq: float
    ch_names: tuple[str, ...]
    table: pd.DataFrame
    n_cut: int = 0


def leave_out(files: list[Any], exclude: Collection[str], example: str) -> list[Any]:
    """Leave subjects out; a name of another form than `example` is an error, one that isn't there is none.

    Raises:
        UserError: one of `exclude` is of another form than `example`, or nothing is left.
    """
    form = re.sub(r"\d", r"\\d", example)
    wrong = [name for name in exclude if not re.fullmatch(form, name)]
    if wrong:
        raise UserError(f"config.data.exclude holds '{wrong[0]}', expected subjects such as {example}; correct it")
    left = [file for file in files if file.subject not in exclude]
    if files and not left:
        raise UserError("config.data.exclude leaves no subject, expected one or more; name fewer")
    return left


def make_trial_table(cue: np.ndarray, label: np.ndarray, run: str, artifact: np.ndarray | bool = False) -> pd.DataFrame:
    """Make the table that `Trials` wants, a row per trial, with the dtypes that it says.

    Args:
        cue: [n_trials] int, the sample at which each cue came.
        label: [n_trials] int, class numbers, or `REST`.
        run: the name of the run that the trials belong to.
        artifact: [n_trials] bool, or one for all: marked as unusable by those who recorded it.
    """
    table = pd.DataFrame({"cue": cue, "label": label, "run": run, "artifact": artifact})
    return table.astype({"cue": np.int64, "label": np.int8, "run": object, "artifact": bool})


def check_trials(trials: Trials, window_s: tuple[float, float], where: str) -> Trials:
    """Check the signal, and leave out the trials that the recording cuts off.

    Args:
        trials: with all its rows.
        window_s: seconds from the cue, first and last.
        where: the start of every message.

    Returns:
        The same, with the rows whose window is wholly in the recording, and `n_cut`.

    Raises:
        UserError: `window_s` has no length; samples are infinite; or the channel of median amplitude, which stands for
            all because one loose electrode is no mistaken unit, is no EEG in microvolts (`check_eeg`).
    """
    low, high = (round(second * trials.sfreq) for second in window_s)
    if low >= high:
        raise UserError(f"window_s is {window_s}, expected two seconds after the cue, the first smaller; correct it")
    _check_unit(trials, where)
    inside = (trials.table["cue"] + low >= 0) & (trials.table["cue"] + high <= len(trials.eeg))
    return trials._replace(table=trials.table[inside].reset_index(drop=True), n_cut=int((~inside).sum()))


def _check_unit(trials: Trials, where: str) -> None:
    if np.isinf(trials.eeg).any():
        raise UserError(f"{where}: infinite samples, expected µV, or NaN where nothing was recorded; fetch it again")
    channels = [column[~np.isnan(column)].astype(float) for column in trials.eeg.T]
    amplitudes = [level_and_amplitude(channel, trials.sfreq)[1] if channel.size else 0.0 for channel in channels]
    middle = int(np.argsort(amplitudes)[len(amplitudes) // 2])
    check_eeg(channels[middle], f"{where}, channel '{trials.ch_names[middle]}'", trials.sfreq)
    pairs = zip(trials.ch_names, amplitudes, strict=True)
    odd = [name for name, amplitude in pairs if not PLAUSIBLE_UV[0] <= amplitude <= PLAUSIBLE_UV[1]]
    if odd:
        note(f"{where}: flat or far too large (electrode off?): {', '.join(odd)}; kept")

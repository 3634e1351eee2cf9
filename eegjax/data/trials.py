"""What every reader of cued trials gives: one recording, and where its cues are."""

from typing import NamedTuple

import numpy as np
import pandas as pd

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

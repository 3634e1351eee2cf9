"""Simulated nights of sleep in the files of Sleep-EDF: `SC4ssNE0-PSG.edf` and `SC4ssNEC-Hypnogram.edf`.

The truth is known here: the stages that made the signal, and the labels of a scorer who agrees with them at a Cohen's
kappa of about .8, which is the most that any model can reach against those labels.
"""

import datetime
import io
from pathlib import Path
from typing import NamedTuple

import edfio
import numpy as np

from eegjax.data.sleep_edf.signals import EPOCH_S, LIMIT_UV, SFREQ, draw_eeg, draw_sleeper
from eegjax.data.sleep_edf.statistics import STAGE_LETTERS, UNSCORED, draw_stages, score
from eegjax.errors import UserError
from eegjax.files import write_aside

VERSION = 1  # raised when the same arguments give other nights
CH_NAME = "EEG Fpz-Cz"
START = datetime.datetime(2000, 1, 1, 22, 30)

_SUBJECT, _STAGES, _EEG, _SCORER = range(4)  # the streams of random numbers


class Night(NamedTuple):
    """A simulated night of n_epochs times 30 s."""

    eeg: np.ndarray  # [n_times] float32, µV at 100 Hz
    true: np.ndarray  # [n_epochs] int8, the stages that made the signal
    scored: np.ndarray  # [n_epochs] int8, the scorer's labels, -1 unscored


def true_stages(seed: int, subject: int, night: int, n_epochs: int = 960) -> np.ndarray:
    """Return the true stages of `simulate_night`, [n_epochs] int8, without making its signal."""
    return draw_stages(np.random.default_rng([seed, subject, night, _STAGES]), n_epochs)


def simulate_night(seed: int, subject: int, night: int, n_epochs: int = 960) -> Night:
    """Simulate a night; the same arguments give the same arrays.

    Args:
        seed: of the whole simulated study, 0 or more.
        subject: number, 0 or more; alpha frequency, spectral slope and gain are the subject's in both nights.
        night: number, 0 or more.
        n_epochs: length in 30 s epochs, at least 40.

    Raises:
        UserError: `n_epochs` is too short to hold sleep.
    """
    true = true_stages(seed, subject, night, n_epochs)
    sleeper = draw_sleeper(np.random.default_rng([seed, subject, _SUBJECT]))
    eeg = draw_eeg(np.random.default_rng([seed, subject, night, _EEG]), sleeper, true)
    return Night(eeg, true, score(np.random.default_rng([seed, subject, night, _SCORER]), true))


def write_night(folder: str | Path, seed: int, subject: int, night: int, n_epochs: int = 960) -> tuple[Path, Path]:
    """Simulate a night and write it as Sleep-EDF does: an EDF recording and an EDF+ hypnogram.

    Args:
        folder: made if missing; files of the same names are replaced.
        seed: of the whole simulated study, 0 or more.
        subject: 0 to 99, the two digits in the file names.
        night: 1 or 2, the digit after them.
        n_epochs: length in 30 s epochs, at least 40.

    Returns:
        The paths of the recording and of the hypnogram.

    Raises:
        UserError: Sleep-EDF's names have no room for `subject` or `night`, or `n_epochs` is too short to hold sleep.
    """
    if not 0 <= subject <= 99:
        raise UserError(f"subject: found {subject}, expected 0 to 99: Sleep-EDF names have two digits for it")
    if night not in (1, 2):
        raise UserError(f"night: found {night}, expected 1 or 2, as in Sleep-EDF's names")
    simulated = simulate_night(seed, subject, night, n_epochs)
    psg, hypnogram = (Path(folder) / f"SC4{subject:02d}{night}{end}.edf" for end in ("E0-PSG", "EC-Hypnogram"))
    # The hypnogram first: a recording is never seen without its labels.
    _write_whole(_edf(subject, [], _runs(simulated.scored)), hypnogram)
    _write_whole(_edf(subject, [_channel(simulated.eeg)]), psg)
    return psg, hypnogram


def _edf(
    subject: int, signals: list[edfio.EdfSignal], annotations: list[edfio.EdfAnnotation] | None = None
) -> edfio.Edf:
    """Return a file whose start and patient are the same for a night's recording and hypnogram."""
    return edfio.Edf(
        signals,
        patient=edfio.Patient(code=f"SC4{subject:02d}", name="SIMULATED"),
        recording=edfio.Recording(startdate=START.date(), equipment_code="SIMULATED"),
        starttime=START.time(),
        data_record_duration=EPOCH_S if signals else None,
        annotations=annotations,
    )


def _channel(eeg: np.ndarray) -> edfio.EdfSignal:
    """Return the EEG [n_times], µV, as an EDF channel."""
    return edfio.EdfSignal(eeg, SFREQ, label=CH_NAME, physical_dimension="uV", physical_range=(-LIMIT_UV, LIMIT_UV))


def _runs(scored: np.ndarray) -> list[edfio.EdfAnnotation]:
    """Return the scored stages [n_epochs] as annotations, one for each run of equal epochs."""
    edges = np.r_[0, np.flatnonzero(np.diff(scored)) + 1, len(scored)]
    names = ["?" if stage == UNSCORED else STAGE_LETTERS[stage] for stage in scored[edges[:-1]]]
    return [
        edfio.EdfAnnotation(EPOCH_S * int(start), EPOCH_S * int(stop - start), f"Sleep stage {name}")
        for start, stop, name in zip(edges[:-1], edges[1:], names, strict=True)
    ]


def _write_whole(edf: edfio.Edf, path: Path) -> None:
    """Write a file aside and rename it; from memory, since NumPy's own writing doesn't say why a disk refuses."""
    whole = io.BytesIO()
    edf.write(whole)
    write_aside(path, lambda aside: aside.write_bytes(whole.getbuffer()))

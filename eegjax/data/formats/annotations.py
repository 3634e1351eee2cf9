"""Labels of a recording's epochs, written for other programs: a table, and EDF+ annotations for EEG viewers."""

from collections.abc import Sequence
from datetime import datetime, time
from itertools import pairwise
from pathlib import Path

import edfio
import numpy as np
import pandas as pd

from eegjax.files import write_aside

_EDF_YEARS = range(1985, 2085)  # all that its two digits can say
_TOUCHING_S = 1e-3


def write_epochs_tsv(
    path: str | Path,
    onset_s: np.ndarray,
    epoch_s: float,
    labels: Sequence[str],
    probabilities: np.ndarray,
    class_names: Sequence[str],
) -> Path:
    """Write a line per epoch, separated by tabs: `onset_s, duration_s, label`, then `p_<class>` for every class.

    Args:
        path: the file.
        onset_s: [n] float, s from the start of the recording.
        epoch_s: length of every epoch in s.
        labels: n class names.
        probabilities: [n, n_classes] float; six digits after the point are written.
        class_names: of the columns.

    Returns:
        The path.
    """
    columns = {"onset_s": np.asarray(onset_s, float), "duration_s": float(epoch_s), "label": list(labels)}
    rounded = np.asarray(probabilities, float).round(6)
    columns |= {f"p_{name}": column for name, column in zip(class_names, rounded.T, strict=True)}
    text = pd.DataFrame(columns).to_csv(sep="\t", index=False, lineterminator="\n")
    return write_aside(Path(path), lambda aside: aside.write_text(text, encoding="utf-8", newline="\n"))


def make_stage_texts(stages: Sequence[str], class_names: Sequence[str]) -> list[str]:
    """Name sleep stages as EDF+ does: `Sleep stage N1` after the AASM, `Sleep stage 1` after Rechtschaffen & Kales.

    Standard texts: https://www.edfplus.info/specs/edftexts.html

    Args:
        stages: of W, N1, N2, N3, N4, R, and ? for unscored.
        class_names: all stages that could have been given; those with an N4 are Rechtschaffen & Kales's.

    Returns:
        A text per stage.
    """
    shown = {f"N{digit}": digit for digit in "1234"} if "N4" in class_names else {}
    return [f"Sleep stage {shown.get(stage, stage)}" for stage in stages]


def write_edf_annotations(
    path: str | Path, onset_s: np.ndarray, epoch_s: float, texts: Sequence[str], start: datetime | None = None
) -> Path:
    """Write an EDF+ file that holds annotations alone, as the hypnograms of Sleep-EDF are.

    Epochs that touch and have the same text are one annotation with their whole duration.

    Args:
        path: the file.
        onset_s: [n] float, s from the start of the recording, ascending; n is 1 or more.
        epoch_s: length of every epoch in s.
        texts: n annotations.
        start: of the recording, so that viewers show both beside each other; where it is None, or in a year that EDF
            can't write (before 1985 or after 2084), the file says what EDF+ says of an unknown date.

    Returns:
        The path.
    """
    dated = start is not None and start.year in _EDF_YEARS
    edf = edfio.Edf(
        [],
        recording=edfio.Recording(startdate=start.date() if start and dated else None, equipment_code="eegjax"),
        starttime=start.time() if start else time(),
        annotations=[edfio.EdfAnnotation(*run) for run in _runs(np.asarray(onset_s, float), epoch_s, texts)],
    )
    return write_aside(Path(path), lambda aside: aside.write_bytes(edf.to_bytes()))


def _runs(onset_s: np.ndarray, epoch_s: float, texts: Sequence[str]) -> list[tuple[float, float, str]]:
    """Onset, duration and text of each run of epochs that touch and have the same text."""
    ends_s = onset_s + epoch_s
    apart = np.abs(onset_s[1:] - ends_s[:-1]) > _TOUCHING_S
    differs = np.array([one != other for one, other in pairwise(texts)], bool)
    first = np.r_[0, np.flatnonzero(apart | differs) + 1]
    last = np.r_[first[1:], len(onset_s)] - 1
    return [
        (round(float(onset_s[i]), 6), round(float(ends_s[j] - onset_s[i]), 6), texts[i])
        for i, j in zip(first, last, strict=True)
    ]

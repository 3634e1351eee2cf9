"""What is made of the motor-imagery networks' answers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.splits import Fold
from eegjax.studies.motor_imagery.data import classes
from eegjax.studies.motor_imagery.folds import TASKS
from eegjax.studies.motor_imagery.numbers import with_task


def decode(
    config: ConfigDict, dataset: Dataset, folds: Sequence[Fold], predictions: pd.DataFrame, folder: Path
) -> pd.DataFrame:
    """The predictions, of a binary task among its two classes only: the trial is known to be one of them."""
    return among_task(predictions, classes(config))


def among_task(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Probabilities [n, n_classes] of a table, set to 0 outside each row's task, and their sum to 1."""
    columns = [f"p_{name}" for name in names]
    of_task = {task: np.isin(np.arange(len(names)), numbers) for task, numbers in TASKS.items()}
    allowed = np.array([of_task[task] for task in with_task(frame)["task"]])
    kept = np.where(allowed, frame[columns].to_numpy(float), 0)
    kept = np.where(kept.sum(1, keepdims=True) == 0, allowed, kept)  # all of it was elsewhere: each is as likely
    kept /= kept.sum(1, keepdims=True)
    return frame.assign(**dict(zip(columns, kept.T, strict=True)))

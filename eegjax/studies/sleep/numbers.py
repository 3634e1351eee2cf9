"""The sleep study's numbers: metrics with intervals, and models compared on the same epochs."""

from typing import Any

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.sleep_edf.reader import EPOCH_S
from eegjax.evaluate.calibration import brier_score, expected_calibration_error
from eegjax.evaluate.classification import log_loss, per_class
from eegjax.evaluate.comparison import Answers, compare, confusion
from eegjax.evaluate.names import number_name
from eegjax.run.answers import class_names

BLOCK_EPOCHS = 20  # ten minutes: longer than most stages last


def by_model(predictions: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Networks, the one named beforehand first, then baselines: name -> rows."""
    frames = [predictions, baselines]
    return {str(name): part for frame in frames for name, part in frame.groupby("model", sort=False)}


def evaluate(config: ConfigDict, predictions: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, Any]:
    """All metrics with intervals, and paired differences; per class `sensitivity_N1` and so on of the first network."""
    models = by_model(predictions, baselines)
    names = class_names(predictions)
    numbers = compare(models, names, EPOCH_S, BLOCK_EPOCHS)
    classes = per_class(confusion(models[config.model.name], names))
    for column in classes.columns:
        numbers |= {f"{column}_{name}": float(value) for name, value in zip(names, classes[column], strict=True)}
    first = next(iter(models))
    for name, frame in models.items():
        scores = _probabilistic(frame, names)
        numbers |= {number_name(key, "" if name == first else name): value for key, value in scores.items()}
    return numbers


def _probabilistic(frame: pd.DataFrame, names: tuple[str, ...]) -> dict[str, float]:
    """How good the probabilities are; answers without any (one-hot rows) have no such numbers."""
    answers = Answers(frame, names)
    if np.isin(answers.probabilities, (0, 1)).all():
        return {}
    runs = [(answers.target, run) for run in answers.probabilities]
    scores = {"log_loss": log_loss, "brier": brier_score, "calibration_error": expected_calibration_error}
    return {name: float(np.mean([score(*run) for run in runs])) for name, score in scores.items()}

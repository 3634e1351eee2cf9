"""What is made of the sleep networks' answers: corrected for the prior, smoothed along the night."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.splits import Fold
from eegjax.evaluate.transitions import correct_prior, smooth
from eegjax.studies.sleep.data import (
    classes,
    positions,
)
from eegjax.studies.sleep.network import fit_labels


def decode(
    config: ConfigDict, dataset: Dataset, folds: Sequence[Fold], predictions: pd.DataFrame, folder: Path
) -> pd.DataFrame:
    """The predictions, and beside them those after prior correction and after Viterbi smoothing, where asked for.

    Both use nothing but the training part of each fold; the tested stages are never looked at. A model's corrected
    answers are rows of `<model>_prior`, its smoothed ones of `<model>_viterbi`.
    """
    if not (config.test.prior_correction or config.test.viterbi):
        return predictions
    by_name = {fold.name: fold for fold in folds}
    one = config.copy_and_resolve_references()
    frames = [predictions]
    for _, part in predictions.groupby(["model", "fold", "seed", "split"], sort=False):
        one.model.name = part["model"].iloc[0]
        fold = by_name[part["fold"].iloc[0]]
        frames += decode_member(config, fit_labels(one, dataset, fold), part)
    return pd.concat(frames, ignore_index=True)


def decode_member(config: ConfigDict, stats: Any, part: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows of one member's predictions anew: corrected for the training's prior, and smoothed along the night."""
    columns = [f"p_{one}" for one in classes(config)]
    name = part["model"].iloc[0]
    probabilities = part[columns].to_numpy(float)
    prior = np.asarray(stats["prior"], float)
    trained = np.asarray(stats["trained_prior"], float)
    if config.test.prior_correction and not np.allclose(prior, trained):
        corrected = correct_prior(probabilities, trained, prior)
        yield part.assign(model=f"{name}_prior", **dict(zip(columns, corrected.T, strict=True)))
    if config.test.viterbi:
        path = smooth(
            probabilities, trained, stats["transitions"], prior, part["recording"].to_numpy(), positions(part)
        )
        one_hot = np.eye(len(columns))[path]
        yield part.assign(model=f"{name}_viterbi", **dict(zip(columns, one_hot.T, strict=True)))

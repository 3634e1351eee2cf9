"""Prediction tables: a row per answer, with a column `p_<class>` for each class."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from eegjax.data.splits import Fold

INDEX_COLUMNS = ("example", "subject", "session", "recording", "onset_s", "start", "stop")


def class_names(frame: pd.DataFrame) -> tuple[str, ...]:
    """The classes that a prediction table has columns for."""
    return tuple(column.removeprefix("p_") for column in frame.columns if column.startswith("p_"))


def baseline_tables(
    index: pd.DataFrame, fold: Fold, targets: np.ndarray, names: Sequence[str], answers: Mapping[str, np.ndarray]
) -> list[pd.DataFrame]:
    """What each baseline says of a fold's test part.

    Args:
        index: of the dataset.
        fold: the fold.
        targets: [n_examples] int, of the whole index.
        names: of the classes.
        answers: baseline -> [n_test, n_classes] probabilities.
    """
    tables = []
    for model, probabilities in answers.items():
        table = index[list(INDEX_COLUMNS)].iloc[fold.test]
        table = table.assign(model=model, fold=fold.name, split="test", target=targets[fold.test])
        table = table.assign(task=fold.task) if fold.task else table
        tables.append(table.assign(**{f"p_{name}": probabilities[:, k] for k, name in enumerate(names)}))
    return tables

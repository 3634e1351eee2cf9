"""Prediction tables: a row per answer, with a column `p_<class>` for each class, or what a task records instead."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.splits import Fold, choose_evenly
from eegjax.run.member import Member
from eegjax.run.study import Task

PREDICTED = ("validation", "test")
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


def parts_to_predict(config: ConfigDict) -> tuple[str, ...]:
    """The parts of a fold that are predicted: the training part only where a published table has it."""
    return (*PREDICTED, "train") if config.test.train_part else PREDICTED


def labels_of(config: ConfigDict, task: Task, dataset: Dataset) -> np.ndarray | None:
    """[n_examples] int8, the class of each row of the index; None where examples have no class."""
    return None if task.labels is None else task.labels(config, dataset.index)


def units_of(
    config: ConfigDict, task: Task, dataset: Dataset, fold: Fold, split: str, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The units that cover a part of a fold, and where each row is scored.

    Args:
        config: of the network.
        task: what it learns.
        dataset: with the examples.
        fold: the fold.
        split: its part: validation, test or train.
        batch_size: units per batch; as some published studies did, `config.test.whole_batches` leaves out the rest.

    Returns:
        [n] or [n, sequence] int64, and bool of the same shape.
    """
    rows = getattr(fold, split)
    if split == "train" and config.test.n_train_part:
        rows = choose_evenly(rows, config.test.n_train_part)
    units, scored = task.units(config, dataset, rows, False)
    whole = len(units) // batch_size * batch_size
    if split == "test" and config.test.whole_batches and whole:
        return units[:whole], scored[:whole]
    return units, scored


def frame_of(
    config: ConfigDict,
    task: Task,
    dataset: Dataset,
    member: Member,
    split: str,
    rows: np.ndarray,
    values: np.ndarray,
    folder: Path,
) -> pd.DataFrame:
    """The rows of a member's predictions of one part.

    Args:
        config: of the network.
        task: what it learns; its `record` decides what is kept of the values, else they are class probabilities.
        dataset: with the examples.
        member: whose predictions they are.
        split: the part.
        rows: [n] int64 of the index.
        values: [n, ...], what the network said of them.
        folder: the run folder.

    Returns:
        In the order of `example`.
    """
    frame = dataset.index[list(INDEX_COLUMNS)].iloc[rows].reset_index(drop=True)
    frame = frame.assign(**member.names(), split=split)
    labels = labels_of(config, task, dataset)
    if labels is not None:
        frame = frame.assign(target=labels[rows])
    if task.record is not None:
        frame = task.record(config, dataset, frame, values, folder)
    elif task.classes is not None:
        classes = task.classes(config)
        frame = frame.assign(**{f"p_{name}": values[:, number] for number, name in enumerate(classes)})
    else:
        raise TypeError("a task has classes, or a `record` of its own")
    return frame.sort_values("example", ignore_index=True)


def describe(index: pd.DataFrame, rows: np.ndarray) -> str:
    """Where examples come from, in a sentence."""
    chosen = index.iloc[np.unique(rows)]
    places = [
        f"{recording} at {', '.join(f'{onset:g}' for onset in part['onset_s'].iloc[:8])} s"
        for recording, part in chosen.groupby("recording")
    ]
    return "; ".join(places[:8])

"""The sleep study's folds: by subject, or, with one person, by contiguous blocks of each night."""

import numpy as np
from ml_collections import ConfigDict

from eegjax.data import splits
from eegjax.data.dataset import Dataset
from eegjax.data.splits import Fold
from eegjax.errors import UserError, note
from eegjax.studies.sleep.data import EPOCH_S, classes, labels


def folds(config: ConfigDict, dataset: Dataset) -> list[Fold]:
    """One fold with the last subjects tested (demo); every subject once; or, with one person, every block once.

    `config.splits.n_first` keeps only the first of them.

    Raises:
        UserError: a training part lacks a class that is to be drawn as often as the others; other parts are too small.
    """
    found = _folds(config, dataset)
    for fold in found:
        _check_present(config, dataset, fold)
    return found


def _folds(config: ConfigDict, dataset: Dataset) -> list[Fold]:
    split = config.splits
    subjects = sorted(dataset.index["subject"].unique())
    if split.n_test_subjects:
        others = subjects[: -split.n_test_subjects]
        tested = subjects[-split.n_test_subjects :]
        validation = others[max(len(others) - split.n_validation_subjects, 0) :]
        return [splits.split_by_names(dataset.index, "subject", "held-out", tested, validation)]
    if len(subjects) > 1:
        found = splits.split_by_group(dataset.index, "subject", split.n_folds, split.n_validation_subjects)
        return found[: split.n_first or None]
    guard = max(2 * config.data.context_epochs + 1, 2)  # windows of two sides never overlap, nor do their frames
    note(
        f"one subject ({subjects[0]}): folds are {split.n_blocks} contiguous blocks of each night, {guard} epochs "
        "around the tested one left out; this measures the same person, not a new one"
    )
    return splits.split_by_block(dataset.index, split.n_blocks, guard * EPOCH_S)[: split.n_first or None]


def _check_present(config: ConfigDict, dataset: Dataset, fold: Fold) -> None:
    counts = np.bincount(labels(config, dataset.index)[fold.train], minlength=len(classes(config)))
    absent = [name for name, count in zip(classes(config), counts, strict=True) if not count]
    if absent and config.train.balance != "none":
        raise UserError(
            f"fold {fold.name}: no training epoch of stage {', '.join(absent)}, so config.train.balance="
            f"'{config.train.balance}' can't draw it; choose 'none' (with class_weights) or config.data.n_classes=5"
        )
    if absent:
        note(f"fold {fold.name}: no training epoch of stage {', '.join(absent)}: it can't be learnt in this fold")

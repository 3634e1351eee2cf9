"""Folds over the index table, each with its proof that nothing is on both sides."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from eegjax.errors import UserError
from eegjax.files import write_json


class Fold(NamedTuple):
    """One split of a dataset's examples.

    train, validation, test: [n] int64 rows of the index, disjoint.
    group: [n_examples] str, what each row of the index belongs to (its subject, say); none may stand on two sides.
    leak: empty, or the paper's quirk for which the groups do stand on two sides.
    task: which of several tasks it is of; empty where a study has one.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    group: np.ndarray
    leak: str = ""
    task: str = ""


def check_folds(folds: Sequence[Fold]) -> None:
    """Assert that every fold is closed: no example and, unless `leak` says so, no group on two sides.

    Raises:
        UserError: a fold has an example on two sides, or, unless its `leak` says so, a group; or it has
            nothing to train on or to test.
    """
    for fold in folds:
        sides = {"train": fold.train, "validation": fold.validation, "test": fold.test}
        for side in ("train", "test"):
            if not len(sides[side]):
                raise UserError(
                    f"fold {fold.name}: its {side} part is empty; the data set has {len(fold.group)} examples in "
                    f"{len(np.unique(fold.group))} group(s): fewer folds, or more recordings"
                )
        for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
            shared = set(sides[first]) & set(sides[second])
            if not (shared or fold.leak):
                shared = set(fold.group[sides[first]]) & set(fold.group[sides[second]])
            if shared:
                raise UserError(
                    f"fold {fold.name} leaks: {sorted(map(str, shared))[:3]} is in {first} and in {second}; "
                    "an example or a group (subject, block) may be on one side only"
                )


def split_by_group(index: pd.DataFrame, group: str, n_folds: int, n_validation: int = 0) -> list[Fold]:
    """Every group tested once: leave-one-group-out, or `n_folds` sets of groups of about equal size.

    Args:
        index: the index table.
        group: its column, such as `subject`.
        n_folds: at most the number of groups; 0 means one fold per group.
        n_validation: groups taken from the training part for validation: those before the tested ones in order, the
            last ones for the first (the sleep paper tests subject 1 and validates on 19 and 20).
    """
    from sklearn.model_selection import GroupKFold

    names = sorted(index[group].unique())
    n_folds = n_folds or len(names)
    if not 2 <= n_folds <= len(names):
        raise UserError(f"{n_folds} folds over {len(names)} {group}(s): choose 2 to {len(names)}, or 0 for one each")
    groups = index[group].to_numpy()
    folds = []
    for number, (_, test) in enumerate(GroupKFold(n_folds).split(groups, groups=groups)):
        tested = sorted(set(groups[test]))
        before = [names[names.index(tested[0]) - k] for k in range(1, len(names))]
        validation = [name for name in before if name not in tested][:n_validation]
        name = f"{group}-{tested[0]}" if len(tested) == 1 else f"{group}s-{number}"
        folds.append(split_by_names(index, group, name, tested, validation))
    return sorted(folds, key=lambda fold: fold.name)


def split_by_names(
    index: pd.DataFrame, group: str, name: str, tested: Sequence[str], validation: Sequence[str] = ()
) -> Fold:
    """One fold whose tested and validation groups are given by name; the others train."""
    missing = set(tested) | set(validation)
    missing -= set(index[group])
    if missing:
        raise UserError(f"no {group} {sorted(missing)} in the data set; there are {sorted(index[group].unique())}")
    test = index[group].isin(tested).to_numpy()
    held = index[group].isin(validation).to_numpy()
    return Fold(
        name, np.flatnonzero(~test & ~held), np.flatnonzero(held), np.flatnonzero(test), index[group].to_numpy(str)
    )


def split_by_block(index: pd.DataFrame, n_blocks: int, guard_s: float) -> list[Fold]:
    """Every contiguous stretch of a recording tested once, a guard around it left out of training.

    For recordings of one person. Neighbouring epochs resemble each other, so the guard only bounds the leak.

    Args:
        index: with columns `recording`, `onset_s`.
        n_blocks: stretches per recording, of equal numbers of examples.
        guard_s: onsets of training and test examples of a recording lie further apart than this.
    """
    onset = index["onset_s"].to_numpy()
    recording = index["recording"].to_numpy()
    stretches: dict[str, np.ndarray] = {}
    for name in np.unique(recording):
        rows = np.flatnonzero(recording == name)
        if len(rows) < n_blocks:
            raise UserError(f"recording {name} has {len(rows)} examples: too few for {n_blocks} blocks")
        rows = rows[np.argsort(onset[rows], kind="stable")]
        stretches |= {f"{name}-{number:02d}": part for number, part in enumerate(np.array_split(rows, n_blocks))}
    group = np.empty(len(index), object)
    for block, rows in stretches.items():
        group[rows] = block
    folds = []
    for block, test in stretches.items():
        near = (onset >= onset[test[0]] - guard_s) & (onset <= onset[test[-1]] + guard_s)
        train = np.flatnonzero(~(near & (recording == recording[test[0]])))
        folds.append(Fold(f"block-{block}", train, np.array([], np.int64), np.sort(test), group.astype(str)))
    return folds


def save_folds(path: Path, folds: Sequence[Fold]) -> None:
    """Write the folds with the run: rows, groups, leak and task of each."""
    rows = []
    for fold in folds:
        row: dict[str, object] = {"name": fold.name, "leak": fold.leak}
        row |= {"task": fold.task} if fold.task else {}
        for side in ("train", "validation", "test"):
            examples = getattr(fold, side)
            row[side] = examples.tolist()
            row[f"{side}_groups"] = sorted(set(fold.group[examples].tolist()))
        rows.append(row)
    write_json(path, rows)


def choose_evenly(rows: np.ndarray, n: int) -> np.ndarray:
    """Choose at most n of some rows, evenly spread over them, in their order: [m, ...] -> [up to n, ...], any dtype.

    The ends are among them.
    """
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(n, len(rows))).round().astype(int))]

"""The motor-imagery study's folds: by session, subject, run, at random within a session, or pooled as published.

A fold's task is one of `TASKS`, and its name begins with it. `four` is all classes; the binary tasks hold the trials of
two classes only.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.splits import Fold
from eegjax.errors import UserError, check_choice

TASKS = {"four": (0, 1, 2, 3), "left_right": (0, 1), "fists_feet": (2, 3)}
RUN_PAIRS = ((4, 6), (8, 10), (12, 14))  # of EEGMMIDB: one run of each pair of classes
POOLED_TEST_SHARE = 443 / 2558  # of the course release


def folds(config: ConfigDict, dataset: Dataset) -> list[Fold]:
    """The folds of `config.splits.kind`.

    official: every subject trains on session T and is tested on session E.
    loso: every subject is tested, trained on the others.
    within: every subject and session by itself, `config.splits.n_folds` folds with all classes in each.
    run: every subject by itself, runs tested in turn; in EEGMMIDB, where a run has two classes, pairs of runs, and the
        binary tasks run by run beside them.
    pooled: the motor-imagery paper's: trials of all subjects at random, of session T alone where there are T and E (of
        the course release its own parts).

    Raises:
        UserError: no such kind, one that the data set can't give, or a class that a fold lacks.
    """
    kind = config.splits.kind
    check_choice("config.splits.kind", kind, KINDS)
    if kind == "pooled" and config.protocol != "paper":
        raise UserError(
            "config.splits.kind is 'pooled', which has trials of one run on both sides: it is the published split, for "
            "the paper's protocol alone; choose official, loso, within or run"
        )
    found = list(KINDS[kind](config, dataset.index))[: config.splits.n_first or None]
    for fold in found:
        check_present(dataset.index, fold)
    return found


def check_present(index: pd.DataFrame, fold: Fold) -> None:
    """Every class of the fold's task must be in its training and its test part."""
    labels = index["label"].to_numpy()
    for side in ("train", "test"):
        absent = set(TASKS[fold.task]) - set(labels[getattr(fold, side)].tolist())
        if absent:
            raise UserError(
                f"fold {fold.name}: its {side} part has no trial of class number {sorted(absent)}; choose another "
                "config.splits.kind or fewer folds (config.splits.n_folds), or leave subjects out (config.data.exclude)"
            )


def _official(config: ConfigDict, index: pd.DataFrame) -> Iterator[Fold]:
    sessions = set(index["session"])
    if not {"T", "E"} <= sessions:
        raise UserError(
            f"config.splits.kind is 'official', which needs the sessions T and E; the data has {sorted(sessions)}: "
            "choose config.splits.kind=within, run or loso"
        )
    group = (index["subject"] + index["session"]).to_numpy(str)
    for subject in sorted(index["subject"].unique()):
        own = (index["subject"] == subject).to_numpy()
        train, test = (np.flatnonzero(own & (index["session"] == session).to_numpy()) for session in ("T", "E"))
        if not len(train) or not len(test):
            raise UserError(f"subject {subject} has no session {'E' if len(train) else 'T'}; leave it out by "
                            f"config.data.exclude=('{subject}',)")  # fmt: skip
        yield Fold(f"four {subject} T-E", train, NONE, test, group, task="four")


def _loso(config: ConfigDict, index: pd.DataFrame) -> Iterator[Fold]:
    subjects = sorted(index["subject"].unique())
    if len(subjects) < 2:
        raise UserError(f"config.splits.kind is 'loso', but there is one subject ({subjects[0]}): choose run or within")
    for task, rows in _tasks(config, index):
        for subject in subjects:
            tested = (index["subject"] == subject).to_numpy()
            group = index["subject"].to_numpy(str)
            train, test = (np.flatnonzero(rows & side) for side in (~tested, tested))
            yield Fold(f"{task} loso {subject}", train, NONE, test, group, task=task)


def _within(config: ConfigDict, index: pd.DataFrame) -> Iterator[Fold]:
    from sklearn.model_selection import StratifiedKFold

    if config.data.dataset == "eegmmidb":
        raise UserError(
            "config.splits.kind is 'within', but a run of eegmmidb holds two classes only: with a run on both sides "
            "whatever tells the run tells half the label; choose run or loso"
        )
    group = index["example"].astype(str).to_numpy(str)
    splitter = StratifiedKFold(_n_folds(config), shuffle=True, random_state=config.seed)
    for (subject, session), own in index.groupby(["subject", "session"], sort=True):
        rows = own["example"].to_numpy()
        smallest = own["label"].value_counts().min()
        if smallest < splitter.n_splits:
            raise UserError(
                f"{subject}, session {session}: {smallest} trials of its rarest class, too few for {splitter.n_splits} "
                "folds; lower config.splits.n_folds"
            )
        for number, (train, test) in enumerate(splitter.split(rows, own["label"])):
            yield Fold(f"four {subject}{session} fold {number}", rows[train], NONE, rows[test], group, task="four")


def _run(config: ConfigDict, index: pd.DataFrame) -> Iterator[Fold]:
    paired = config.data.dataset == "eegmmidb"
    if (index["run"] == "").any():
        raise UserError(
            "config.splits.kind is 'run', but the course release doesn't tell a trial's run: choose within or loso"
        )
    group = (index["subject"] + "R" + index["session"] + index["run"]).to_numpy(str)
    for task, rows in _tasks(config, index):
        for (subject, session), own in index[rows].groupby(["subject", "session"], sort=True):
            runs = sorted(own["run"].unique(), key=int)
            tested = [set(map(str, pair)) for pair in RUN_PAIRS] if paired and task == "four" else [{r} for r in runs]
            tested = [some for some in tested if some & set(runs)]
            if len(tested) < 2:
                raise UserError(
                    f"{subject}, session {session}: nothing to train on beside run {', '.join(runs)}, which is tested; "
                    "add the subject's other runs, or leave the subject out (config.data.exclude)"
                )
            for some in tested:
                test = own["run"].isin(some).to_numpy()
                name = "+".join(sorted(some, key=int))
                where = f"{subject}{'' if paired else session} run{'s' if len(some) > 1 else ''} {name}"
                example = own["example"].to_numpy()
                yield Fold(f"{task} {where}", example[~test], NONE, example[test], group, task=task)


def _pooled(config: ConfigDict, index: pd.DataFrame) -> Iterator[Fold]:
    """Five folds over the training trials for validation, one test part for all."""
    from sklearn.model_selection import KFold, train_test_split

    n_folds = _n_folds(config)
    session = index["session"].to_numpy(str)
    released = set(session) == {"train_valid", "test"}
    first = "train_valid" if released else "T" if {"T", "E"} <= set(session) else ""
    rows = np.flatnonzero((session == first) | (first == ""))
    if len(rows) < 2 * n_folds:
        raise UserError(
            f"{len(rows)} trials are too few for {n_folds} folds and a test part; lower config.splits.n_folds"
        )
    if released:
        others = rows
        test = np.flatnonzero(session == "test")
    else:
        others, test = train_test_split(rows, test_size=POOLED_TEST_SHARE, random_state=config.seed)
    leak = "trials of the same subjects and runs on all sides, at random, as published"
    group = index["subject"].to_numpy(str)
    splitter = KFold(n_folds, shuffle=True, random_state=config.seed)
    for number, (train, validation) in enumerate(splitter.split(others)):
        name = f"four pooled {number}"
        yield Fold(name, np.sort(others[train]), np.sort(others[validation]), np.sort(test), group, leak, "four")


def _n_folds(config: ConfigDict) -> int:
    if config.splits.n_folds == 1:
        raise UserError("config.splits.n_folds is 1, which leaves nothing to train on; choose 2 or more, or 0 for five")
    return config.splits.n_folds or 5


def _tasks(config: ConfigDict, index: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """The tasks of a data set, and where their trials are."""
    names = TASKS if config.data.dataset == "eegmmidb" else ("four",)
    for task in names:
        yield task, index["label"].isin(TASKS[task]).to_numpy()


NONE = np.array([], np.int64)
KINDS: dict[str, Callable[[ConfigDict, pd.DataFrame], Iterator[Fold]]] = {
    "official": _official,
    "loso": _loso,
    "within": _within,
    "run": _run,
    "pooled": _pooled,
}

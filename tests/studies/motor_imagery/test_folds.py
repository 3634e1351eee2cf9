"""Folds of made-up trials, and of the real ones: who is tested when, and that no run or subject is on both sides."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from eegjax import cli
from eegjax.data import splits
from eegjax.data.dataset import Dataset
from eegjax.data.eegmmidb.reader import RUNS
from eegjax.data.splits import Fold
from eegjax.errors import UserError
from eegjax.studies.motor_imagery.data import prepare
from eegjax.studies.motor_imagery.folds import TASKS, folds

ROOT = Path(__file__).parents[3]
PAIRS = ({"4", "6"}, {"8", "10"}, {"12", "14"})
PARTS = {"train_valid": 2115, "test": 443}  # trials of the course release


def configure(argument: str, **fields: object) -> ConfigDict:
    """The study's configuration; `a__b` stands for `a.b`."""
    config = cli.configure(f"{ROOT}/configs/motor_imagery.py:{argument}", ["main.py"])
    with config.unlocked():
        config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return config


def made_up(rows: Sequence[tuple[str, str, str, int]]) -> Dataset:
    """A dataset in memory of trials (subject, session, run, label), without signals."""
    index = pd.DataFrame(rows, columns=["subject", "session", "run", "label"]).astype({"label": np.int8})
    index.insert(0, "example", np.arange(len(index)))
    return Dataset(Path(), index, {}, {})


def bci(n_subjects: int, n_runs: int, n_each: int, seed: int = 0, sessions: str = "TE") -> Dataset:
    """Runs of all four classes, `n_each` of each, in any order."""
    rng = np.random.default_rng(seed)
    return made_up([
        (f"A{subject:02d}", session, str(run), label)
        for subject in range(1, n_subjects + 1)
        for session in sessions
        for run in range(2, n_runs + 2)  # the first has no trials
        for label in rng.permutation(np.repeat(range(4), n_each)).tolist()
    ])  # fmt: skip


def eegmmidb(n_subjects: int, n_each: int, seed: int = 0, runs: Sequence[int] = tuple(RUNS)) -> Dataset:
    """Runs of one pair of classes."""
    rng = np.random.default_rng(seed)
    return made_up([
        (f"S{subject:03d}", "1", str(run), label)
        for subject in range(1, n_subjects + 1)
        for run in runs
        for label in rng.permutation(np.repeat(RUNS[run], n_each)).tolist()
    ])  # fmt: skip


def release() -> Dataset:
    """As many trials as the course release has, without the names of runs."""
    return made_up([
        (f"A{1 + row % 9:02d}", part, "", row // 9 % 4) for part, count in PARTS.items() for row in range(count)
    ])  # fmt: skip


def where(dataset: Dataset, **wanted: object) -> set[int]:
    """The rows of a subject, a session, some runs, some labels."""
    found = np.ones(len(dataset.index), bool)
    for column, value in wanted.items():
        values = value if isinstance(value, set | tuple) else {value}
        found &= np.array([one in values for one in dataset.index[column].tolist()])
    return set(np.flatnonzero(found).tolist())


def sides(fold: Fold) -> tuple[set[int], set[int]]:
    """Train and test, each row once and nothing beside them."""
    assert len(set(fold.train.tolist())) == len(fold.train)
    assert len(set(fold.test.tolist())) == len(fold.test)
    assert not len(fold.validation)
    return set(fold.train.tolist()), set(fold.test.tolist())


def task_of(fold: Fold) -> str:
    return fold.name.split()[0]


def closed(config: ConfigDict, dataset: Dataset) -> list[Fold]:
    """The folds, each closed by its own group, no name twice, and the same when asked again."""
    found = folds(config, dataset)
    splits.check_folds(found)
    assert len({fold.name for fold in found}) == len(found)
    for fold, again in zip(found, folds(config, dataset), strict=True):
        assert fold.name == again.name
        for side in ("train", "validation", "test"):
            assert getattr(fold, side).tolist() == getattr(again, side).tolist()
    return found


sizes = given(n_subjects=st.integers(2, 4), n_each=st.integers(2, 4), seed=st.integers(0, 1000))
few = settings(max_examples=10)


# ---- what each kind tests


@few
@sizes
def test_official_trains_on_t_and_tests_on_e(n_subjects: int, n_each: int, seed: int) -> None:
    dataset = bci(n_subjects, 2, n_each, seed)
    found = closed(configure("standard"), dataset)
    subjects = sorted(dataset.index["subject"].unique())
    assert [fold.name for fold in found] == [f"four {subject} T-E" for subject in subjects]
    for fold, subject in zip(found, subjects, strict=True):
        assert sides(fold) == tuple(where(dataset, subject=subject, session=session) for session in "TE")


@few
@sizes
def test_leave_one_subject_out_has_each_subject_on_one_side(n_subjects: int, n_each: int, seed: int) -> None:
    for argument, dataset in (
        ("standard,splits=loso", bci(n_subjects, 2, n_each, seed)),
        ("standard,dataset=eegmmidb,splits=loso", eegmmidb(n_subjects, n_each, seed)),
    ):
        found, subjects = closed(configure(argument), dataset), sorted(dataset.index["subject"].unique())
        tasks = ["four"] if "eegmmidb" not in argument else list(TASKS)
        assert [fold.name for fold in found] == [f"{task} loso {subject}" for task in tasks for subject in subjects]
        for fold in found:
            of_task, subject = where(dataset, label=TASKS[task_of(fold)]), fold.name.split()[-1]
            own = where(dataset, subject=subject)
            assert sides(fold) == (of_task - own, of_task & own)


@few
@sizes
def test_within_a_session_every_trial_is_tested_once_and_all_classes_are_everywhere(
    n_subjects: int, n_each: int, seed: int
) -> None:
    dataset, n_folds = bci(n_subjects, 2, n_each, seed), 3
    found = closed(configure("standard,splits=within", splits__n_folds=n_folds), dataset)
    label = dataset.index["label"].to_numpy()
    for subject in dataset.index["subject"].unique():
        for session in "ET":
            own, tested = where(dataset, subject=subject, session=session), []
            for fold in found[:n_folds]:
                assert fold.name.startswith(f"four {subject}{session} fold ")
                train, test = sides(fold)
                assert train | test == own
                assert not train & test
                assert set(label[fold.train]) == set(label[fold.test]) == set(range(4))
                tested += sorted(test)
            assert sorted(tested) == sorted(own)
            found = found[n_folds:]
    assert not found


@few
@sizes
def test_runs_of_bci_iv_2a_are_tested_in_turn(n_subjects: int, n_each: int, seed: int) -> None:
    dataset = bci(n_subjects, 3, n_each, seed)
    found = iter(closed(configure("standard,splits=run"), dataset))
    for subject in sorted(dataset.index["subject"].unique()):
        for session in "ET":
            own = where(dataset, subject=subject, session=session)
            for run in ("2", "3", "4"):
                fold, test = next(found), where(dataset, subject=subject, session=session, run=run)
                assert fold.name == f"four {subject}{session} run {run}"
                assert sides(fold) == (own - test, test)
    assert next(found, None) is None


def check_runs_of_eegmmidb(dataset: Dataset, found: Sequence[Fold]) -> None:
    """Pairs of runs for four classes, single runs for two; a trial tested once in each task that it is in."""
    index, tested = dataset.index, dict.fromkeys(TASKS, 0)
    for fold in found:
        (subject,) = set(index["subject"].iloc[fold.test])
        of_task = where(dataset, subject=subject, label=TASKS[task_of(fold)])
        runs = set(index["run"].iloc[fold.test])
        test = where(dataset, subject=subject, run=runs) & of_task
        assert sides(fold) == (of_task - test, test)
        assert runs in PAIRS if task_of(fold) == "four" else len(runs) == 1
        assert not runs & set(index["run"].iloc[fold.train])
        assert fold.name.split()[1:] == [
            subject, "runs" if len(runs) == 2 else "run", "+".join(sorted(runs, key=int))
        ]  # fmt: skip
        tested[task_of(fold)] += len(test)
    assert tested == {task: len(where(dataset, label=labels)) for task, labels in TASKS.items()}


@few
@sizes
def test_runs_of_eegmmidb_are_tested_in_pairs_and_by_themselves(n_subjects: int, n_each: int, seed: int) -> None:
    dataset = eegmmidb(n_subjects, n_each, seed)
    found = closed(configure("standard,dataset=eegmmidb"), dataset)
    assert len(found) == 9 * n_subjects
    check_runs_of_eegmmidb(dataset, found)
    for task, labels in TASKS.items():
        for fold in found:
            if task_of(fold) == task:
                assert set(dataset.index["label"].iloc[fold.train]) == set(labels)
                assert set(dataset.index["label"].iloc[fold.test]) == set(labels)


# ---- the published split


@pytest.mark.parametrize("n_folds", [0, 5, 3])
@pytest.mark.parametrize("dataset", [release(), bci(9, 6, 12), eegmmidb(4, 7)], ids=["release", "bci", "eegmmidb"])
def test_pooled_has_one_test_part_and_says_its_leak(dataset: Dataset, n_folds: int) -> None:
    found, index = closed(configure("paper", splits__n_folds=n_folds), dataset), dataset.index
    pool = where(dataset, session=("T", "1", *PARTS))  # of two sessions the first, as published
    test = found[0].test.tolist()
    if "test" in set(index["session"]):
        assert set(test) == where(dataset, session="test")
        assert (len(pool) - len(test), len(test)) == (2115, 443)
    else:
        assert len(test) == pytest.approx(len(pool) * 443 / 2558, abs=1)
        assert index["subject"].iloc[test].nunique() == index["subject"].nunique()
    validated = []
    for number, fold in enumerate(found):
        assert fold.name == f"four pooled {number}"
        assert "published" in fold.leak
        assert fold.test.tolist() == test
        parts = [set(part.tolist()) for part in (fold.train, fold.validation, fold.test)]
        assert set.union(*parts) == pool
        assert sum(map(len, parts)) == len(pool)
        validated += fold.validation.tolist()
    assert len(found) == (n_folds or 5)
    assert set(validated) == pool - set(test)
    assert len(validated) == len(pool) - len(test)


def test_pooled_cuts_2558_trials_as_the_release_does() -> None:
    rows = [(f"A{1 + row % 9:02d}", "T", "2", row // 9 % 4) for row in range(2558)]
    for fold in folds(configure("paper"), made_up(rows)):
        assert (len(fold.train), len(fold.validation), len(fold.test)) == (1692, 423, 443)


@pytest.mark.parametrize("protocol", ["demo", "standard"])
def test_pooled_is_for_the_papers_protocol_alone(protocol: str) -> None:
    with pytest.raises(UserError, match=r"'pooled', which has trials of one run on both sides.*choose official, loso"):
        folds(configure(f"{protocol},splits=pooled"), bci(2, 2, 4))


def test_only_pooled_says_a_leak() -> None:
    for argument, dataset in (
        ("standard", bci(2, 2, 4)),
        ("standard,splits=loso", bci(2, 2, 4)),
        ("standard,splits=within", bci(2, 2, 4)),
        ("standard,splits=run", bci(2, 2, 4)),
        ("paper,splits=within", bci(2, 2, 4)),
        ("standard,dataset=eegmmidb", eegmmidb(2, 4)),
        ("standard,dataset=eegmmidb,splits=loso", eegmmidb(2, 4)),
    ):
        assert not any(fold.leak for fold in folds(configure(argument), dataset))


# ---- settings


@pytest.mark.parametrize("argument", ["standard", "standard,splits=within", "standard,splits=run", "paper"])
def test_the_first_folds_alone(argument: str) -> None:
    dataset = bci(3, 2, 5)
    every = folds(configure(argument), dataset)
    first = folds(configure(argument, splits__n_first=2), dataset)
    assert [fold.name for fold in first] == [fold.name for fold in every[:2]]
    for one, other in zip(first, every, strict=False):
        assert one.test.tolist() == other.test.tolist()
        assert one.train.tolist() == other.train.tolist()


@pytest.mark.parametrize("argument", ["standard,splits=within", "paper"])
def test_chance_comes_from_the_seed(argument: str) -> None:
    one, other = (folds(configure(argument, seed=seed), bci(2, 2, 8))[0].test.tolist() for seed in (0, 1))
    assert one != other


# ---- what can't be


def without(dataset: Dataset, **out: object) -> Dataset:
    """The dataset less some trials, numbered anew."""
    index = dataset.index.drop(index=sorted(where(dataset, **out))).reset_index(drop=True)
    return Dataset(Path(), index.assign(example=np.arange(len(index))), {}, {})


@pytest.mark.parametrize(
    ("argument", "dataset", "said"),
    [
        ("standard", without(bci(2, 2, 3), subject="A02", session="E", label=3), r"A02 T-E: its test part .*\[3\]"),
        ("standard", without(bci(2, 2, 3), subject="A01", session="T", label=(0, 2)), r"A01 T-E: its train .*\[0, 2\]"),
        ("standard,splits=loso", without(bci(3, 2, 3), subject="A02", label=1), r"loso A02: its test part .*\[1\]"),
        ("standard,splits=loso", without(bci(2, 2, 3), subject="A02", label=1), r"loso A01: its train part .*\[1\]"),
        ("standard,splits=run", without(bci(2, 2, 3), subject="A01", session="T", run="3", label=0),
         r"A01T run 2: its train part .*\[0\]"),
        ("standard,splits=within", without(bci(2, 2, 5), subject="A01", label=2), r"A01E fold 0: its train .*\[2\]"),
        ("standard,dataset=eegmmidb", without(eegmmidb(2, 3), subject="S001", run="6"),
         r"four S001 runs 4\+6: its test part .*\[2, 3\]"),
        ("standard,dataset=eegmmidb", without(eegmmidb(2, 3), run="8", label=1),
         r"four S001 runs 8\+10: its test part .*\[1\]"),
        ("paper", without(bci(2, 2, 9), label=2), r"pooled 0: its train part .*\[2\]"),
    ],
)  # fmt: skip
def test_a_class_that_a_fold_lacks_is_one_clear_error(argument: str, dataset: Dataset, said: str) -> None:
    with pytest.raises(UserError, match=rf"^fold .*{said}; choose another config\.splits\.kind or fewer folds"):
        folds(configure(argument), dataset)


@few
@given(st.lists(st.integers(0, 31), unique=True, max_size=20), st.sampled_from(["official", "loso", "run", "within"]))
def test_folds_hold_all_classes_or_are_an_error(out: list[int], kind: str) -> None:
    """Whichever trials were dropped."""
    whole = bci(2, 2, 1)
    dataset = without(whole, example=set(out))
    try:
        found = folds(configure("standard", splits__kind=kind, splits__n_folds=2), dataset)
    except UserError:
        return
    splits.check_folds(found)
    for fold in found:
        for rows in (fold.train, fold.test):
            assert set(dataset.index["label"].iloc[rows]) == set(range(4))


@pytest.mark.parametrize(
    ("argument", "fields", "dataset", "said"),
    [
        ("standard", {"splits__kind": "lso"}, bci(2, 2, 3), r"kind is 'lso'; there are official.*Did you mean 'loso'"),
        ("standard", {}, bci(2, 2, 3, sessions="T"), r"needs the sessions T and E; the data has \['T'\]"),
        ("standard", {}, release(), r"needs the sessions T and E; the data has \['test', 'train_valid'\]"),
        ("standard", {}, without(bci(3, 2, 3), subject="A02", session="E"),
         r"subject A02 has no session E; leave it out by config\.data\.exclude=\('A02',\)"),
        ("standard", {}, without(bci(3, 2, 3), subject="A03", session="T"), "subject A03 has no session T"),
        ("standard,splits=loso", {}, bci(1, 2, 3), r"there is one subject \(A01\)"),
        ("standard,splits=within", {}, bci(2, 1, 4), r"A01, session E: 4 trials of its rarest class, too few for 5"),
        ("standard,splits=within", {"splits__n_folds": 1}, bci(2, 2, 4), r"n_folds is 1, which leaves nothing to"),
        ("paper", {"splits__n_folds": 1}, bci(2, 2, 4), r"n_folds is 1, which leaves nothing to train"),
        ("paper", {"splits__n_folds": 40}, bci(2, 2, 4), r"64 trials are too few for 40 folds"),
        ("standard,splits=run", {}, bci(2, 1, 4), r"A01, session E: nothing to train on beside run 2"),
        ("standard,splits=run", {}, release(), r"the course release doesn't tell a trial's run"),
        ("standard,dataset=eegmmidb", {}, eegmmidb(2, 3, runs=(4, 6)), r"S001, session 1: .* beside run 4, 6"),
        ("standard,dataset=eegmmidb,splits=within", {}, eegmmidb(2, 5), "a run of eegmmidb holds two classes only"),
    ],
)  # fmt: skip
def test_what_the_data_cannot_give_is_one_clear_error(argument: str, fields: dict, dataset: Dataset, said: str) -> None:
    with pytest.raises(UserError, match=said):
        folds(configure(argument, **fields), dataset)


# ---- the real ones


def test_the_real_runs_are_on_one_side_each(data_root: Path, tmp_path: Path) -> None:
    """Three subjects of 90 trials: three pairs of runs, and three runs of each binary task."""
    root = str(data_root / "motor_imagery" / "eegmmidb")
    config = configure("standard,dataset=eegmmidb", data__root=root, data__sfreq=160.0, run__root=str(tmp_path))
    dataset = prepare(config)
    assert len(dataset.index) == 270
    assert dataset.card["dropped"] == {"artifact": 0, "nan": 0, "cut": 0}
    counts = dataset.index.groupby("subject")["label"].value_counts().unstack()
    assert counts.to_numpy().tolist() == [[23, 22, 21, 24], [23, 22, 24, 21], [23, 22, 21, 24]]
    found = closed(config, dataset)
    assert len(found) == 27
    check_runs_of_eegmmidb(dataset, found)
    index = dataset.index
    for fold in found:
        assert not set(index["recording"].iloc[fold.train]) & set(index["recording"].iloc[fold.test])

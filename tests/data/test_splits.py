"""Folds: complete, closed, and refused when they leak."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegjax.data import splits
from eegjax.data.splits import Fold, check_folds, split_by_block, split_by_group, split_by_names
from eegjax.errors import UserError

QUICK = settings(max_examples=50)


@st.composite
def indices(draw: st.DrawFn) -> pd.DataFrame:
    """An index of 2 to 9 subjects with 1 to 6 examples each, its rows in any order."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=9))
    subject = np.repeat([f"s{number:02d}" for number in range(len(sizes))], sizes)
    return pd.DataFrame({"subject": draw(st.permutations(list(subject)))})


@QUICK
@given(indices(), st.data())
def test_every_group_is_tested_once_and_stands_on_one_side(index, data):
    names = sorted(set(index["subject"]))
    n_folds = data.draw(st.integers(2, len(names)).map(lambda n: n % len(names)))
    n_validation = data.draw(st.integers(0, 5))
    folds = split_by_group(index, "subject", n_folds, n_validation)
    assert len(folds) == len({fold.name for fold in folds}) == (n_folds or len(names))
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(index)))
    sides = [[set(index["subject"].iloc[side]) for side in (f.train, f.validation, f.test)] for f in folds]
    assert sorted(name for _, _, test in sides for name in test) == names
    for fold, (train, validation, test) in zip(folds, sides, strict=True):
        together = np.concatenate([fold.train, fold.validation, fold.test])
        assert sorted(together) == list(range(len(index)))
        assert len(train) + len(validation) + len(test) == len(train | validation | test) == len(names)
        assert len(validation) == min(n_validation, len(names) - len(test))
        assert np.array_equal(fold.group, index["subject"])
    if all(train for train, _, _ in sides):
        check_folds(folds)


def test_groups_of_equal_size_make_folds_of_equal_size_named_by_what_they_test():
    index = pd.DataFrame({"subject": np.repeat(list("abcdef"), 4)})
    assert [len(fold.test) for fold in split_by_group(index, "subject", 3)] == [8, 8, 8]
    folds = split_by_group(index, "subject", 0, n_validation=2)
    assert [fold.name for fold in folds] == [f"subject-{name}" for name in "abcdef"]
    validated = ["".join(sorted(set(index["subject"].iloc[fold.validation]))) for fold in folds]
    assert validated == ["ef", "af", "ab", "bc", "cd", "de"]  # those before the tested one, the last before the first


@pytest.mark.parametrize("n_folds", [1, 4, -1])
def test_more_folds_than_groups_or_a_single_one_are_an_error(n_folds):
    index = pd.DataFrame({"subject": list("aabbc")})
    with pytest.raises(UserError, match=rf"^{n_folds} folds over 3 subject\(s\): choose 2 to 3, or 0"):
        split_by_group(index, "subject", n_folds)


def test_by_names_takes_the_named_groups():
    index = pd.DataFrame({"subject": list("abcabcd")})
    fold = split_by_names(index, "subject", "held-out", ["b"], ["d", "a"])
    assert fold.name == "held-out"
    assert [side.tolist() for side in (fold.train, fold.validation, fold.test)] == [[2, 5], [0, 3, 6], [1, 4]]
    for tested, validation in ((["b", "x"], []), (["b"], ["x"])):
        with pytest.raises(UserError, match=r"no subject \['x'\] in the data set; there are \['a', 'b', 'c', 'd'\]"):
            split_by_names(index, "subject", "held-out", tested, validation)


@QUICK
@given(st.data())
def test_every_block_is_tested_once_with_its_guard(data):
    n_blocks = data.draw(st.integers(1, 4))
    guard_s = 30 * data.draw(st.integers(0, 5))
    recordings = data.draw(
        st.lists(st.sets(st.integers(0, 30), min_size=n_blocks, max_size=15), min_size=1, max_size=3)
    )
    rows = [(f"r{number}", 30.0 * k) for number, epochs in enumerate(recordings) for k in epochs]
    index = pd.DataFrame(data.draw(st.permutations(rows)), columns=["recording", "onset_s"])
    folds = split_by_block(index, n_blocks, guard_s)
    assert len({fold.name for fold in folds}) == n_blocks * len(recordings)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(index)))
    for fold in folds:
        test = index.iloc[fold.test]
        here = index[index["recording"] == test["recording"].iloc[0]]
        between = here[here["onset_s"].between(test["onset_s"].min(), test["onset_s"].max())]
        assert sorted(between.index) == fold.test.tolist()  # a contiguous stretch of one recording
        assert abs(len(test) - len(here) / n_blocks) < 1
        assert len(fold.validation) == 0
        distance_s = np.abs(here["onset_s"].to_numpy()[:, None] - test["onset_s"].to_numpy()).min(1)
        trains = set(fold.train)
        assert trains == set(index.index) - set(here.index[distance_s <= guard_s])
        assert len(np.unique(fold.group[fold.test])) == 1
        if trains:
            check_folds([fold])


def test_too_short_a_recording_for_its_blocks_is_an_error():
    index = pd.DataFrame({"recording": list("aaab"), "onset_s": [0.0, 30.0, 60.0, 0.0]})
    with pytest.raises(UserError, match="recording b has 1 examples: too few for 2 blocks"):
        split_by_block(index, 2, 0)


def fold(**changes: Any) -> Fold:
    """A closed fold over six examples of three groups."""
    sides = {"train": [0, 1], "validation": [2, 3], "test": [4, 5], **changes}
    sides |= {name: np.array(sides[name], np.int64) for name in ("train", "validation", "test")}
    return Fold(**{"name": "one", "group": np.array(list("aabbcc")), **sides})


@pytest.mark.parametrize("leak", ["", "the paper splits epochs at random"])
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"train": [0, 1, 4]}, r"leaks: \['4'\] is in train and in test"),
        ({"validation": [3, 1]}, r"leaks: \['1'\] is in train and in validation"),
        ({"validation": [5]}, r"leaks: \['5'\] is in validation and in test"),
        ({"train": []}, r"its train part is empty; the data set has 6 examples in 3 group\(s\)"),
        ({"test": []}, "its test part is empty"),
    ],
)
def test_a_shared_example_or_an_empty_side_is_refused_whatever_the_leak(changes, complaint, leak):
    with pytest.raises(UserError, match=f"^fold one:? {complaint}"):
        check_folds([fold(), fold(**changes, leak=leak)])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"test": [5], "train": [0, 1, 4]}, r"\['c'\] is in train and in test"),
        ({"train": [0], "validation": [1]}, r"\['a'\] is in train and in validation"),
        ({"validation": [2, 4], "test": [5]}, r"\['c'\] is in validation and in test"),
    ],
)
def test_a_shared_group_is_refused_unless_the_leak_is_named(changes, complaint):
    check_folds([fold(), fold(validation=[])])
    with pytest.raises(UserError, match=complaint):
        check_folds([fold(**changes)])
    check_folds([fold(**changes, leak="the paper's own split")])


def test_saved_folds_say_everything(tmp_path):
    folds = [fold(), fold(name="two", train=[1], validation=[], leak="a quirk")]
    splits.save_folds(tmp_path / "folds.json", folds)
    rows = json.loads((tmp_path / "folds.json").read_text())
    assert [(row["name"], row["leak"]) for row in rows] == [("one", ""), ("two", "a quirk")]
    for row, one in zip(rows, folds, strict=True):
        for side in ("train", "validation", "test"):
            assert row[side] == getattr(one, side).tolist()
    assert [row["train_groups"] + row["validation_groups"] for row in rows] == [["a", "b"], ["a"]]
    assert rows[0]["test_groups"] == ["c"]


@given(st.integers(0, 60), st.integers(1, 70))
def test_evenly_spread_rows(m, n):
    """As many as asked for or all there are; gaps differ by one at most; the ends are among them."""
    rows = 100 + 7 * np.arange(m)
    chosen = splits.choose_evenly(rows, n)
    assert len(chosen) == min(m, n)
    assert set(chosen) <= set(rows)
    if len(chosen) > 1:
        gaps = np.diff(chosen) // 7
        assert (gaps >= 1).all()
        assert gaps.max() - gaps.min() <= 1
        assert (chosen[0], chosen[-1]) == (rows[0], rows[-1])

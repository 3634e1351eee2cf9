"""Comparisons of models on the same epochs: metrics as scikit-learn has them, differences paired, several seeds."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from eegjax.evaluate.comparison import compare, sign_flip

CLASSES = ("W", "N", "R")
N = 1000


def frame(predicted: np.ndarray, target: np.ndarray, seed: int = 0, n_subjects: int = 1) -> pd.DataFrame:
    """Predictions as a run writes them, out of order and with a validation row that must not count."""
    table = pd.DataFrame(
        {
            "example": np.arange(N),
            "subject": [f"s{k % n_subjects}" for k in range(N)],
            "recording": "night",
            "onset_s": 30.0 * np.arange(N),
            "seed": seed,
            "split": "test",
            "target": target,
        }
    )
    table = table.assign(**{f"p_{name}": (predicted == k).astype(float) for k, name in enumerate(CLASSES)})
    other = table.iloc[:1].assign(split="validation", target=2)
    return pd.concat([table.sample(frac=1, random_state=0), other], ignore_index=True)


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, and two models: a is right wherever b is, and on two in a hundred epochs more."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, N)
    right_b = rng.random(N) < 0.7
    right_a = right_b | (rng.random(N) < 0.07)
    wrong = (target + 1) % 3
    return target, np.where(right_a, target, wrong), np.where(right_b, target, wrong)


def test_metrics_and_paired_difference(answers):
    target, a, b = answers
    numbers = compare({"a": frame(a, target), "b": frame(b, target)}, CLASSES, 30.0, 5)
    assert numbers["kappa"] == pytest.approx(cohen_kappa_score(target, a))
    assert numbers["b_kappa"] == pytest.approx(cohen_kappa_score(target, b))
    assert numbers["difference_to_b"] == pytest.approx((a == target).mean() - (b == target).mean())
    assert 0 < numbers["difference_to_b_low"] < numbers["difference_to_b"] < numbers["difference_to_b_high"]
    assert numbers["difference_to_b_better"] == 1
    assert numbers["b_accuracy_high"] > numbers["accuracy_low"]  # two separate intervals would have hidden it
    assert numbers["interval"].startswith("moving-block bootstrap")


def test_worse_and_equal_are_not_better(answers):
    target, a, b = answers
    numbers = compare({"b": frame(b, target), "a": frame(a, target), "same": frame(b, target)}, CLASSES, 30.0, 5)
    assert numbers["difference_to_a_better"] == -1
    assert numbers["difference_to_same_better"] == 0
    assert numbers["difference_to_same_low"] == numbers["difference_to_same_high"] == 0


def test_seeds_are_averaged_and_enough_subjects_are_drawn_whole(answers):
    target, a, b = answers
    both = pd.concat([frame(a, target, 0, 10), frame(b, target, 1, 10)])
    numbers = compare({"two seeds": both}, CLASSES, 30.0, 5)
    assert numbers["accuracy"] == pytest.approx(((a == target).mean() + (b == target).mean()) / 2)
    assert numbers["interval"].startswith("bootstrap over subjects")


# ---- sign flips


def test_sign_flips_counted_by_hand():
    assert sign_flip(np.array([1.0, 2.0, 3.0])) == 2 / 8  # only +++ and --- reach a sum of 6
    assert sign_flip(np.array([-1.0, 2.0, 3.0])) == 4 / 8  # these, and -++ and its mirror image
    assert sign_flip(np.array([0.1, 0.2, -0.3])) == 1  # nothing is nearer to 0, though .1 + .2 - .3 isn't quite 0
    assert sign_flip(np.array([0.3, 0.1, 0.2, 0.1])) == 2 / 16  # whatever the order of rounding
    assert sign_flip(np.zeros(5)) == 1
    assert sign_flip(np.ones(16)) == 2 / 2**16
    assert sign_flip(np.r_[np.ones(16), np.zeros(500)]) == 2 / 2**16  # zeros have no sign to flip


@settings(max_examples=30)
@given(st.lists(st.integers(-20, 20), min_size=2, max_size=9))
def test_sign_flips_enumerated_are_those_of_scipy(steps):
    differences = np.array(steps) / 100
    expected = scipy.stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(differences) == pytest.approx(expected.pvalue)
    assert sign_flip(-differences[::-1]) == sign_flip(differences)


def test_sign_flips_drawn():
    """Of hits per example the number of flips that favour one model is binomial: McNemar's exact test."""
    hits = np.r_[np.ones(60), -np.ones(38), np.zeros(200)]
    expected = scipy.stats.binomtest(38, 98).pvalue
    assert 0.02 < expected < 0.05
    assert sign_flip(hits) == pytest.approx(expected, abs=4 * np.sqrt(expected / 10_000))
    assert sign_flip(hits) == sign_flip(hits)
    assert sign_flip(hits) != sign_flip(hits, seed=1)
    assert sign_flip(np.ones(200)) == 1 / 10_001  # never 0


def test_sign_flips_refuse_missing_differences():
    with pytest.raises(ValueError, match="should be finite"):
        sign_flip(np.array([0.1, np.nan]))

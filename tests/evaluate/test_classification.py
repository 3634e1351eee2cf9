"""The metrics against scikit-learn; tests/studies/test_sleep_paper.py has them against published tables."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from eegjax.evaluate.classification import (
    balanced_one_vs_all,
    confusion_matrix,
    log_loss,
    mean_of_defined,
    per_class,
    summarise,
)


@settings(max_examples=60)
@given(st.data())
def test_matches_sklearn(data):
    n_classes = data.draw(st.integers(2, 6))
    codes = st.integers(0, n_classes - 1)
    pairs = data.draw(st.lists(st.tuples(codes, codes), min_size=1, max_size=30))
    target, predicted = np.array(pairs).T
    every = np.arange(n_classes)
    confusion = confusion_matrix(target, predicted, n_classes)
    assert confusion.dtype == np.int64
    assert np.array_equal(confusion, metrics.confusion_matrix(target, predicted, labels=every))

    numbers = summarise(confusion)
    assert numbers["accuracy"] == pytest.approx(metrics.accuracy_score(target, predicted))
    assert numbers["macro_f1"] == pytest.approx(metrics.f1_score(target, predicted, average="macro"))
    called = np.unique(predicted)
    precision = metrics.precision_score(target, predicted, labels=called, average="macro")
    assert numbers["macro_precision"] == pytest.approx(precision)
    present = np.unique(target)
    recall = metrics.recall_score(target, predicted, labels=present, average="macro", zero_division=0)
    assert numbers["balanced_accuracy"] == pytest.approx(recall)
    if len(np.unique(np.concatenate([target, predicted]))) > 1:  # else kappa is 0 / 0
        assert numbers["kappa"] == pytest.approx(metrics.cohen_kappa_score(target, predicted), abs=1e-12)
    else:
        assert np.isnan(numbers["kappa"])

    scores = metrics.precision_recall_fscore_support(target, predicted, labels=every, zero_division=np.nan)
    classes = per_class(confusion)
    for column, expected in zip(("precision", "sensitivity", "f1", "support"), scores, strict=True):
        np.testing.assert_allclose(classes[column], expected)
    rest = [metrics.accuracy_score(target == number, predicted == number) for number in every]
    np.testing.assert_allclose(classes["one_vs_rest_accuracy"], rest)


@settings(max_examples=40)
@given(st.data())
def test_balanced_is_sklearn_with_weights(data):
    """Balancing is weighting: half of all weight on the class, the other half in equal parts on the others."""
    n_classes = data.draw(st.integers(2, 5))
    codes = st.integers(0, n_classes - 1)
    pairs = data.draw(st.lists(st.tuples(codes, codes), min_size=1, max_size=30))
    target, predicted = np.array(pairs).T
    scores = balanced_one_vs_all(confusion_matrix(target, predicted, n_classes))
    present, support = np.unique(target, return_counts=True)
    for number in range(n_classes):
        found = [values[number] for values in scores.values()]
        if number not in present or len(present) == 1:
            assert np.isnan([scores[name][number] for name in ("precision", "f1", "accuracy")]).all()
            continue
        weights = 1 / support[np.searchsorted(present, target)] / np.where(target == number, 1, len(present) - 1)
        binary = (target == number, predicted == number)
        expected = metrics.precision_recall_fscore_support(
            *binary, average="binary", sample_weight=weights, zero_division=np.nan
        )
        accuracy = metrics.accuracy_score(*binary, sample_weight=weights)
        np.testing.assert_allclose(found, [*expected[:3], accuracy], atol=1e-12)


def test_balanced_and_summary_take_many_matrices():
    counts = np.random.default_rng(0).integers(0, 9, (2, 3, 4, 4))
    many = balanced_one_vs_all(counts)
    for name, values in many.items():
        assert values.shape == (2, 3, 4)
        assert np.array_equal(values[1, 2], balanced_one_vs_all(counts[1, 2])[name])
        assert mean_of_defined(values)[1, 2] == pytest.approx(values[1, 2].mean())
    for name, values in summarise(counts).items():
        assert values[1, 2] == pytest.approx(float(summarise(counts[1, 2])[name]))


def test_nothing_counted_is_undefined():
    nothing = np.zeros((3, 3), int)
    assert all(np.isnan(number) for number in summarise(nothing).values())
    assert np.isnan(list(balanced_one_vs_all(nothing).values())).all()


@pytest.mark.parametrize(("target", "predicted"), [([0, 3], [0, 0]), ([0, 0], [-1, 0]), ([0, 1], [0])])
def test_refuses_wrong_codes(target, predicted):
    with pytest.raises(ValueError, match=r"class number|equally long"):
        confusion_matrix(np.array(target), np.array(predicted), 3)


def test_log_loss_matches_sklearn():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 50).astype(np.float32)
    target = rng.integers(4, size=50)
    assert log_loss(target, probabilities) == pytest.approx(
        metrics.log_loss(target, probabilities, labels=range(4)), rel=1e-5
    )
    certain_and_wrong = log_loss(np.array([0]), np.array([[0.0, 1.0]]))
    assert 10 < certain_and_wrong < 100
    with pytest.raises(ValueError, match="class number 4"):
        log_loss(np.array([4]), probabilities[:1])
    with pytest.raises(ValueError, match="equally long"):
        log_loss(target[:-1], probabilities)

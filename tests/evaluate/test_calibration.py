"""Calibration against scikit-learn, and against data whose calibration is known."""

import numpy as np
import pytest
from sklearn import calibration, metrics

from eegjax.evaluate.calibration import brier_score, calibration_curve, expected_calibration_error


def calibrated(n_classes: int = 4, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and targets that are drawn with just these probabilities."""
    rng = np.random.default_rng(n_classes)
    probabilities = rng.dirichlet(np.ones(n_classes), n)
    target = (probabilities.cumsum(1) < rng.random((n, 1))).sum(1).clip(max=n_classes - 1)
    return target, probabilities


@pytest.mark.parametrize("n_classes", [2, 4])
def test_curve_matches_sklearn(n_classes):
    target, probabilities = calibrated(n_classes, 500)
    curve = calibration_curve(target, probabilities, n_bins=7)
    right = probabilities.argmax(1) == target
    accuracy, confidence = calibration.calibration_curve(right, probabilities.max(1), n_bins=7)
    filled = curve[curve["count"] > 0]
    assert len(filled) < len(curve) == 7
    np.testing.assert_allclose(filled["accuracy"], accuracy)
    np.testing.assert_allclose(filled["confidence"], confidence)
    assert curve["count"].sum() == 500
    assert curve.loc[curve["count"] == 0, ["confidence", "accuracy"]].isna().to_numpy().all()
    assert filled["confidence"].between(filled["low"], filled["high"]).all()


def test_calibrated_lies_on_the_diagonal():
    """Within binomial error, and only the untouched probabilities do."""
    target, probabilities = calibrated()
    curve = calibration_curve(target, probabilities).dropna()
    share = curve["confidence"]
    error = np.sqrt(share * (1 - share) / curve["count"])
    assert ((curve["accuracy"] - share).abs() < 4 * error).all()
    assert expected_calibration_error(target, probabilities) < 0.015

    sure = probabilities**3 / (probabilities**3).sum(1, keepdims=True)
    assert expected_calibration_error(target, sure) > 0.1
    assert brier_score(target, sure) > brier_score(target, probabilities) + 0.01


def test_calibration_error_by_hand():
    """Three quarters of the examples are 0.1 too sure, a quarter 0.3 too unsure."""
    probabilities = np.array([[0.6, 0.4]] * 6 + [[0.3, 0.7]] * 2)
    target = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    assert expected_calibration_error(target, probabilities) == pytest.approx(0.75 * 0.1 + 0.25 * 0.3)
    assert np.isnan(expected_calibration_error(target[:0], probabilities[:0]))


def test_a_bin_holds_its_upper_edge():
    probabilities = np.array([[1, 0], [0.5, 0.5]], np.float32)
    assert calibration_curve(np.array([0, 0]), probabilities)["count"].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]


def test_brier_matches_sklearn():
    target, probabilities = calibrated(2, 300)
    assert brier_score(target, probabilities) == pytest.approx(
        2 * metrics.brier_score_loss(target, probabilities[:, 1])
    )
    target, probabilities = calibrated(4, 300)
    truth = target[:, None] == np.arange(4)
    of_class = [metrics.brier_score_loss(truth[:, number], probabilities[:, number]) for number in range(4)]
    assert brier_score(target, probabilities) == pytest.approx(sum(of_class))


@pytest.mark.parametrize("function", [calibration_curve, expected_calibration_error, brier_score])
def test_refuses_what_does_not_fit(function):
    with pytest.raises(ValueError, match="class number 2"):
        function(np.array([2]), np.ones((1, 2)) / 2)
    with pytest.raises(ValueError, match="equally long"):
        function(np.array([0, 1]), np.ones((1, 2)) / 2)

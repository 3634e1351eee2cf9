"""Whether a model that says 80 % is right in 80 % of the cases."""

import numpy as np
import pandas as pd

from eegjax.evaluate.classification import check_probabilities


def calibration_curve(target: np.ndarray, probabilities: np.ndarray, n_bins: int = 10) -> pd.DataFrame:
    """Reliability of the predicted class (Guo et al., "On calibration of modern neural networks", ICML 2017).

    Args:
        target: [n] int, true class numbers.
        probabilities: [n, n_classes] float, rows summing to 1. The largest is the confidence in the predicted class.
        n_bins: how many equally wide bins between 0 and 1; a bin holds its upper edge.

    Returns:
        A frame with a row per bin, lowest first: `low` and `high` (its edges), `count` (examples), `confidence` (their
        mean) and `accuracy` (the share of them predicted right); the last two are `nan` where nothing was counted.

    Raises:
        ValueError: the lengths differ, or a class number has no column.
    """
    target, probabilities = check_probabilities(target, probabilities)
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == target
    edges = np.linspace(0, 1, n_bins + 1)
    in_bin = np.searchsorted(edges[1:-1], confidence)
    count, confident, correct = (np.bincount(in_bin, weights, n_bins) for weights in (None, confidence, right))
    with np.errstate(invalid="ignore"):
        return pd.DataFrame(
            {
                "low": edges[:-1],
                "high": edges[1:],
                "count": count,
                "confidence": confident / count,
                "accuracy": correct / count,
            }
        )


def expected_calibration_error(target: np.ndarray, probabilities: np.ndarray, n_bins: int = 10) -> float:
    """Mean distance of `calibration_curve` from the diagonal, bins weighted by their examples (Guo et al., eq. 3).

    Args:
        target: [n] int, true class numbers.
        probabilities: [n, n_classes] float, rows summing to 1.
        n_bins: as in `calibration_curve`. A perfectly calibrated model scores about √(n_bins / n), not 0.

    Returns:
        Between 0 and 1; `nan` without examples.

    Raises:
        ValueError: the lengths differ, or a class number has no column.
    """
    curve = calibration_curve(target, probabilities, n_bins).dropna()
    if curve.empty:
        return float("nan")
    return float(np.average((curve["accuracy"] - curve["confidence"]).abs(), weights=curve["count"]))


def brier_score(target: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared distance of the probabilities from the truth (Brier, 1950).

    Args:
        target: [n] int, true class numbers.
        probabilities: [n, n_classes] float, rows summing to 1.

    Returns:
        Between 0 and 2, summed over the classes as in Brier's paper; twice the usual number with two classes.

    Raises:
        ValueError: the lengths differ, or a class number has no column.
    """
    target, probabilities = check_probabilities(target, probabilities)
    truth = np.eye(probabilities.shape[1])[target]
    return float(((probabilities - truth) ** 2).sum(1).mean())

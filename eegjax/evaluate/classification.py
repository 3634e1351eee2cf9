"""Confusion matrices and the numbers read off them.

A confusion matrix holds all that these metrics need, so they are functions of the matrix alone: a published
matrix, a run's predictions and a bootstrap draw take the same path.
"""

import numpy as np
import pandas as pd

SMALLEST = float(np.finfo(np.float32).eps)  # networks give float32, which resolves probabilities no finer near 1


def _check_codes(name: str, codes: np.ndarray, n_classes: int) -> None:
    outside = codes[(codes < 0) | (codes >= n_classes)]
    if outside.size:
        raise ValueError(f"{name} has class number {outside[0]}, outside 0..{n_classes - 1}")


def confusion_matrix(target: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Count the pairs of true and predicted class.

    Args:
        target: [n] int, true class numbers.
        predicted: [n] int, predicted class numbers.
        n_classes: the number of classes.

    Returns:
        [n_classes, n_classes] int64: rows true, columns predicted.

    Raises:
        ValueError: the lengths differ, or a class number lies outside 0..n_classes-1.
    """
    target = np.asarray(target)
    predicted = np.asarray(predicted)
    if target.shape != predicted.shape or target.ndim != 1:
        raise ValueError(f"target {target.shape} and predicted {predicted.shape} should be two equally long rows")
    _check_codes("target", target, n_classes)
    _check_codes("predicted", predicted, n_classes)
    pairs = target.astype(np.int64) * n_classes + predicted.astype(np.int64)
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes).astype(np.int64)


def summarise(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Reduce confusion matrices to the numbers of a results table.

    Args:
        confusion: [..., n_classes, n_classes] int, rows true, columns predicted; many at once for bootstrap draws.

    Returns:
        Each [...] float64: `accuracy`, `kappa` (Cohen, 1960), `macro_f1` (mean over the classes that occur in the
        truth or the predictions), `macro_precision` (over those predicted), `mean_one_vs_rest_accuracy` (over all rows
        of the matrix; what some papers call accuracy) and `balanced_accuracy` (mean sensitivity of the classes that
        occur in the truth). `nan` where nothing was counted, and `kappa` also where chance alone agrees always.
    """
    scores = _scores(np.asarray(confusion, np.int64))
    counts = np.asarray(confusion, float)
    total = counts.sum((-2, -1))
    with np.errstate(invalid="ignore"):
        accuracy = np.trace(counts, axis1=-2, axis2=-1) / total
        chance = (counts.sum(-2) * counts.sum(-1)).sum(-1) / total**2
        kappa = (accuracy - chance) / (1 - chance)
    return {
        "accuracy": accuracy,
        "kappa": kappa,
        "macro_f1": mean_of_defined(scores["f1"]),
        "macro_precision": mean_of_defined(scores["precision"]),
        "mean_one_vs_rest_accuracy": mean_of_defined(scores["one_vs_rest_accuracy"]),
        "balanced_accuracy": mean_of_defined(scores["sensitivity"]),
    }


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Average over classes, leaving out those without a value.

    Args:
        values: [..., n_classes] float; `nan` where a class has no value.

    Returns:
        [...] float64; `nan` where no class has one.
    """
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0).sum(-1) / defined.sum(-1)


def _scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Each [..., n_classes]: a class against the rest."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    true = counts.sum(-1)
    predicted = counts.sum(-2)
    total = counts.sum((-2, -1))[..., None]
    with np.errstate(invalid="ignore"):
        return {
            "support": true,
            "precision": hits / predicted,
            "sensitivity": hits / true,
            "f1": 2 * hits / (true + predicted),
            "one_vs_rest_accuracy": (total - true - predicted + 2 * hits) / total,
        }


def per_class(confusion: np.ndarray) -> pd.DataFrame:
    """Score every class against the rest.

    Args:
        confusion: [n_classes, n_classes] int, rows true, columns predicted.

    Returns:
        A frame with a row per class number and the columns `support` (true examples), `precision`, `sensitivity`,
        `f1` = 2TP / (2TP + FP + FN) and `one_vs_rest_accuracy` = (TP + TN) / n; `nan` for 0 / 0.
    """
    return pd.DataFrame(_scores(np.asarray(confusion, np.int64))).rename_axis("class")


def balanced_one_vs_all(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Score every class against all others, the class weighing as much as the others together.

    Rows are scaled to sum to 1. For class c, TP is its share found, FP the mean share of each other class taken for c,
    FN = 1 - TP and TN = 1 - FP: one half of the examples c, the other half the rest in equal parts (Vilamala, Madsen
    and Hansen, "Deep convolutional neural networks for interpretable analysis of EEG sleep stage scoring", 2017).

    Args:
        confusion: [..., n_classes, n_classes] int, rows true, columns predicted; many at once for bootstrap draws.

    Returns:
        Each [..., n_classes] float64: `precision`, `sensitivity`, `f1` and `accuracy`; `nan` for classes that do not
        occur in the truth, which also count as no part of the rest, and for 0 / 0. `mean_of_defined` of each gives the
        four numbers that the article prints.
    """
    counts = np.asarray(confusion, float)
    with np.errstate(invalid="ignore"):
        shares = counts / counts.sum(-1, keepdims=True)
        hits = np.diagonal(shares, axis1=-2, axis2=-1)
        n_others = (~np.isnan(hits)).sum(-1, keepdims=True) - 1
        false_alarms = (np.nansum(shares, -2) - hits) / n_others
        return {
            "precision": hits / (hits + false_alarms),
            "sensitivity": hits,
            "f1": 2 * hits / (1 + hits + false_alarms),
            "accuracy": (1 + hits - false_alarms) / 2,
        }


def check_probabilities(target: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Check that every example has a true class and that the class has a probability.

    Args:
        target: [n] int, true class numbers.
        probabilities: [n, n_classes] float.

    Returns:
        Both as arrays, the probabilities float64.

    Raises:
        ValueError: the lengths differ, or a class number has no column.
    """
    target = np.asarray(target)
    probabilities = np.asarray(probabilities, float)
    if target.shape != probabilities.shape[:1]:
        raise ValueError(f"target {target.shape} and probabilities {probabilities.shape} should be equally long")
    _check_codes("target", target, probabilities.shape[1])
    return target, probabilities


def log_loss(target: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative log-likelihood of the true classes, in nats.

    Args:
        target: [n] int, true class numbers.
        probabilities: [n, n_classes] float, rows summing to 1; below `SMALLEST` they count as that, so that a
            single mistake made with certainty leaves the mean finite.

    Returns:
        The mean of -log p(true class).

    Raises:
        ValueError: the lengths differ, or a class number has no column.
    """
    target, probabilities = check_probabilities(target, probabilities)
    of_truth = probabilities[np.arange(len(target)), target]
    return float(-np.log(of_truth.clip(min=SMALLEST)).mean())

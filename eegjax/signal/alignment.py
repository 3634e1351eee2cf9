"""Euclidean alignment: every subject's trials get the identity as their mean covariance.

He & Wu, "Transfer learning for brain-computer interfaces: a Euclidean space data alignment approach", IEEE
Transactions on Biomedical Engineering 67 (2020). It needs no labels, but a matrix from test trials has seen them: a
result with it is transductive.
"""

import jax
import numpy as np

from eegjax.errors import UserError

SMALLEST_EIGENVALUE = 1e-10  # of the largest; below it float32 trials hold rounding only


def fit_euclidean_alignment(trials: np.ndarray) -> np.ndarray:
    """Return the inverse square root of the mean covariance of one subject's (or session's) trials.

    Args:
        trials: [n_trials, n_times, n_chans] float, band-passed (no mean is taken out), any unit.

    Returns:
        [n_chans, n_chans] float64, symmetric, 1/unit: R^(-1/2) with R = mean over trials of X'X / n_times.

    Raises:
        UserError: `trials` are none, or hold NaN, or their channels aren't independent of each other.
    """
    if not len(trials):
        raise UserError("found no trial to align by, expected at least one of each subject")
    covariance = np.mean([trial.T @ trial / len(trial) for trial in trials.astype(np.float64)], axis=0)
    if not np.isfinite(covariance).all():
        raise UserError("found NaN in a trial to align by, expected finite samples: drop such trials first")
    values, vectors = np.linalg.eigh(covariance)
    n_free = int((values > SMALLEST_EIGENVALUE * values[-1]).sum())
    if n_free < len(values):
        raise UserError(
            f"found {n_free} independent channels among {len(values)}, expected all: align before the average is made "
            "the reference, and leave out dead and doubled channels"
        )
    return (vectors / np.sqrt(values)) @ vectors.T


def align(trials: jax.Array | np.ndarray, matrix: np.ndarray) -> jax.Array | np.ndarray:
    """Align trials by the matrix of their subject or session.

    Args:
        trials: [..., n_times, n_chans] float32, in the unit of what the matrix was fitted on.
        matrix: [n_chans, n_chans] float, from `fit_euclidean_alignment`.

    Returns:
        [..., n_times, n_chans] float32 without a unit.
    """
    return trials @ matrix.astype(trials.dtype)  # the matrix is symmetric: no transpose

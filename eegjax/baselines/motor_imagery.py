"""What a motor imagery network has to beat: the commonest class, spatial patterns, and the geometry of covariances.

All return class probabilities, so they pass through the same metrics as a network. Imagery changes the power of the
mu and beta rhythms and both methods see power alone, so trials come band-passed, usually to 8-30 Hz, best by a filter
that ran over the whole recording: a filter over a short trial distorts its edges.
"""

from typing import TYPE_CHECKING

import numpy as np

from eegjax.baselines.sleep import predict_majority
from eegjax.errors import UserError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["csp_lda", "predict_majority", "tangent_space"]


def csp_lda(train: np.ndarray, targets: np.ndarray, test: np.ndarray, n_classes: int) -> np.ndarray:
    """Common spatial patterns, the logarithm of their power, linear discriminant analysis.

    Two patterns per class: 4 for two classes, 8 for four. Two classes are told apart by generalised eigenvectors (Koles
    et al., "Spatial patterns underlying population differences in the background EEG", Brain Topogr. 2, 1990), more by
    joint diagonalisation, whose patterns are kept by mutual information (Grosse-Wentrup and Buss, "Multiclass common
    spatial patterns and information theoretic feature extraction", IEEE Trans. Biomed. Eng. 55, 2008).

    Args:
        train: [n_train, n_times, n_chans] float, µV (any unit gives the same), band-passed.
        targets: [n_train] int, class numbers.
        test: [n_test, n_times, n_chans] float, the unit of `train`, band-passed.
        n_classes: the number of classes.

    Returns:
        [n_test, n_classes] float64; 0 for classes that do not occur in training.
    """
    from mne.decoding import CSP
    from mne.utils import use_log_level
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(CSP(n_components=2 * n_classes, log=True), LinearDiscriminantAnalysis())
    with use_log_level("error"):  # it reports the rank of every covariance
        return _probabilities(model, train, targets, test, n_classes)


def tangent_space(train: np.ndarray, targets: np.ndarray, test: np.ndarray, n_classes: int) -> np.ndarray:
    """Logistic regression on covariances, projected to the tangent space at their Riemannian mean.

    Barachant et al., "Multiclass brain-computer interface classification by Riemannian geometry", IEEE Trans. Biomed.
    Eng. 59, 2012. Covariances are shrunk (oracle approximating shrinkage): a trial has few independent samples.

    Args:
        train: [n_train, n_times, n_chans] float, µV, band-passed.
        targets: [n_train] int, class numbers.
        test: [n_test, n_times, n_chans] float, the unit of `train`, band-passed.
        n_classes: the number of classes.

    Returns:
        [n_test, n_classes] float64; 0 for classes that do not occur in training.

    Raises:
        UserError: the package pyriemann isn't installed.
    """
    try:
        from pyriemann.estimation import Covariances
        from pyriemann.tangentspace import TangentSpace
    except ImportError:
        message = "the tangent space baseline needs pyriemann, which isn't installed: pip install 'eegjax[baselines]'"
        raise UserError(message) from None
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(Covariances("oas"), TangentSpace(), LogisticRegression(max_iter=1000))
    return _probabilities(model, train, targets, test, n_classes)


def _probabilities(
    model: "Pipeline", train: np.ndarray, targets: np.ndarray, test: np.ndarray, n_classes: int
) -> np.ndarray:
    """[n_test, n_classes]: columns by class number, whichever classes the training part has."""
    if len(np.unique(targets)) == 1:  # no classifier takes a single class
        return predict_majority(targets, len(test), n_classes)
    # both libraries have channels before time and want double precision
    model.fit(np.asarray(train, np.float64).transpose(0, 2, 1), targets)
    probabilities = np.zeros((len(test), n_classes))
    probabilities[:, model.classes_] = model.predict_proba(np.asarray(test, np.float64).transpose(0, 2, 1))
    return probabilities

"""Errors of localisation: how far, how spread, how well ranked, and how much has to be carried how far.

Where nothing was predicted, an error in mm doesn't exist: it is `nan`, and a table of means has to say of how many
samples they are, or a method that stays silent in doubt looks better than one that answers.
"""

import numpy as np
from scipy import sparse
from scipy.optimize import linprog
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from eegjax.errors import UserError

MAX_PAIRS = 250_000  # of the earth mover's distance: 100 by 100 points take .1 s, 500 by 500 about 2 s


def localisation_error_mm(true_mm: np.ndarray, predicted_mm: np.ndarray) -> np.ndarray:
    """Distance from every true source to the nearest predicted peak.

    Superfluous peaks cost nothing here; F1 counts them.

    Args:
        true_mm: [n, 3] float, mm.
        predicted_mm: [m, 3] float, mm.

    Returns:
        [n] float64, mm; all `nan` if m is 0.
    """
    if not len(predicted_mm):
        return np.full(len(true_mm), np.nan)
    return KDTree(predicted_mm).query(np.reshape(true_mm, (-1, 3)))[0]


def peak_error_mm(values: np.ndarray, positions_mm: np.ndarray, centre_mm: np.ndarray) -> float:
    """Distance from a single source's centre to where the estimate's magnitude is largest.

    Args:
        values: [n_positions] float, any unit.
        positions_mm: [n_positions, 3] float, mm.
        centre_mm: [3] float, mm, centre of the true source.

    Returns:
        mm, the mean over positions of equal magnitude; `nan` if all values are 0.
    """
    size = np.abs(np.asarray(values, float))
    if not size.any():
        return float("nan")
    peaks = np.asarray(positions_mm)[size == size.max()]
    return float(np.linalg.norm(peaks - np.asarray(centre_mm), axis=1).mean())


def spatial_dispersion_mm(values: np.ndarray, positions_mm: np.ndarray, true_mm: np.ndarray) -> float:
    """How far the estimate spreads around the truth: sqrt(sum_k d_k^2 v_k^2 / sum_k v_k^2).

    Molins et al., "Quantification of the benefit from integrating MEG and EEG data in minimum l2-norm estimation"
    (NeuroImage 42, 2008), and Hauk, Wakeman and Henson, "Comparison of noise-normalized minimum norm estimates for MEG
    analysis using multiple resolution metrics" (NeuroImage 54, 2011): v_k is the estimate at position k, d_k its
    distance to the true source, here to the nearest one if there are several. It grows with the peak's error too.

    Args:
        values: [n_positions] float, any unit.
        positions_mm: [n_positions, 3] float, mm.
        true_mm: [n, 3] float, mm, the true sources' centres, one or more.

    Returns:
        mm; `nan` if all values are 0.
    """
    values = np.asarray(values, float)
    if not values.any():
        return float("nan")
    power = np.square(values / np.abs(values).max())  # currents of nA m squared would come near the smallest numbers
    distance = KDTree(np.reshape(true_mm, (-1, 3))).query(positions_mm)[0]
    return float(np.sqrt((distance**2 * power).sum() / power.sum()))


def roc_auc(values: np.ndarray, active: np.ndarray) -> float:
    """Area under the ROC curve: how often an active voxel has a larger value than a silent one, ties counted half.

    Args:
        values: [n_voxels] float, larger where activity is likelier; of signed currents give the magnitude.
        active: [n_voxels] bool, where the truth is.

    Returns:
        0..1, .5 for an estimate that is the same everywhere; `nan` if all voxels are active or none is.
    """
    active = np.asarray(active, bool)
    if active.all() or not active.any():
        return float("nan")
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(active, values))


def earth_movers_distance_mm(
    true_mm: np.ndarray, predicted_mm: np.ndarray, true_mass: np.ndarray | None = None, mass: np.ndarray | None = None
) -> float:
    """How far true activity has to be carried, on average, to become the predicted one (Wasserstein-1 distance).

    Exact: the optimal transport between the points as a linear programme (SciPy's `linprog`, dual simplex), both sides
    scaled to a mass of 1.

    Args:
        true_mm: [n, 3] float, mm.
        predicted_mm: [m, 3] float, mm.
        true_mass: [n] float, 0 or more, such as magnitudes; None for all alike. Points without mass don't count.
        mass: [m] float, of the predicted points.

    Returns:
        mm; `nan` if a side has no point or no mass.

    Raises:
        UserError: more than `MAX_PAIRS` pairs of points with mass: keep those above a threshold.
        ValueError: a mass is negative or not finite.
    """
    true_mm, true_mass = _with_mass(true_mm, true_mass)
    predicted_mm, mass = _with_mass(predicted_mm, mass)
    if not len(true_mm) or not len(predicted_mm):
        return float("nan")
    n = len(true_mm)
    m = len(predicted_mm)
    if n * m > MAX_PAIRS:
        raise UserError(
            f"earth mover's distance between {n} and {m} points: more than {MAX_PAIRS} pairs take too long, raise the "
            "threshold above which voxels count"
        )
    # one flow per pair: those that leave a true point sum to its mass, those that reach a predicted one to its
    leaving = sparse.kron(sparse.eye_array(n), np.ones((1, m)))
    reaching = sparse.kron(np.ones((1, n)), sparse.eye_array(m))
    # the last sum follows from the others, and with rounding would contradict them
    sums = sparse.vstack([leaving, reaching]).tocsr()[:-1]
    masses = np.concatenate([true_mass, mass])[:-1]
    solved = linprog(cdist(true_mm, predicted_mm).ravel(), A_eq=sums, b_eq=masses, method="highs-ds")
    if not solved.success:
        raise RuntimeError(f"optimal transport between {n} and {m} points: {solved.message}")
    return float(solved.fun)


def _with_mass(points: np.ndarray, mass: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The points that have a mass, and their masses, which sum to 1."""
    points = np.reshape(np.asarray(points, float), (-1, 3))
    mass = np.ones(len(points)) if mass is None else np.asarray(mass, float)
    if not np.isfinite(mass).all() or (mass < 0).any():
        raise ValueError("masses should be finite and 0 or more: give magnitudes")
    points = points[mass > 0]
    mass = mass[mass > 0]
    return points, mass / mass.sum() if len(mass) else mass

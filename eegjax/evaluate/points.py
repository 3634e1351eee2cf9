"""Predicted points against true ones: clusters, matches within a radius, and F1 against that radius.

Points are [n, 3] arrays in mm or in voxels, radii and deviations in the same unit. The metric is the one of "3D CNNs as
the solution for inverse EEG problem" (section 2.5); where the authors' code and their text part, or either errs, the
default is the sound form and a flag has the other.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage
from scipy.cluster.hierarchy import fcluster, ward
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from eegjax.evaluate.bootstrap import draw_subjects, percentile_interval

MATCHINGS = ("hungarian", "greedy", "greedy_distinct")
MAX_DENSE = 10_000  # pairs
MAX_CLUSTERED = 5000  # clustering keeps all distances: of 5000 points they take 100 MB and about a second


def find_points(volume: np.ndarray, threshold: float, neighbourhood: int = 1) -> np.ndarray:
    """Find the voxels whose value lies above a threshold.

    Args:
        volume: [depth, height, width] float.
        threshold: voxels of exactly this value are left out.
        neighbourhood: edge in voxels of the cube in which a voxel has to be the largest; 1 takes every voxel, 3 local
            maxima only. Of a plateau all voxels count.

    Returns:
        [n, 3] float64, centres of the voxels in voxels: the first voxel's is (0, 0, 0).

    Raises:
        ValueError: `volume` is not 3-D, or holds `nan`.
    """
    volume = np.asarray(volume)
    if volume.ndim != 3 or np.isnan(volume).any():
        raise ValueError(f"volume should be 3-D without nan, but has shape {volume.shape}")
    found = volume > threshold
    if neighbourhood > 1:
        found &= volume == ndimage.maximum_filter(volume, neighbourhood)
    return np.argwhere(found).astype(float)


def cluster(points: np.ndarray, radius: float, drop_last: bool = False) -> np.ndarray:
    """Merge points that lie close together (agglomerative clustering) and take each cluster's mean.

    Linkage is Ward's, scikit-learn's default and so the authors': two clusters of a and b points whose means are d
    apart merge while d sqrt(2ab / (a + b)) < radius. Two lone points merge if they are nearer than the radius; the
    larger the clusters, the nearer they have to be. The clusters are those of scikit-learn's `AgglomerativeClustering`
    with `distance_threshold=radius`; the tree comes from SciPy, so that one serves all radii.

    Args:
        points: [n, 3] float. More than `MAX_CLUSTERED` are returned as they are: they are no localisation, and as many
            points beside few true ones have an F1 near 0.
        radius: distance threshold; 0 merges nothing.
        drop_last: the authors' slip: the cluster with the highest number is lost.

    Returns:
        [n_clusters, 3] float64; no points make no clusters, one is its own.
    """
    points = _as_points(points)
    return _cut(points, _tree(points), radius, drop_last)


def _tree(points: np.ndarray) -> np.ndarray | None:
    """Ward's tree; None where there is nothing to merge or too much."""
    return ward(points) if 1 < len(points) <= MAX_CLUSTERED else None


def _cut(points: np.ndarray, tree: np.ndarray | None, radius: float, drop_last: bool) -> np.ndarray:
    """The means of the clusters below a height; at exactly the radius clusters stay apart, as in scikit-learn."""
    centres = points
    if tree is not None:
        labels = fcluster(tree, np.nextafter(radius, -np.inf), "distance") - 1
        sizes = np.bincount(labels)
        centres = np.stack([np.bincount(labels, coordinate) / sizes for coordinate in points.T], axis=1)
    return centres[:-1] if drop_last else centres


def count_matches(
    true: np.ndarray, predicted: np.ndarray, radius: float, matching: str = "hungarian"
) -> tuple[int, int, int]:
    """Count true positives, false positives and false negatives within a radius (Euclidean, the border included).

    Args:
        true: [n, 3] float.
        predicted: [m, 3] float.
        radius: how far a prediction may lie from a true point.
        matching: "hungarian": one to one, with as many pairs as there can be. The paper's, "greedy": a true point is
            found if any prediction lies within the radius, so that one may serve several; FP = m - TP may be negative
            and F1 above 1. "greedy_distinct", the authors' code: found likewise, but FP = m - the number of different
            predictions that were the first (by index) within the radius of some true point.

    Returns:
        TP, FP, FN with FN = n - TP.

    Raises:
        ValueError: `matching` is none of `MATCHINGS`.
    """
    if matching not in MATCHINGS:
        raise ValueError(f"matching is {matching!r}, should be one of {MATCHINGS}")
    true = _as_points(true)
    predicted = _as_points(predicted)
    n = len(true)
    m = len(predicted)
    if not n or not m:
        return 0, m, n
    if n * m <= MAX_DENSE:  # few points: all distances are sooner had than a tree
        rows, columns = np.nonzero(cdist(true, predicted) <= radius)
    else:
        near = KDTree(true).sparse_distance_matrix(KDTree(predicted), radius, output_type="ndarray")
        order = np.lexsort((near["j"], near["i"]))
        rows = near["i"][order]
        columns = near["j"][order]
    if len(rows) < 2:
        return len(rows), m - len(rows), n - len(rows)
    if matching == "hungarian":
        # maximum cardinality is all that counts, so Hopcroft and Karp's sparse form of the assignment will do
        graph = csr_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(n, m))
        hits = int((maximum_bipartite_matching(graph) >= 0).sum())
        return hits, m - hits, n - hits
    found, first = np.unique(rows, return_index=True)
    used = len(found) if matching == "greedy" else len(np.unique(columns[first]))
    return len(found), m - used, n - len(found)


def f1_score(tp: int, fp: int, fn: int) -> float:
    """F1 = 2 TP / (2 TP + FP + FN); the paper prints it upside down. `nan` with neither true nor predicted points."""
    return 2 * tp / (2 * tp + fp + fn) if tp or fp or fn else float("nan")


def f1_curve(
    true: np.ndarray,
    predicted: np.ndarray,
    radii: Sequence[float] | np.ndarray,
    matching: str = "hungarian",
    *,
    clustered: bool = True,
    cumulative: bool = False,
    drop_last: bool = False,
    skip_empty: bool = False,
) -> np.ndarray:
    """F1 of one sample against the radius; predictions are clustered with each radius before they are matched.

    Args:
        true: [n, 3] float, one or more points.
        predicted: [m, 3] float; no points have an F1 of 0.
        radii: [n_radii] float, the paper's are 0, 1, ... 9 voxels.
        matching: see `count_matches`.
        clustered: whether to cluster at all.
        cumulative: the authors' slip: clusters of one radius are clustered again with the next.
        drop_last: the authors' slip: every clustering loses its last cluster.
        skip_empty: the authors' slip: a sample left without points at any radius is `nan` at all of them, and so is
            missing from means instead of counting 0.

    Returns:
        [n_radii] float64; in [0, 1] unless matching is "greedy".

    Raises:
        ValueError: `true` is empty, or `matching` is none of `MATCHINGS`.
    """
    true = _as_points(true)
    predicted = _as_points(predicted)
    if not len(true):
        raise ValueError("true holds no points: F1 needs one or more")
    values = np.zeros(len(radii))
    found = predicted
    tree = _tree(predicted) if clustered else None
    # where nothing merges, cutting the tree only changes the order, which only slips depend on
    merging = -np.inf if tree is None or drop_last or matching != "hungarian" else tree[0, 2]
    for number, radius in enumerate(radii):
        if clustered and (cumulative or radius > merging):
            found = cluster(found, radius, drop_last) if cumulative else _cut(predicted, tree, radius, drop_last)
        else:
            found = predicted
        if skip_empty and not len(found):
            return np.full(len(radii), np.nan)
        values[number] = f1_score(*count_matches(true, found, radius, matching))
    return values


def mean_and_sd(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (divided by n, as the authors') of curves: [n_samples, n_radii] float -> [n_radii].

    Each of the two is [n_radii] float64. Skipped samples are left out; both are `nan` where every one was skipped.
    """
    curves = np.asarray(curves, float)
    kept = curves[~np.isnan(curves).any(1)]
    if not len(kept):
        return np.full(curves.shape[1], np.nan), np.full(curves.shape[1], np.nan)
    return kept.mean(0), kept.std(0)


def area_under_curve(radii: Sequence[float] | np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Area under F1 against radius (trapezoids), divided by the range of radii: the mean F1 over the radius.

    Args:
        radii: [n_radii] float, ascending, two or more.
        curve: [..., n_radii] float.

    Returns:
        [...] float64; `nan` of skipped samples.

    Raises:
        ValueError: `radii` are fewer than two, or not ascending.
    """
    radii = np.asarray(radii, float)
    if len(radii) < 2 or (np.diff(radii) <= 0).any():
        raise ValueError(f"radii should be two or more, ascending, but are {radii.tolist()}")
    return np.trapezoid(curve, radii, axis=-1) / (radii[-1] - radii[0])


def choose_threshold(
    values: Sequence[np.ndarray],
    make_points: Callable[[np.ndarray, float], np.ndarray],
    true: Sequence[np.ndarray],
    radii: Sequence[float] | np.ndarray,
    candidates: Sequence[float] | np.ndarray,
    **options: str | bool,
) -> tuple[float, np.ndarray]:
    """Choose the threshold with the largest area under the mean F1 against radius; give it training samples.

    Args:
        values: per sample a volume, [depth, height, width] float, or whatever `make_points` takes.
        make_points: (one sample's values, threshold) -> [m, 3] predicted points.
        true: per sample its true points, [n, 3] float, in the unit of `radii`.
        radii: [n_radii] float, ascending.
        candidates: [n_candidates] float; of equally good ones the first is taken.
        options: of `f1_curve`.

    Returns:
        The threshold, and [n_candidates] float64 areas; 0 for a threshold at which every sample is skipped.

    Raises:
        ValueError: `candidates` or `values` are empty, or `true` has not as many samples as `values`.
    """
    if not len(candidates) or not len(values) or len(values) != len(true):
        raise ValueError(f"{len(candidates)} candidates, {len(values)} values and {len(true)} samples of true points")
    areas = np.zeros(len(candidates))
    for number, threshold in enumerate(candidates):
        points = [make_points(one, threshold) for one in values]
        curves = [f1_curve(*pair, radii, **options) for pair in zip(true, points, strict=True)]  # type: ignore[arg-type]
        areas[number] = np.nan_to_num(area_under_curve(radii, mean_and_sd(np.stack(curves))[0]))
    return float(candidates[int(areas.argmax())]), areas


def draw_random_points(
    n: int, low: np.ndarray | float, high: np.ndarray | float, seed: int | np.random.Generator
) -> np.ndarray:
    """Draw points uniformly from a box: what guessing is worth.

    Args:
        n: how many.
        low: [3] float or one number, the corner of the least coordinates, in the points' unit.
        high: [3] float or one number, the opposite corner.
        seed: of the random numbers, or their generator.

    Returns:
        [n, 3] float64.
    """
    return np.random.default_rng(seed).uniform(low, high, (n, 3))


def jitter_points(true: np.ndarray, sd: float, seed: int | np.random.Generator) -> np.ndarray:
    """Draw a near-perfect prediction: every true point moved by normal noise.

    Args:
        true: [n, 3] float, the true points.
        sd: standard deviation per axis, in their unit.
        seed: of the random numbers, or their generator.

    Returns:
        [n, 3] float64.
    """
    true = _as_points(true)
    return true + np.random.default_rng(seed).normal(0, sd, true.shape)


def paired_interval(
    first: np.ndarray, second: np.ndarray, group: np.ndarray, n_draws: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Compare two methods on the same samples: the mean difference with its 95 % bootstrap interval.

    Args:
        first: [n_samples] float, a number per sample, such as its area; `nan` where skipped.
        second: [n_samples] float, the other method's; samples that either lacks are left out.
        group: [n_samples], what is drawn with replacement: the sample's own number, or the head or subject it is of.
        n_draws: how many draws.
        seed: of the random numbers.

    Returns:
        The mean of first minus second, and the lower and upper end; `nan` with no common sample.
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    kept = ~np.isnan(difference)
    if not kept.any():
        return float("nan"), float("nan"), float("nan")
    difference = difference[kept]
    draws = draw_subjects(np.asarray(group)[kept], n_draws, seed)
    return float(difference.mean()), *percentile_interval(np.array([difference[draw].mean() for draw in draws]))


def _as_points(points: np.ndarray) -> np.ndarray:
    """[n, 3] float64, n may be 0."""
    points = np.asarray(points, float)
    if points.size == 0:
        return np.zeros((0, 3))
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ValueError(f"points should be finite and [n, 3], but have shape {points.shape}")
    return points

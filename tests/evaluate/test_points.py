"""Clusters, matches and F1 against radius: other libraries, brute force, invariants, the authors' published curves."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation
from sklearn.cluster import AgglomerativeClustering

from eegjax.evaluate import points
from eegjax.evaluate.points import (
    area_under_curve,
    choose_threshold,
    cluster,
    count_matches,
    draw_random_points,
    f1_curve,
    f1_score,
    find_points,
    jitter_points,
    mean_and_sd,
    paired_interval,
)

RADII = np.arange(10)
EMPTY = np.zeros((0, 3))
MATCHINGS = ("hungarian", "greedy", "greedy_distinct")
# mean F1 of m random points at radii 0..9, from the authors' public repository
PUBLISHED = {
    10: [0, 0.0013, 0.0013, 0.0039, 0.0092, 0.0289, 0.0483, 0.0882, 0.1294, 0.1722],
    100: [0, 0.0016, 0.0054, 0.0289, 0.0643, 0.1213, 0.1905, 0.2900, 0.4021, 0.4898],
    1000: [0, 0.0032, 0.0180, 0.0493, 0.1022, 0.1816, 0.2649, 0.3480, 0.4223, 0.4758],
}


@st.composite
def samples(draw, largest: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """True points, one or more, and predicted ones, perhaps none; on a lattice, so that ties and duplicates occur."""
    counts = draw(st.tuples(st.integers(1, largest), st.integers(0, largest)))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    scale = draw(st.sampled_from([1.0, 0.5]))
    return tuple(rng.integers(0, 9, (count, 3)) * scale for count in counts)


# ---- voxels above a threshold


def test_points_above_a_threshold() -> None:
    volume = np.zeros((4, 5, 6), np.float32)
    volume[1, 2, 3], volume[1, 2, 4], volume[3, 0, 5], volume[0, 0, 0] = 0.9, 0.7, 0.5, 0.25
    assert find_points(volume, 0.25).tolist() == [[1, 2, 3], [1, 2, 4], [3, 0, 5]]  # the threshold itself is left out
    assert find_points(volume, 0.25, neighbourhood=3).tolist() == [[1, 2, 3], [3, 0, 5]]
    assert find_points(volume, 0.9).shape == (0, 3)
    assert find_points(volume, 0.6).dtype == np.float64


@given(st.integers(0, 1000), st.floats(0, 1))
def test_local_maxima_by_looking_at_every_neighbour(seed: int, threshold: float) -> None:
    volume = np.random.default_rng(seed).integers(0, 6, (4, 3, 5)) / 5
    expected = []
    for place in np.ndindex(volume.shape):
        around = volume[tuple(slice(max(at - 1, 0), at + 2) for at in place)]
        if volume[place] > threshold and volume[place] >= around.max():
            expected.append(list(place))
    assert find_points(volume, threshold, 3).tolist() == expected


@pytest.mark.parametrize("volume", [np.zeros((3, 3)), np.full((2, 2, 2), np.nan)])
def test_refuses_what_is_no_volume(volume: np.ndarray) -> None:
    with pytest.raises(ValueError, match="without nan"):
        find_points(volume, 0.5)


# ---- clusters


def test_clusters_worked_by_hand() -> None:
    line = np.array([[0.0, 0, 0], [1, 0, 0], [10, 0, 0]])
    assert sorted(cluster(line, 1.5)[:, 0]) == [0.5, 10]
    assert len(cluster(line, 1.0)) == 3  # exactly the radius apart: not merged
    assert len(cluster(line, 0)) == 3
    # Ward: a pair at 0..1 and a point d from its mean merge below r = d sqrt(4 / 3)
    reach = 9.5 * np.sqrt(4 / 3)
    assert [len(cluster(line, reach + off)) for off in (-1e-6, 1e-6)] == [2, 1]
    assert cluster(line, 100)[0] == pytest.approx([11 / 3, 0, 0])


@pytest.mark.parametrize("drop_last", [False, True])
def test_none_and_one_point(drop_last: bool) -> None:
    assert cluster(EMPTY, 3, drop_last).shape == (0, 3)
    assert len(cluster(np.array([[1.0, 2, 3]]), 3, drop_last)) == (0 if drop_last else 1)


def test_duplicates_stay_apart_at_radius_zero_only() -> None:
    twice = np.ones((2, 3))
    assert len(cluster(twice, 0)) == 2
    assert cluster(twice, 0.1).tolist() == [[1, 1, 1]]


@settings(max_examples=50)
@given(samples(), st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, 60.0]))
def test_clusters_are_scikit_learns(sample, radius: float) -> None:
    """On a lattice many clusters are equally near, and lie at exactly the radius."""
    _, predicted = sample
    if len(predicted) < 2:
        return
    labels = AgglomerativeClustering(n_clusters=None, distance_threshold=radius).fit_predict(predicted)
    expected = [predicted[labels == number].mean(axis=0) for number in range(max(labels) + 1)]
    centres = cluster(predicted, radius)
    assert sorted(centres.round(9).tolist()) == sorted(np.round(expected, 9).tolist())
    assert np.array_equal(cluster(predicted, radius, drop_last=True), centres[:-1])


def test_too_many_points_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = draw_random_points(21, 0, 1, seed=0)
    monkeypatch.setattr(points, "MAX_CLUSTERED", 20)
    assert len(cluster(crowd[:20], 9)) == 1
    assert np.array_equal(cluster(crowd, 9), crowd)
    assert f1_curve(crowd[:1], crowd, [9])[0] == pytest.approx(2 / 22)


# ---- matches


def test_matches_worked_by_hand() -> None:
    true = np.array([[0.0, 0, 0], [2, 0, 0], [50, 0, 0]])
    predicted = np.array([[1.0, 0, 0]])  # serves two
    assert count_matches(true, predicted, 1, "greedy") == (2, -1, 1)
    assert count_matches(true, predicted, 1, "greedy_distinct") == (2, 0, 1)
    assert count_matches(true, predicted, 1, "hungarian") == (1, 0, 2)
    assert count_matches(true, predicted, 0.99, "greedy") == (0, 1, 3)
    # the first within reach isn't free for the second, which has another: both are found
    assert count_matches(true[:2], np.array([[1.0, 0, 0], [-1, 0, 0]]), 1) == (2, 0, 0)
    assert count_matches(true[:2], np.array([[1.0, 0, 0], [-1, 0, 0]]), 1, "greedy_distinct") == (2, 1, 0)


@given(samples(), st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5, 20.0]))
def test_counts_against_plain_loops(sample, radius: float) -> None:
    """The greedy counts as the paper and the authors' code write them; one to one as the dense assignment."""
    true, predicted = sample
    n, m = len(true), len(predicted)
    near = cdist(true, predicted) <= radius
    found = sum(bool(row.any()) for row in near)
    assert count_matches(true, predicted, radius, "greedy") == (found, m - found, n - found)
    used = {int(np.where(row)[0][0]) for row in near if row.any()}
    assert count_matches(true, predicted, radius, "greedy_distinct") == (found, m - len(used), n - found)
    pairs = near[linear_sum_assignment(near, maximize=True)].sum()
    assert count_matches(true, predicted, radius, "hungarian") == (pairs, m - pairs, n - pairs)
    assert pairs <= found


@given(samples(largest=5), st.sampled_from([1.0, 2.5, 4.0]))
def test_one_to_one_is_the_best_of_all_assignments(sample, radius: float) -> None:
    near = cdist(*sample) <= radius
    if near.shape[0] > near.shape[1]:
        near = near.T
    best = max(
        (sum(near[row, column] for row, column in enumerate(chosen)))
        for chosen in itertools.permutations(range(near.shape[1]), near.shape[0])
    )
    assert count_matches(*sample, radius)[0] == best


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="'hungarian', 'greedy'"):
        count_matches(np.ones((2, 3)), np.ones((2, 3)), 1, "nearest")
    with pytest.raises(ValueError, match=r"\[n, 3\]"):
        count_matches(np.ones((2, 4)), np.ones((2, 3)), 1)
    with pytest.raises(ValueError, match="finite"):
        cluster(np.array([[0, np.nan, 0]]), 1)
    with pytest.raises(ValueError, match="no points"):
        f1_curve(EMPTY, np.ones((2, 3)), RADII)
    with pytest.raises(ValueError, match="ascending"):
        area_under_curve([1, 0], np.zeros(2))
    with pytest.raises(ValueError, match="0 candidates, 1 values"):
        choose_threshold([np.zeros((2, 2, 2))], find_points, [np.ones((1, 3))], RADII, [])


# ---- F1 against radius


def test_f1() -> None:
    assert f1_score(3, 1, 2) == pytest.approx(6 / 9)
    assert f1_score(0, 0, 5) == f1_score(0, 5, 0) == 0
    assert np.isnan(f1_score(0, 0, 0))


@given(samples(), st.booleans())
def test_f1_lies_between_0_and_1(sample, clustered: bool) -> None:
    for matching in ("hungarian", "greedy_distinct"):
        curve = f1_curve(*sample, RADII, matching, clustered=clustered)
        assert ((curve >= 0) & (curve <= 1)).all()
        assert len(sample[1]) or not curve.any()  # nothing predicted: 0, not left out


@given(samples())
def test_one_to_one_without_clusters_rises_with_the_radius(sample) -> None:
    assert (np.diff(f1_curve(*sample, RADII, clustered=False)) >= 0).all()


@pytest.mark.parametrize("matching", MATCHINGS)
def test_a_perfect_prediction_has_1_at_every_radius(matching: str) -> None:
    true = 20 * np.argwhere(np.ones((3, 2, 2))).astype(float)  # too far apart to be merged
    assert f1_curve(true, true[::-1], RADII, matching).tolist() == [1] * 10


@given(st.integers(0, 10_000), st.sampled_from(MATCHINGS), st.sampled_from(MATCHINGS[:2]))
def test_order_and_place_do_not_matter(seed: int, matching: str, clustering: str) -> None:
    """Permutations and a common rotation and shift; points in general position, without ties."""
    rng = np.random.default_rng(seed)
    true, predicted = rng.uniform(0, 20, (15, 3)), rng.uniform(0, 20, (18, 3))
    options = {"clustered": clustering == "hungarian"}
    expected = f1_curve(true, predicted, RADII, matching, **options)
    turn, shift = Rotation.random(rng=rng), rng.normal(0, 100, 3)
    moved = [turn.apply(one) + shift for one in (true, predicted)]
    assert f1_curve(*moved, RADII, matching, **options) == pytest.approx(expected)
    if matching != "greedy_distinct":  # which the order of the predictions decides by definition
        assert f1_curve(rng.permutation(true), rng.permutation(predicted), RADII, matching, **options) == pytest.approx(
            expected
        )


@pytest.mark.parametrize("drop_last", [False, True])
def test_clusters_of_clusters(drop_last: bool) -> None:
    """The authors' loop, where each radius starts from what the one before left."""
    rng = np.random.default_rng(1)
    true, predicted = rng.uniform(0, 20, (12, 3)), rng.uniform(0, 20, (40, 3))
    expected, left = [], predicted
    for radius in RADII:
        left = cluster(left, radius, drop_last)
        expected.append(f1_score(*count_matches(true, left, radius, "greedy_distinct")))
    options = {"matching": "greedy_distinct", "drop_last": drop_last}
    assert f1_curve(true, predicted, RADII, cumulative=True, **options).tolist() == expected
    fresh = [cluster(predicted, radius, drop_last) for radius in RADII]
    expected = [
        f1_score(*count_matches(true, one, radius, "greedy_distinct")) for one, radius in zip(fresh, RADII, strict=True)
    ]
    assert f1_curve(true, predicted, RADII, **options).tolist() == expected
    assert f1_curve(true, predicted, RADII, cumulative=True, **options).tolist() != expected


def test_samples_that_run_out_of_points() -> None:
    true, predicted = 50 * np.eye(3), 50 * np.argwhere(np.ones((3, 3, 1))).astype(float)  # too far apart to be merged
    slips = {"matching": "greedy_distinct", "cumulative": True, "drop_last": True}
    assert np.isnan(f1_curve(true, predicted, RADII, skip_empty=True, **slips)).all()  # nine don't last for ten losses
    assert np.isfinite(f1_curve(true, predicted, RADII[:-2], skip_empty=True, **slips)).all()
    assert f1_curve(true, predicted, RADII, **slips)[-2:].tolist() == [0, 0]
    assert np.isnan(f1_curve(true, EMPTY, RADII, skip_empty=True)).all()
    assert f1_curve(true, EMPTY, RADII).tolist() == [0] * 10


def test_mean_sd_and_area() -> None:
    curves = np.array([[0, 0.5, 1], [np.nan] * 3, [0, 0, 1]])
    mean, sd = mean_and_sd(curves)
    assert mean.tolist() == [0, 0.25, 1]
    assert sd.tolist() == [0, 0.25, 0]
    assert np.isnan(mean_and_sd(curves[1:2])).all()
    assert area_under_curve([0, 1, 3], curves) == pytest.approx([(0.25 + 1.5) / 3, np.nan, 1 / 3], nan_ok=True)
    assert area_under_curve(RADII, np.ones(10)) == 1


# ---- what random and near-perfect predictions are worth


@pytest.mark.parametrize(
    ("m", "n_samples", "options"),
    [(10, 200, {"clustered": False}), (100, 200, {"clustered": False}), (1000, 6, {"cumulative": True})],
)
def test_random_points_have_the_published_curves(m: int, n_samples: int, options: dict) -> None:
    """66 true points in a cube of 64 voxels; how the true ones lie is not published, so uniform as well."""
    rng = np.random.default_rng(0)
    curves = [
        f1_curve(draw_random_points(66, 0, 64, rng), draw_random_points(m, 0, 64, rng), RADII, "greedy", **options)
        for _ in range(n_samples)
    ]
    mean, _ = mean_and_sd(np.stack(curves))
    assert mean == pytest.approx(PUBLISHED[m], abs=0.05)


def test_random_points_fill_their_box() -> None:
    drawn = draw_random_points(20_000, np.array([0, -5, 10]), np.array([1, 5, 40]), seed=0)
    assert drawn.mean(0) == pytest.approx([0.5, 0, 25], rel=0.02, abs=0.1)
    assert drawn.std(0) == pytest.approx(np.array([1, 10, 30]) / np.sqrt(12), rel=0.02)
    assert np.array_equal(drawn, draw_random_points(20_000, np.array([0, -5, 10]), np.array([1, 5, 40]), seed=0))


def test_jitter_is_found_within_its_chi_distribution() -> None:
    """Lone points moved by normal noise of sd 1 lie within r with the chi distribution of three degrees of freedom."""
    true = 1000 * np.argwhere(np.ones((12, 12, 12))).astype(float)
    curve = f1_curve(true, jitter_points(true, 1, seed=0), [1, 2, 3], clustered=False)
    assert curve == pytest.approx([0.1987, 0.7385, 0.9707], abs=0.03)
    assert np.array_equal(jitter_points(true, 0, seed=0), true)


# ---- thresholds and comparisons


def test_the_best_threshold_is_the_one_that_tells_truth_from_noise() -> None:
    rng = np.random.default_rng(0)
    places = np.array([[1, 1, 1], [1, 10, 5], [9, 2, 8], [9, 9, 2]])
    volumes, true = [], [places.astype(float)] * 3
    for _ in true:
        volume = rng.uniform(0, 0.4, (12, 12, 12))
        volume[tuple(places.T)] = rng.uniform(0.6, 0.8, 4)
        volumes.append(volume)
    candidates = [0.1, 0.3, 0.5, 0.7, 0.9]
    threshold, areas = choose_threshold(volumes, find_points, true, RADII[:4], candidates)
    assert threshold == 0.5
    assert areas[2] == 1
    assert areas[4] == 0
    assert 0 < areas[0] < areas[1] < areas[2] > areas[3]
    curves = [f1_curve(*pair, RADII[:4]) for pair in zip(true, [find_points(one, 0.3) for one in volumes], strict=True)]
    assert areas[1] == pytest.approx(np.mean([area_under_curve(RADII[:4], curve) for curve in curves]))
    _, skipping = choose_threshold(volumes, find_points, true, RADII[:4], candidates, skip_empty=True)
    assert skipping == pytest.approx(areas)  # all samples are skipped at .9, which counts 0


def test_paired_interval_has_the_normal_width() -> None:
    rng = np.random.default_rng(0)
    common, gain = rng.normal(0, 5, 400), rng.normal(1, 0.5, 400)
    mean, low, high = paired_interval(common + gain, common, np.arange(400))
    assert mean == pytest.approx(gain.mean())
    theory = 1.96 * gain.std() / 20
    assert [mean - low, high - mean] == pytest.approx([theory, theory], rel=0.15)
    common[0] = np.nan
    assert paired_interval(common + gain, common, np.arange(400))[0] == pytest.approx(gain[1:].mean())
    assert np.isnan(paired_interval([np.nan], [1.0], [0])).all()


def test_paired_interval_draws_whole_groups() -> None:
    """Twenty heads of fifty equal samples are twenty observations, not a thousand."""
    gain = np.random.default_rng(0).normal(0, 1, 20)
    head = np.repeat(np.arange(20), 50)
    _, low, high = paired_interval(gain[head], np.zeros(1000), head)
    assert high - low == pytest.approx(2 * 1.96 * gain.std() / np.sqrt(20), rel=0.2)

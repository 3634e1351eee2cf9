"""Voxels against the paper's formula, loops over points, SciPy's morphology, and cubes whose centres are known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist, pdist

from eegjax.data.heads.surfaces import spread
from eegjax.errors import UserError
from eegjax.signal.voxels import (
    COLLISIONS,
    SCALINGS,
    Grid,
    count_pairs_in_one_voxel,
    describe_coarseness,
    find_cube_centres,
    make_grid_mask,
    make_grids,
    scatter_to_voxels,
)

seeds = st.integers(0, 9999)


def head(seed: int, n_electrodes: int = 40, n_sources: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Electrodes on the upper half of an ellipsoid and sources inside all of it, mm."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n_electrodes + n_sources, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points[:n_electrodes, 2] = np.abs(points[:n_electrodes, 2])
    points[n_electrodes:] *= rng.uniform(0.2, 0.85, (n_sources, 1))
    points = points * [75, 95, 85] + [1, -12, 40]
    return points[:n_electrodes], points[n_electrodes:]


# ---- grids


@settings(max_examples=40)
@given(seed=seeds, n=st.integers(2, 128), scaling=st.sampled_from(SCALINGS))
def test_voxels_and_millimetres_are_inverse_at_the_centres(seed, n, scaling):
    for grid, points in zip(make_grids(*head(seed), n, scaling), head(seed), strict=True):
        every = np.random.default_rng(seed).integers(0, n, (50, 3))
        assert np.array_equal(grid.to_voxel(grid.to_mm(every)), every)
        voxels = grid.to_voxel(points)  # all that a grid was made from is inside
        assert voxels.dtype == np.int32
        assert (np.abs(grid.to_mm(voxels) - points) <= grid.voxel_mm * (0.5 + 1e-8)).all()


@settings(max_examples=20)
@given(seed=seeds, n=st.sampled_from([16, 64, 65, 128]))
def test_separate_is_the_papers_formula(seed, n):
    for grid, points in zip(make_grids(*head(seed), n, "separate"), head(seed), strict=True):
        low, high = points.min(0), points.max(0)
        expected = [[int((p[a] - low[a]) / (high[a] - low[a]) * (n - 1)) for a in range(3)] for p in points]
        voxels = grid.to_voxel(points)
        assert np.array_equal(voxels, expected)
        assert (voxels.min(0) == 0).all()
        assert (voxels.max(0) == n - 1).all()


def test_what_each_scaling_keeps():
    electrodes, sources = head(0)
    both = np.concatenate([electrodes, sources])
    apart = make_grids(electrodes, sources, 64, "separate")
    assert not np.allclose(apart[0].voxel_mm, apart[1].voxel_mm)
    paired, same = make_grids(electrodes, sources, 64, "paired")
    assert paired is same
    assert np.ptp(paired.voxel_mm) > 0.1
    assert (np.ptp(paired.to_voxel(both), axis=0) == 63).all()
    affine, same = make_grids(electrodes, sources, 64, "affine")
    assert affine is same
    assert np.ptp(affine.voxel_mm) == 0
    voxels = affine.to_voxel(both)
    ratios = pdist(both) / (pdist(voxels) * affine.voxel_mm[0] + 1e-9)
    assert np.median(np.abs(ratios - 1)) < 0.02  # but for rounding a distance is a distance, whatever its direction
    middle = (voxels.min(0) + voxels.max(0)) / 2
    assert np.abs(middle - 31.5).max() <= 0.5


def test_points_and_scalings_that_do_not_fit_are_errors():
    electrodes, sources = head(0)
    grid, _ = make_grids(electrodes, sources, 16, "affine")
    with pytest.raises(UserError, match="2 of 3 points outside the grid"):
        grid.to_voxel(np.array([[0, 0, 0], [0, 500, 0], [np.nan, 0, 0]]))
    with pytest.raises(UserError, match=r"'pared'.*Did you mean 'paired'"):
        make_grids(electrodes, sources, 16, "pared")
    with pytest.raises(UserError, match="an extent along every axis"):
        make_grids(electrodes * [1, 0, 1], sources, 16, "separate")
    with pytest.raises(UserError, match="at least 2 voxels"):
        make_grids(electrodes, sources, 1, "affine")


def test_a_grid_too_coarse_says_how_many_pairs_it_merges():
    electrodes, sources = head(1, n_sources=150)
    grid, _ = make_grids(electrodes, sources, 10, "affine")
    voxels = grid.to_voxel(sources)
    pairs = sum(np.array_equal(a, b) for i, a in enumerate(voxels) for b in voxels[:i])
    assert count_pairs_in_one_voxel(voxels) == pairs > 5
    sentence = describe_coarseness(grid, sources)
    assert f"{pairs} pairs of 150 sources share a voxel" in sentence
    assert f"10 voxels a side ({grid.voxel_mm[0]:.1f} x" in sentence
    assert describe_coarseness(Grid(10, np.zeros(3), np.ones(3)), np.indices((4, 4, 4)).reshape(3, -1).T + 0.5) is None


# ---- from points to volumes


def by_loop(values: np.ndarray, voxels: np.ndarray, n: int, collisions: str, side: int) -> np.ndarray:
    """[n, n, n]: point by point."""
    there = [[] for _ in range(n**3)]
    for value, voxel in zip(values, voxels, strict=True):
        if value == 0 or (voxel < 0).any() or (voxel >= n).any():
            continue
        for x, y, z in np.ndindex(side, side, side):
            at = voxel + np.array([x, y, z]) - side // 2
            if (at >= 0).all() and (at < n).all():
                there[np.ravel_multi_index(at, (n, n, n))].append(value)
    choose = {"last": lambda v: v[-1], "mean": np.mean, "max": lambda v: max(v, key=abs)}[collisions]
    return np.array([choose(v) if v else 0 for v in there]).reshape(n, n, n)


def crowd(seed: int, n: int, n_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Points that often meet, at the border too; some silent, some padding."""
    rng = np.random.default_rng(seed)
    voxels = rng.choice(rng.integers(0, n, (n_points // 2, 3)), n_points)
    voxels[rng.random(n_points) < 0.1] = rng.choice([-1, n])
    return (rng.normal(size=n_points) * (rng.random(n_points) < 0.8)).astype(np.float32), voxels


@settings(max_examples=30)
@given(seed=seeds, collisions=st.sampled_from(COLLISIONS), side=st.sampled_from([1, 3, 5]))
def test_scatter_is_the_loop_over_points(seed, collisions, side):
    values, voxels = crowd(seed, 9, 20)
    volume = scatter_to_voxels(jnp.asarray(values), voxels, 9, collisions, side)
    assert volume.dtype == np.float32
    expected = by_loop(values, voxels, 9, collisions, side)
    if collisions == "mean":
        np.testing.assert_allclose(volume, expected, atol=1e-6)
    else:
        assert np.array_equal(volume, expected.astype(np.float32))


@given(order=st.permutations([0.5, -2.0, 3.0, 0.0]))
@settings(max_examples=10)
def test_the_last_that_is_not_silent_wins(order):
    voxels = np.full((4, 3), 2)
    volumes = {way: float(scatter_to_voxels(jnp.array(order), voxels, 4, way)[2, 2, 2]) for way in COLLISIONS}
    assert volumes == {"last": [v for v in order if v][-1], "max": 3.0, "mean": 0.5}


@pytest.mark.parametrize("n", [16, 64, 128])
def test_dilation_matches_scipy(n):
    """SciPy's grey dilation takes the largest, and the mean is a sum over the cube divided by how many are there."""
    rng = np.random.default_rng(n)
    voxels = np.unique(rng.integers(0, n, (200, 3)), axis=0)
    values = rng.uniform(0.1, 1, len(voxels)).astype(np.float32)
    points = np.asarray(scatter_to_voxels(values, voxels, n))
    assert np.array_equal(points[tuple(voxels.T)], values)
    assert np.count_nonzero(points) == len(voxels)
    grown = ndimage.grey_dilation(points, size=(5, 5, 5), mode="constant")
    assert np.array_equal(scatter_to_voxels(values, voxels, n, "max", 5), grown)
    total, count = (
        ndimage.uniform_filter(p.astype(np.float64), 5, mode="constant") * 125 for p in (points, points > 0)
    )
    expected = np.where(grown > 0, total / np.maximum(np.round(count), 1), 0)
    np.testing.assert_allclose(scatter_to_voxels(values, voxels, n, "mean", 5), expected, atol=1e-5)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(SCALINGS), st.sampled_from([8, 16, 40]))
def test_a_mask_holds_all_of_the_cortex_and_little_else(seed, scaling, n):
    """Sources that lie far from each other: none of the points they were chosen from is outside, as Gonzalez has it."""
    rng = np.random.default_rng(seed)
    cortex = 70 * rng.normal(size=(400, 3)) * np.array([1, 1.2, 0.8])
    sources = cortex[spread(cortex, 30)]
    grid = make_grids(1.2 * cortex, sources, n, scaling)[1]
    mask = make_grid_mask(grid, sources)
    inside = ((cortex >= grid.origin_mm) & (cortex < grid.origin_mm + n * grid.voxel_mm)).all(1)
    assert mask[tuple(grid.to_voxel(cortex[inside]).T)].all()
    centres = grid.to_mm(np.argwhere(mask))
    apart = np.sort(cdist(sources, sources))[:, 1].max()
    assert cdist(centres, sources).min(1).max() <= apart + np.linalg.norm(grid.voxel_mm) / 2 + 1e-6
    near = cdist(grid.to_mm(np.argwhere(~mask)), sources).min(1)
    assert not len(near) or near.min() > apart - np.linalg.norm(grid.voxel_mm) / 2 - 1e-6
    assert np.array_equal(make_grid_mask(grid, sources, 5), ndimage.binary_dilation(mask, np.ones((5, 5, 5))))


def test_what_lies_outside_belongs_to_the_border():
    grid = make_grids(np.eye(3), np.array([[0.0, 0, 0], [10, 20, 30]]), 4, "separate")[1]
    points = np.array([[-5.0, 3, 31], [4, 999, -999]])
    assert grid.to_nearest_voxel(points).tolist() == [[0, 0, 3], [1, 3, 0]]
    inside = np.array([[1.0, 7, 29]])
    assert np.array_equal(grid.to_nearest_voxel(inside), grid.to_voxel(inside))


@pytest.mark.parametrize("collisions", COLLISIONS)
def test_scatter_compiles_and_maps_over_samples_and_heads(collisions):
    values, voxels = (np.stack(parts) for parts in zip(*(crowd(seed, 8, 30) for seed in range(6)), strict=True))
    place = partial(scatter_to_voxels, n=8, collisions=collisions, side=3)
    one_by_one = jnp.stack([place(v, at) for v, at in zip(values, voxels, strict=True)])
    np.testing.assert_allclose(jax.jit(jax.vmap(place))(values, voxels), one_by_one, atol=1e-6)
    batch = jnp.asarray(values.reshape(2, 3, 30))
    each = jnp.stack([jnp.stack([place(v, voxels[0]) for v in row]) for row in batch])
    np.testing.assert_allclose(jax.jit(place)(batch, voxels[0]), each, atol=1e-6)


def test_other_collisions_and_sides_are_errors():
    with pytest.raises(UserError, match="collisions is 'sum'; there are last, max, mean"):
        scatter_to_voxels(jnp.ones(1), np.zeros((1, 3), int), 4, "sum")
    with pytest.raises(UserError, match="found 4, expected one of 1, 3, 5, 7, 9 voxels"):
        scatter_to_voxels(jnp.ones(1), np.zeros((1, 3), int), 4, side=4)
    with pytest.raises(UserError, match="found 11"):
        find_cube_centres(jnp.ones((4, 4, 4)), 11)


# ---- from cubes back to points


def apart(seed: int, n: int, side: int, gap: int, border: int, n_points: int = 40) -> np.ndarray:
    """Voxels, `side + gap` apart along at least one axis and `border` from the grid's faces; then padding."""
    rng = np.random.default_rng(seed)
    kept: list[np.ndarray] = []
    for voxel in rng.integers(border, n - border, (n_points, 3)):
        if all(np.abs(voxel - other).max() >= side + gap for other in kept):
            kept.append(voxel)
    return np.pad(kept, [(0, n_points - len(kept)), (0, 0)], constant_values=-1)


@settings(max_examples=40)
@given(
    seed=seeds,
    side_and_place=st.sampled_from([(3, 0, 1), (5, 0, 2), (3, 1, 0), (5, 1, 0)]),
    binary=st.booleans(),
)
def test_centres_are_exact_where_cubes_do_not_overlap(seed, side_and_place, binary):
    """Touching inside the grid, or cut by its faces and not touching."""
    side, gap, border = side_and_place
    voxels = apart(seed, 16, side, gap, border)
    values = np.ones(len(voxels)) if binary else np.random.default_rng(seed).uniform(0.05, 1, len(voxels))
    values = jnp.asarray(values, jnp.float32)
    for collisions in COLLISIONS:
        dilated = scatter_to_voxels(values, voxels, 16, collisions, side)
        assert np.array_equal(find_cube_centres(dilated, side), scatter_to_voxels(values, voxels, 16))


def test_cut_cubes_of_different_values_that_touch():
    voxels = np.array([[0, 8, 8], [5, 8, 8], [8, 0, 15], [8, 5, 15]])
    values = jnp.array([0.3, 0.7, 0.9, 0.2])
    assert np.array_equal(
        find_cube_centres(scatter_to_voxels(values, voxels, 16, side=5), 5), scatter_to_voxels(values, voxels, 16)
    )


@settings(max_examples=20)
@given(seed=seeds, side=st.sampled_from([3, 5]), threshold=st.sampled_from([0.0, 0.3, 0.63, 0.9]))
def test_any_prediction_is_covered_by_as_many_cubes_as_it_takes(seed, side, threshold):
    rng = np.random.default_rng(seed)
    volume = ndimage.gaussian_filter(rng.random((12, 12, 12)), 1.0)
    volume = ((volume - volume.min()) / np.ptp(volume)).astype(np.float32)
    centres = np.asarray(find_cube_centres(jnp.asarray(volume), side, threshold))
    above = volume > threshold
    there = centres > 0
    assert (centres[there] == volume[there]).all()
    assert above[there].all()
    assert (ndimage.binary_dilation(there, np.ones((side, side, side)))[above]).all()
    # every cube covers what none before it did: its centre at least
    assert 0 < there.sum() <= above.sum()


def greedy(volume: np.ndarray, side: int) -> np.ndarray:
    """One cube after another, in float64, for cubes inside the grid."""
    left, centres = volume.astype(np.float64), np.zeros(volume.shape, bool)
    while left.any():
        means = np.where(left > 0, ndimage.uniform_filter(left, side, mode="constant"), -1)
        at = np.unravel_index(np.argmax(np.round(means, 9)), volume.shape)
        centres[at] = True
        left[tuple(slice(max(0, a - side // 2), a + side // 2 + 1) for a in at)] = 0
    return centres


@pytest.mark.parametrize("seed", range(4))
def test_taking_many_cubes_at_once_is_taking_one_after_another(seed):
    """Away from the faces, on values of few levels, so that ties abound."""
    inner = np.random.default_rng(seed).integers(0, 4, (8, 8, 8))
    volume = np.pad(inner, 3).astype(np.float32)
    assert np.array_equal(np.asarray(find_cube_centres(jnp.asarray(volume), 3)) > 0, greedy(volume, 3))


def test_a_ragged_cube_is_one_point_and_the_background_none():
    voxels = np.array([[5, 6, 7], [14, 14, 3]])
    truth = np.asarray(scatter_to_voxels(jnp.ones(2), voxels, 20, side=5))
    rng = np.random.default_rng(0)
    predicted = np.where(truth > 0, 0.9, 0.3) + rng.uniform(-0.05, 0.05, truth.shape)
    predicted[3, 4, 5] = predicted[7, 8, 9] = 0.1  # two corners of the first are missed
    centres = np.argwhere(np.asarray(find_cube_centres(jnp.asarray(predicted, jnp.float32), 5, 0.63)))
    assert np.array_equal(centres, voxels)
    assert not np.asarray(find_cube_centres(jnp.zeros((8, 8, 8)), 5)).any()


def test_centres_compile_and_map():
    volumes = jnp.stack(
        [scatter_to_voxels(jnp.ones(len(v)), v, 12, side=3) for v in (apart(s, 12, 3, 1, 0) for s in range(4))]
    )
    expected = jnp.stack([find_cube_centres(volume, 3) for volume in volumes])
    assert np.array_equal(jax.jit(partial(find_cube_centres, side=3))(volumes), expected)
    assert np.array_equal(jax.jit(jax.vmap(partial(find_cube_centres, side=3)))(volumes), expected)

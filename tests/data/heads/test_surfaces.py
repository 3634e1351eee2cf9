"""Surfaces of heads, against spheres and ellipsoids, of which formulas tell everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from eegjax.data.heads import surfaces as geometry
from eegjax.data.heads.surfaces import Surface, icosphere, make_surface

CENTRE = np.array([0.003, -0.01, 0.045])
RADIUS_M = 0.09
SEMI_AXES = np.array([0.07, 0.09, 0.08])


def unit_vectors(n: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def sphere() -> Surface:
    return make_surface(CENTRE + RADIUS_M * icosphere(4)[0], CENTRE)


@pytest.fixture(scope="module")
def ellipsoid() -> Surface:
    return make_surface(CENTRE + SEMI_AXES * icosphere(4)[0], CENTRE)


def volume(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """By the divergence theorem: positive where all triangles turn outwards."""
    return np.linalg.det(vertices[triangles]).sum() / 6


@pytest.mark.parametrize(("subdivisions", "n_vertices", "n_triangles"), [(0, 12, 20), (2, 162, 320), (3, 642, 1280)])
def test_an_icosphere_is_a_sphere(subdivisions, n_vertices, n_triangles):
    vertices, triangles = icosphere(subdivisions)
    assert (vertices.shape, triangles.shape) == ((n_vertices, 3), (n_triangles, 3))
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1, rtol=1e-14)
    edges, counts = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)), axis=0, return_counts=True)
    assert (counts == 2).all()  # closed
    assert n_vertices - len(edges) + n_triangles == 2  # Euler's formula
    np.testing.assert_array_equal(np.linalg.det(vertices[triangles]) > 0, True)
    lengths = np.linalg.norm(np.subtract(*vertices[edges].swapaxes(0, 1)), axis=1)
    assert lengths.max() / lengths.min() < 1.35


def test_finer_icospheres_fill_the_sphere():
    volumes = [volume(*icosphere(n)) for n in range(5)]
    assert (np.diff(volumes) > 0).all()
    np.testing.assert_allclose(volumes[-1], 4 / 3 * np.pi, rtol=3e-3)
    np.testing.assert_array_equal(icosphere(3)[0], icosphere(4)[0][:642])


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.01, 0.2), st.floats(0.9, 1.1))
def test_projection_to_a_sphere_is_exact(seed, radius_m, share):
    sphere = make_surface(CENTRE + radius_m * icosphere(3)[0], CENTRE)
    directions = unit_vectors(20, seed)
    projected = geometry.project(sphere, CENTRE + share * radius_m * directions)
    np.testing.assert_allclose(np.linalg.norm(projected - CENTRE, axis=1), radius_m, rtol=1e-12)
    far = np.linalg.norm(projected - CENTRE - radius_m * directions, axis=1).max()
    assert far <= 0.025 * abs(share - 1) * radius_m + 1e-5 * radius_m  # half an edge of the finest sphere is 0.02


def test_what_is_on_a_sphere_stays_there(sphere):
    points = CENTRE + RADIUS_M * unit_vectors(200)
    np.testing.assert_allclose(geometry.project(sphere, points), points, atol=1e-6)
    np.testing.assert_allclose(geometry.height(sphere, points), 0, atol=1e-15)


def test_heights_and_depths_below_a_sphere(sphere):
    radii = np.random.default_rng(1).uniform(0.02, 0.12, 2000)
    points = CENTRE + radii[:, None] * unit_vectors(2000)
    np.testing.assert_allclose(geometry.height(sphere, points), radii - RADIUS_M, atol=1e-15)
    np.testing.assert_allclose(geometry.depth(sphere, points), RADIUS_M - radii, atol=2.1e-4)
    near = np.abs(radii - RADIUS_M) < 0.009
    np.testing.assert_allclose(geometry.depth(sphere, points)[near], RADIUS_M - radii[near], atol=3e-5)


def test_radii_between_vertices(ellipsoid):
    directions = unit_vectors(3000)
    truth = 1 / np.sqrt((directions**2 / SEMI_AXES**2).sum(axis=1))
    np.testing.assert_allclose(geometry.radius(ellipsoid, directions), truth, atol=2.5e-4)
    np.testing.assert_allclose(geometry.radius(ellipsoid, ellipsoid.directions), ellipsoid.radii, rtol=1e-12)
    sampled = geometry.sample(ellipsoid, directions)
    np.testing.assert_allclose((((sampled.vertices - CENTRE) / SEMI_AXES) ** 2).sum(axis=1), 1, atol=7e-3)


def test_distances_to_an_ellipsoid(ellipsoid):
    points = CENTRE + np.random.default_rng(2).uniform(0.3, 1.2, (300, 1)) * SEMI_AXES * unit_vectors(300)
    truth, _ = cKDTree(CENTRE + SEMI_AXES * icosphere(7)[0]).query(points)  # 0.6 mm apart
    inside = (((points - CENTRE) / SEMI_AXES) ** 2).sum(axis=1) < 1
    np.testing.assert_allclose(geometry.depth(ellipsoid, points), np.where(inside, truth, -truth), atol=5e-4)
    moved = np.linalg.norm(geometry.project(ellipsoid, points) - points, axis=1)
    np.testing.assert_allclose(moved[truth < 0.01], truth[truth < 0.01], atol=5e-4)


def test_an_ellipsoid_is_fitted_exactly(ellipsoid):
    cap = ellipsoid.vertices[ellipsoid.vertices[:, 2] > 0.06]
    centre, semi_axes = geometry.fit_ellipsoid(cap)
    np.testing.assert_allclose(centre, CENTRE, atol=1e-10)
    np.testing.assert_allclose(semi_axes, SEMI_AXES, rtol=1e-9)


def test_normals_of_an_ellipsoid():
    directions, triangles = icosphere(4)
    vertices = SEMI_AXES * directions
    gradient = vertices / SEMI_AXES**2
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    cosines = (geometry.vertex_normals(vertices, triangles) * gradient).sum(axis=1)
    assert cosines.min() > np.cos(np.radians(1.5))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 30))
def test_points_are_spread(seed, n_points):
    """Gonzalez 1985: no point is farther from those chosen than those are from each other."""
    points = np.random.default_rng(seed).normal(size=(60, 3))
    chosen = geometry.spread(points, n_points)
    assert len(set(chosen)) == n_points
    assert (np.diff(chosen) > 0).all()
    between = cdist(points[chosen], points[chosen])
    farthest = cdist(points, points[chosen]).min(axis=1).max()
    assert farthest <= between[~np.eye(n_points, dtype=bool)].min() + 1e-12


def test_a_finer_choice_is_another_one():
    """Not the coarser one and some more: a finer mesh would be half the assumed one."""
    points = np.random.default_rng(0).normal(size=(6000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    coarse, fine = geometry.spread(points, 300), geometry.spread(points, 600)
    assert len(np.intersect1d(coarse, fine)) < 0.3 * len(coarse)

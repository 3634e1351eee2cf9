"""Closed surfaces of a head, each as a distance from one centre in every direction: skulls and scalps are star-shaped.

So surfaces of any mesh are sampled in the same directions, whatever lies half way between is the mean of two numbers,
and all is exact on a sphere. Metres throughout.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull, cKDTree

_N_NEIGHBOURS = 4
_NEAR_M = 0.01  # nearer, a plane tells a distance better than a vertex
_FINE = 5  # subdivisions for what is nearest: 10,242 vertices, 3 mm apart on a scalp


class Surface(NamedTuple):
    """`centre` [3]; `directions` [n, 3] unit vectors from it; `radii` [n], how far the surface is in each, m."""

    centre: np.ndarray
    directions: np.ndarray
    radii: np.ndarray

    @property
    def vertices(self) -> np.ndarray:
        """[n, 3] float64, m."""
        return self.centre + self.radii[:, None] * self.directions


def make_surface(vertices: np.ndarray, centre: np.ndarray) -> Surface:
    """Take a surface from its vertices [n, 3], m, seen from a centre [3] inside it."""
    offsets = vertices - centre
    radii = np.linalg.norm(offsets, axis=1)
    return Surface(centre, offsets / radii[:, None], radii)


@cache
def icosphere(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide an icosahedron's edges in halves, again and again.

    Args:
        subdivisions: how often; 3 gives 642 vertices and 1280 triangles.

    Returns:
        vertices [10 * 4^subdivisions + 2, 3] float64 on the unit sphere, and triangles [n, 3] int, which turn
        counter-clockwise seen from outside; both read-only.
    """
    golden = (1 + 5**0.5) / 2
    corners = np.array([[0, one, far] for one in (-1, 1) for far in (-golden, golden)])
    vertices = _unit(np.concatenate([np.roll(corners, shift, axis=1) for shift in range(3)]))
    for _ in range(subdivisions):
        vertices = np.concatenate([vertices, _unit(vertices[_edges(_hull(vertices))].sum(axis=1))])
    triangles = _hull(vertices)
    vertices.setflags(write=False)
    triangles.setflags(write=False)
    return vertices, triangles


def _hull(vertices: np.ndarray) -> np.ndarray:
    """The triangles of a convex hull, all turned outwards."""
    triangles = ConvexHull(vertices).simplices.astype(int)
    inwards = np.linalg.det(vertices[triangles]) < 0
    triangles[inwards] = triangles[inwards][:, ::-1]
    return triangles


def _edges(triangles: np.ndarray) -> np.ndarray:
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    return np.unique(np.sort(sides, axis=1), axis=0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Mean of the normals of each vertex's triangles, weighted by area.

    Args:
        vertices: [n, 3] float, m.
        triangles: [n_triangles, 3] int, counter-clockwise seen from outside.

    Returns:
        [n, 3] float64 unit vectors, outwards.
    """
    a, b, c = (vertices[corner] for corner in triangles.T)
    normals = np.zeros_like(vertices)
    for corner in triangles.T:
        np.add.at(normals, corner, np.cross(b - a, c - a))
    return _unit(normals)


def radius(surface: Surface, directions: np.ndarray) -> np.ndarray:
    """How far the surface is from its centre, the mean of the nearest vertices weighted by 1 / distance².

    Args:
        surface: the surface.
        directions: [n, 3] float unit vectors.

    Returns:
        [n] float64, m.
    """
    distances, nearest = cKDTree(surface.directions).query(directions, k=_N_NEIGHBOURS)
    weights = 1 / (distances**2 + 1e-18)  # at a vertex, that vertex
    return (weights * surface.radii[nearest]).sum(axis=1) / weights.sum(axis=1)


def sample(surface: Surface, directions: np.ndarray) -> Surface:
    """The same surface at other directions [n, 3]."""
    return Surface(surface.centre, directions, radius(surface, directions))


def height(surface: Surface, points: np.ndarray) -> np.ndarray:
    """How far points [n, 3] are outside along the ray from the centre; negative inside: [n] float64, m."""
    offsets = points - surface.centre
    return np.linalg.norm(offsets, axis=1) - radius(surface, _unit(offsets))


def fit_ellipsoid(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit an ellipsoid along the axes: the least squares of a x² + b y² + c z² + d x + e y + f z = 1.

    Args:
        points: [n, 3] float, m.

    Returns:
        Its centre [3] and semi-axes [3], float64, m.
    """
    middle = points.mean(axis=0)
    centred = points - middle
    design = np.concatenate([centred**2, centred], axis=1)
    coefficients, *_ = np.linalg.lstsq(design, np.ones(len(points)), rcond=None)
    squares = coefficients[:3]
    shifts = coefficients[3:]
    centre = -shifts / (2 * squares)
    return middle + centre, np.sqrt((1 + (squares * centre**2).sum()) / squares)


def depth(surface: Surface, points: np.ndarray) -> np.ndarray:
    """How far points are below the surface.

    Args:
        surface: the surface.
        points: [n, 3] float, m.

    Returns:
        [n] float64, m, negative outside; on a sphere as large as a head 0.2 mm off at most.
    """
    depths, _, distances = _nearest(surface, points)
    return np.where(distances < _NEAR_M, depths, np.copysign(distances, depths))


def project(surface: Surface, points: np.ndarray) -> np.ndarray:
    """Move points [n, 3], m, to the nearest of the surface: [n, 3] float64, m."""
    depths, normals, _ = _nearest(surface, points)
    feet = points + depths[:, None] * normals - surface.centre
    directions = _unit(feet)  # from a plane that touches it to the surface itself
    return surface.centre + radius(surface, directions)[:, None] * directions


def _nearest(surface: Surface, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth [n] below and normal [n, 3] of the plane that touches the surface at its nearest vertex; its distance."""
    directions, triangles = icosphere(_FINE)
    vertices = sample(surface, directions).vertices
    distances, nearest = cKDTree(vertices).query(points)
    normals = vertex_normals(vertices, triangles)[nearest]
    return np.einsum("ij,ij->i", vertices[nearest] - points, normals), normals, distances


def spread(points: np.ndarray, n_points: int) -> np.ndarray:
    """Choose points that lie far from each other: each the one farthest from all before (Gonzalez 1985).

    The first one depends on how many they are: a finer choice isn't the coarser one and some more.

    Args:
        points: [n, 3] float, m.
        n_points: how many, at most n.

    Returns:
        [n_points] int, their indices in ascending order.
    """
    chosen = [int(np.random.default_rng(n_points).integers(len(points)))]
    distances = np.full(len(points), np.inf)
    for _ in range(n_points - 1):
        distances = np.minimum(distances, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distances.argmax()))
    return np.sort(chosen)

"""Points of a head as voxels of a cube, and back.

A voxel's number is the whole part of how many voxels a point lies from the cube's low corner, as in the paper that the
study follows (Kalinichenko, Kozhevnikov & Tikhonov, "3D CNNs as the solution for inverse EEG problem", 2023). Grids
and voxel numbers are made on the host; whatever touches values or volumes is JAX, of fixed shapes.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

from eegjax.errors import UserError, check_choice

SCALINGS = ("separate", "paired", "affine")
COLLISIONS = ("last", "max", "mean")
SIDES = (1, 3, 5, 7, 9)  # of a cube, in voxels
ROUNDING = 1e-9  # of a voxel: a point this near below a face is taken to lie on it


class Grid(NamedTuple):
    """A cube of n x n x n voxels, along the x, y and z axes of the head."""

    n: int
    origin_mm: np.ndarray  # [3] float64, the low corner of voxel (0, 0, 0)
    voxel_mm: np.ndarray  # [3] float64, a voxel's size along each axis

    def to_voxel(self, points_mm: np.ndarray) -> np.ndarray:
        """The voxels that hold points: [..., 3] float, mm -> [..., 3] int32 in 0..n - 1.

        Raises:
            UserError: one of `points_mm` lies outside the cube.
        """
        voxel = self._to_grid(points_mm)
        outside = ~((voxel >= 0) & (voxel < self.n)).all(-1)
        if outside.any():
            raise UserError(
                f"found {outside.sum()} of {outside.size} points outside the grid, expected all inside: make the grid "
                "from all points that it is to hold"
            )
        return voxel.astype(np.int32)

    def to_nearest_voxel(self, points_mm: np.ndarray) -> np.ndarray:
        """The same, but what lies outside belongs to the voxel at its border: [..., 3] float, mm -> [..., 3] int32."""
        return np.clip(self._to_grid(points_mm), 0, self.n - 1).astype(np.int32)

    def _to_grid(self, points_mm: np.ndarray) -> np.ndarray:
        return np.floor((np.asarray(points_mm, np.float64) - self.origin_mm) / self.voxel_mm + ROUNDING)

    def to_mm(self, voxels: np.ndarray) -> np.ndarray:
        """The centres of voxels: [..., 3] int -> [..., 3] float64, mm."""
        return self.origin_mm + (np.asarray(voxels) + 0.5) * self.voxel_mm


def make_grids(electrodes_mm: np.ndarray, sources_mm: np.ndarray, n: int, scaling: str) -> tuple[Grid, Grid]:
    """Make the grid of the electrodes and that of the sources.

    Args:
        electrodes_mm: [n_points, 3] float, mm.
        sources_mm: [n_points, 3] float, mm.
        n: voxels along a side.
        scaling: "separate", the paper's: each axis is scaled from its least coordinate to its greatest, for electrodes
            and for sources, so that how they lie to each other is lost. "paired", the other one of the paper's code:
            likewise, but over both together; axes still differ in scale. "affine": one cube of cubic voxels for both,
            centred, in which a millimetre is as long along every axis.

    Returns:
        Two grids, the same one twice unless separate.

    Raises:
        UserError: `scaling` is none of `SCALINGS`, or the points have no extent along an axis.
    """
    check_choice("scaling", scaling, SCALINGS)
    if scaling == "separate":
        return _min_max(electrodes_mm, n), _min_max(sources_mm, n)
    both = np.concatenate([electrodes_mm, sources_mm])
    grid = _min_max(both, n) if scaling == "paired" else _affine(both, n)
    return grid, grid


def _min_max(points_mm: np.ndarray, n: int) -> Grid:
    """The least coordinate is at the low face of voxel 0, the greatest at that of voxel n - 1."""
    low, extent = _box(points_mm, n)
    return Grid(n, low, extent / (n - 1))


def _affine(points_mm: np.ndarray, n: int) -> Grid:
    """Along the longest axis the outermost points lie at the centres of voxels 0 and n - 1."""
    low, extent = _box(points_mm, n)
    voxel_mm = np.full(3, extent.max() / (n - 1))
    return Grid(n, low + extent / 2 - n * voxel_mm / 2, voxel_mm)


def _box(points_mm: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The low corner and the extent, [3] float64 each, of points."""
    low = np.min(points_mm, 0).astype(np.float64)
    extent = np.max(points_mm, 0) - low
    if n < 2 or not (extent > 0).all():
        raise UserError(
            f"found points of {' x '.join(f'{mm:.4g}' for mm in extent)} mm for a grid of {n} voxels a side, expected "
            "an extent along every axis and at least 2 voxels"
        )
    return low, extent


def count_pairs_in_one_voxel(voxels: np.ndarray) -> int:
    """How many pairs of points share a voxel: [n_points, 3] int -> a number."""
    _, counts = np.unique(voxels, axis=0, return_counts=True)
    return int((counts * (counts - 1) // 2).sum())


def describe_coarseness(grid: Grid, sources_mm: np.ndarray) -> str | None:
    """Say, for a note, how many pairs of sources [n_sources, 3] mm a grid can't hold apart; None if it can all."""
    pairs = count_pairs_in_one_voxel(grid.to_voxel(sources_mm))
    size = " x ".join(f"{mm:.1f}" for mm in grid.voxel_mm)
    return (
        f"a grid of {grid.n} voxels a side ({size} mm each) is too coarse to hold all sources apart: {pairs:,} pairs "
        f"of {len(sources_mm):,} sources share a voxel"
        if pairs
        else None
    )


@partial(jax.jit, static_argnames=("n", "collisions", "side"))
def scatter_to_voxels(
    values: jax.Array, voxels: jax.Array | np.ndarray, n: int, collisions: str = "last", side: int = 1
) -> jax.Array:
    """Put values at their voxels, as cubes if wanted.

    A value of exactly zero is no point: a silent source covers no active one. "last" and "max" give the same bits on
    every device; "mean" does where at most two points meet, otherwise up to the order of a sum.

    Args:
        values: [..., n_points] float32, any unit.
        voxels: [n_points, 3] int; a row with a number outside 0..n - 1 is padding and left out.
        n: voxels along a side.
        collisions: what a voxel holds that belongs to several points or cubes: the value of the "last" in the order of
            the points (the paper's code, for cubes too), that of the largest magnitude ("max"), or their "mean".
        side: of the cube that stands for a point, 1, 3, 5, 7 or 9 voxels; the paper's dilation is 5. Cut at the border.

    Returns:
        [..., n, n, n] float32, zero where there is no point.

    Raises:
        UserError: `collisions` is none of `COLLISIONS`, or `side` none of `SIDES`.
    """
    check_choice("collisions", collisions, COLLISIONS)
    at = _cubes(jnp.asarray(voxels), n, side)
    write = {"last": _last, "max": _largest, "mean": _mean}[collisions]
    volume = write(jnp.asarray(values), at, n**3)
    return volume.reshape(*values.shape[:-1], n, n, n)


def _cubes(voxels: jax.Array, n: int, side: int) -> jax.Array:
    """[n_points, 3] -> [n_points, side^3] int32: the voxels of each point's cube, numbered row by row.

    What isn't in the grid gets n^3, the number of no voxel.
    """
    _check_side(side)
    offsets = np.indices((side, side, side)).reshape(3, -1).T - side // 2
    cubes = voxels[:, None] + offsets
    inside = _inside(cubes, n) & _inside(voxels, n)[:, None]
    return jnp.where(inside, (cubes * np.array([n * n, n, 1])).sum(-1), n**3).astype(jnp.int32)


def _inside(voxels: jax.Array, n: int) -> jax.Array:
    return ((voxels >= 0) & (voxels < n)).all(-1)


def _check_side(side: int) -> None:
    if side not in SIDES:
        raise UserError(f"side of a cube: found {side}, expected one of {', '.join(map(str, SIDES))} voxels")


def _last(values: jax.Array, at: jax.Array, n_voxels: int) -> jax.Array:
    """Each voxel's value of the last point there: the maximum of whole numbers, which no order of writing changes."""
    numbers = jnp.where(values != 0, jnp.arange(1, values.shape[-1] + 1), 0)
    last = _empty(numbers, n_voxels).at[..., at].max(numbers[..., None], mode="drop")
    none = jnp.zeros_like(values[..., :1])
    return jnp.take_along_axis(jnp.concatenate([none, values], -1), last, -1)


def _largest(values: jax.Array, at: jax.Array, n_voxels: int) -> jax.Array:
    """Each voxel's value of the largest magnitude; the positive one of two that are equal."""
    most = _empty(values, n_voxels).at[..., at].max(values[..., None], mode="drop")
    least = _empty(values, n_voxels).at[..., at].min(values[..., None], mode="drop")
    return jnp.where(most >= -least, most, least)


def _mean(values: jax.Array, at: jax.Array, n_voxels: int) -> jax.Array:
    """Each voxel's mean over the points there."""
    there = (values != 0).astype(values.dtype)
    total = _empty(values, n_voxels).at[..., at].add(values[..., None], mode="drop")
    count = _empty(values, n_voxels).at[..., at].add(there[..., None], mode="drop")
    return total / jnp.maximum(count, 1)


def _empty(values: jax.Array, n_voxels: int) -> jax.Array:
    return jnp.zeros((*values.shape[:-1], n_voxels), values.dtype)


def make_grid_mask(grid: Grid, sources_mm: np.ndarray, side: int = 1) -> np.ndarray:
    """The voxels that can hold a source, or a voxel of its cube, wherever exactly the sources lie.

    Sources stand for the cortex between them: what is as near to one of them as they are to each other where they are
    the sparsest. If they were chosen to lie far from each other (Gonzalez 1985), that is all of the cortex, and no
    finer choice has a source outside.

    Args:
        grid: of the volume.
        sources_mm: [n_sources, 3] float, mm.
        side: of the cube that stands for a source, 1, 3, 5, 7 or 9 voxels.

    Returns:
        [n, n, n] bool.
    """
    _check_side(side)
    reach_mm = cKDTree(sources_mm).query(sources_mm, k=2)[0][:, 1].max()
    steps = np.ceil(reach_mm / grid.voxel_mm).astype(int)
    offsets = np.indices(2 * steps + 1).reshape(3, -1).T - steps
    inside = np.zeros((grid.n,) * 3, bool)
    for source_mm, voxel in zip(np.asarray(sources_mm), grid.to_voxel(sources_mm), strict=True):
        voxels = voxel + offsets
        voxels = voxels[((voxels >= 0) & (voxels < grid.n)).all(-1)]
        low_mm = grid.origin_mm + voxels * grid.voxel_mm
        nearest_mm = np.clip(source_mm, low_mm, low_mm + grid.voxel_mm)  # of the voxel to the source
        inside[tuple(voxels[np.linalg.norm(nearest_mm - source_mm, axis=1) <= reach_mm].T)] = True
    return binary_dilation(inside, np.ones((side,) * 3, bool))


@partial(jax.jit, static_argnames="side")
def find_cube_centres(volume: jax.Array, side: int, threshold: float = 0.0) -> jax.Array:
    """Undo the dilation: find the centres of cubes.

    What isn't above the threshold is background. The cube whose mean over the voxels inside the grid is the highest is
    taken and its voxels become background; then the next, until nothing is left. Of equal ones the cube with the most
    voxels inside the grid comes first, then that with the lowest x, y and z. Values count in steps of at most 1/20000
    of the greatest.

    That gives exactly the centres of dilated points whose cubes don't overlap (cubes of one value that touch each
    other and are cut by the border excepted: there more than one reading is possible). Cubes that overlap, and a
    network's prediction, give as many cubes as it takes to cover all that is above the threshold.

    Args:
        volume: [..., n, n, n] float32, at least 0: dilated values, or probabilities.
        side: of the cubes, 1, 3, 5, 7 or 9 voxels.
        threshold: at least 0, of the volume's unit.

    Returns:
        [..., n, n, n] float32: the volume at the centres, zero elsewhere.

    Raises:
        UserError: `side` is none of `SIDES`.
    """
    _check_side(side)
    n = volume.shape[-1]
    size = _sliding(jnp.ones((n, n, n)), side, jnp.add, 0)
    precedence = size.astype(jnp.int32) * n**3 - jnp.arange(n**3, dtype=jnp.int32).reshape(n, n, n)

    def take(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Take every cube that comes before all those that overlap it: one after another would give the same."""
        left, centres = state
        mean = jnp.where(left > 0, jnp.round(_sliding(left, side, jnp.add, 0) / size), -1)
        taken = (left > 0) & (_foremost(mean, precedence, 2 * side - 1) == precedence)
        return jnp.where(_sliding(taken, side, jnp.logical_or, False), 0, left), centres | taken

    found = jnp.where(volume > threshold, volume, 0)
    # whole numbers, whose sums over a cube are exact in float32: equal cubes are equal wherever they lie
    steps = (2**24 - 1) // side**3
    greatest = jnp.maximum(found.max((-3, -2, -1), keepdims=True), jnp.finfo(jnp.float32).tiny)
    left = jnp.where(found > 0, jnp.maximum(jnp.round(found / greatest * steps), 1), 0)
    _, centres = lax.while_loop(lambda state: (state[0] > 0).any(), take, (left, jnp.zeros(left.shape, bool)))
    return jnp.where(centres, volume, 0)


def _foremost(mean: jax.Array, precedence: jax.Array, side: int) -> jax.Array:
    """The highest precedence among the highest means of the cube around each voxel: [..., n, n, n] int32."""
    precedence = jnp.broadcast_to(precedence, mean.shape)
    for axis in range(-3, 0):
        means = _shifted(mean, side, axis, -1)
        precedences = _shifted(precedence, side, axis, -1)
        mean = reduce(jnp.maximum, means)
        highest = [jnp.where(m == mean, p, -1) for m, p in zip(means, precedences, strict=True)]
        precedence = reduce(jnp.maximum, highest)
    return precedence


def _sliding(volume: jax.Array, side: int, combine: Callable, empty: float) -> jax.Array:
    """Combine the cube around each voxel, [..., n, n, n]: one axis after another, `empty` outside the grid."""
    for axis in range(-3, 0):
        volume = reduce(combine, _shifted(volume, side, axis, empty))
    return volume


def _shifted(volume: jax.Array, side: int, axis: int, empty: float) -> list[jax.Array]:
    """The volume as each of `side` neighbours along an axis sees it."""
    axis += volume.ndim
    widths = [(side // 2, side // 2) if at == axis else (0, 0) for at in range(volume.ndim)]
    padded = jnp.pad(volume, widths, constant_values=empty)
    return [lax.slice_in_dim(padded, at, at + volume.shape[axis], axis=axis) for at in range(side)]

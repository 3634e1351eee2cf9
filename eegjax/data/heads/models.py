"""How a head is measured: where its electrodes and sources are, and the lead field, which MNE computes.

The sphere has MNE's solution of four shells (Berg & Scherg 1994). All other heads are boundary element models (linear
collocation, isolated skull approach; Hämäläinen & Sarvas 1989, IEEE Trans. Biomed. Eng. 36:165) of 642 vertices per
surface, brain and scalp of 0.3 S/m. Against the series of a sphere their topographies are off by a relative difference
of 0.04 deep down and 0.13 where sources are 5 mm below the skull, and 6 to 14 % weak.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from eegjax.data.heads import surfaces as geometry
from eegjax.data.heads.anatomy import SPHERE_RADII, SPHERE_RADIUS_M, Anatomy, make_montage
from eegjax.data.heads.surfaces import Surface, icosphere, make_surface
from eegjax.errors import UserError, note

MIN_DEPTH_M = 0.005
_LEAST_M = 0.002  # between two surfaces
_SUBDIVISIONS = 3
_BRAIN_SCALP = 0.3  # S/m
# S/m, MNE's own
_SPHERE_BRAIN = 0.33
_SPHERE_LIQUOR = 1.0
_SPHERE_SCALP = 0.33
# hair, gel and a digitiser's error explain no more
_MOST_INSIDE_M = 0.005
_MOST_OUTSIDE_M = 0.02
_CAP = 0.25  # of the height above ears and nasion: from the eyebrows up


class Electrodes(NamedTuple):
    """`ch_names` [n_chans]; `positions_m` [n_chans, 3]; `fit_mm` [n_chans], how far the scalp was from the montage."""

    ch_names: tuple[str, ...]
    positions_m: np.ndarray
    fit_mm: np.ndarray


# ---- electrodes


def make_scalp(anatomy: Anatomy) -> Surface:
    """The scalp, seen from the middle of what is under the cap."""
    return make_surface(anatomy.scalp, geometry.fit_ellipsoid(_under_cap(anatomy.scalp))[0])


def _under_cap(points: np.ndarray) -> np.ndarray:
    return points[points[:, 2] > _CAP * points[:, 2].max()]


def place_electrodes(n_chans: int, scalp: Surface) -> Electrodes:
    """Scale a template montage to the head and project it to the scalp.

    The montage's sphere becomes the ellipsoid that fits the scalp above eyebrows and ears best, and its points move to
    the nearest of the scalp.

    Args:
        n_chans: of `make_montage`.
        scalp: in head coordinates.

    Returns:
        The electrodes; `fit_mm` is how far the last step moved them.
    """
    ch_names, positions, centre = make_montage(n_chans)
    middle, semi_axes = geometry.fit_ellipsoid(_under_cap(scalp.vertices))
    scaled = middle + semi_axes / SPHERE_RADIUS_M * (positions - centre)
    projected = geometry.project(scalp, scaled)
    return Electrodes(ch_names, projected, 1000 * np.linalg.norm(projected - scaled, axis=1))


def misplace(
    electrodes_m: np.ndarray, scalp: Surface, shift_mm: float, angle_deg: float, rng: np.random.Generator
) -> np.ndarray:
    """Where electrodes really are when the head was turned and shifted under the cap by so much, at random.

    Args:
        electrodes_m: [n_chans, 3] float, m.
        scalp: they are projected to it again.
        shift_mm: length of the shift, in a random direction.
        angle_deg: angle of the turn about the scalp's centre, around a random axis.
        rng: draws axis and direction.

    Returns:
        [n_chans, 3] float64, m.
    """
    axis, direction = rng.normal(size=(2, 3))
    turn = Rotation.from_rotvec(np.radians(angle_deg) * axis / np.linalg.norm(axis))
    shift = shift_mm / 1000 * direction / np.linalg.norm(direction)
    return geometry.project(scalp, scalp.centre + turn.apply(electrodes_m - scalp.centre) + shift)


# ---- sources


class Sources(NamedTuple):
    """Where sources are.

    positions_m: [n_sources, 3] float64.
    normals: [n_sources, 3] float64, of the cortex or else radial.
    depth_m: [n_sources] float64, below the inner skull.
    n_dropped: how many points of cortex were left out.
    """

    positions_m: np.ndarray
    normals: np.ndarray
    depth_m: np.ndarray
    n_dropped: int


def place_sources(anatomy: Anatomy, inner_skull: Surface, n_sources: int) -> Sources:
    """Choose sources evenly spread over the cortex, or over what stands in for it, at least 5 mm below the inner skull.

    Cortex that lies higher is left out and counted in a note: a boundary element model is wrong there.

    Args:
        anatomy: of the head.
        inner_skull: the same surface, dense.
        n_sources: how many.

    Raises:
        UserError: inside the skull there are fewer than `n_sources` positions to choose from.
    """
    points = _lattice(inner_skull, n_sources) if anatomy.cortex is None else anatomy.cortex
    depths = geometry.depth(inner_skull, points)
    keep = depths >= MIN_DEPTH_M
    n_dropped = 0 if anatomy.cortex is None else int(np.count_nonzero(~keep))
    if anatomy.cortex is None:
        keep &= depths <= anatomy.deepest_m
    elif n_dropped:
        note(
            f"{anatomy.name}: {n_dropped} of {len(points)} points of cortex are left out, "
            f"{np.count_nonzero(depths < 0)} outside the inner skull and the others less than {1000 * MIN_DEPTH_M:g} "
            "mm below it"
        )
    allowed = np.flatnonzero(keep)
    if len(allowed) < n_sources:
        raise UserError(
            f"{anatomy.name}: {len(allowed)} places for sources, expected {n_sources} (n_sources) or more; choose fewer"
        )
    chosen = allowed[geometry.spread(points[allowed], n_sources)]
    radial = points[chosen] - inner_skull.centre
    radial /= np.linalg.norm(radial, axis=1, keepdims=True)
    normals = radial if anatomy.normals is None else anatomy.normals[chosen]
    return Sources(points[chosen], normals, depths[chosen], n_dropped)


def _lattice(inner_skull: Surface, n_sources: int) -> np.ndarray:
    """A cubic lattice inside the skull and above ears and nasion, with some positions to choose from per source."""
    volume = 4 / 3 * np.pi * np.mean(inner_skull.radii**3)
    step = (volume / (10 * n_sources)) ** (1 / 3)
    reach = np.arange(step / 2, inner_skull.radii.max(), step)  # none at the centre, which has no radial direction
    axis = np.concatenate([-reach[::-1], reach])
    points = inner_skull.centre + np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    points = points[points[:, 2] > 0]
    return points[geometry.height(inner_skull, points) < 0]


# ---- lead field


def make_sphere_conductor(scalp: Surface, skull_conductivity: float) -> Any:
    """MNE's four-shell sphere, with this skull (MNE's own: 0.004 S/m)."""
    import mne

    sigmas = (_SPHERE_BRAIN, _SPHERE_LIQUOR, skull_conductivity, _SPHERE_SCALP)
    return mne.make_sphere_model(
        scalp.centre, float(scalp.radii.mean()), relative_radii=SPHERE_RADII, sigmas=sigmas, verbose="error"
    )


def make_boundary_element_conductor(
    anatomy: Anatomy, skull_conductivity: float, subdivisions: int = _SUBDIVISIONS
) -> Any:
    """A three-layer boundary element model of a head (MNE's own skull: 0.006 S/m).

    Args:
        anatomy: of the head, in head coordinates.
        skull_conductivity: S/m.
        subdivisions: of the icosahedron whose vertices the surfaces are sampled at.

    Returns:
        mne.bem.ConductorModel whose MRI coordinates are head coordinates.

    Raises:
        UserError: a surface comes nearer than 2 mm to the one inside it, or crosses it.
    """
    import mne
    from mne.io.constants import FIFF

    directions, triangles = icosphere(subdivisions)
    inner, outer, scalp = _nested(anatomy, directions)
    layers = (
        (FIFF.FIFFV_BEM_SURF_ID_HEAD, scalp, _BRAIN_SCALP),
        (FIFF.FIFFV_BEM_SURF_ID_SKULL, outer, skull_conductivity),
        (FIFF.FIFFV_BEM_SURF_ID_BRAIN, inner, _BRAIN_SCALP),
    )
    frame = {"coord_frame": FIFF.FIFFV_COORD_MRI, "np": len(directions), "ntri": len(triangles)}
    surfaces = [
        {"id": number, "sigma": sigma, "rr": surface.vertices, "tris": triangles, **frame}
        for number, surface, sigma in layers
    ]
    return mne.make_bem_solution(surfaces, verbose="error")


def _nested(anatomy: Anatomy, directions: np.ndarray) -> tuple[Surface, Surface, Surface]:
    """Inner skull, outer skull and scalp in the same directions [n, 3] from the middle of the inner skull."""
    centre = anatomy.inner_skull.mean(axis=0)
    inner = geometry.sample(make_surface(anatomy.inner_skull, centre), directions)
    scalp = geometry.sample(make_surface(anatomy.scalp, centre), directions)
    if anatomy.outer_skull is None:
        outer = inner._replace(radii=(inner.radii + scalp.radii) / 2)
    else:
        outer = geometry.sample(make_surface(anatomy.outer_skull, centre), directions)
    thickness_m = {"skull": outer.radii - inner.radii, "scalp": scalp.radii - outer.radii}
    for layer, thickness in thickness_m.items():
        if thickness.min() < _LEAST_M:
            where = 1000 * (centre + inner.radii.mean() * directions[thickness.argmin()])
            raise UserError(
                f"{anatomy.name}: the {layer} is {1000 * thickness.min():.1f} mm thick near x, y, z = "
                f"{where[0]:.0f}, {where[1]:.0f}, {where[2]:.0f} mm, expected {1000 * _LEAST_M:g} mm or more "
                "everywhere; mend the surfaces there"
            )
    return inner, outer, scalp


def compute_lead_field(
    conductor: Any, scalp: Surface, ch_names: Sequence[str], electrodes_m: np.ndarray, sources_m: np.ndarray
) -> np.ndarray:
    """The voltages of unit dipoles along x, y and z, against the average of all electrodes.

    Args:
        conductor: MNE's model of the head.
        scalp: its outermost surface.
        ch_names: [n_chans].
        electrodes_m: [n_chans, 3] float, m.
        sources_m: [n_sources, 3] float, m.

    Returns:
        [n_chans, n_sources, 3] float64, V / (A m).

    Raises:
        UserError: an electrode has no position, shares its name with another or lies off the scalp; a source lies
            outside the brain; or the lead field came back with other channels.
    """
    import mne

    _check_electrodes(scalp, ch_names, electrodes_m)
    info = mne.create_info(list(ch_names), 1.0, "eeg")
    positions = dict(zip(ch_names, electrodes_m, strict=True))
    info.set_montage(mne.channels.make_dig_montage(positions, coord_frame="head"), verbose="error")
    positions = {"rr": sources_m, "nn": np.tile([0.0, 0.0, 1.0], (len(sources_m), 1))}
    forward = mne.make_forward_solution(
        info,
        mne.transforms.Transform("mri", "head"),
        mne.setup_volume_source_space(pos=positions, verbose="error"),
        conductor,
        meg=False,
        verbose="error",
    )
    if tuple(forward["sol"]["row_names"]) != tuple(ch_names):
        raise UserError(
            f"lead field: channels are {', '.join(forward['sol']['row_names'])}, the montage has "
            f"{', '.join(ch_names)}; expected the same names in the same order; put the rows in the montage's order"
        )
    n_outside = len(sources_m) - forward["nsource"]
    if n_outside:
        raise UserError(f"lead field: {n_outside} of {len(sources_m)} sources lie outside the brain; leave them out")
    potentials = forward["sol"]["data"].astype(np.float64).reshape(len(ch_names), len(sources_m), 3)
    return potentials - potentials.mean(axis=0)


def _check_electrodes(scalp: Surface, ch_names: Sequence[str], electrodes_m: np.ndarray) -> None:
    unknown = ~np.isfinite(electrodes_m).all(axis=1) | (electrodes_m == 0).all(axis=1)
    if unknown.any():
        names = ", ".join(np.asarray(ch_names)[unknown])
        raise UserError(f"electrode(s) {names}: no position, expected x, y, z in m; give it, or leave them out")
    if len(set(ch_names)) < len(ch_names):
        raise UserError(f"electrodes {', '.join(ch_names)}: a name stands twice, expected each once; rename one")
    depths = geometry.depth(scalp, electrodes_m)
    off = np.flatnonzero((depths > _MOST_INSIDE_M) | (depths < -_MOST_OUTSIDE_M))
    if off.size:
        names = ", ".join(
            f"{ch_names[i]} ({1000 * abs(depths[i]):.0f} mm {'inside' if depths[i] > 0 else 'outside'})"
            for i in off.tolist()
        )
        raise UserError(
            f"electrode(s) off the scalp: {names}; expected {1000 * _MOST_INSIDE_M:g} mm inside to "
            f"{1000 * _MOST_OUTSIDE_M:g} mm outside; are they in head coordinates and metres, and is the "
            "coregistration right?"
        )

"""Heads for the inverse problem: electrodes, sources and the lead field between them, made once and cached.

A head is a `.npz` in the cache, named by a hash of all that makes it: what was asked for, the files that it was made
of, MNE's version and this code's. `head_anatomy` says what kinds there are, `head_models` how they are measured.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eegjax.data.heads import models
from eegjax.data.heads.anatomy import Anatomy, find_head_files, read_anatomy, warp
from eegjax.data.heads.surfaces import make_surface
from eegjax.errors import UserError, did_you_mean, note
from eegjax.files import hash_file, hash_of, locked, write_aside

VERSION = 2  # to be raised where the same spec would make another head
N_ZONES = 64  # as in the paper
N_CHANS = (16, 32, 64, 128, 160, 256)  # BioSemi's caps
_KINDS = ("sphere", "template")
_STRETCH = 0.08  # of a warp, at most
_SHEAR = 0.03


class HeadSpec(NamedTuple):
    """Which head.

    Attributes:
        kind: "sphere", "template", or a subject of the root.
        warp: 0 as it is; from 1 on, a head of another shape: each axis of the seeded linear map is up to 8 % longer or
            shorter and up to 3 % oblique (a sphere only grows or shrinks).
        n_sources: how many sources.
        n_chans: electrodes of BioSemi's cap: 16, 32, 64, 128, 160 or 256.
        skull_conductivity: S/m. MNE has 0.006 in its boundary element models, 0.004 in its sphere.
        coregistration_mm: how far the cap really was from `electrodes_m`, in a seeded direction; the lead field is that
            of the real cap.
        coregistration_deg: how far it was turned, around a seeded axis.
        seed: of warp, zones, the direction across the cortex and the real cap.
    """

    kind: str = "template"
    warp: int = 0
    n_sources: int = 1000
    n_chans: int = 128
    skull_conductivity: float = 0.006
    coregistration_mm: float = 0.0
    coregistration_deg: float = 0.0
    seed: int = 0


class Head(NamedTuple):
    """A head in MNE's head coordinates: x to the right ear, y to the nasion, z up, in metres.

    Attributes:
        name: "sphere", "template warped 2", "sample", ...
        ch_names: [n_chans], in this order everywhere.
        electrodes_m: [n_chans, 3] float64, as an experimenter knows them.
        sources_m: [n_sources, 3] float64, at least 5 mm below the inner skull.
        orientations: [n_sources, 2, 3] float64 unit vectors: the normal of the cortex (radial where there is no
            surface), and across it in a direction that all of a head share.
        depth_m: [n_sources] float64, distance to the inner skull.
        zone: [n_sources] int64, which of 64 k-means clusters of the sources.
        lead_field: [n_chans, n_sources, 3] float64, V / (A m), average reference.
        scalp: [n_vertices, 3] float64.
        inner_skull: [n_vertices, 3] float64.
        electrode_fit_mm: [n_chans] float64, how far the scalp was from the scaled montage.
        n_dropped: points of cortex that were left out, outside the inner skull or less than 5 mm below it.
    """

    name: str
    ch_names: tuple[str, ...]
    electrodes_m: np.ndarray
    sources_m: np.ndarray
    orientations: np.ndarray
    depth_m: np.ndarray
    zone: np.ndarray
    lead_field: np.ndarray
    scalp: np.ndarray
    inner_skull: np.ndarray
    electrode_fit_mm: np.ndarray
    n_dropped: int


def list_heads(root: Path | None, like: HeadSpec | None = None, n_heads: int = 4) -> tuple[HeadSpec, ...]:
    """List heads of different shapes: the root's subjects, then the template, then warped templates.

    Args:
        root: holds `subjects/NAME/bem`, perhaps `fsaverage5`; None for what MNE ships.
        like: all but kind and warp; of kind "sphere", the heads are spheres of different sizes.
        n_heads: how many.

    Returns:
        The specs.

    Raises:
        UserError: `root` is missing or holds no head.
    """
    like = like or HeadSpec()
    subjects = _subjects(root)
    if like.kind == "sphere":
        return tuple(like._replace(warp=warp) for warp in range(n_heads))
    real = [like._replace(kind=subject, warp=0) for subject in subjects]
    made = [like._replace(kind="template", warp=warp) for warp in range(n_heads)]
    return tuple([*real, *made][:n_heads])


def _subjects(root: Path | None) -> list[str]:
    """Names of the root's subjects; raises where it holds no head at all."""
    if root is None:
        return []
    subjects = sorted(path.parent.name for path in Path(root).glob("subjects/*/bem"))
    if not subjects and not (Path(root) / "fsaverage5").is_dir():
        raise UserError(
            f"{root}: no head here, expected subjects/NAME/bem with the surfaces of FreeSurfer's watershed, or "
            "fsaverage5 with its cortex; name another folder, or none for the template that MNE ships"
        )
    return subjects


def make_head(spec: HeadSpec, root: Path | None, cache: Path) -> Head:
    """Make a head, or read it where it was made before.

    Args:
        spec: which head.
        root: where its files are, None for what needs none.
        cache: folder of the heads made; a second process waits for the first.

    Returns:
        The head.

    Raises:
        UserError: `spec` names no head that there is or has a number outside its range, a file is missing or broken, or
            the disk is full.
    """
    _check(spec, root)
    path = Path(cache) / f"head-{spec.kind}-{spec.warp}-{hash_of(describe_origin(spec, root))}.npz"
    with locked(Path(cache) / ".heads.lock"):
        if path.exists():
            try:
                return read_head(path)
            except UserError as error:
                note(f"{error}; it is made again")
        head = _make(spec, read_anatomy(spec.kind, find_head_files(spec.kind, root)))
        write_head(path, head)
    return head


def describe_origin(spec: HeadSpec, root: Path | None) -> list[Any]:
    """All that makes a head what it is: this code, MNE, what was asked for, the contents of the files."""
    import mne

    files = find_head_files(spec.kind, root)
    return [VERSION, mne.__version__, spec._asdict(), {name: hash_file(path) for name, path in files.items()}]


def _check(spec: HeadSpec, root: Path | None) -> None:
    kinds = [*_KINDS, *_subjects(root)]
    if spec.kind not in kinds:
        raise UserError(
            f"head kind: '{spec.kind}', expected one of {', '.join(kinds)}; choose one, or name the root that holds "
            f"subjects/{spec.kind}/bem.{did_you_mean(spec.kind, kinds)}"
        )
    limits = {"warp": (0, 2**31), "n_sources": (N_ZONES, 20_000), "skull_conductivity": (1e-4, 0.33)}
    limits |= {"coregistration_mm": (0, 50), "coregistration_deg": (0, 45), "seed": (0, 2**31)}
    for name, (low, high) in limits.items():
        value = getattr(spec, name)
        if not low <= value <= high:
            raise UserError(f"head {name}: {value}, expected {low} to {high}; correct it")
    if spec.n_chans not in N_CHANS:
        allowed = ", ".join(map(str, N_CHANS))
        raise UserError(f"head n_chans: {spec.n_chans}, expected one of {allowed} (BioSemi's caps); choose one")


def _make(spec: HeadSpec, anatomy: Anatomy) -> Head:
    """All of a head, in one thread: how many there are changes the last bits of sums."""
    from sklearn.cluster import KMeans  # first, so that its threads are known to the next
    from threadpoolctl import threadpool_limits

    if spec.warp:
        anatomy = warp(anatomy, _warp(spec))._replace(name=f"{spec.kind} warped {spec.warp}")
    scalp = models.make_scalp(anatomy)
    inner_skull = make_surface(anatomy.inner_skull, anatomy.inner_skull.mean(axis=0))
    with threadpool_limits(1):
        electrodes = models.place_electrodes(spec.n_chans, scalp)
        sources = models.place_sources(anatomy, inner_skull, spec.n_sources)
        real_m = electrodes.positions_m
        if spec.coregistration_mm or spec.coregistration_deg:
            rng = np.random.default_rng([spec.seed, 2])
            real_m = models.misplace(real_m, scalp, spec.coregistration_mm, spec.coregistration_deg, rng)
        if spec.kind == "sphere":
            conductor = models.make_sphere_conductor(scalp, spec.skull_conductivity)
        else:
            conductor = models.make_boundary_element_conductor(anatomy, spec.skull_conductivity)
        return Head(
            anatomy.name,
            electrodes.ch_names,
            electrodes.positions_m,
            sources.positions_m,
            np.stack([sources.normals, _across(sources.normals, spec.seed)], axis=1),
            sources.depth_m,
            KMeans(N_ZONES, n_init=1, random_state=spec.seed).fit_predict(sources.positions_m).astype(np.int64),
            models.compute_lead_field(conductor, scalp, electrodes.ch_names, real_m, sources.positions_m),
            anatomy.scalp,
            anatomy.inner_skull,
            electrodes.fit_mm,
            sources.n_dropped,
        )


def _warp(spec: HeadSpec) -> np.ndarray:
    """[3, 3]: a linear map about the origin between the ears, so that what is inside stays inside."""
    rng = np.random.default_rng([spec.seed, 0, spec.warp])
    if spec.kind == "sphere":
        return (1 + rng.uniform(-_STRETCH, _STRETCH)) * np.eye(3)
    shear = rng.uniform(-_SHEAR, _SHEAR, (3, 3))
    np.fill_diagonal(shear, 1 + rng.uniform(-_STRETCH, _STRETCH, 3))
    return shear


def _across(normals: np.ndarray, seed: int) -> np.ndarray:
    """[n, 3] unit vectors perpendicular to the normals [n, 3]: a random direction, laid flat on the cortex.

    One direction for the whole head, so that the sources of a patch add up: where each has its own, a patch cancels
    itself to a sixth of its field.
    """
    direction = np.random.default_rng([seed, 1]).normal(size=3)
    flat = direction - (normals @ direction)[:, None] * normals
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def write_head(path: Path, head: Head) -> Path:
    """Write a head as `.npz`: the same head, the same bytes.

    Raises:
        UserError: the disk is full or can't be written to.
    """

    def write(aside: Path) -> None:
        with open(aside, "wb") as file:
            np.savez(file, **{name: np.asarray(value) for name, value in head._asdict().items()})  # type: ignore[arg-type]

    return write_aside(path, write)


def read_head(path: Path) -> Head:
    """Read a head that `write_head` wrote.

    Raises:
        UserError: the file is missing, broken, or holds no head.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            head = Head(**{name: file[name] for name in Head._fields})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: broken, or no head ({error}); delete it and make the head again") from error
    n_chans = len(head.electrodes_m)
    n_sources = len(head.sources_m)
    if head.lead_field.shape != (n_chans, n_sources, 3) or len(head.ch_names) != n_chans:
        raise UserError(
            f"{path}: a lead field of {head.lead_field.shape}, expected ({n_chans}, {n_sources}, 3) as there are "
            "electrodes and sources; delete it and make the head again"
        )
    return head._replace(name=str(head.name), ch_names=tuple(map(str, head.ch_names)), n_dropped=int(head.n_dropped))

"""What heads are made of: the files of each kind, read into surfaces and cortex in MNE's head coordinates, metres.

Three kinds. `sphere`: the sphere of MNE's montages with four shells (brain, liquor, skull, scalp; MNE's radii);
sources in its volume. `template`: fsaverage, of which MNE ships inner skull and scalp; the outer skull is taken to lie
half way between; sources on the cortex of fsaverage5 where the root has it, otherwise in a shell 5 to 25 mm below the
inner skull. Any other kind is a subject of the root with the three surfaces of FreeSurfer's watershed; sources in the
cortical grey matter of its segmentation, or in such a shell.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from eegjax.data.formats.freesurfer import read_cortex_voxels, read_is_cortex, read_surface
from eegjax.data.heads.surfaces import icosphere, vertex_normals
from eegjax.data.recording import quiet_mne
from eegjax.errors import UserError

SPHERE_RADIUS_M = 0.095  # of MNE's template montages
SPHERE_RADII = (0.90, 0.92, 0.97, 1.0)  # of brain, liquor, skull and scalp: MNE's own
_DEEPEST_M = 0.025  # of a shell that stands in for the cortex
_SIDES = ("left", "right")


class Anatomy(NamedTuple):
    """A head's name, vertices [n, 3] of its surfaces, and the points [n, 3] and normals [n, 3] of its cortex, m.

    `outer_skull` is None where nobody knows it, `cortex` where sources may lie anywhere from 5 mm to `deepest_m` below
    the inner skull, and `normals` where the cortex isn't a surface.
    """

    name: str
    scalp: np.ndarray
    outer_skull: np.ndarray | None
    inner_skull: np.ndarray
    cortex: np.ndarray | None = None
    normals: np.ndarray | None = None
    deepest_m: float = np.inf


def find_head_files(kind: str, root: Path | None) -> dict[str, Path]:
    """The files that a kind of head is made of, by what they are.

    Raises:
        UserError: a subject is asked for and `root` is None, or files are missing, which the message names.
    """
    if kind == "sphere":
        return {}
    if kind == "template":
        return _template_files(root)
    if root is None:
        raise UserError(
            f"head '{kind}': a subject needs a root, none was given; expected sphere, template, or the folder that "
            f"holds subjects/{kind}"
        )
    folder = Path(root) / "subjects" / kind
    files = {name: folder / "bem" / f"{name}.surf" for name in ("inner_skull", "outer_skull", "outer_skin")}
    files["trans"] = folder / f"{kind}-trans.fif"
    segmentations = sorted([*folder.glob("aseg*.mgz"), *folder.glob("mri/aseg*.mgz")])
    return _all_there(files) | ({"segmentation": segmentations[0]} if segmentations else {})


def describe_cortex(kind: str, files: Mapping[str, Path]) -> str:
    """Where a head's sources lie, in words; `files` as `find_head_files` named them."""
    if kind == "sphere":
        return "the sphere's volume"
    if "segmentation" in files:
        return "grey matter of its segmentation"
    if "pial_left" in files:
        return "fsaverage5's cortex"
    return f"a shell 5 to {_DEEPEST_M * 1e3:g} mm below its inner skull"


def _template_files(root: Path | None) -> dict[str, Path]:
    import mne

    shipped = Path(mne.__file__).parent / "data" / "fsaverage"
    names = {"inner_skull": "inner_skull-bem", "outer_skin": "head", "trans": "trans"}
    files = {name: shipped / f"fsaverage-{file}.fif" for name, file in names.items()}
    folder = Path(root) / "fsaverage5" if root else None
    if folder and folder.is_dir():
        for side in _SIDES:
            files |= {f"{layer}_{side}": folder / f"{layer}_{side}.gii.gz" for layer in ("pial", "white")}
            files[f"labels_{side}"] = folder / f"{side[0]}h.aparc.annot"
    return _all_there(files)


def _all_there(files: dict[str, Path]) -> dict[str, Path]:
    missing = [str(path) for path in files.values() if not path.exists()]
    if missing:
        raise UserError(
            f"{', '.join(missing)}: no such file(s), expected {', '.join(path.name for path in files.values())}; put "
            "them there, or choose another head"
        )
    return files


def read_anatomy(kind: str, files: Mapping[str, Path]) -> Anatomy:
    """Read a head from the files that `find_head_files` named.

    Raises:
        UserError: one of `files` is broken.
    """
    if kind == "sphere":
        return _sphere()
    rotation, shift = _read_mri_to_head(files["trans"])
    if kind == "template":
        inner, scalp = (_read_shipped(files[name]) @ rotation.T + shift for name in ("inner_skull", "outer_skin"))
        outer = None
    else:
        names = ("inner_skull", "outer_skull", "outer_skin")
        inner, outer, scalp = (read_surface(files[name])[0] / 1000 @ rotation.T + shift for name in names)
    anatomy = Anatomy(kind, scalp, outer, inner, deepest_m=_DEEPEST_M)
    if "segmentation" in files:
        return anatomy._replace(cortex=read_cortex_voxels(files["segmentation"]) / 1000 @ rotation.T + shift)
    if "pial_left" in files:
        cortex, normals = map(np.concatenate, zip(*(_read_cortex(files, side) for side in _SIDES), strict=True))
        return anatomy._replace(cortex=cortex / 1000 @ rotation.T + shift, normals=normals @ rotation.T)
    return anatomy


def _sphere() -> Anatomy:
    """The sphere of MNE's montages, where it is in head coordinates."""
    centre = make_montage(16)[2]
    scalp = SPHERE_RADIUS_M * icosphere(4)[0]
    return Anatomy("sphere", centre + scalp, centre + SPHERE_RADII[2] * scalp, centre + SPHERE_RADII[1] * scalp)


def make_montage(n_chans: int) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """A cap of BioSemi's, as MNE ships it.

    Args:
        n_chans: 16, 32, 64, 128, 160 or 256.

    Returns:
        names [n_chans]; positions [n_chans, 3] float64 in head coordinates, m; the centre [3] of the sphere of 95 mm
        that they lie on.
    """
    import mne

    cap = mne.channels.make_standard_montage(f"biosemi{n_chans}", head_size=SPHERE_RADIUS_M)
    to_head = mne.channels.compute_native_head_t(cap)["trans"]
    positions = cap.get_positions()["ch_pos"]
    return tuple(positions), np.array(list(positions.values())) @ to_head[:3, :3].T + to_head[:3, 3], to_head[:3, 3]


def _read_mri_to_head(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rotation [3, 3] and shift [3], m."""
    with quiet_mne(path) as mne:
        trans = mne.read_trans(path)
        frames = {trans["from"], trans["to"]}
        if trans["to"] != mne.io.constants.FIFF.FIFFV_COORD_HEAD:
            trans = mne.transforms.invert_transform(trans)
        if frames != {mne.io.constants.FIFF.FIFFV_COORD_HEAD, mne.io.constants.FIFF.FIFFV_COORD_MRI}:
            raise ValueError(f"it leads from {trans.from_str} to {trans.to_str}, not between head and MRI")
    rotation = Rotation.from_matrix(trans["trans"][:3, :3]).as_matrix()  # in the file, it's rounded to float32
    return rotation, trans["trans"][:3, 3]


def _read_shipped(path: Path) -> np.ndarray:
    with quiet_mne(path) as mne:
        return np.asarray(mne.read_bem_surfaces(path)[0]["rr"], np.float64)


def _read_cortex(files: Mapping[str, Path], side: str) -> tuple[np.ndarray, np.ndarray]:
    """Points and outward normals of the surface half way between pial and white matter, without the medial wall."""
    pial, triangles = read_surface(files[f"pial_{side}"])
    white, _ = read_surface(files[f"white_{side}"])
    if pial.shape != white.shape:
        raise UserError(
            f"{files[f'white_{side}']}: {len(white)} vertices, {files[f'pial_{side}'].name} has {len(pial)}; expected "
            "both of the same resolution; fetch them again"
        )
    middle = (pial + white) / 2
    is_cortex = read_is_cortex(files[f"labels_{side}"], len(middle))
    return middle[is_cortex], vertex_normals(middle, triangles)[is_cortex]


def warp(anatomy: Anatomy, matrix: np.ndarray) -> Anatomy:
    """Multiply all points by a matrix [3, 3]; normals stay normal to their surface."""
    points = {name: array @ matrix.T for name, array in anatomy._asdict().items() if isinstance(array, np.ndarray)}
    if anatomy.normals is not None:
        normals = anatomy.normals @ np.linalg.inv(matrix)
        points["normals"] = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    return anatomy._replace(**points)

"""Heads read from files: are they where they ought to be, and does a missing or broken file say so?"""

import shutil
import struct
from pathlib import Path

import mne
import numpy as np
import pytest
from scipy.spatial import ConvexHull, cKDTree
from scipy.spatial.transform import Rotation

from eegjax.data.formats.freesurfer import read_surface
from eegjax.data.heads.anatomy import Anatomy, describe_cortex, find_head_files, make_montage, read_anatomy, warp
from eegjax.data.heads.surfaces import icosphere, vertex_normals
from eegjax.errors import UserError

RADII_MM = {"inner_skull": 70.0, "outer_skull": 76.0, "outer_skin": 82.0}
MIDDLE_MM = np.array([2.0, -5.0, 10.0])  # in MRI coordinates
TURN, SHIFT_M = Rotation.from_euler("x", 20, degrees=True).as_matrix(), np.array([0.0, 0.01, -0.03])  # head to MRI


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A subject of spheres, in the layout of FreeSurfer."""
    subject = tmp_path / "subjects" / "ball"
    (subject / "bem").mkdir(parents=True)
    directions, triangles = icosphere(2)
    for name, radius in RADII_MM.items():
        vertices = (MIDDLE_MM + radius * directions).astype(">f4")
        counts = struct.pack(">ii", len(vertices), len(triangles))
        content = b"\xff\xff\xfe\n\n" + counts + vertices.tobytes() + triangles.astype(">i4").tobytes()
        (subject / "bem" / f"{name}.surf").write_bytes(content)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = TURN, SHIFT_M
    mne.write_trans(subject / "ball-trans.fif", mne.transforms.Transform("head", "mri", matrix))
    return tmp_path


def inside(surface: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[n] bool, by the convex hull."""
    planes = ConvexHull(surface).equations
    return (points @ planes[:, :3].T + planes[:, 3]).max(axis=1) < 0


def test_the_montage_is_mnes_in_head_coordinates():
    ch_names, positions, centre = make_montage(128)
    info = mne.create_info(list(ch_names), 1.0, "eeg")
    info.set_montage("biosemi128")
    expected = np.array([channel["loc"][:3] for channel in info["chs"]])
    np.testing.assert_allclose(positions, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(positions - centre, axis=1), 0.095, rtol=1e-9)
    assert ch_names == tuple(mne.channels.make_standard_montage("biosemi128").ch_names)


def test_the_sphere():
    anatomy = read_anatomy("sphere", find_head_files("sphere", None))
    _, _, centre = make_montage(128)
    for points, radius_mm in ((anatomy.scalp, 95.0), (anatomy.outer_skull, 92.15), (anatomy.inner_skull, 87.4)):
        np.testing.assert_allclose(1000 * np.linalg.norm(points - centre, axis=1), radius_mm, rtol=1e-12)


def test_the_template_is_in_head_coordinates():
    """Its fiducials, which aren't read, are where MNE's head coordinates have them."""
    files = find_head_files("template", None)
    anatomy = read_anatomy("template", files)
    assert (len(anatomy.scalp), len(anatomy.inner_skull), anatomy.outer_skull) == (2033, 10_242, None)
    fiducials, _ = mne.io.read_fiducials(files["trans"].with_name("fsaverage-fiducials.fif"))
    to_head = mne.transforms.invert_transform(mne.read_trans(files["trans"]))
    left, nasion, right = (mne.transforms.apply_trans(to_head, point["r"]) for point in fiducials)
    np.testing.assert_allclose([left[1:], right[1:]], 0, atol=1e-6)
    for point in (left, nasion, right):
        assert np.linalg.norm(anatomy.scalp - point, axis=1).min() < 0.01
    assert inside(anatomy.scalp, anatomy.inner_skull).all()
    assert anatomy.deepest_m == 0.025


def test_a_subject_is_moved_to_head_coordinates(root):
    anatomy = read_anatomy("ball", find_head_files("ball", root))
    middle = TURN.T @ (MIDDLE_MM / 1000 - SHIFT_M)
    for points, radius_mm in zip(
        (anatomy.inner_skull, anatomy.outer_skull, anatomy.scalp), RADII_MM.values(), strict=True
    ):
        assert points is not None
        np.testing.assert_allclose(np.linalg.norm(points - middle, axis=1), radius_mm / 1000, rtol=1e-5)
        np.testing.assert_allclose(points.mean(axis=0), middle, atol=1e-6)
    assert anatomy.cortex is None


def test_the_transform_may_lead_either_way(root):
    path = root / "subjects" / "ball" / "ball-trans.fif"
    one = read_anatomy("ball", find_head_files("ball", root))
    mne.write_trans(path, mne.transforms.invert_transform(mne.read_trans(path)), overwrite=True)
    np.testing.assert_allclose(read_anatomy("ball", find_head_files("ball", root)).scalp, one.scalp, atol=1e-7)
    mne.write_trans(path, mne.transforms.Transform("meg", "head", np.eye(4)), overwrite=True)
    with pytest.raises(UserError, match=r"ball-trans.fif: .* from MEG device to head, not between head and MRI"):
        read_anatomy("ball", find_head_files("ball", root))


def test_missing_files_are_named(root):
    (root / "subjects" / "ball" / "bem" / "outer_skull.surf").unlink()
    (root / "subjects" / "ball" / "ball-trans.fif").unlink()
    with pytest.raises(UserError, match=r"ball/bem/outer_skull.surf, \S*ball-trans.fif: no such file"):
        find_head_files("ball", root)
    with pytest.raises(UserError, match="'ball': a subject needs a root"):
        find_head_files("ball", None)
    (root / "fsaverage5").mkdir()
    with pytest.raises(UserError, match=r"fsaverage5/pial_left.gii.gz, .*rh.aparc.annot: no such file"):
        find_head_files("template", root)


def test_where_sources_lie_is_said_as_it_is(root, data_root):
    said = {kind: describe_cortex(kind, find_head_files(kind, root)) for kind in ("sphere", "template", "ball")}
    assert said["sphere"] == "the sphere's volume"
    assert said["template"] == said["ball"] == "a shell 5 to 25 mm below its inner skull"
    assert read_anatomy("template", find_head_files("template", root)).cortex is None
    real = data_root / "inverse"
    assert describe_cortex("template", find_head_files("template", real)) == "fsaverage5's cortex"
    assert describe_cortex("sample", find_head_files("sample", real)) == "grey matter of its segmentation"


def test_warped_normals_stay_normal():
    directions, triangles = icosphere(4)
    matrix = np.array([[1.1, 0.1, 0.0], [-0.05, 0.9, 0.1], [0.0, 0.08, 1.05]])
    ball = Anatomy("ball", directions, None, directions, cortex=directions, normals=directions)
    moved = warp(ball, matrix)
    np.testing.assert_allclose(moved.cortex, directions @ matrix.T)
    np.testing.assert_array_equal(moved.scalp, moved.inner_skull)
    assert moved.outer_skull is None
    assert moved.normals is not None
    cosines = (moved.normals * vertex_normals(directions @ matrix.T, triangles)).sum(axis=1)
    assert cosines.min() > np.cos(np.radians(1))


def test_the_cortex_of_fsaverage5(data_root):
    files = find_head_files("template", data_root / "inverse")
    anatomy = read_anatomy("template", files)
    assert anatomy.cortex is not None
    assert anatomy.normals is not None
    assert len(anatomy.cortex) == 9372 + 9370
    assert inside(anatomy.inner_skull, anatomy.cortex[::20]).mean() > 0.999
    np.testing.assert_allclose(np.linalg.norm(anatomy.normals, axis=1), 1)
    pial, white = (
        np.concatenate([read_surface(files[f"{layer}_{side}"])[0] for side in ("left", "right")])
        for layer in ("pial", "white")
    )
    to_head = mne.transforms.invert_transform(mne.read_trans(files["trans"]))
    middle = mne.transforms.apply_trans(to_head, (pial + white) / 2000)
    distances, nearest = cKDTree(middle).query(anatomy.cortex)
    assert distances.max() < 1e-6
    outwards = mne.transforms.apply_trans(to_head, (pial - white)[nearest], move=False)
    assert ((anatomy.normals * outwards).sum(axis=1) > 0).mean() > 0.99


def test_a_broken_cortex(data_root, tmp_path):
    shutil.copytree(data_root / "inverse" / "fsaverage5", tmp_path / "fsaverage5")
    folder = tmp_path / "fsaverage5"
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
    shutil.copy(folder / "pial_left.gii.gz", folder / "white_left.gii.gz")
    read_anatomy("template", find_head_files("template", tmp_path))  # zero thickness is odd, but no error
    (folder / "white_left.gii.gz").write_bytes((folder / "white_left.gii.gz").read_bytes()[:5000])
    with pytest.raises(UserError, match=r"white_left.gii.gz: broken"):
        read_anatomy("template", find_head_files("template", tmp_path))


def test_the_sample_head(data_root):
    anatomy = read_anatomy("sample", find_head_files("sample", data_root / "inverse"))
    assert anatomy.cortex is not None
    cortex = anatomy.cortex[::10]
    share = inside(anatomy.inner_skull, cortex).mean()
    assert share > 0.95  # 3 mm voxels at a skull that touches the brain
    for axis in np.eye(3):
        for shift_m in (-0.01, 0.01):
            assert inside(anatomy.inner_skull, cortex + shift_m * axis).mean() < share

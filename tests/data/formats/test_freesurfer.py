"""FreeSurfer's and GIFTI's formats: what is written here by hand is read back, and nothing broken passes."""

import base64
import gzip
import struct
import zlib
from pathlib import Path

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from eegjax.data.formats.freesurfer import read_cortex_voxels, read_is_cortex, read_surface
from eegjax.data.heads.surfaces import icosphere
from eegjax.errors import UserError

VERTICES, TRIANGLES = 80 * icosphere(1)[0].astype(np.float32), icosphere(1)[1].astype(np.int32)


def freesurfer(vertices: np.ndarray = VERTICES, triangles: np.ndarray = TRIANGLES, comment: str = "by a test") -> bytes:
    head = b"\xff\xff\xfe" + comment.encode() + b"\n\n" + struct.pack(">ii", len(vertices), len(triangles))
    return head + vertices.astype(">f4").tobytes() + triangles.astype(">i4").tobytes() + b"\0\0\0\x14valid = 1"


def gifti(encoding: str = "GZipBase64Binary", end: str = "LittleEndian", order: str = "RowMajorOrder") -> bytes:
    def array(intent: str, kind: str, values: np.ndarray) -> str:
        raw = values.astype(values.dtype.newbyteorder("<" if end == "LittleEndian" else ">")).tobytes()
        data = base64.b64encode(zlib.compress(raw) if encoding.startswith("GZip") else raw).decode()
        shape = f'Dim0="{values.shape[0]}" Dim1="{values.shape[1]}"'
        attributes = f'Intent="{intent}" DataType="{kind}" ArrayIndexingOrder="{order}" {shape}'
        return f'<DataArray {attributes} Encoding="{encoding}" Endian="{end}"><Data>\n{data}</Data></DataArray>'

    points = array("NIFTI_INTENT_POINTSET", "NIFTI_TYPE_FLOAT32", VERTICES)
    faces = array("NIFTI_INTENT_TRIANGLE", "NIFTI_TYPE_INT32", TRIANGLES)
    return f'<?xml version="1.0"?><!DOCTYPE GIFTI SYSTEM "x.dtd"><GIFTI>{faces}{points}</GIFTI>'.encode()


def mgh(labels: np.ndarray, size_mm: float = 3.0, kind: int = 0) -> bytes:
    """A volume whose axes run left, down and to the front, as FreeSurfer's do."""
    axes = [-1, 0, 0, 0, 0, -1, 0, 1, 0]
    centre = [-5.3, 9.0, -19.3]  # in scanner coordinates, of which surfaces know nothing
    head = struct.pack(">6iih15f", 1, *labels.shape, 1, kind, 0, 1, *[size_mm] * 3, *axes, *centre)
    dtype = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2"}[kind]
    return head.ljust(284, b"\0") + labels.astype(dtype).tobytes(order="F")


def annotation(labels: np.ndarray) -> bytes:
    pairs = np.column_stack([np.arange(len(labels)), labels])
    return struct.pack(">i", len(labels)) + pairs.astype(">i4").tobytes() + struct.pack(">i", 0)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix in (".gz", ".mgz") else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("inner_skull.surf", freesurfer()),
        ("lh.pial", freesurfer(comment="")),
        ("pial.gii", gifti()),
        ("pial.gii.gz", gifti("Base64Binary", "BigEndian")),
    ],
)
def test_surfaces_are_read(tmp_path, name, content):
    vertices, triangles = read_surface(write(tmp_path / name, content))
    np.testing.assert_array_equal(vertices, VERTICES)
    np.testing.assert_array_equal(triangles, TRIANGLES)
    assert (vertices.dtype, triangles.dtype) == (np.float64, np.int64)


@pytest.mark.parametrize("kind", [0, 1, 3, 4])
def test_cortex_is_where_the_segmentation_has_it(tmp_path, kind):
    labels = np.zeros((10, 12, 14), int)
    labels[2, 3, 4], labels[7, 8, 9], labels[5, 5, 5] = 3, 42, 2
    points = read_cortex_voxels(write(tmp_path / "aseg.mgz", mgh(labels, 2.5, kind)))
    expected = [[2.5 * (5 - 2), 2.5 * (4 - 7), 2.5 * (6 - 3)], [2.5 * (5 - 7), 2.5 * (9 - 7), 2.5 * (6 - 8)]]
    np.testing.assert_allclose(points, expected)


def test_the_medial_wall_is_no_cortex(tmp_path):
    path = write(tmp_path / "lh.aparc.annot", annotation(np.array([660700, 0, 1639705, 3294840, 9231540, 660700])))
    np.testing.assert_array_equal(read_is_cortex(path, 5), [True, False, False, False, True])


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.surf", b"\xff\xff\xff" + freesurfer()[3:], "FreeSurfer's mark"),
        ("a.surf", freesurfer()[:-13], None),  # what follows the triangles isn't needed
        ("a.surf", freesurfer()[:-100], "broken, or not a surface"),
        ("a.surf", freesurfer(triangles=TRIANGLES + 1), "don't fit together"),
        ("a.surf", freesurfer(triangles=TRIANGLES[:0]), "don't fit together"),
        ("a.surf", freesurfer(vertices=VERTICES * np.float32("nan")), "finite"),
        ("a.gii", gifti()[:-9], "broken"),
        ("a.gii", gifti(order="ColumnMajorOrder"), "ColumnMajorOrder"),
        ("a.gii", gifti().replace(b"POINTSET", b"NORMAL"), "NIFTI_INTENT_POINTSET"),
        ("a.gii", gifti().replace(b'Dim0="42"', b'Dim0="43"'), "broken"),
    ],
)
def test_broken_surfaces(tmp_path, name, content, what):
    path = write(tmp_path / name, content)
    if what is None:
        np.testing.assert_array_equal(read_surface(path)[0], VERTICES)
        return
    with pytest.raises(UserError, match=f"{path.name}.*{what}"):
        read_surface(path)


def test_other_broken_files(tmp_path):
    labels = np.zeros((4, 4, 4), int)
    with pytest.raises(UserError, match="no voxel is labelled cerebral cortex"):
        read_cortex_voxels(write(tmp_path / "a.mgz", mgh(labels)))
    with pytest.raises(UserError, match="broken, or not a FreeSurfer volume"):
        read_cortex_voxels(write(tmp_path / "b.mgh", mgh(labels)[:-1]))
    with pytest.raises(UserError, match=r"c.mgh: can't be read .*CRC"):
        read_cortex_voxels(write(tmp_path / "c.mgh", gzip.compress(mgh(labels))[:-8] + b"\0" * 8))
    (tmp_path / "d.mgh").mkdir()
    with pytest.raises(UserError, match=r"d.mgh: can't be read"):
        read_cortex_voxels(tmp_path / "d.mgh")
    with pytest.raises(UserError, match="labels 3 vertices, the surface has 4"):
        read_is_cortex(write(tmp_path / "a.annot", annotation(np.arange(3))), 4)
    with pytest.raises(UserError, match="broken, or not a FreeSurfer annotation"):
        read_is_cortex(write(tmp_path / "b.annot", freesurfer()), 4)
    with pytest.raises(UserError, match="no such file, expected a surface"):
        read_surface(tmp_path / "lh.white")


@settings(max_examples=60)
@given(st.data())
def test_damage_is_an_error_or_nothing(tmp_path_factory, data):
    """Whatever is cut or changed, a reader says so in its own words or reads what stands there."""
    folder = tmp_path_factory.mktemp("damaged")
    name, content, read = data.draw(
        st.sampled_from(
            [
                ("a.surf", freesurfer(), read_surface),
                ("a.gii", gifti(), read_surface),
                ("a.mgh", mgh(np.full((3, 4, 5), 3)), read_cortex_voxels),
                ("a.annot", annotation(np.arange(20)), lambda path: read_is_cortex(path, 10)),
            ]
        )
    )
    damaged = bytearray(content[: data.draw(st.integers(0, len(content)))])
    for place in data.draw(st.lists(st.integers(0, max(0, len(damaged) - 1)), max_size=3)):
        damaged[place : place + 1] = bytes([data.draw(st.integers(0, 255))])
    path, found, said = write(folder / name, bytes(damaged)), (), ""
    try:
        found = read(path)
    except UserError as error:
        said = str(error)
    if said:
        assert said.startswith(f"{path}: ")
        assert "\n" not in said
    elif read is read_surface:
        vertices, triangles = found
        assert np.isfinite(vertices).all()
        assert set(triangles.ravel()) <= set(range(len(vertices)))
    elif read is read_cortex_voxels:
        assert 0 < len(found) <= 60
        assert found.shape[1:] == (3,)
    else:
        assert (found.shape, found.dtype) == ((10,), bool)


def test_real_surfaces(data_root):
    """MNE's file holds 162 of each surface's vertices."""
    folder = data_root / "inverse" / "subjects" / "sample" / "bem"
    coarse = mne.read_bem_surfaces(folder / "sample-320-320-320-bem.fif", verbose="error")
    for name, surface in zip(("outer_skin", "outer_skull", "inner_skull"), coarse, strict=True):
        vertices, triangles = read_surface(folder / f"{name}.surf")
        assert (len(vertices), len(triangles)) == (2562, 5120)
        assert cKDTree(vertices).query(1000 * surface["rr"])[0].max() < 1e-3


def test_real_cortex(data_root):
    folder = data_root / "inverse" / "fsaverage5"
    for side in ("left", "right"):
        for layer in ("pial", "white"):
            vertices, triangles = read_surface(folder / f"{layer}_{side}.gii.gz")
            assert (vertices.shape, triangles.shape) == ((10_242, 3), (20_480, 3))
            assert np.sign(np.median(vertices[:, 0])) == (-1 if side == "left" else 1)
        labels = np.fromfile(folder / f"{side[0]}h.aparc.annot", ">i4")[2 : 2 + 2 * 10_242 : 2]
        is_cortex = read_is_cortex(folder / f"{side[0]}h.aparc.annot", 10_242)
        assert len(np.unique(labels[is_cortex])) == 34
        assert 0.9 < is_cortex.mean() < 0.93
    assert len(read_cortex_voxels(data_root / "inverse" / "subjects" / "sample" / "aseg-3mm.mgz")) == 18_558

"""FreeSurfer's and GIFTI's files of a head: surfaces, a segmentation and parcel labels, all in surface RAS, mm.

MNE reads its own FIF files; for these it needs nibabel, of which a page of plain formats would be used.
"""

import base64
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from eegjax.errors import UserError

_TRIANGLES = b"\xff\xff\xfe"  # a FreeSurfer surface of triangles
_MGH_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2"}
_MGH_HEADER_BYTES = 284
_GIFTI_TYPES = {"NIFTI_TYPE_FLOAT32": "f4", "NIFTI_TYPE_INT32": "i4"}
_GIFTI_ENDS = {"LittleEndian": "<", "BigEndian": ">"}
_CORTEX = (3, 42)  # left and right cerebral cortex in FreeSurfer's colour table
_NO_CORTEX = (0, 1639705, 3294840)  # unlabelled, unknown, corpuscallosum: the medial wall


def read_surface(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a surface: GIFTI (`.gii`, `.gii.gz`) or FreeSurfer's own binary format (any other name).

    Args:
        path: the file.

    Returns:
        vertices [n, 3] float64, mm, and triangles [n_triangles, 3] int64.

    Raises:
        UserError: the file is missing, broken, of another format, or its triangles name vertices it hasn't.
    """
    path = Path(path)
    parse = _parse_gifti if path.name.endswith((".gii", ".gii.gz")) else _parse_freesurfer
    vertices, triangles = _read(path, parse, "a surface of triangles")
    if not (
        vertices.ndim == triangles.ndim == 2
        and vertices.shape[1] == triangles.shape[1] == 3
        and triangles.size
        and np.isfinite(vertices).all()
        and triangles.min() >= 0
        and triangles.max() < len(vertices)
    ):
        raise UserError(
            f"{path}: vertices {vertices.shape} and triangles {triangles.shape} that don't fit together, expected "
            "[n, 3] finite numbers and [m, 3] places among them; export the surface again"
        )
    return vertices.astype(np.float64), triangles.astype(np.int64)


def read_cortex_voxels(path: Path) -> np.ndarray:
    """Read where a FreeSurfer segmentation (`aseg.mgz`, any resolution) has cerebral cortex.

    Args:
        path: `.mgz` or `.mgh` file whose voxels hold FreeSurfer's labels.

    Returns:
        [n, 3] float64, mm in surface RAS, the centres of the voxels labelled 3 or 42.

    Raises:
        UserError: the file is missing, broken, of another format, or has no cortex.
    """
    labels, voxel_to_ras = _read(Path(path), _parse_mgh, "a FreeSurfer volume")
    voxels = np.argwhere(np.isin(labels, _CORTEX))
    if not len(voxels):
        raise UserError(
            f"{path}: no voxel is labelled cerebral cortex ({_CORTEX[0]} or {_CORTEX[1]}), expected a segmentation "
            "such as aseg.mgz; remove it, or put that there"
        )
    return voxels @ voxel_to_ras[:, :3].T + voxel_to_ras[:, 3]


def read_is_cortex(path: Path, n_vertices: int) -> np.ndarray:
    """Read which vertices a parcellation (`?h.aparc.annot`) holds to be cortex, rather than the medial wall.

    Args:
        path: the annotation; of fsaverage's own, the first vertices are those of fsaverage5.
        n_vertices: of the surface.

    Returns:
        [n_vertices] bool.

    Raises:
        UserError: the file is missing, broken, or labels fewer vertices.
    """
    labels = _read(Path(path), _parse_annotation, "a FreeSurfer annotation")
    if len(labels) < n_vertices:
        raise UserError(
            f"{path}: labels {len(labels)} vertices, the surface has {n_vertices}; expected as many; put the surface's "
            "own annotation there"
        )
    return ~np.isin(labels[:n_vertices], _NO_CORTEX)


def _read(path: Path, parse: Callable[[bytes], Any], expected: str) -> Any:
    try:
        content = path.read_bytes()
        return parse(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, expected {expected}; put it there, or name another folder") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error}); check its permissions, or fetch it again") from error
    except (ValueError, EOFError, zlib.error, ElementTree.ParseError) as error:
        raise UserError(f"{path}: broken, or not {expected} ({error}); fetch or export it again") from error


def _take(content: bytes, dtype: str, count: int, offset: int) -> np.ndarray:
    if count < 0:
        raise ValueError(f"announces {count} values")
    return np.frombuffer(content, dtype, count, offset)  # raises ValueError where there are fewer


def _parse_freesurfer(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Magic number, two lines of comment, the counts, vertices and triangles, big-endian."""
    if content[:3] != _TRIANGLES:
        raise ValueError("doesn't begin with FreeSurfer's mark of triangles")
    begin = content.index(b"\n", content.index(b"\n", 3) + 1) + 1
    n_vertices, n_triangles = map(int, _take(content, ">i4", 2, begin))
    vertices = _take(content, ">f4", 3 * n_vertices, begin + 8)
    triangles = _take(content, ">i4", 3 * n_triangles, begin + 8 + 12 * n_vertices)
    return vertices.reshape(-1, 3), triangles.reshape(-1, 3)


def _parse_gifti(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    arrays = {array.get("Intent", ""): array for array in ElementTree.fromstring(content).iter("DataArray")}
    wanted = ("NIFTI_INTENT_POINTSET", "NIFTI_INTENT_TRIANGLE")
    if not set(wanted) <= set(arrays):
        raise ValueError(f"has arrays {', '.join(arrays) or 'none'}, not {' and '.join(wanted)}")
    vertices, triangles = (_gifti_array(arrays[intent]) for intent in wanted)
    return vertices, triangles


def _gifti_array(array: ElementTree.Element) -> np.ndarray:
    encoding = array.get("Encoding")
    order = array.get("ArrayIndexingOrder")
    kind = _GIFTI_TYPES.get(array.get("DataType", ""))
    end = _GIFTI_ENDS.get(array.get("Endian", ""))
    if encoding not in ("GZipBase64Binary", "Base64Binary") or order != "RowMajorOrder" or not kind or not end:
        raise ValueError(f"an array is {dict(array.attrib)}; only row-major base64 float32 and int32 can be read")
    raw = base64.b64decode(array.findtext("Data") or "")
    values = np.frombuffer(zlib.decompress(raw) if encoding.startswith("GZip") else raw, end + kind)
    return values.reshape(int(array.get("Dim0", -1)), int(array.get("Dim1", -1)))


def _parse_mgh(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Labels [x, y, z] and the affine [3, 4] from voxels to surface RAS, whose origin is the volume's centre."""
    version, *shape, n_frames, kind = map(int, _take(content, ">i4", 6, 0))
    has_geometry = int(_take(content, ">i2", 1, 28)[0])
    if version != 1 or n_frames != 1 or kind not in _MGH_TYPES or has_geometry != 1:
        raise ValueError(f"version {version}, {n_frames} frames, type {kind}, geometry {has_geometry}")
    sizes, axes = np.split(_take(content, ">f4", 12, 30).astype(np.float64), [3])
    labels = _take(content, _MGH_TYPES[kind], int(np.prod(shape)), _MGH_HEADER_BYTES).reshape(shape, order="F")
    to_ras = axes.reshape(3, 3).T * sizes
    return labels, np.column_stack([to_ras, -to_ras @ (np.array(shape) / 2)])


def _parse_annotation(content: bytes) -> np.ndarray:
    n_vertices = int(_take(content, ">i4", 1, 0)[0])
    numbers, labels = _take(content, ">i4", 2 * n_vertices, 4).reshape(-1, 2).T
    if not np.array_equal(numbers, np.arange(n_vertices)):
        raise ValueError("its vertices aren't numbered from 0 on")
    return labels

"""Heads as they are asked for: complete, deterministic, cached, and never a damaged or a wrong one."""

import logging
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from eegjax.data.heads import heads
from eegjax.data.heads import models as head_models
from eegjax.data.heads.heads import Head, HeadSpec, list_heads, make_head, read_head, write_head
from eegjax.errors import UserError

SPEC = HeadSpec("sphere", n_sources=90, n_chans=32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("heads")


@pytest.fixture(scope="module")
def head(cache: Path) -> Head:
    return make_head(SPEC, None, cache)


@pytest.fixture(scope="module")
def _coarse() -> Iterator[None]:
    """Boundary elements of 162 vertices per surface: a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        coarse = partial(head_models.make_boundary_element_conductor, subdivisions=2)
        patch.setattr(head_models, "make_boundary_element_conductor", coarse)
        yield


@pytest.fixture(scope="module")
def templates(_coarse: None, cache: Path) -> list[Head]:
    return [make_head(SPEC._replace(kind="template", warp=warp), None, cache) for warp in range(3)]


def assert_same(one: Head, other: Head) -> None:
    for name, value in one._asdict().items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)
        assert type(value) is type(getattr(other, name))


def assert_sound(head: Head, n_chans: int = 32, n_sources: int = 90) -> None:
    shapes = {name: np.shape(value) for name, value in head._asdict().items()}
    expected = {"electrodes_m": (n_chans, 3), "sources_m": (n_sources, 3), "orientations": (n_sources, 2, 3)}
    expected |= {"depth_m": (n_sources,), "zone": (n_sources,), "lead_field": (n_chans, n_sources, 3)}
    expected |= {"ch_names": (n_chans,), "electrode_fit_mm": (n_chans,), "name": (), "n_dropped": ()}
    assert {name: shapes[name] for name in expected} == expected
    floats = set(Head._fields) - {"name", "ch_names", "zone", "n_dropped"}
    assert all(getattr(head, name).dtype == np.float64 and np.isfinite(getattr(head, name)).all() for name in floats)
    products = np.einsum("sik,sjk->sij", head.orientations, head.orientations)
    np.testing.assert_allclose(products, np.tile(np.eye(2), (n_sources, 1, 1)), atol=1e-12)
    assert (set(head.zone.tolist()), head.zone.dtype) == (set(range(64)), np.int64)
    np.testing.assert_allclose(head.lead_field.mean(axis=0), 0, atol=1e-12 * np.abs(head.lead_field).max())
    planes = ConvexHull(head.inner_skull).equations
    assert (head.sources_m @ planes[:, :3].T + planes[:, 3]).max() < 0
    to_skull = cdist(head.sources_m, head.inner_skull).min(axis=1)  # to its vertices
    assert (head.depth_m >= 0.005).all()
    np.testing.assert_allclose(head.depth_m, to_skull, atol=1.5e-3)


def test_a_head_is_complete(head):
    assert_sound(head)
    assert head.name == "sphere"
    distances = np.linalg.norm(head.sources_m - head.inner_skull.mean(axis=0), axis=1)
    np.testing.assert_allclose(head.depth_m, 0.0874 - distances, atol=2.1e-4)
    between = cdist(head.sources_m, head.sources_m)
    alike = (head.zone[:, None] == head.zone) & ~np.eye(90, dtype=bool)
    assert between[alike].max() < np.median(between)


def test_across_the_cortex_sources_of_a_patch_add_up(head):
    """As those along its normal do: two orientations, not one and noise."""
    neighbours = np.argsort(cdist(head.sources_m, head.sources_m))[:, 1:5]
    for orientation in head.orientations.transpose(1, 0, 2):
        cosines = np.einsum("sx,snx->sn", orientation, orientation[neighbours])
        assert np.median(cosines) > 0.8
        assert (cosines > 0).mean() > 0.9


def test_the_same_head_twice_is_the_same_bytes(head, cache, tmp_path):
    assert_same(make_head(SPEC, None, tmp_path), head)
    (one,), (other,) = tmp_path.glob("*.npz"), cache.glob("head-sphere-0-*.npz")
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(one) as file:
        assert {entry.date_time for entry in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_head_is_made_once(head, cache, monkeypatch):
    monkeypatch.setattr(heads, "_make", None)
    assert_same(make_head(SPEC, None, cache), head)
    with pytest.raises(TypeError):
        make_head(SPEC._replace(seed=1), None, cache)
    monkeypatch.setattr(heads, "VERSION", heads.VERSION + 1)
    with pytest.raises(TypeError):
        make_head(SPEC, None, cache)


@pytest.mark.parametrize(
    ("change", "same", "other"),
    [
        ({"warp": 1}, ["ch_names"], ["electrodes_m", "sources_m", "lead_field", "name"]),
        ({"seed": 1}, ["electrodes_m", "sources_m", "lead_field"], ["orientations", "zone"]),
        ({"skull_conductivity": 0.012}, ["electrodes_m", "sources_m", "orientations", "zone"], ["lead_field"]),
        ({"coregistration_mm": 5.0}, ["electrodes_m", "sources_m", "electrode_fit_mm"], ["lead_field"]),
        ({"coregistration_deg": 5.0}, ["electrodes_m", "sources_m", "electrode_fit_mm"], ["lead_field"]),
    ],
)
def test_another_spec_is_another_head(head, tmp_path, change, same, other):
    changed = make_head(SPEC._replace(**change), None, tmp_path)
    assert_sound(changed)
    for name in same:
        np.testing.assert_array_equal(getattr(changed, name), getattr(head, name), err_msg=name)
    for name in other:
        assert not np.array_equal(getattr(changed, name), getattr(head, name)), name


def test_every_field_of_a_spec_has_its_file(head, cache, monkeypatch):
    changes = {"kind": "template", "warp": 1, "n_sources": 91, "n_chans": 64, "skull_conductivity": 0.007}
    changes |= {"coregistration_mm": 1.0, "coregistration_deg": 1.0, "seed": 1}
    assert set(changes) == set(HeadSpec._fields)
    paths = []
    monkeypatch.setattr(heads, "_make", lambda spec, anatomy: head)
    monkeypatch.setattr(heads, "write_head", lambda path, head: paths.append(path))
    for name, value in changes.items():
        make_head(SPEC._replace(**{name: value}), None, cache / "none")
    assert len(set(paths)) == len(changes)


def test_other_files_are_another_head(head, tmp_path, monkeypatch):
    file, paths = tmp_path / "inner_skull.surf", []
    monkeypatch.setattr(heads, "find_head_files", lambda kind, root: {"inner_skull": file})
    monkeypatch.setattr(heads, "read_anatomy", lambda kind, files: None)
    monkeypatch.setattr(heads, "_make", lambda spec, anatomy: head)
    monkeypatch.setattr(heads, "write_head", lambda path, head: paths.append(path))
    for content in ("one", "other", "one"):
        file.write_text(content)
        make_head(SPEC, None, tmp_path)
    assert paths[0] == paths[2] != paths[1]


def test_a_damaged_file_is_made_again(head, tmp_path, caplog):
    make_head(SPEC, None, tmp_path)
    (path,) = tmp_path.glob("*.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING, "eegjax"):
        assert_same(make_head(SPEC, None, tmp_path), head)
    assert len(caplog.messages) == 1
    assert f"{path}: broken, or no head" in caplog.text
    assert path.read_bytes() == whole


@settings(max_examples=25)
@given(st.data())
def test_damage_is_never_a_head(head, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "head.npz"
    whole = write_head(path, head).read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(UserError, match=r"head.npz: broken, or no head"):
        read_head(path)


def test_what_isnt_a_head(head, tmp_path):
    path = tmp_path / "head.npz"
    np.savez(path, name=np.array("sphere"))
    with pytest.raises(UserError, match="broken, or no head"):
        read_head(path)
    arrays = {name: np.asarray(value) for name, value in head._asdict().items()}
    np.savez(path, **{**arrays, "name": np.array([head], dtype=object)}, allow_pickle=True)
    with pytest.raises(UserError, match="allow_pickle"):
        read_head(path)
    write_head(path, head._replace(lead_field=head.lead_field[:-1]))
    with pytest.raises(UserError, match=r"a lead field of \(31, 90, 3\), expected \(32, 90, 3\)"):
        read_head(path)
    with pytest.raises(UserError, match="No such file"):
        read_head(tmp_path / "none.npz")


# ---- kinds


def test_warped_templates_differ_smoothly(templates):
    """By a linear map of at most 8 % and 3 %; sources stay inside."""
    one = templates[0]
    assert [head.name for head in templates] == ["template", "template warped 1", "template warped 2"]
    for number, head in enumerate(templates):
        assert_sound(head)
        matrix, *_ = np.linalg.lstsq(one.scalp, head.scalp, rcond=None)
        np.testing.assert_allclose(one.scalp @ matrix, head.scalp, atol=1e-9)
        np.testing.assert_allclose(one.inner_skull @ matrix, head.inner_skull, atol=1e-9)
        assert np.abs(np.diag(matrix) - 1).max() <= 0.08 + 1e-9
        assert np.abs(matrix - np.diag(np.diag(matrix))).max() <= 0.03 + 1e-9
        assert (np.abs(matrix - np.eye(3)).max() > 0.01) == (number > 0)
        assert head.electrode_fit_mm.max() < 10
    for head in templates[1:]:
        moved = np.linalg.norm(head.electrodes_m - one.electrodes_m, axis=1)
        assert 0.002 < moved.max() < 0.025
        ratio = np.abs(head.lead_field).mean() / np.abs(one.lead_field).mean()
        assert 0.7 < ratio < 1.4


def test_a_warped_sphere_is_a_sphere(tmp_path):
    head = make_head(SPEC._replace(warp=2), None, tmp_path)
    middle = head.scalp.mean(axis=0)
    radii = np.linalg.norm(head.scalp - middle, axis=1)
    np.testing.assert_allclose(radii, radii[0])
    assert abs(radii[0] / 0.095 - 1) <= 0.08
    assert head.electrode_fit_mm.max() < 1e-3
    assert head.name == "sphere warped 2"


def test_heads_of_a_root(tmp_path):
    made = list_heads(None, SPEC._replace(kind="template"))
    assert [(spec.kind, spec.warp) for spec in made] == [("template", warp) for warp in range(4)]
    assert {spec.n_sources for spec in made} == {90}
    for name in ("zoe", "adam"):
        (tmp_path / "subjects" / name / "bem").mkdir(parents=True)
    found = list_heads(tmp_path, n_heads=3)
    assert [(spec.kind, spec.warp) for spec in found] == [("adam", 0), ("zoe", 0), ("template", 0)]
    assert [spec.kind for spec in list_heads(tmp_path, n_heads=1)] == ["adam"]
    assert [(spec.kind, spec.warp) for spec in list_heads(tmp_path, SPEC, 2)] == [("sphere", 0), ("sphere", 1)]
    (tmp_path / "empty").mkdir()
    for root in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(UserError, match="no head here, expected subjects/NAME/bem"):
            list_heads(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "spere"}, r"head kind: 'spere', expected one of sphere, template; .* Did you mean 'sphere'\?"),
        ({"kind": "sample"}, r"name the root that holds subjects/sample/bem"),
        ({"warp": -1}, "head warp: -1, expected 0 to"),
        ({"n_sources": 63}, "head n_sources: 63, expected 64 to 20000"),
        ({"n_chans": 129}, r"head n_chans: 129, expected one of 16, 32, 64, 128, 160, 256 \(BioSemi's caps\)"),
        ({"skull_conductivity": 0.0}, "head skull_conductivity: 0.0"),
        ({"skull_conductivity": float("nan")}, "head skull_conductivity: nan"),
        ({"coregistration_mm": -1.0}, "head coregistration_mm: -1.0, expected 0 to 50"),
        ({"coregistration_deg": 90.0}, "head coregistration_deg: 90.0"),
    ],
)
def test_heads_that_cant_be(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        make_head(SPEC._replace(**change), None, tmp_path)
    assert not list(tmp_path.glob("*.npz"))


def test_a_subject_without_its_files(tmp_path):
    (tmp_path / "subjects" / "ann" / "bem").mkdir(parents=True)
    with pytest.raises(UserError, match=r"ann/bem/inner_skull.surf, .*ann-trans.fif: no such file"):
        make_head(SPEC._replace(kind="ann"), tmp_path, tmp_path)


# ---- real heads


@pytest.mark.usefixtures("_coarse")
def test_the_sample_head(data_root, tmp_path, caplog):
    root = data_root / "inverse"
    assert [spec.kind for spec in list_heads(root)] == ["sample", "template", "template", "template"]
    head = make_head(SPEC._replace(kind="sample", n_chans=128, n_sources=200), root, tmp_path)
    assert_sound(head, 128, 200)
    assert 0.8e-6 < 1e-8 * np.median(np.abs(head.lead_field).max(axis=0)) < 1.05e-6
    assert "sample: 4734 of 18558 points of cortex are left out, 630 outside the inner skull" in caplog.text
    assert head.n_dropped == 4734


@pytest.mark.usefixtures("_coarse")
def test_the_template_with_its_cortex(data_root, tmp_path, templates):
    root = data_root / "inverse"
    head = make_head(SPEC._replace(kind="template", n_chans=64, n_sources=300, warp=1), root, tmp_path)
    assert_sound(head, 64, 300)
    np.testing.assert_array_equal(head.scalp, templates[1].scalp)
    middle = head.inner_skull.mean(axis=0)
    radial = head.sources_m - middle
    cosines = (head.orientations[:, 0] * radial).sum(axis=1) / np.linalg.norm(radial, axis=1)
    assert 0.2 < cosines.mean() < 0.6  # gyri point outwards, the walls of sulci don't
    assert cosines.min() < 0

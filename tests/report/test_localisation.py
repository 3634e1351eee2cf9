"""What the figures of sources show, read from their artists."""

from typing import Any

import numpy as np
import pytest

from eegjax.report.localisation import BLUE, RED, Scene, f1_curves, points_in_head, sections

RADII = np.arange(0, 50, 10.0)
RISING, FALLING, SD = RADII / 50, 1 - RADII / 50, np.full(5, 0.25)


# ---- F1 against the radius


def test_curves_have_bands_where_there_is_a_deviation(tmp_path, saved):
    panels = {"": {"V-Net": (RISING, SD), "MNE": (FALLING, None)}}
    f1_curves(tmp_path / "f.png", RADII, panels, "mm", "F1")
    (axis,) = saved[0].axes
    assert [line.get_label() for line in axis.lines] == ["V-Net", "MNE"]
    for line, mean in zip(axis.lines, (RISING, FALLING), strict=True):
        np.testing.assert_array_equal(np.transpose(line.get_data()), np.transpose([RADII, mean]))
    (band,) = axis.collections
    vertices = band.get_paths()[0].vertices
    assert {*np.round(vertices[vertices[:, 0] == 20, 1], 9)} == {0.15, 0.65}
    assert axis.get_xlabel() == "radius (mm)"
    assert axis.get_ylim() == pytest.approx((0, 0.8 + 0.25))


def test_a_model_has_one_colour_in_all_panels_and_guesses_are_grey(tmp_path, saved):
    names = [f"model {number}" for number in range(7)]
    first = dict.fromkeys(["guess", *names], (RISING, None))
    panels = {"a": first, "b": dict.fromkeys([*reversed(names), "other guess"], (FALLING, None))}
    f1_curves(tmp_path / "f.png", RADII, panels, "voxels", "F1", grey=("guess", "other guess"))
    looks = [
        {line.get_label(): (line.get_color(), line.get_linestyle()) for line in one.lines} for one in saved[0].axes
    ]
    assert [axis.get_title() for axis in saved[0].axes] == ["a", "b"]
    assert {name: looks[0][name] for name in names} == {name: looks[1][name] for name in names}
    every = looks[0] | looks[1]
    assert len(set(every.values())) == 9  # told apart, although there are fewer colours
    assert {name for name, (_, line) in every.items() if line in ("--", ":")} == {"guess", "other guess"}
    (legend,) = saved[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["guess", *names, "other guess"]


def test_nothing_is_cut_off_above(tmp_path, saved):
    """Greedily matched F1 may be above 1, and a mean with its deviation more so; undefined curves don't matter."""
    undefined = np.full(5, np.nan)
    panels = {"": {"V-Net": (RISING + 0.5, SD), "U-Net": (undefined, undefined)}}
    f1_curves(tmp_path / "f.png", RADII, panels, "mm", "F1")
    assert saved[0].axes[0].get_ylim() == pytest.approx((0, 0.8 + 0.5 + 0.25))


# ---- points in the head


def ball(radius: float) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(150, 3))
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True)


def scene(true: Any, predicted: Any) -> Scene:
    points = {"true": np.reshape(true, (-1, 3)), "predicted": np.reshape(predicted, (-1, 3))}
    return Scene("template", ball(90), ball(75), ball(92), points)


def test_points_stand_in_both_views_as_often_as_there_are(tmp_path, saved):
    true, predicted = ball(40)[:3], ball(50)[:2]
    points_in_head(tmp_path / "p.png", [scene(true, predicted), scene(true, [])], "Points")
    axes = saved[0].axes
    assert len(axes) == 4
    for axis in axes[:2]:
        drawn = {part.get_label(): part for part in axis.collections}
        for label, points, colour in (("true", true, RED), ("predicted", predicted, BLUE)):
            np.testing.assert_allclose(np.transpose(drawn[label]._offsets3d), points)
            assert (
                "#{:02x}{:02x}{:02x}".format(*np.rint(255 * drawn[label].get_facecolor()[0, :3]).astype(int)) == colour
            )
    assert axes[0].get_title().startswith("template\n3 true, 2 predicted\nfrom above")
    assert axes[2].get_title().startswith("template\n3 true, 0 predicted")
    assert [text.get_text() for text in saved[0].legends[0].get_texts()] == ["electrode", "true", "predicted"]


@pytest.mark.parametrize(("row", "right", "up"), [(0, (1, 0, 0), (0, 1, 0)), (1, (0, 1, 0), (0, 0, 1))])
def test_views_are_turned_as_they_say(tmp_path, saved, row, right, up):
    """From above the right ear is on the right and the nose on top; from the right the nose is on the right."""
    from mpl_toolkits.mplot3d.proj3d import proj_transform

    points_in_head(tmp_path / "p.png", [scene(ball(40)[:1], [])], "Points")
    axis = saved[0].axes[row]
    origin = np.array(proj_transform(0, 0, 0, axis.get_proj()))
    for direction, shown in ((right, 0), (up, 1)):
        moved = np.array(proj_transform(*np.multiply(50, direction), axis.get_proj())) - origin
        assert moved[shown] > 0
        assert abs(moved[1 - shown]) < 1e-6


def test_the_neck_is_left_out(tmp_path, saved):
    """Only the part of the scalp around the brain: points are seen larger."""
    tall = scene(ball(40)[:1], [])
    neck = np.array([[x, y, -400.0] for x in (-50, 50) for y in (-50, 50)])
    points_in_head(tmp_path / "p.png", [tall._replace(scalp=np.concatenate([tall.scalp, neck]))], "Points")
    assert saved[0].axes[0].get_zlim()[0] > -150


# ---- sections


def test_sections_cut_through_the_voxel_of_the_point(tmp_path, saved):
    volume = np.random.default_rng(0).random((16, 16, 16))
    origin, size = np.array([-10.0, 0.0, 5.0]), np.array([2.0, 3.0, 4.0])
    point = origin + size * (np.array([4, 7, 11]) + 0.9)
    sections(tmp_path / "s.png", {"target": volume, "negative": volume - 0.5}, point, origin, size, "Sections")
    axes = saved[0].axes
    expected = {"sagittal": volume[4].T, "coronal": volume[:, 7].T, "axial": volume[:, :, 11].T}
    for axis, (name, values) in zip(axes[:3], expected.items(), strict=True):
        (image,) = axis.images
        np.testing.assert_array_equal(image.get_array(), values)
        assert axis.get_title().startswith(name)
        assert (image.get_clim(), image.origin) == ((0, volume.max()), "lower")
    assert axes[0].images[0].get_extent() == [0, 48, 5, 69]  # y across, z up, mm
    assert [line.get_xdata()[0] for line in axes[2].lines[:1]] == [point[0]]
    assert [line.get_ydata()[0] for line in axes[2].lines[1:]] == [point[1]]
    top = np.abs(volume - 0.5).max()
    assert axes[3].images[0].get_clim() == (-top, top)
    assert axes[3].images[0].get_cmap().name != axes[0].images[0].get_cmap().name
    assert [axis.get_ylabel() for axis in axes[6:]] == ["target", "negative"]


def test_sections_of_fine_grids_are_slabs_of_the_largest_magnitude(tmp_path, saved):
    """1/16 of 32 voxels: the point's layer and the one before it."""
    volume = np.zeros((32, 32, 32))
    volume[9, 3, 3], volume[10, 3, 3], volume[11, 5, 5], volume[8, 6, 6] = -3.0, 2.0, 1.0, 1.0
    sections(tmp_path / "s.png", {"target": volume}, np.full(3, 10.5), np.zeros(3), np.ones(3), "Sections")
    (image,) = saved[0].axes[0].images
    assert np.argwhere(image.get_array()).tolist() == [[3, 3]]
    assert image.get_array()[3, 3] == -3


@pytest.mark.parametrize("edge", [-100.0, 100.0])
def test_points_outside_the_grid_and_empty_volumes_are_drawn(tmp_path, saved, edge):
    with np.errstate(all="raise"):
        empty = {"predicted": np.zeros((32, 32, 32))}
        sections(tmp_path / "s.png", empty, np.full(3, edge), np.zeros(3), np.ones(3), "Sections")
    assert saved[0].axes[0].images[0].get_clim() == (0, 1)


def test_simulated_figures_are_stamped_and_have_captions(tmp_path, saved):
    for simulated in (True, False):
        f1_curves(tmp_path / "f.png", RADII, {"": {"V-Net": (RISING, SD)}}, "mm", "F1", simulated)
        points_in_head(tmp_path / "p.png", [scene(ball(40)[:1], [])], "Points", simulated)
        volumes = {"target": np.ones((4, 4, 4))}
        sections(tmp_path / "s.png", volumes, np.ones(3), np.zeros(3), np.ones(3), "Sections", simulated)
    stamps = ["SIMULATED DATA" in [text.get_text() for text in one.texts] for one in saved]
    assert stamps == [True] * 3 + [False] * 3
    assert [one.get_suptitle() for one in saved] == ["F1", "Points", "Sections"] * 2

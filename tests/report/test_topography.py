"""Head maps, read from their artists."""

import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure

from eegjax.errors import UserError
from eegjax.report.topography import topography

NAMES = ["Fz", "FC3", "FC1", "FCz", "FC2", "FC4", "C5", "C3", "C1", "Cz", "C2", "C4", "C6"]
NAMES += ["CP3", "CP1", "CPz", "CP2", "CP4", "P1", "Pz", "P2", "POz"]


def shown(figure: Figure, name: str) -> float:
    """The value that the map has at a channel's name."""
    image = figure.axes[0].images[0]
    x, y = next(text.get_position() for text in figure.axes[0].texts if text.get_text() == name)
    left, right, bottom, top = image.get_extent()
    values = image.get_array()
    column = round((x - left) / (right - left) * (values.shape[1] - 1))
    row = round((y - bottom) / (top - bottom) * (values.shape[0] - 1))  # the lowest row comes first
    return float(values[row, column])


def test_every_channel_has_its_value_and_its_place(tmp_path, saved):
    values = np.random.default_rng(0).permutation(np.arange(1.0, 23.0))
    topography(tmp_path / "t.png", values, NAMES, "Importance")
    axis, bar = saved[0].axes
    places = {text.get_text(): text.get_position() for text in axis.texts}
    assert list(places) == NAMES
    assert places["C3"][0] == pytest.approx(-places["C4"][0], abs=1e-3)  # left is left, and mirrors right
    assert places["C3"][0] < 0
    assert places["Fz"][1] > places["Pz"][1]  # the nose on top
    for name, value in zip(NAMES, values, strict=True):
        assert shown(saved[0], name) == pytest.approx(value, abs=2.5)  # as near as the grid's points are
    image = axis.images[0]
    assert image.origin == "lower"
    assert image.get_clim() == (0, 22)
    assert values.min() - 1e-6 <= image.get_array().min() <= image.get_array().max() <= values.max() + 1e-6
    assert bar.get_ylabel() == "importance"


def test_the_order_of_channels_and_their_case_change_nothing(tmp_path, saved):
    values, turned = np.arange(22.0), [name.upper() for name in NAMES[::-1]]
    topography(tmp_path / "a.png", values, NAMES, "Importance")
    topography(tmp_path / "b.png", values[::-1], turned, "Importance")
    maps = [figure.axes[0].images[0].get_array() for figure in saved]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-6)
    assert [text.get_text() for text in saved[1].axes[0].texts] == turned


def test_signed_values_are_drawn_around_zero(tmp_path, saved):
    topography(tmp_path / "t.png", np.linspace(-0.1, 0.4, 22), NAMES, "Drop")
    topography(tmp_path / "t.png", np.zeros(22), NAMES, "Nothing")
    assert saved[0].axes[0].images[0].get_clim() == (-0.4, 0.4)
    assert saved[0].axes[0].images[0].get_cmap().name == "RdBu_r"
    assert saved[1].axes[0].images[0].get_clim() == (0, 1)


def test_unknown_channels_are_named(tmp_path):
    with pytest.raises(UserError, match=r"channel 'C3\.\.' has no place.*10-05.*Did you mean 'C3'\?"):
        topography(tmp_path / "t.png", np.ones(2), ["C3..", "C4"], "Importance")
    assert not list(tmp_path.iterdir())


def test_the_title_is_kept_and_simulated_maps_are_stamped(tmp_path, saved):
    for simulated in (False, True):
        topography(tmp_path / "t.png", np.ones(22), NAMES, "Importance: κ", simulated)
    assert ["SIMULATED DATA" in [text.get_text() for text in figure.texts] for figure in saved] == [False, True]
    with PIL.Image.open(tmp_path / "t.png") as image:
        assert image.info["Description"] == "Importance: κ"

"""Strips of trials and their reconstructions, read from their artists."""

import numpy as np
import PIL.Image
import pytest

from eegjax.report.reconstruction import reconstruction_strip

NAMES = ["C3", "Cz", "C4"]


def test_originals_above_and_reconstructions_below(tmp_path, saved):
    original = np.random.default_rng(0).normal(size=(2, 50, 3))
    original[0, 0, 0] = 1000  # one artefact leaves the colours of the rest
    reconstruction = 0.5 * original
    reconstruction_strip(tmp_path / "r.png", original, reconstruction, NAMES, 25.0, "µV", "Trials")
    *axes, bar = saved[0].axes
    images = [axis.images[0] for axis in axes]
    expected = [*original, *reconstruction]
    for axis, image, trial in zip(axes, images, expected, strict=True):
        np.testing.assert_array_equal(image.get_array(), trial.T)  # channels against time
        assert image.get_extent() == [0, 2, 2.5, -0.5]
        assert axis.get_xlim() == (0, 2)
        assert axis.get_ylim() == (2.5, -0.5)  # the first channel on top
    limits = {image.get_clim() for image in images}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low == -high
    assert 2 < high < 10
    assert [axis.get_ylabel() for axis in axes] == ["original", "", "reconstruction", ""]
    assert [text.get_text() for text in axes[2].get_yticklabels()] == NAMES
    assert saved[0].get_supxlabel() == "time in the trial (s)"
    assert bar.get_ylabel() == "µV"


def test_shapes_must_agree(tmp_path):
    with pytest.raises(ValueError, match=r"original \(2, 5, 3\) and reconstruction \(2, 3, 5\) should be alike"):
        reconstruction_strip(tmp_path / "r.png", np.ones((2, 5, 3)), np.ones((2, 3, 5)), NAMES, 25.0, "µV", "Trials")


@pytest.mark.parametrize("simulated", [False, True])
def test_the_title_is_kept_and_simulated_strips_stamped(tmp_path, saved, simulated):
    zeros = np.zeros((1, 5, 3))
    reconstruction_strip(tmp_path / "r.png", zeros, zeros, NAMES, 25.0, "µV", "Trials: κ", simulated)
    assert ("SIMULATED DATA" in [text.get_text() for text in saved[0].texts]) == simulated
    with PIL.Image.open(tmp_path / "r.png") as image:
        assert image.info["Description"] == "Trials: κ"

"""What the figures show, read from their artists and pixels."""

import matplotlib.image
import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure

from eegjax.report import figures
from eegjax.report.figures import draw_confusion, draw_hypnogram

NAMES = ["W", "N1", "N2", "N3", "N4", "R"]
CODES = np.array([0, 0, 1, 2, 3, 4, -1, 2, 5, 5, 5, 0])
ONSETS = 30.0 * np.arange(12)


def bars_h(axis, number: int) -> np.ndarray:
    """[n, 2] start and stop in hours of the bars of one collection."""
    return np.array([path.get_extents().intervalx for path in axis.collections[number].get_paths()])


def test_hypnogram_shows_stages_gaps_and_differences(tmp_path, saved):
    predicted = CODES.copy()
    predicted[[3, 4, 6, 9]] = [3, 4, 1, 2]  # the seventh epoch is unscored in the truth: no difference
    keep = np.arange(12) != 7
    draw_hypnogram(
        tmp_path / "h.png", [("truth", ONSETS, CODES), ("CNN", ONSETS[keep], predicted[keep])], NAMES, "Night"
    )
    truth, model = saved[0].axes
    assert [label.get_text() for label in truth.get_yticklabels()] == ["W", "R", "N1", "N2", "N3", "N4"]
    assert truth.get_ylim()[0] > truth.get_ylim()[1]  # W on top

    hours, level = truth.lines[0].get_data()
    np.testing.assert_allclose(hours * 3600, 30 * np.arange(13))
    np.testing.assert_array_equal(level, [0, 0, 2, 3, 4, 5, np.nan, 3, 1, 1, 1, 0, np.nan])
    np.testing.assert_allclose(bars_h(truth, 0) * 3600, [[240, 330]])  # three epochs of REM, one bar

    hours, level = model.lines[0].get_data()
    assert np.isnan(level[np.isclose(hours * 3600, 210)]).all()  # the epoch it lacks breaks the line
    np.testing.assert_allclose(bars_h(model, 1) * 3600, [[90, 150], [270, 300]])
    assert "differs in 3 of 10 epochs" in [text.get_text() for text in model.texts]


def test_onsets_match_whatever_their_rounding(tmp_path, saved):
    rows = [("truth", ONSETS, CODES), ("same", ONSETS.astype(np.float32) + 1e-5, CODES)]
    draw_hypnogram(tmp_path / "h.png", rows, NAMES, "Night")
    assert "differs in 0 of 11 epochs" in [text.get_text() for text in saved[0].axes[1].texts]


def test_hypnogram_refuses_unknown_stages(tmp_path):
    with pytest.raises(ValueError, match=r"\['S1'\] should be among"):
        draw_hypnogram(tmp_path / "h.png", [("truth", ONSETS, CODES)], ["W", "S1"], "Night")


def test_confusion_shows_row_shares_and_counts(tmp_path, saved):
    counts = np.array([[3, 1, 0], [0, 0, 0], [5, 0, 15]])  # the second class never occurs
    draw_confusion(tmp_path / "c.png", {"CNN": counts, "RNN": counts.T}, ["a", "b", "c"], "Test epochs")
    panel = saved[0].axes[0]
    np.testing.assert_allclose(panel.images[0].get_array(), [[75, 25, 0], [0, 0, 0], [25, 0, 75]])
    assert [text.get_text() for text in panel.texts] == ["75 %", "3", "25 %", "1", "25 %", "5", "75 %", "15"]
    assert panel.get_xlabel() == "predicted"
    assert [axis.get_title() for axis in saved[0].axes[:2]] == ["CNN", "RNN"]


def test_titles_are_kept_in_the_file_for_the_page(tmp_path):
    draw_confusion(tmp_path / "c.png", {"CNN": np.eye(2, dtype=int)}, ["a", "b"], "Test epochs: κ")
    draw_hypnogram(tmp_path / "h.png", [("truth", ONSETS, CODES)], NAMES, "Night SC4001")
    for name, title in (("c", "Test epochs: κ"), ("h", "Night SC4001")):
        with PIL.Image.open(tmp_path / f"{name}.png") as image:
            assert image.info["Description"] == title


def test_panels_wrap_after_three(tmp_path, saved):
    matrices = {str(number): np.eye(2, dtype=int) for number in range(4)}
    draw_confusion(tmp_path / "c.png", matrices, ["a", "b"], "Test epochs")
    assert [axis.get_visible() for axis in saved[0].axes[:6]] == [True] * 4 + [False] * 2


def test_simulated_figures_are_stamped(tmp_path):
    """The stamp colours a good part of the picture, and only the simulated one's."""
    pictures = {}
    for simulated in (False, True):
        draw_confusion(tmp_path / "c.png", {"CNN": np.eye(3, dtype=int)}, ["a", "b", "c"], "Test epochs", simulated)
        draw_hypnogram(tmp_path / "h.png", [("truth", ONSETS, CODES)], NAMES, "Night", simulated)
        pictures[simulated] = [matplotlib.image.imread(tmp_path / name)[..., :3] for name in ("c.png", "h.png")]
    for plain, stamped in zip(pictures[False], pictures[True], strict=True):
        assert plain.shape == stamped.shape
        changed = (np.abs(plain - stamped).max(-1) > 0.05).mean()
        assert 0.01 < changed < 0.3


def test_a_failed_drawing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c.png"
    path.write_bytes(b"old")

    def fail(figure, aside, **kwargs):
        aside.write_bytes(b"half")
        raise RuntimeError("power cut")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        draw_confusion(path, {"CNN": np.eye(2, dtype=int)}, ["a", "b"], "Test epochs")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_pyplot():
    """pyplot's global figures would leak over a study of hundreds of figures."""
    assert "pyplot" not in vars(figures)

"""What the figures of epochs show, read from their artists and pixels."""

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes

from eegjax.report.epochs import WrongEpoch, draw_activations, draw_sensitivity, draw_wrong_epochs

NAMES = ["W", "N1", "N2", "N3", "N4", "R"]
ORDER = ["W", "R", "N1", "N2", "N3", "N4"]
BOTH_S, BEFORE_S, NONE_S = (60.0, 60.0), (60.0, 0.0), (0.0, 0.0)


def pictures(*stages: str, n_colours: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {stage: rng.uniform(0, 255, (8, 10, n_colours)).astype(np.float32) for stage in stages}


def maps(*stages: str, n_colours: int = 1, scale: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {stage: scale * rng.exponential(size=(8, 10, n_colours)).astype(np.float32) for stage in stages}


def shown(axis: Axes) -> np.ndarray:
    return np.asarray(axis.images[0].get_array())


def lines_s(axis: Axes) -> list[float]:
    return sorted({float(line.get_xdata()[0]) for line in axis.lines})


def pixel(path, axis: Axes, time_s: float, freq_hz: float) -> float:
    """The brightness, 0..1, of the saved picture at a point of an axis."""
    image = matplotlib.image.imread(path)[..., :3]
    x, y = axis.transData.transform((time_s, freq_hz)) / axis.figure.bbox.size
    return float(image[round((1 - y) * image.shape[0]), round(x * image.shape[1])].mean())


def words(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_sensitivity_divides_each_map_by_its_mean(tmp_path, saved):
    names, order = ["W", "N4", "R"], ["W", "R", "N4"]
    found = {"CNN": maps(*names, n_colours=3), "vgg_conv_lstm $x_y$": maps(*names, n_colours=3, scale=1e-3)}
    draw_sensitivity(tmp_path / "s.png", pictures(*names, n_colours=3), found, names, 30.0, BOTH_S, "Night")
    axes = np.reshape(saved[0].axes[:9], (3, 3))
    assert [axis.get_title() for axis in axes[0]] == order
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["example", *found]
    scales = set()
    for row, one in zip(axes[1:], found.values(), strict=True):
        for axis, stage in zip(row, order, strict=True):
            summed = one[stage].sum(-1)
            np.testing.assert_allclose(shown(axis), summed / summed.mean(), rtol=1e-5)
            assert axis.get_title() == f"mean {summed.mean():.2g}"
            scales.add(axis.images[0].get_clim())
    assert len(scales) == 1  # one scale, that of the colour bar
    low, high = scales.pop()
    assert low == 0
    relative = np.concatenate([shown(axis).ravel() for axis in axes[1:].ravel()])
    assert (relative > high).mean() == pytest.approx(0.005, abs=0.003)
    np.testing.assert_allclose(saved[0].axes[9].get_ylim(), (low, high))


def test_stages_that_do_not_occur(tmp_path, saved):
    here = ["W", "N2", "N3"]
    found = {"CNN": maps("W", "N2"), "RNN": {}}
    draw_sensitivity(tmp_path / "s.png", pictures(*here), found, ["W", "N2", "N3", "R"], 30.0, NONE_S, "Night")
    axes = np.reshape(saved[0].axes[:12], (3, 4))
    order = ["W", "R", "N2", "N3"]
    for row, there in zip(axes, (here, ["W", "N2"], []), strict=True):
        for axis, stage in zip(row, order, strict=True):
            assert len(axis.images) == (stage in there)
            assert words(axis) == ([] if stage in there else ["no epochs"])


def test_a_night_without_any_map_is_drawn(tmp_path):
    draw_sensitivity(tmp_path / "s.png", {}, {"CNN": {}}, ["W"], 30.0, NONE_S, "Night")
    draw_activations(tmp_path / "a.png", {}, {}, ["W"], 30.0, NONE_S, "Night")
    assert {path.name for path in tmp_path.iterdir()} == {"s.png", "a.png"}


def test_a_map_of_zeros_stays_zero(tmp_path, saved):
    with np.errstate(all="raise"):
        draw_sensitivity(
            tmp_path / "s.png", pictures("W"), {"CNN": {"W": np.zeros((8, 10, 1))}}, ["W"], 30.0, NONE_S, "Night"
        )
    assert not shown(saved[0].axes[1]).any()


@pytest.mark.parametrize(
    ("context_s", "ticks", "limits"),
    [
        (BOTH_S, [-60, 0, 30, 90], [0, 30]),
        (BEFORE_S, [-60, 0, 30], [0]),
        (NONE_S, [0, 30], []),
    ],
)
def test_axes_are_hertz_and_seconds(tmp_path, saved, context_s, ticks, limits):
    """The first row of an image is its highest frequency, and it's drawn on top."""
    image = np.zeros((8, 10, 1), np.float32)
    image[0, :3] = 255
    path = tmp_path / "s.png"
    draw_sensitivity(path, {"W": image}, {"CNN": {"W": image}}, ["W"], 30.0, context_s, "Night")
    for axis in saved[0].axes[:2]:
        assert axis.get_xticks().tolist() == ticks
        assert axis.get_yticklabels()[0].get_text() == "0"
        assert axis.get_xlim() == (ticks[0], ticks[-1])
        assert axis.get_ylim() == (0, 30)
        assert axis.get_yticks().tolist() == [0, 10, 20, 30]
        assert lines_s(axis) == limits
        width_s = ticks[-1] - ticks[0]
        left, right = ticks[0] + 0.15 * width_s, ticks[0] + 0.9 * width_s
        assert pixel(path, axis, left, 28) > 0.6
        assert pixel(path, axis, left, 2) < 0.1
        assert pixel(path, axis, right, 28) < 0.1
    caption = saved[0].get_supxlabel()
    assert caption.startswith("time from the epoch's onset (s)")
    assert ("Thin lines" in caption) == bool(limits)


def test_images_in_gray_share_their_shades_and_colours_are_their_own(tmp_path, saved):
    gray, colour = pictures("W", "N1"), pictures("W", "N1", n_colours=3)
    draw_sensitivity(tmp_path / "s.png", gray, {}, ["W", "N1"], 30.0, NONE_S, "Night")
    draw_sensitivity(tmp_path / "s.png", colour, {}, ["W", "N1"], 30.0, NONE_S, "Night")
    both = np.stack(list(gray.values()))
    for axis, stage in zip(saved[0].axes, gray, strict=True):
        np.testing.assert_array_equal(shown(axis), gray[stage][..., 0])
        assert axis.images[0].get_clim() == (both.min(), both.max())
    for axis, stage in zip(saved[1].axes, colour, strict=True):
        np.testing.assert_allclose(shown(axis), colour[stage] / 255, rtol=1e-6)


def test_activations_have_a_row_per_stage_and_a_scale_per_layer(tmp_path, saved):
    rng = np.random.default_rng(0)
    layers = {"features/conv1_2": (8, 8), "features/conv2_2": (4, 4), "conv_lstm": (1, 2)}
    found = {
        stage: {layer: (number + 1) * rng.random(shape) for layer, shape in layers.items()}
        for number, stage in enumerate(["N2", "W"])
    }
    names = ["W", "N2", "R"]
    draw_activations(tmp_path / "a.png", pictures("N2", "W"), found, names, 30.0, BOTH_S, "VGG16")
    axes = np.reshape(saved[0].axes, (3, 4))
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["W", "R", "N2"]
    titles = [axis.get_title() for axis in axes[0]]
    assert titles == ["image", "conv1_2\n8 × 8", "conv2_2\n4 × 4", "conv_lstm\n1 × 2"]
    for column, layer in zip(axes[:, 1:].T, layers, strict=True):
        both = np.concatenate([found[stage][layer].ravel() for stage in found])
        for axis, stage in ((column[0], "W"), (column[2], "N2")):
            np.testing.assert_array_equal(shown(axis), found[stage][layer])
            np.testing.assert_allclose(axis.images[0].get_clim(), (0, np.percentile(both, 99.5)))
            assert axis.get_xlim() == (-60, 90)
    assert [words(axis) for axis in axes[1]] == [["no epochs"]] * 4


def wrong(number: int, amplitude_uv: float = 80.0) -> WrongEpoch:
    rng = np.random.default_rng(number)
    eeg_uv = amplitude_uv * np.sin(np.arange(3000) / 7)
    truth = NAMES.index("N2")
    sure = np.array([0.0, 0.01, 0.01, 0.01, 0.0, 0.97])
    spread = rng.dirichlet(np.ones(6))
    return WrongEpoch(
        "SC4001E0", 3600.0 + 30 * number, eeg_uv, 100.0, pictures("W")["W"], truth, {"VGG16": sure, "RNN": spread}
    )


def test_wrong_epochs_say_what_was_scored_and_answered(tmp_path, saved):
    epochs = [wrong(0), wrong(1, 120.0)]
    draw_wrong_epochs(tmp_path / "w.png", epochs, NAMES, BOTH_S, "Wrong")
    axes = np.reshape(saved[0].axes, (2, 3))
    for row, epoch, clock in zip(axes, epochs, ("1:00:00", "1:00:30"), strict=True):
        title = row[0].get_title(loc="left")
        p = epoch.predicted["RNN"]
        answer = f"RNN says {NAMES[p.argmax()]} (p = {p.max():.2f})".replace("= 0.", "= .")
        assert title == f"SC4001E0 at {clock}: N2 scored, VGG16 says R (p = .97), {answer}"
        time_s, eeg_uv = row[0].lines[0].get_data()
        np.testing.assert_allclose(time_s, np.arange(3000) / 100)
        np.testing.assert_array_equal(eeg_uv, epoch.eeg_uv)
        assert row[0].get_ylabel() == "EEG (µV)"
        np.testing.assert_allclose(row[0].get_ylim(), (-120, 120), rtol=1e-3)  # all rows alike
        np.testing.assert_array_equal(shown(row[1]), epoch.image[..., 0])
        assert lines_s(row[1]) == [0, 30]
        assert [label.get_text() for label in row[2].get_yticklabels()] == ORDER
        bold = [label.get_text() for label in row[2].get_yticklabels() if label.get_fontweight() == "bold"]
        assert bold == ["N2"]
        for bars, values in zip(row[2].containers, epoch.predicted.values(), strict=True):
            assert [bar.get_width() for bar in bars] == [values[NAMES.index(stage)] for stage in ORDER]
            assert [round(bar.get_y() + bar.get_height() / 2) for bar in bars] == list(range(6))
    assert [text.get_text() for text in saved[0].legends[0].get_texts()] == ["VGG16", "RNN"]


@pytest.mark.parametrize(("amplitude_uv", "limit_uv"), [(1.0, 50), (4000.0, 200)])
def test_eeg_axes_stay_within_reason(tmp_path, saved, amplitude_uv, limit_uv):
    draw_wrong_epochs(tmp_path / "w.png", [wrong(0, 0.1), wrong(1, amplitude_uv)], NAMES, NONE_S, "Wrong")
    assert saved[0].axes[0].get_ylim() == saved[0].axes[3].get_ylim() == (-limit_uv, limit_uv)


def test_without_wrong_epochs_the_figure_says_so(tmp_path, saved):
    draw_wrong_epochs(tmp_path / "w.png", [], NAMES, BOTH_S, "Wrong")
    assert "no epoch is scored totally wrong" in [text.get_text() for text in saved[0].texts]
    assert saved[0].get_suptitle() == "Wrong"


def test_unknown_stages_are_refused(tmp_path):
    for draw in (draw_sensitivity, draw_activations):
        with pytest.raises(ValueError, match=r"\['S1'\] should be among"):
            draw(tmp_path / "x.png", {}, {}, ["W", "S1"], 30.0, NONE_S, "Night")
    with pytest.raises(ValueError, match=r"\['S1'\] should be among"):
        draw_wrong_epochs(tmp_path / "x.png", [], ["W", "S1"], NONE_S, "Wrong")
    assert not list(tmp_path.iterdir())


def test_simulated_figures_are_stamped(tmp_path, saved):
    draw_sensitivity(tmp_path / "s.png", pictures("W"), {}, ["W"], 30.0, NONE_S, "Night", simulated=True)
    draw_activations(tmp_path / "a.png", pictures("W"), {}, ["W"], 30.0, NONE_S, "Night", simulated=True)
    draw_wrong_epochs(tmp_path / "w.png", [wrong(0)], NAMES, NONE_S, "Wrong", simulated=True)
    draw_wrong_epochs(tmp_path / "n.png", [], NAMES, NONE_S, "Wrong", simulated=True)
    draw_sensitivity(tmp_path / "s.png", pictures("W"), {}, ["W"], 30.0, NONE_S, "Night")
    stamped = ["SIMULATED DATA" in [text.get_text() for text in figure.texts] for figure in saved]
    assert stamped == [True, True, True, True, False]

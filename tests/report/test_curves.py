"""What the curves show, read from their artists."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from eegjax.report.curves import draw_calibration, draw_losses

BINS = (np.array([np.nan, 0.35, 0.62, 0.95]), np.array([np.nan, 0.4, 0.5, 0.9]), np.array([0, 10, 30, 60]))


def test_calibration_leaves_empty_bins_out_and_shows_counts(tmp_path, saved):
    other = (np.array([0.35, 0.95]), np.array([0.1, 1.0]), np.array([3, 1]))
    draw_calibration(tmp_path / "c.png", {"CNN": BINS, "RNN": other}, "Calibration")
    curve, bars = saved[0].axes
    diagonal, cnn, rnn = (np.transpose(line.get_data()).tolist() for line in curve.lines)
    assert diagonal == [[0, 0], [1, 1]]
    assert cnn == [[0.35, 0.4], [0.62, 0.5], [0.95, 0.9]]
    assert rnn == [[0.35, 0.1], [0.95, 1.0]]
    assert labels(curve) == ["perfectly calibrated", "CNN", "RNN"]
    heights = [[bar.get_height() for bar in group] for group in bars.containers]
    np.testing.assert_allclose(heights[0], [10, 30, 60])
    np.testing.assert_allclose(heights[1], [75, 25])
    for scatter, shares in zip(curve.collections, ([0.1, 0.3, 0.6], [0.75, 0.25]), strict=True):
        np.testing.assert_allclose(np.diff(scatter.get_sizes()), 300 * np.diff(shares))
    first, second = (group[0] for group in bars.containers)  # equally sure: side by side, not one behind the other
    assert first.get_x() + first.get_width() == pytest.approx(second.get_x())
    assert (first.get_x() + second.get_x() + second.get_width()) / 2 == pytest.approx(0.35)


def test_a_model_without_epochs_has_no_curve(tmp_path, saved):
    nothing = (np.full(2, np.nan), np.full(2, np.nan), np.zeros(2, int))
    with np.errstate(all="raise"):
        draw_calibration(tmp_path / "c.png", {"CNN": nothing}, "Calibration")
    assert len(saved[0].axes[0].lines[1].get_xdata()) == 0


def labels(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.get_legend().get_texts()]


def rows(model: str, seed: int, n: int, shift: float, validated: bool) -> pd.DataFrame:
    step = 20 * np.arange(1, n + 1)
    member = {"model": model, "member": seed, "fold": "a", "seed": seed}
    training = pd.DataFrame({**member, "step": step, "loss": 2 - step / 1000 + shift, "accuracy": step / 1000})
    if not validated:
        return training
    ends = step[4::5]
    values = {"validation_loss": 3 - ends / 1000 + shift, "validation_accuracy": ends / 2000}
    return pd.concat([training, pd.DataFrame({**member, "step": ends, **values})])


def test_losses_show_members_and_their_mean(tmp_path, saved):
    frame = pd.concat([rows("CNN", seed, 10, 0.1 * seed, True) for seed in range(3)] + [rows("RNN", 0, 10, 0, False)])
    frame = frame.reset_index(drop=True)
    frame.loc[frame.index[3], "loss"] = np.nan  # one value that wasn't finite
    draw_losses(tmp_path / "l.png", frame, "Training")
    axes = np.reshape(saved[0].axes, (2, 2))
    assert [axis.get_title() for axis in axes[0]] == ["CNN", "RNN"]
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["loss", "accuracy"]
    assert [labels(axis) for axis in axes[0]] == [["training", "validation"], ["training"]]
    loss = axes[0, 0]
    assert len(loss.lines) == 3 + 1 + 3 + 1
    training, validation = ([line for line in loss.lines if line.get_label() == name] for name in labels(loss))
    steps = 20 * np.arange(1, 11)
    expected = 2 - steps / 1000 + 0.1
    expected[3] += 0.05  # without the first member's
    np.testing.assert_array_equal(training[0].get_xdata(), steps)
    np.testing.assert_allclose(training[0].get_ydata(), expected)
    np.testing.assert_array_equal(validation[0].get_xdata(), [100, 200])
    np.testing.assert_allclose(validation[0].get_ydata(), [3.0, 2.9])
    np.testing.assert_allclose(loss.lines[2].get_ydata(), 2 - steps / 1000 + 0.2)
    assert [len(axis.lines) for axis in axes[:, 1]] == [2, 2]
    assert axes[1, 1].get_ylim() == (0, 1)
    assert axes[0, 1].get_ylim() == loss.get_ylim()
    assert loss.get_ylim()[0] == 0


def test_a_watched_test_part_is_a_curve(tmp_path, saved):
    """Beside training, as in the inverse paper's second figure; in another model's panel there is none."""
    frame = rows("V-Net", 0, 10, 0.0, True).drop(columns=["accuracy", "validation_accuracy"])
    frame = frame.rename(columns={"validation_loss": "test_loss"})
    other = rows("U-Net", 0, 10, 0.0, False).drop(columns="accuracy")
    draw_losses(tmp_path / "l.png", pd.concat([frame, other]), "Training", log=True)
    first, second = saved[0].axes
    assert [labels(axis) for axis in (first, second)] == [["training", "test"], ["training"]]
    training, test = (line for line in first.lines if line.get_label() in labels(first))
    np.testing.assert_array_equal(test.get_xdata(), [100, 200])
    np.testing.assert_allclose(test.get_ydata(), [2.9, 2.8])
    assert test.get_color() != training.get_color()
    both = pd.concat([frame, rows("V-Net", 1, 10, 0.0, True)])
    draw_losses(tmp_path / "l.png", both, "Training")
    axis = saved[1].axes[0]
    assert labels(axis) == ["training", "validation", "test"]
    assert len({line.get_color() for line in axis.lines}) == 3


def test_long_training_is_smoothed_and_validation_is_not(tmp_path, saved):
    rng = np.random.default_rng(0)
    frame = rows("CNN", 0, 100, 0.0, True).reset_index(drop=True)
    frame["loss"] += rng.normal(0, 0.3, len(frame))
    frame["validation_loss"] += rng.normal(0, 0.3, len(frame))
    draw_losses(tmp_path / "l.png", frame, "Training")
    raw, smooth, validation = (line.get_ydata() for line in saved[0].axes[0].lines)
    np.testing.assert_allclose(raw, frame["loss"].dropna())
    np.testing.assert_allclose(smooth[50], raw[45:55].mean())
    assert np.diff(smooth).std() < 0.3 * np.diff(raw).std()
    np.testing.assert_allclose(validation, frame["validation_loss"].dropna())


def test_simulated_figures_are_stamped(tmp_path, saved):
    for simulated in (True, False):
        draw_calibration(tmp_path / "c.png", {"CNN": BINS}, "Calibration", simulated)
        draw_losses(tmp_path / "l.png", rows("CNN", 0, 3, 0.0, False), "Training", simulated)
    assert ["SIMULATED DATA" in [text.get_text() for text in one.texts] for one in saved] == [True, True, False, False]
    assert [one.get_suptitle() for one in saved] == ["Calibration", "Training"] * 2


def test_losses_that_explode_are_drawn_logarithmically_and_as_they_were(tmp_path, saved):
    frame = rows("CNN", 0, 40, 0.0, True).drop(columns=["accuracy", "validation_accuracy"])
    frame.loc[frame["step"] == 400, "loss"] = 1e12
    draw_losses(tmp_path / "l.png", frame, "Training", log=True)
    (axis,) = saved[0].axes  # no row of accuracies where there are none
    assert (axis.get_yscale(), axis.get_ylabel(), axis.get_xlabel()) == ("log", "loss", "step")
    assert axis.get_ylim()[1] > 1e12
    (mean,) = (line for line in axis.lines if line.get_label() == "training")
    assert (mean.get_ydata() > 10).sum() == 1  # smoothed, the one step would be a plateau

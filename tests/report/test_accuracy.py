"""Accuracies per subject and per window, read from their artists."""

from itertools import pairwise

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from matplotlib.figure import Figure

from eegjax.report.accuracy import accuracy_by_subject, accuracy_by_window


def rows(accuracy: dict[str, float], high: float = 0.32) -> pd.DataFrame:
    return pd.DataFrame(
        {"subject": accuracy.keys(), "accuracy": accuracy.values(), "chance": 0.25, "chance_high": high}
    )


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_subject_has_a_point_per_model(tmp_path, saved):
    own = rows({"A1": 0.4, "A2": 0.6, "A3": 0.8})
    own.loc[2, "chance_high"] = 0.4  # a subject with fewer trials
    pooled = rows({"A3": 0.7, "A1": 0.5})  # in another order, and one lacks
    accuracy_by_subject(tmp_path / "a.png", {"own": own, "pooled": pooled}, "Subjects")
    axis = saved[0].axes[0]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["A1", "A2", "A3", "mean ± sd"]
    points = {line.get_label(): line for line in axis.lines if line.get_label() in ("own", "pooled")}
    for name, expected in (("own", {0: 0.4, 1: 0.6, 2: 0.8}), ("pooled", {2: 0.7, 0: 0.5})):
        x, y = points[name].get_data()
        assert dict(zip(np.rint(x).astype(int).tolist(), y.tolist(), strict=True)) == expected
    assert points["own"].get_xdata()[0] < points["pooled"].get_xdata()[1]  # side by side

    means = [container.lines[0].get_ydata()[0] for container in axis.containers]
    np.testing.assert_allclose(means, [0.6, 0.6])
    ends = [container.lines[2][0].get_segments()[0][:, 1] for container in axis.containers]
    np.testing.assert_allclose(ends, [[0.4, 0.8], [0.6 - np.sqrt(0.02), 0.6 + np.sqrt(0.02)]])
    x = [container.lines[0].get_xdata()[0] for container in axis.containers]
    assert 2.5 < x[0] < x[1] < axis.get_xlim()[1]


def test_guessing_is_drawn_for_each_subject(tmp_path, saved):
    frame = rows({"A1": 0.4, "A2": 0.6, "A3": 0.8})
    frame.loc[1, "chance_high"] = 0.4
    accuracy_by_subject(tmp_path / "a.png", {"CNN": frame}, "Subjects")
    axis = saved[0].axes[0]
    (band,) = (patch for patch in axis.patches if patch.get_label() == "guessing, 95 %")
    values, edges, baseline = band.get_data()
    assert values.tolist() == [0.32, 0.4, 0.32]
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5]
    assert baseline == 0.25
    (chance,) = (line for line in axis.lines if line.get_label() == "chance")
    assert set(chance.get_ydata()) == {0.25}
    assert labels(saved[0]) == ["CNN", "guessing, 95 %", "chance"]  # the models first


def test_a_single_subject_has_no_deviation_and_many_fit(tmp_path, saved):
    with np.errstate(all="raise"):
        accuracy_by_subject(tmp_path / "a.png", {"CNN": rows({"A1": 0.4})}, "Subjects")
    accuracy_by_subject(tmp_path / "b.png", {"CNN": rows({f"S{k:03d}": 0.5 for k in range(109)})}, "Subjects")
    assert saved[1].get_figwidth() <= 14
    texts = saved[1].axes[0].get_xticklabels()
    boxes = [text.get_window_extent() for text in texts]
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))  # names don't overlap


def test_windows_have_a_line_per_subject_and_the_mean(tmp_path, saved):
    window_s, accuracy = np.array([1.0, 2.0, 4.0]), np.array([[0.3, 0.5], [0.4, 0.6], [0.5, 0.9]])
    models = {"CNN": (window_s, accuracy), "CSP": (window_s[:2], np.array([[0.3], [0.4]]))}
    accuracy_by_window(tmp_path / "w.png", models, 0.25, 0.32, "Windows")
    axis = saved[0].axes[0]
    lines = [np.transpose(line.get_data()).tolist() for line in axis.lines]
    assert lines[1:3] == [[[1, 0.3], [2, 0.4], [4, 0.5]], [[1, 0.5], [2, 0.6], [4, 0.9]]]
    np.testing.assert_allclose(lines[3], [[1, 0.4], [2, 0.5], [4, 0.7]])
    assert lines[4] == [[1, 0.3], [2, 0.4]]  # a single subject is its own mean
    assert len(lines) == 5
    assert set(axis.lines[0].get_ydata()) == {0.25}
    assert (axis.patches[0].get_y(), axis.patches[0].get_height()) == pytest.approx((0.25, 0.07))
    assert axis.get_xlabel() == "length of the window (s)"
    assert labels(saved[0]) == ["CNN", "CSP", "guessing, 95 %", "chance"]


@pytest.mark.parametrize("simulated", [False, True])
def test_titles_are_kept_and_simulated_figures_stamped(tmp_path, saved, simulated):
    accuracy_by_subject(tmp_path / "a.png", {"CNN": rows({"A1": 0.4})}, "Subjects: κ", simulated)
    accuracy_by_window(tmp_path / "b.png", {"CNN": (np.ones(1), np.ones((1, 1)))}, 0.25, 0.3, "Windows: κ", simulated)
    for figure, name, title in zip(saved, ("a", "b"), ("Subjects: κ", "Windows: κ"), strict=True):
        assert ("SIMULATED DATA" in [text.get_text() for text in figure.texts]) == simulated
        with PIL.Image.open(tmp_path / f"{name}.png") as image:
            assert image.info["Description"] == title


def test_a_legend_of_long_names_stays_within_the_figure(tmp_path, saved):
    models = {
        name: rows({"A1": 0.4, "A2": 0.6})
        for name in (
            "ShallowConvNet",
            "CSP + LDA",
            "tangent space, logistic regression",
            "control: CSP + LDA on the EEG before the cue",
        )
    }
    accuracy_by_subject(tmp_path / "a.png", models, "Subjects")
    figure = saved[0]
    box = figure.legends[0].get_window_extent()
    assert len(figure.legends) == 1
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1

"""Curves: how far a network's confidence can be trusted, and how it was trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegjax.report.figures import BLACK, BLUE, VERMILION, _save

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

GREEN = "#009e73"
MODEL_COLOURS = (BLUE, VERMILION, GREEN, "#cc79a7", "#e69f00", "#56b4e9")  # Okabe & Ito
Bins = tuple[np.ndarray, np.ndarray, np.ndarray]  # mean confidence, share right, count
SMOOTHED = 10  # a training curve is smoothed over the tenth part of its logged steps


def draw_calibration(path: str | Path, models: Mapping[str, Bins], title: str, simulated: bool = False) -> None:
    """Draw how often each model is right against how sure it says it is, and below how many epochs that rests on.

    Args:
        path: the PNG to write.
        models: name to (mean confidence [n_bins] in 0..1, share right [n_bins] in 0..1, count [n_bins] int) of bins
            of confidence; bins without epochs are left out.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 7.1), layout="constrained")
    figure.suptitle(title, fontsize=12)
    curve, bars = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    curve.plot([0, 1], [0, 1], color=BLACK, linewidth=0.8, linestyle="--", label="perfectly calibrated")
    width = 0.014
    for number, (name, bins) in enumerate(models.items()):
        confidence, right, count = (np.asarray(values, float) for values in bins)
        some = count > 0
        colour = MODEL_COLOURS[number % len(MODEL_COLOURS)]
        share = count / max(count.sum(), 1)
        curve.plot(confidence[some], right[some], color=colour, linewidth=1.2, label=name)
        curve.scatter(confidence[some], right[some], 12 + 300 * share[some], color=colour, alpha=0.8, linewidth=0)
        shift = width * (number - (len(models) - 1) / 2)  # side by side, where two models are equally sure
        bars.bar(confidence[some] + shift, 100 * share[some], width, color=colour)
    curve.set(xlim=(0, 1.02), ylim=(0, 1.02), ylabel="share of epochs scored right")
    curve.legend(frameon=False, fontsize=9)
    bars.set(xlabel="the model's probability of its answer", ylabel="epochs (%)")
    _tidy(curve, bars)
    _save(figure, path, simulated)


def draw_losses(
    path: str | Path, frame: "pd.DataFrame", title: str, simulated: bool = False, log: bool = False
) -> None:
    """Draw loss and, if there is one, accuracy against the step, a column per model: members thin, their mean over it.

    Args:
        path: the PNG to write.
        frame: rows of `metrics.jsonl`: model (its name), fold, seed, step, loss and accuracy (of one batch), and
            validation_loss and validation_accuracy where there is a validation part, test_loss and test_accuracy
            where the test part is watched.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.
        log: losses on a logarithmic scale and not smoothed, for those that explode.
    """
    from matplotlib.figure import Figure

    names = list(frame["model"].unique())
    metrics = [name for name in ("loss", "accuracy") if name in frame]
    figure = Figure(figsize=(1 + 4.4 * len(names), 1.1 + 2.4 * len(metrics)), layout="constrained")
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(len(metrics), len(names), squeeze=False, sharex="col", sharey="row")
    for column, name in zip(axes.T, names, strict=True):
        rows = frame[frame["model"] == name]
        for axis, metric in zip(column, metrics, strict=True):
            _draw_metric(axis, rows, metric, "training", BLUE, smoothed=not log)
            _draw_metric(axis, rows, f"validation_{metric}", "validation", VERMILION)
            _draw_metric(axis, rows, f"test_{metric}", "test", GREEN)
        column[0].set_title(name, fontsize=11, fontweight="bold")
        column[-1].set_xlabel("step")
        column[0].legend(frameon=False, fontsize=9)
    if log:
        axes[0, 0].set(ylabel="loss", yscale="log")
    else:
        axes[0, 0].set(ylabel="loss", ylim=(0, None))
    if "accuracy" in metrics:
        axes[1, 0].set(ylabel="accuracy", ylim=(0, 1))
    _tidy(*axes.ravel())
    _save(figure, path, simulated)


def _draw_metric(
    axis: "Axes", rows: "pd.DataFrame", metric: str, label: str, colour: str, smoothed: bool = False
) -> None:
    """One line per member, and their mean: if smoothed over a few steps too, since in training each is of one batch."""
    if metric not in rows or rows[metric].isna().all():
        return
    members = rows.dropna(subset=metric).pivot_table(metric, "step", ["fold", "seed"])
    training = label == "training"
    if training or members.shape[1] > 1:
        axis.plot(members.index, members, color=colour, linewidth=0.6, alpha=0.3)
    mean = members.mean(axis=1)
    if smoothed:
        mean = mean.rolling(max(1, len(mean) // SMOOTHED), center=True, min_periods=1).mean()
    axis.plot(mean.index, mean, color=colour, linewidth=1.6, marker=None if training else "o", ms=4, label=label)


def _tidy(*axes: "Axes") -> None:
    for axis in axes:
        axis.grid(color="#e5e5e5", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)

"""Accuracies per subject and per length of the window, beside what guessing reaches."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegjax.evaluate.by_subject import mean_sd
from eegjax.report.curves import MODEL_COLOURS, _tidy
from eegjax.report.figures import BLACK, _save

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Windows = tuple[np.ndarray, np.ndarray]  # window_s [n_windows], accuracy [n_windows, n_subjects]
GREY = "#e9e9e9"
GUESSING = ("chance", "guessing, 95 %")
MANY = 30  # subjects, whose names and points are small


def accuracy_by_subject(
    path: str | Path, models: Mapping[str, "pd.DataFrame"], title: str, simulated: bool = False
) -> None:
    """Draw a point per subject and model, and on the right each model's mean and standard deviation.

    Args:
        path: the PNG to write.
        models: name to a row per subject: `subject`, `accuracy`, `chance` and `chance_high`, as
            `evaluate.by_subject.accuracy_by_subject` has them. Subjects that a model lacks have no point.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.
    """
    import pandas as pd
    from matplotlib.figure import Figure

    every = pd.concat(models.values()).groupby("subject", sort=True)
    subjects = list(every.groups)
    chance = every["chance"].max().iloc[0]
    high = every["chance_high"].max().to_numpy()
    figure = Figure(figsize=(min(4.0 + 0.36 * len(subjects), 14.0), 4.6), layout="constrained")
    axis = figure.subplots()
    edges = np.arange(len(subjects) + 1) - 0.5
    axis.stairs(high, edges, baseline=chance, fill=True, color=GREY, label=GUESSING[1])  # its own for each subject
    axis.plot(edges[[0, -1]], [chance, chance], color=BLACK, linewidth=0.9, linestyle="--", label=GUESSING[0])
    wide = 1 + 0.06 * len(subjects)  # the place of the means, next to however many subjects
    size = 3 if len(subjects) > MANY else 5
    middle = edges[-1] + wide / 2
    for number, (name, frame) in enumerate(models.items()):
        colour = MODEL_COLOURS[number % len(MODEL_COLOURS)]
        shift = 0.6 * ((number + 0.5) / len(models) - 0.5)  # side by side, where two models are equally good
        place = np.array([subjects.index(subject) for subject in frame["subject"]])
        axis.plot(place + shift, frame["accuracy"], "o", color=colour, markersize=size, label=name)
        mean, sd = mean_sd(frame["accuracy"].to_numpy())
        axis.errorbar(middle + shift * wide, mean, sd, fmt="D", color=colour, markersize=5, capsize=3)
    axis.axvline(edges[-1], color="#bbbbbb", linewidth=0.8)
    axis.set_xticks([*range(len(subjects)), middle], [*map(str, subjects), "mean ± sd"])
    if len(subjects) > 4:
        axis.tick_params(axis="x", rotation=90, labelsize=6 if len(subjects) > MANY else 9)
    axis.set(xlim=(-0.5, edges[-1] + wide), ylim=(0, 1.02), ylabel="accuracy")
    _finish(figure, axis, title)
    axis.grid(axis="x", visible=False)
    _save(figure, path, simulated)


def accuracy_by_window(
    path: str | Path,
    models: Mapping[str, Windows],
    chance: float,
    chance_high: float,
    title: str,
    simulated: bool = False,
) -> None:
    """Draw accuracy against the length of the window: every subject thin, their mean over it.

    Args:
        path: the PNG to write.
        models: name to (window_s [n_windows] float, s, ascending; accuracy [n_windows, n_subjects] float).
        chance: accuracy of guessing.
        chance_high: what guessing exceeds in less than one case of twenty, for one subject.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axis = figure.subplots()
    axis.axhspan(chance, chance_high, color=GREY, linewidth=0, label=GUESSING[1])
    axis.axhline(chance, color=BLACK, linewidth=0.9, linestyle="--", label=GUESSING[0])
    for number, (name, (window_s, accuracy)) in enumerate(models.items()):
        colour = MODEL_COLOURS[number % len(MODEL_COLOURS)]
        accuracy = np.asarray(accuracy, float)
        if accuracy.shape[1] > 1:
            axis.plot(window_s, accuracy, color=colour, linewidth=0.6, alpha=0.35)
        axis.plot(window_s, accuracy.mean(1), "o-", color=colour, linewidth=1.8, markersize=5, label=name)
    axis.set(xlabel="length of the window (s)", ylabel="accuracy", xlim=(0, None), ylim=(0, 1.02))
    _finish(figure, axis, title)
    _save(figure, path, simulated)


def _finish(figure: "Figure", axis: "Axes", title: str) -> None:
    """Title, and a legend below the axis, where it hides no point, the models first."""
    figure.suptitle(title, fontsize=12)
    handles, names = axis.get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda number: names[number] in GUESSING)
    shown = [handles[number] for number in order], [names[number] for number in order]
    for n_columns in (3, 2, 1):  # as many as the figure is wide enough for
        legend = figure.legend(*shown, loc="outside lower center", ncols=n_columns, frameon=False, fontsize=9)
        if n_columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    _tidy(axis)

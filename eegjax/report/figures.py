"""Figures of results. No pyplot: its global list of figures leaks memory and picks a backend on its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eegjax.files import write_aside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# Okabe & Ito's palette, told apart by colour-blind readers
BLACK = "#222222"
BLUE = "#0072b2"
VERMILION = "#d55e00"
CLINICAL_ORDER = ("W", "R", "N1", "N2", "N3", "N4")  # top to bottom, as in sleep laboratories
HypnogramRow = tuple[str, np.ndarray, np.ndarray]  # label, onset_s, stage codes


def draw_hypnogram(
    path: str | Path, rows: Sequence[HypnogramRow], stage_names: Sequence[str], title: str, simulated: bool = False
) -> None:
    """Draw hypnograms of one night above one another, W on top, REM as a bar.

    Below every row but the first, a strip marks the epochs in which it differs from the first.

    Args:
        path: the PNG to write.
        rows: the truth, then the models: (label, onset_s [n] float in s, ascending, stage codes [n] int).
            Codes number `stage_names`, -1 is unscored. Where onsets are missing the line breaks.
        stage_names: of `CLINICAL_ORDER`, in the order of the codes.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.

    Raises:
        ValueError: a stage name is not in `CLINICAL_ORDER`.
    """
    unknown = set(stage_names) - set(CLINICAL_ORDER)
    if unknown:
        raise ValueError(f"stage names {sorted(unknown)} should be among {', '.join(CLINICAL_ORDER)}")
    from matplotlib.figure import Figure

    order = [stage for stage in CLINICAL_ORDER if stage in stage_names]
    depth = np.array([order.index(name) for name in stage_names])
    figure = Figure(figsize=(11, 1.1 + 0.3 * len(order) * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    truth = dict(zip(_milliseconds(rows[0][1]), np.asarray(rows[0][2]).tolist(), strict=True))
    for number, (axis, (label, onset_s, codes)) in enumerate(zip(axes, rows, strict=True)):
        onset_s = np.asarray(onset_s, float)
        codes = np.asarray(codes)
        epoch_s = float(np.median(np.diff(onset_s))) if len(onset_s) > 1 else 30.0
        _draw_stages(axis, onset_s, epoch_s, codes, depth, order)
        axis.set_ylim(len(order) + 0.4, -0.6)  # the same in all rows, with room for the strip
        axis.set_title(label, loc="left", fontsize=10, fontweight="bold")
        if number:
            _mark_differences(axis, onset_s, epoch_s, codes, truth, len(order))
    axes[-1].set_xlabel("time (h)")
    figure.suptitle(title, fontsize=12)
    _save(figure, path, simulated)


def _draw_stages(
    axis: "Axes", onset_s: np.ndarray, epoch_s: float, codes: np.ndarray, depth: np.ndarray, order: Sequence[str]
) -> None:
    """The step line, with breaks at unscored epochs and missing onsets, and REM as a bar."""
    level = np.where(codes >= 0, depth[codes], np.nan)
    ends = np.flatnonzero(np.diff(onset_s, append=np.inf) > 1.5 * epoch_s)  # the last epoch before each gap
    hours = np.insert(onset_s, ends + 1, onset_s[ends] + epoch_s) / 3600
    axis.step(hours, np.insert(level, ends + 1, np.nan), where="post", color=BLACK, linewidth=0.8)
    if "R" in order:
        bars = _spans(onset_s, epoch_s, level == order.index("R"))
        axis.broken_barh(bars, (order.index("R") - 0.22, 0.44), facecolor=BLUE, linewidth=0)
    axis.set_yticks(range(len(order)), order)
    axis.grid(axis="y", color="#e5e5e5", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.margins(x=0.01)
    axis.spines[["top", "right"]].set_visible(False)


def _mark_differences(
    axis: "Axes", onset_s: np.ndarray, epoch_s: float, codes: np.ndarray, truth: Mapping[int, int], below: int
) -> None:
    """A strip under the stages where both are scored and differ, and the share of epochs that agree."""
    expected = np.array([truth.get(onset, -1) for onset in _milliseconds(onset_s)])
    both = (expected >= 0) & (codes >= 0)
    differs = both & (expected != codes)
    axis.broken_barh(_spans(onset_s, epoch_s, differs), (below - 0.1, 0.4), facecolor=VERMILION, linewidth=0)
    axis.text(
        1,
        1.02,
        f"differs in {differs.sum()} of {both.sum()} epochs",
        color=VERMILION,
        fontsize=9,
        ha="right",
        transform=axis.transAxes,
    )


def _milliseconds(onset_s: np.ndarray) -> list[int]:
    """Onsets as whole numbers, which can be matched between rows whatever their rounding."""
    return np.rint(1000 * np.asarray(onset_s, float)).astype(np.int64).tolist()


def _spans(onset_s: np.ndarray, epoch_s: float, marked: np.ndarray) -> list[tuple[float, float]]:
    """(start, length) in hours of each run of marked epochs; single bars an epoch wide would leave seams."""
    runs: list[list[float]] = []
    for start in onset_s[marked].tolist():
        if runs and start - runs[-1][1] < 0.5 * epoch_s:
            runs[-1][1] = start + epoch_s
        else:
            runs.append([start, start + epoch_s])
    return [(start / 3600, (stop - start) / 3600) for start, stop in runs]


def draw_confusion(
    path: str | Path,
    confusions: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    title: str,
    simulated: bool = False,
) -> None:
    """Draw confusion matrices side by side: each row's shares as colour and percentage, the counts below.

    Args:
        path: the PNG to write.
        confusions: model name to [n_classes, n_classes] int, rows true, columns predicted.
        class_names: in the order of the class numbers.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.
    """
    from matplotlib.figure import Figure

    n_columns = min(3, len(confusions))
    n_rows = -(-len(confusions) // n_columns)
    side = 1.2 + 0.62 * len(class_names)
    figure = Figure(figsize=(side * n_columns + 0.8, 0.3 + (side + 0.1) * n_rows), layout="constrained")
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axis in axes[len(confusions) :]:
        axis.set_visible(False)
    for axis, (name, confusion) in zip(axes, confusions.items(), strict=False):
        image = _draw_matrix(axis, np.asarray(confusion), class_names)
        axis.set_title(name, fontsize=11, fontweight="bold")
    colours = figure.colorbar(image, ax=axes.tolist(), shrink=0.8, format="%d %%", label="share of the true class")
    colours.outline.set_visible(False)
    _save(figure, path, simulated)


def _draw_matrix(axis: "Axes", confusion: np.ndarray, class_names: Sequence[str]) -> "AxesImage":
    """One heat map; cells that nothing fell into stay empty."""
    percent = 100 * confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    image = axis.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for (row, column), share in np.ndenumerate(percent):
        if not confusion[row, column]:
            continue
        colour = "white" if share > 55 else BLACK
        axis.text(column, row - 0.13, f"{share:.0f} %", color=colour, fontsize=9.5, ha="center", va="center")
        axis.text(column, row + 0.22, f"{confusion[row, column]}", color=colour, fontsize=7, ha="center", va="center")
    axis.set_xticks(range(len(class_names)), class_names)
    axis.set_yticks(range(len(class_names)), class_names)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return image


def _save(figure: "Figure", path: str | Path, simulated: bool) -> None:
    if simulated:
        stamp: dict[str, Any] = {
            "color": VERMILION,
            "alpha": 0.16,
            "fontweight": "bold",
            "fontsize": 4.5 * figure.get_figwidth(),
        }
        figure.text(0.5, 0.5, "SIMULATED DATA", rotation=20, ha="center", va="center", **stamp)
    caption = figure.get_suptitle()  # kept in the file, for the page that shows it
    metadata = {"Description": caption} if caption else None
    write_aside(Path(path), lambda aside: figure.savefig(aside, dpi=150, metadata=metadata))

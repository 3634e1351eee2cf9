"""Figures of single epochs and of their images: sensitivity maps, activation maps, epochs scored totally wrong.

Images are the networks' inputs: [h, w, 3] float 0..255 in colour or [h, w, 1] float of any range, 0-30 Hz from bottom
to top, and in seconds the current epoch with its context on both sides.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eegjax.report.curves import MODEL_COLOURS
from eegjax.report.figures import BLACK, CLINICAL_ORDER, _save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

TOP_HZ = 30.0
EEG_LIMITS_UV = (50.0, 200.0)  # of the axis, at least and at most: no artefact flattens the other epochs
SATURATED = 99.5  # percentile of the maps above which the colour stays the same
PANEL_IN = (1.5, 1.35)
GAP_IN = (0.24, 0.2)  # of a grid: width and height
LEFT_IN = 0.75
RIGHT_IN = 0.2
TOP_IN = 0.75
BOTTOM_IN = 0.65  # around it


class WrongEpoch(NamedTuple):
    """An epoch that a network is sure of and wrong about."""

    recording: str
    onset_s: float
    eeg_uv: np.ndarray  # [n_times] float, µV, of the epoch without its context
    sfreq: float
    image: np.ndarray  # [h, w, 1 or 3], what the network saw
    truth: int  # the scorer's class
    predicted: dict[str, np.ndarray]  # model title to probabilities [n_classes]; the one that is wrong first


def draw_sensitivity(
    path: str | Path,
    images: Mapping[str, np.ndarray],
    maps: Mapping[str, Mapping[str, np.ndarray]],
    stage_names: Sequence[str],
    duration_s: float,
    context_s: tuple[float, float],
    title: str,
    simulated: bool = False,
) -> None:
    """Draw an example image per stage, and under it each model's sensitivity map of that stage.

    How large gradients are depends on how well a model does, so what is drawn is each map, summed over colours, divided
    by its own mean: one colour scale then serves all stages and models. The mean stands in the panel.

    Args:
        path: the PNG to write.
        images: stage to an example image; stages that don't occur are missing.
        maps: model title to stage to [h, w, n_colours] float, at least 0 (equation 3 of the sleep paper).
        stage_names: of `CLINICAL_ORDER`, all that the models know.
        duration_s: of an epoch.
        context_s: before and after the epoch, what the images show too.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.

    Raises:
        ValueError: a stage name is not in `CLINICAL_ORDER`.
    """
    order = _clinical(stage_names)
    figure, axes = _grid(1 + len(maps), len(order), title, right_in=1.0)
    means = {name: {stage: map_.sum(-1).mean() for stage, map_ in one.items()} for name, one in maps.items()}
    relative = {
        name: {stage: map_.sum(-1) / (means[name][stage] or 1) for stage, map_ in one.items()}
        for name, one in maps.items()
    }
    top = _top([map_ for one in relative.values() for map_ in one.values()])
    pictures, shades = _pictures(images)
    shown = None
    for column, stage in enumerate(order):
        axes[0, column].set_title(stage, fontsize=11, fontweight="bold")
        _show(axes[0, column], pictures.get(stage), duration_s, context_s, **shades)
        for axis, name in zip(axes[1:, column], maps, strict=True):
            map_ = relative[name].get(stage)
            shown = _show(axis, map_, duration_s, context_s, cmap="magma", vmin=0, vmax=top) or shown
            if map_ is not None:
                axis.set_title(f"mean {means[name][stage]:.2g}", fontsize=7, pad=2)
    explained = (
        "Maps: |∂loss / ∂pixel|, mean over the stage's epochs, summed over colours, divided by the map's mean (above "
        "it): one scale for all."
    )
    _label(axes, ["example", *maps], context_s, explained)
    if shown is not None:
        upper = axes[1, -1].get_position()
        lower = axes[-1, -1].get_position()
        cax = figure.add_axes((upper.x1 + 0.02, lower.y0, 0.014, upper.y1 - lower.y0))
        figure.colorbar(shown, cax=cax, extend="max", label="times the map's mean").outline.set_visible(False)
    _save(figure, path, simulated)


def draw_activations(
    path: str | Path,
    images: Mapping[str, np.ndarray],
    maps: Mapping[str, Mapping[str, np.ndarray]],
    stage_names: Sequence[str],
    duration_s: float,
    context_s: tuple[float, float],
    title: str,
    simulated: bool = False,
) -> None:
    """Draw an epoch per stage on its way through a network: a row per stage, the image and a column per layer.

    A layer has one colour scale, so that stages can be compared within it.

    Args:
        path: the PNG to write.
        images: stage to the epoch's image; stages that don't occur are missing.
        maps: stage to layer to [h, w] float, at least 0; all stages have the same layers.
        stage_names: of `CLINICAL_ORDER`, all that the model knows.
        duration_s: of an epoch.
        context_s: before and after the epoch, what the images show too.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.

    Raises:
        ValueError: a stage name is not in `CLINICAL_ORDER`.
    """
    order = _clinical(stage_names)
    layers = list(next(iter(maps.values()), {}))
    figure, axes = _grid(len(order), 1 + len(layers), title)
    pictures, shades = _pictures(images)
    axes[0, 0].set_title("image", fontsize=9)
    for axis, stage in zip(axes[:, 0], order, strict=True):
        _show(axis, pictures.get(stage), duration_s, context_s, **shades)
    for column, layer in zip(axes[:, 1:].T, layers, strict=True):
        found = {stage: one[layer] for stage, one in maps.items()}
        height, width = next(iter(found.values())).shape
        column[0].set_title(f"{layer.split('/')[-1]}\n{height} × {width}", fontsize=9)
        top = _top(list(found.values()))
        for axis, stage in zip(column, order, strict=True):
            _show(axis, found.get(stage), duration_s, context_s, cmap="viridis", vmin=0, vmax=top)
    explained = "Mean over a layer's channels of what it hands on; one scale per layer, dark is 0."
    _label(axes, order, context_s, explained)
    _save(figure, path, simulated)


def draw_wrong_epochs(
    path: str | Path,
    epochs: Sequence[WrongEpoch],
    stage_names: Sequence[str],
    context_s: tuple[float, float],
    title: str,
    simulated: bool = False,
) -> None:
    """Draw epochs that a network scores totally wrong: the EEG, the image, and what the models think of it.

    Args:
        path: the PNG to write.
        epochs: one row each; without any, the figure says so.
        stage_names: of `CLINICAL_ORDER`, in the order of the classes.
        context_s: before and after the epoch, what the images show too.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.

    Raises:
        ValueError: a stage name is not in `CLINICAL_ORDER`.
    """
    from matplotlib.figure import Figure

    order = _clinical(stage_names)
    figure = Figure(figsize=(12, 1.0 + 1.9 * max(len(epochs), 1)), layout="constrained")
    figure.suptitle(title, fontsize=12, x=0.005, ha="left")  # the legend is on its right
    if not epochs:
        figure.text(0.5, 0.5, "no epoch is scored totally wrong", ha="center", va="center", fontsize=12)
        return _save(figure, path, simulated)
    axes = figure.subplots(len(epochs), 3, squeeze=False, width_ratios=(6, 2, 1.6))
    limit_uv = np.clip(max(np.abs(epoch.eeg_uv).max() for epoch in epochs), *EEG_LIMITS_UV)
    pictures, shades = _pictures(dict(enumerate(epoch.image for epoch in epochs)))
    for number, (row, epoch) in enumerate(zip(axes, epochs, strict=True)):
        duration_s = len(epoch.eeg_uv) / epoch.sfreq
        row[0].plot(np.arange(len(epoch.eeg_uv)) / epoch.sfreq, epoch.eeg_uv, color=BLACK, linewidth=0.5)
        row[0].set(xlim=(0, duration_s), ylim=(-limit_uv, limit_uv), ylabel="EEG (µV)")
        row[0].set_xticks(np.arange(0, duration_s + 1, 5))
        row[0].grid(axis="x", color="#e5e5e5", linewidth=0.6)
        row[0].set_title(_verdict(epoch, stage_names), loc="left", fontsize=10, fontweight="bold")
        _show(row[1], pictures[number], duration_s, context_s, **shades)
        row[1].set_ylabel("frequency (Hz)")
        _draw_probabilities(row[2], epoch, stage_names, order)
    for axis, text in zip(axes[-1], ("time in the epoch (s)", "time in the epoch (s)", "probability"), strict=True):
        axis.set_xlabel(text)
    handles, names = axes[0, 2].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(names), frameon=False, fontsize=9)
    return _save(figure, path, simulated)


def _verdict(epoch: WrongEpoch, stage_names: Sequence[str]) -> str:
    """As in "N2 scored, VGG16 says R (p = .97)": where, what the scorer says, what each model says."""
    seconds = round(epoch.onset_s)
    answers = [
        f"{name} says {stage_names[int(np.argmax(p))]} (p = {f'{np.max(p):.2f}'.removeprefix('0')})"
        for name, p in epoch.predicted.items()
    ]
    clock = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{epoch.recording} at {clock}: {stage_names[epoch.truth]} scored, {', '.join(answers)}"


def _draw_probabilities(axis: "Axes", epoch: WrongEpoch, stage_names: Sequence[str], order: Sequence[str]) -> None:
    """A group of bars per stage, a bar per model; the scored stage in bold."""
    height = 0.8 / len(epoch.predicted)
    for number, (name, p) in enumerate(epoch.predicted.items()):
        values = [p[list(stage_names).index(stage)] for stage in order]
        place = np.arange(len(order)) - 0.4 + height * (number + 0.5)
        axis.barh(place, values, 0.9 * height, color=MODEL_COLOURS[number % len(MODEL_COLOURS)], label=name)
    axis.set(xlim=(0, 1), ylim=(len(order) - 0.4, -0.6))
    axis.set_xticks([0, 0.5, 1], ["0", ".5", "1"], fontsize=8)
    axis.set_yticks(range(len(order)), order, fontsize=8)
    axis.get_yticklabels()[order.index(stage_names[epoch.truth])].set_fontweight("bold")
    axis.spines[["top", "right"]].set_visible(False)


def _clinical(stage_names: Sequence[str]) -> list[str]:
    unknown = set(stage_names) - set(CLINICAL_ORDER)
    if unknown:
        raise ValueError(f"stage names {sorted(unknown)} should be among {', '.join(CLINICAL_ORDER)}")
    return [stage for stage in CLINICAL_ORDER if stage in stage_names]


def _grid(n_rows: int, n_columns: int, title: str, right_in: float = RIGHT_IN) -> tuple["Figure", np.ndarray]:
    """Panels of one size, placed by hand: constrained layout takes seconds for so many."""
    from matplotlib.figure import Figure

    width = LEFT_IN + n_columns * PANEL_IN[0] + (n_columns - 1) * GAP_IN[0] + right_in
    height = TOP_IN + n_rows * PANEL_IN[1] + (n_rows - 1) * GAP_IN[1] + BOTTOM_IN
    figure = Figure(figsize=(width, height))
    figure.suptitle(title, fontsize=12, y=1 - 0.1 / height)
    figure.subplots_adjust(
        left=LEFT_IN / width,
        right=1 - right_in / width,
        bottom=BOTTOM_IN / height,
        top=1 - TOP_IN / height,
        wspace=GAP_IN[0] / PANEL_IN[0],
        hspace=GAP_IN[1] / PANEL_IN[1],
    )
    axes = figure.subplots(n_rows, n_columns, squeeze=False)  # not shared, which would set every limit for all of them
    for axis in axes[:-1].ravel():
        axis.tick_params(labelbottom=False)
    for axis in axes[:, 1:].ravel():
        axis.tick_params(labelleft=False)
    return figure, axes


def _label(axes: np.ndarray, names: Sequence[str], context_s: tuple[float, float], explained: str) -> None:
    """What each row is, on its left, and below all what is to be seen."""
    figure = axes[0, 0].figure
    figure.supylabel("frequency (Hz)", fontsize=8, x=0.1 / figure.get_figwidth())
    for axis, name in zip(axes[:, 0], names, strict=True):
        axis.set_ylabel(name, fontsize=10, fontweight="bold")
    lines = " Thin lines: the epoch itself." if any(context_s) else ""
    time = f"time from the epoch's onset (s).{lines}\n{explained}"
    figure.supxlabel(time, fontsize=8, y=0.1 / figure.get_figheight())


def _top(maps: Sequence[np.ndarray]) -> float:
    """The upper end of a colour scale that all maps share."""
    return float(np.percentile(np.concatenate([map_.ravel() for map_ in maps]), SATURATED)) if maps else 1.0


def _pictures(images: Mapping[Any, np.ndarray]) -> tuple[dict[Any, np.ndarray], dict[str, Any]]:
    """What imshow takes of each image, and the shades of gray that all share."""
    gray = [image for image in images.values() if image.shape[-1] == 1]
    shades = {"cmap": "gray", "vmin": min(map(np.min, gray)), "vmax": max(map(np.max, gray))} if gray else {}
    pictures = {key: image[..., 0] if image.shape[-1] == 1 else image / 255 for key, image in images.items()}
    return {key: picture if picture.ndim == 2 else np.clip(picture, 0, 1) for key, picture in pictures.items()}, shades


def _show(
    axis: "Axes", picture: np.ndarray | None, duration_s: float, context_s: tuple[float, float], **scale: Any
) -> "AxesImage | None":
    """A picture on axes of seconds and hertz, thin lines at the epoch's limits; None leaves a panel without epochs."""
    begin_s = -context_s[0]
    end_s = duration_s + context_s[1]
    axis.set_xticks(sorted({begin_s, 0, duration_s, end_s}))
    axis.set_yticks(np.arange(0, TOP_HZ + 1, 10))
    axis.tick_params(labelsize=7)
    axis.set(xlim=(begin_s, end_s), ylim=(0, TOP_HZ))
    if picture is None:
        axis.set_facecolor("#f2f2f2")
        axis.text(0.5, 0.5, "no epochs", color="#777777", fontsize=8, ha="center", transform=axis.transAxes)
        return None
    extent = (begin_s, end_s, 0, TOP_HZ)
    shown = axis.imshow(picture, extent=extent, aspect="auto", interpolation="nearest", **scale)
    for edge_s in {0, duration_s} - {begin_s, end_s}:
        axis.axvline(edge_s, color="black", linewidth=1.6, alpha=0.5)  # white on black shows on every colour
        axis.axvline(edge_s, color="white", linewidth=0.7)
    return shown

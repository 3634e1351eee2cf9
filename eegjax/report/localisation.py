"""Sources in the head: F1 against the radius, points in three dimensions, and sections through volumes."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eegjax.report.curves import MODEL_COLOURS, _tidy
from eegjax.report.figures import BLACK, BLUE, _save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.layout_engine import LayoutEngine

Curve = tuple[np.ndarray, np.ndarray | None]  # mean [n_radii], and standard deviation, or None for no band
RED = "#d62728"
GREYS = ("#222222", "#777777", "#aaaaaa")
DASHES = ("--", ":", "-.")
VIEWS = {"from above, nose up": (90, -90), "from the right, nose right": (0, 0)}  # (elevation, azimuth), degrees
NECK_MM = 10.0  # below the inner skull, where the drawn head ends
SLICES = {"sagittal": 0, "coronal": 1, "axial": 2}  # the axis that a section is across
AXES = ("x", "y", "z")
SLABS = 16  # a section is the 16th part of the grid thick: 1 voxel of 16, 4 of 64


def f1_curves(
    path: str | Path,
    radii: Sequence[float] | np.ndarray,
    panels: Mapping[str, Mapping[str, Curve]],
    unit: str,
    title: str,
    simulated: bool = False,
    grey: Collection[str] = (),
) -> None:
    """Draw F1 against the radius, panels side by side; a model has the same colour in all of them.

    Args:
        path: the PNG to write.
        radii: [n_radii] float, ascending.
        panels: title (may be empty) to name to (mean [n_radii], standard deviation [n_radii] for a band, or None).
        unit: of the radii.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.
        grey: names drawn in dashed grey: ceilings and guesses.
    """
    from matplotlib.figure import Figure

    radii = np.asarray(radii, float)
    names = dict.fromkeys(name for curves in panels.values() for name in curves)
    styles = _styles([name for name in names if name not in grey], [name for name in names if name in grey])
    figure = Figure(figsize=(1.6 + 4.6 * len(panels), 4.9), layout=_layout())
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    shown: dict[str, Any] = {}
    for axis, (name, curves) in zip(axes, panels.items(), strict=True):
        axis.set_title(name, fontsize=11, fontweight="bold")
        axis.set(xlabel=f"radius ({unit})", xlim=(radii[0], radii[-1]))
        for model, (mean, sd) in curves.items():
            (shown[model],) = axis.plot(radii, mean, label=model, **styles[model])
            if sd is not None:
                ends = np.asarray(mean) - sd, np.asarray(mean) + sd
                axis.fill_between(radii, *ends, color=styles[model]["color"], alpha=0.15, linewidth=0)
    every = [curve for curves in panels.values() for curve in curves.values()]
    tops = [np.nanmax(mean if sd is None else np.add(mean, sd), initial=0) for mean, sd in every]
    axes[0].set(ylabel="F1", ylim=(0, max(1.02, *tops)))
    lines = [shown[name] for name in names]
    columns = 3 if len(panels) == 1 else 4
    figure.legend(lines, list(names), loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    _tidy(*axes)
    _save(figure, path, simulated)


def _layout() -> "LayoutEngine":
    """Constrained, with room between the numbers of neighbouring axes."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return ConstrainedLayoutEngine(wspace=0.06)


def _styles(coloured: Sequence[str], grey: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colours in turn, dash-dotted when they are used up; greys in turn, dashed."""
    styles: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(coloured):
        again, place = divmod(number, len(MODEL_COLOURS))
        styles[name] = {"color": MODEL_COLOURS[place], "linestyle": "-." if again else "-", "linewidth": 1.8}
    for number, name in enumerate(grey):
        styles[name] = {"color": GREYS[number % 3], "linestyle": DASHES[number % 3], "linewidth": 1.2}
    return styles


class Scene(NamedTuple):
    """A head and the points in it: [n, 3] float each, mm, in one frame: x to the right, y to the nose, z up."""

    title: str
    scalp: np.ndarray
    inner_skull: np.ndarray
    electrodes: np.ndarray
    points: Mapping[str, np.ndarray]  # label -> points; the first are the true ones


def points_in_head(path: str | Path, scenes: Sequence[Scene], title: str, simulated: bool = False) -> None:
    """Draw points in a head in three dimensions: true ones red, predicted ones blue, from above and from the right.

    Args:
        path: the PNG to write.
        scenes: a column each.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(5.4, 0.6 + 3.1 * len(scenes)), 7.2))
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.06, top=0.85, wspace=0, hspace=0.08)
    figure.suptitle(title, fontsize=12)
    labels: dict[str, Any] = {}
    for column, scene in enumerate(scenes):
        for row, (view, (elevation, azimuth)) in enumerate(VIEWS.items()):
            place = 1 + column + row * len(scenes)
            axis = figure.add_subplot(len(VIEWS), len(scenes), place, projection="3d", proj_type="ortho")
            labels |= _draw_scene(axis, scene)
            axis.view_init(elevation, azimuth)
            counts = ", ".join(f"{len(points)} {label}" for label, points in scene.points.items())
            axis.set_title(f"{scene.title}\n{counts}\n{view}" if row == 0 else view, fontsize=9, pad=-4)
    figure.legend(labels.values(), labels.keys(), loc="lower center", ncols=3, frameon=False, fontsize=9)
    _save(figure, path, simulated)


def _draw_scene(axis: Any, scene: Scene) -> dict[str, Any]:
    """The head's hulls, electrodes and points; the artists by label."""
    from scipy.spatial import ConvexHull

    drawn: dict[str, Any] = {}
    scalp = scene.scalp[scene.scalp[:, 2] >= scene.inner_skull[:, 2].min() - NECK_MM]
    for surface, alpha in ((scalp, 0.05), (scene.inner_skull, 0.08)):
        triangles = ConvexHull(surface).simplices
        axis.plot_trisurf(*surface.T, triangles=triangles, color="#888888", alpha=alpha, linewidth=0, shade=False)
    drawn["electrode"] = axis.scatter(*scene.electrodes.T, s=5, color=BLACK, alpha=0.5, linewidth=0, depthshade=False)
    looks = ({"color": RED, "s": 26, "marker": "o"}, {"color": BLUE, "s": 30, "marker": "x", "linewidth": 1.2})
    for (label, points), look in zip(scene.points.items(), looks, strict=True):
        drawn[label] = axis.scatter(*points.T, label=label, alpha=0.85, depthshade=False, **look)
    low = scalp.min(0)
    high = scalp.max(0)
    middle = (low + high) / 2
    half = (high - low).max() / 2
    axis.set(xlim=middle[0] + [-half, half], ylim=middle[1] + [-half, half], zlim=middle[2] + [-half, half])
    axis.set_box_aspect((1, 1, 1), zoom=1.45)
    axis.set_axis_off()
    return drawn


def sections(
    path: str | Path,
    volumes: Mapping[str, np.ndarray],
    point_mm: np.ndarray,
    origin_mm: np.ndarray,
    voxel_mm: np.ndarray,
    title: str,
    simulated: bool = False,
) -> None:
    """Draw three orthogonal sections of several volumes through one point, a row per volume.

    A section is a slab, 1/16 of the grid thick but at least one voxel, of which the value of the largest magnitude is
    shown. Volumes that are nowhere negative are drawn from 0 in shades of one colour, others around 0 in two.

    Args:
        path: the PNG to write.
        volumes: label, with the unit, to [n, n, n] float along x, y, z.
        point_mm: [3] float, mm, inside the grid.
        origin_mm: [3] float, mm, the low corner of voxel (0, 0, 0).
        voxel_mm: [3] float, mm, a voxel's size.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.
    """
    from matplotlib.figure import Figure

    point_mm, origin_mm, voxel_mm = (np.asarray(one, float) for one in (point_mm, origin_mm, voxel_mm))
    figure = Figure(figsize=(9.2, 0.7 + 2.7 * len(volumes)), layout=_layout())
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(len(volumes), len(SLICES), squeeze=False)
    for row, (label, volume) in zip(axes, volumes.items(), strict=True):
        volume = np.asarray(volume, float)
        centre = np.clip(((point_mm - origin_mm) / voxel_mm).astype(int), 0, np.array(volume.shape) - 1)
        top = float(np.abs(volume).max()) or 1.0
        signed = bool((volume < 0).any())
        look = {"cmap": "RdBu_r" if signed else "Reds", "vmin": -top if signed else 0.0, "vmax": top}
        edges = np.stack([origin_mm, origin_mm + voxel_mm * volume.shape], axis=1)
        for axis, (name, across) in zip(row, SLICES.items(), strict=True):
            first, second = (other for other in range(3) if other != across)
            slab = _slab(volume, across, int(centre[across]))
            extent = (*edges[first], *edges[second])
            image = axis.imshow(slab.T, origin="lower", extent=extent, interpolation="nearest", **look)
            _cross(axis, point_mm[first], point_mm[second])
            axis.set(xlabel=f"{AXES[first]} (mm)", ylabel=f"{AXES[second]} (mm)")
            axis.set_title(f"{name}, {AXES[across]} = {point_mm[across]:.0f} mm" if axis in axes[0] else "", fontsize=9)
        figure.colorbar(image, ax=list(row), label=label, shrink=0.9).outline.set_visible(False)
    _save(figure, path, simulated)


def _slab(volume: np.ndarray, across: int, centre: int) -> np.ndarray:
    """Of the layers around a centre, at each place the value of the largest magnitude."""
    thick = max(1, volume.shape[across] // SLABS)
    start = max(0, centre - thick // 2)
    layers = np.moveaxis(volume, across, 0)[start : start + thick]
    return np.take_along_axis(layers, np.abs(layers).argmax(0)[None], 0)[0]


def _cross(axis: "Axes", across: float, up: float) -> None:
    """Thin lines that meet at a point."""
    for draw, value in ((axis.axvline, across), (axis.axhline, up)):
        draw(value, color=BLACK, linewidth=0.6, linestyle=":")

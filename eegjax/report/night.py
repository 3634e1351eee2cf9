"""One staged night: the hypnogram above the probabilities of all stages (hypnodensity), and its numbers as text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from eegjax.report.figures import BLUE, CLINICAL_ORDER, _draw_stages, _save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito's palette, told apart by colour-blind readers; REM has the colour of the hypnogram's bars
STAGE_COLOURS = {"W": "#e69f00", "R": BLUE, "N1": "#f0e442", "N2": "#56b4e9", "N3": "#009e73", "N4": "#444444"}
DISCLAIMER = "No medical device: for research only."
MEASURES = {  # of the night's statistics -> how people say it, and the unit
    "total_recording_min": ("recording", "min"),
    "total_sleep_min": ("total sleep time", "min"),
    "sleep_efficiency_percent": ("sleep efficiency (asleep, of the recording)", "%"),
    "sleep_onset_latency_min": ("sleep onset latency, from the start", "min"),
    "n2_latency_min": ("N2 latency, from sleep onset", "min"),
    "n3_latency_min": ("N3 latency, from sleep onset", "min"),
    "rem_latency_min": ("REM latency, from sleep onset", "min"),
    "waso_min": ("wake after sleep onset (WASO)", "min"),
    "final_wake_min": ("wake after the last sleep", "min"),
    "n_awakenings": ("awakenings", ""),
    "n_stage_shifts": ("stage shifts", ""),
}


def draw_night(
    path: str | Path,
    onset_s: np.ndarray,
    codes: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    title: str,
    simulated: bool = False,
    epoch_s: float = 30.0,
) -> None:
    """Draw a night's stages, W on top and REM as a bar, above the probabilities that they were taken from.

    Args:
        path: the PNG to write.
        onset_s: [n] float, s from the start of the recording, ascending. Where epochs are missing both panels break.
        codes: [n] int, places in `names`, -1 unscored.
        probabilities: [n, n_classes] float, rows summing to 1.
        names: of `CLINICAL_ORDER`, in the order of the codes.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.
        epoch_s: length of an epoch in s.

    Raises:
        ValueError: a stage name is not in `CLINICAL_ORDER`.
    """
    unknown = set(names) - set(CLINICAL_ORDER)
    if unknown:
        raise ValueError(f"stage names {sorted(unknown)} should be among {', '.join(CLINICAL_ORDER)}")
    from matplotlib.figure import Figure

    onset_s = np.asarray(onset_s, float)
    codes = np.asarray(codes)
    probabilities = np.asarray(probabilities, float)
    order = [stage for stage in CLINICAL_ORDER if stage in names]
    figure = Figure(figsize=(11, 3.6 + 0.3 * len(order)), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[0.3 * len(order), 2.2])
    _draw_stages(above, onset_s, epoch_s, codes, np.array([order.index(name) for name in names]), order)
    above.set_ylim(len(order) - 0.6, -0.4)
    above.set_ylabel("stage")
    shares = {stage: probabilities[:, list(names).index(stage)] for stage in order}
    _draw_density(below, onset_s, epoch_s, shares)
    _label_time(below, onset_s[-1] + epoch_s - onset_s[0])
    figure.suptitle(fill(title, 90), fontsize=12, parse_math=False)  # file names may be long and hold dollars
    figure.supxlabel(f"SIMULATED DATA. {DISCLAIMER}" if simulated else DISCLAIMER, fontsize=8, color="#666666")
    _save(figure, path, simulated)


def night_text(numbers: Mapping[str, Any], names: Sequence[str]) -> str:
    """The statistics of a night for a human to read, a line each, with units.

    Args:
        numbers: of `evaluate.night.night_statistics`; None where there is nothing to measure.
        names: the stages, in the order wanted.
    """
    lines = [_line(name, numbers[key], unit) for key, (name, unit) in MEASURES.items()]
    for name in names:
        share = numbers.get(f"{name}_percent")
        of_sleep = "" if share is None else f"  {share:5.1f} % of sleep"
        lines.append(_line(name, numbers[f"{name}_min"], "min") + of_sleep)
    return "\n".join(lines)


def _line(name: str, value: float | None, unit: str) -> str:
    shown = "–" if value is None else f"{value:7.1f} {unit}" if unit else f"{value:7d}"
    return f"  {name:45s}{shown:>7s}"


def _draw_density(axis: "Axes", onset_s: np.ndarray, epoch_s: float, shares: dict[str, np.ndarray]) -> None:
    """Stacked areas, constant over an epoch, in the order of the hypnogram; nothing where epochs are missing."""
    gaps = 2 * np.flatnonzero(np.diff(onset_s) > 1.5 * epoch_s) + 2
    hours = np.insert(np.column_stack([onset_s, onset_s + epoch_s]).ravel(), gaps, np.nan) / 3600
    stages = list(shares)[::-1]  # from the bottom
    areas = np.insert(np.repeat([shares[stage] for stage in stages], 2, axis=1), gaps, np.nan, axis=1)
    axis.stackplot(hours, areas, labels=stages, colors=[STAGE_COLOURS[stage] for stage in stages], linewidth=0)
    axis.set_ylim(0, 1)
    axis.set_ylabel("probability")
    axis.margins(x=0.01)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(reverse=True, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _label_time(axis: "Axes", duration_s: float) -> None:
    """Ticks of an axis in hours: whole hours of a night, minutes of what is shorter than two hours."""
    from matplotlib.ticker import MultipleLocator

    unit, unit_s, steps = ("h", 3600, (1, 2, 3, 6, 12, 24)) if duration_s >= 7200 else ("min", 60, (0.5, 1, 2, 5, 10))
    step = next((step for step in steps if duration_s <= 12 * step * unit_s), steps[-1])
    axis.xaxis.set_major_locator(MultipleLocator(step * unit_s / 3600))
    axis.xaxis.set_major_formatter(lambda hours, _: f"{hours * 3600 / unit_s:g}")
    axis.set_xlabel(f"time ({unit})")

"""The inverse study's tables of a run: pure functions of what lies in the run folder."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.report.cells import (
    BY_INTERVAL,
    NOTHING,
    format_count,
    format_difference,
    format_interval,
    format_mean_sd,
    format_number,
)
from eegjax.report.tables import write_table
from eegjax.run.finished import Finished, read
from eegjax.signal.minimum_norm import LCMV_TIMES
from eegjax.studies.inverse import paper
from eegjax.studies.inverse.numbers import by_model

TITLES = {
    "v_net": "V-Net",
    "u_net": "3D U-Net",
    "voxelised truth": "voxelised truth (ceiling)",
    "jittered truth": "jittered truth",
    "random 100": "100 random points",
    "random 10": "10 random points",
}
MATCHINGS = {
    "hungarian": "Predicted and true points are matched one to one, as many as can be.",
    "greedy": "A true point is found if any prediction is within the radius.",
    "greedy_distinct": "A true point is found if any prediction is within the radius.",
}
USES = {"trained": "trained", "validates": "thresholds", "tested": "tested"}  # what a head is for, in a word
N_RADII = 3  # with columns of their own


def title_of(model: str) -> str:
    """What a model is called in tables and figures."""
    return TITLES.get(model, model)


def curve(run: Finished, model: str) -> tuple[np.ndarray, np.ndarray]:
    """F1 at every radius, [n_radii] float64: its mean and standard deviation over samples."""
    radii = [f"{radius:g}" for radius in run.config.test.radii]
    mean, sd = ([run.number(model, f"{name}_{radius}") for radius in radii] for name in ("f1_at", "f1_sd_at"))
    return np.array(mean), np.array(sd)


def with_unit(run: Finished, radius: float) -> str:
    """A radius with its unit."""
    return f"{radius:g} {run.config.test.unit}"


# ---- its tables


def tables(folder: Path) -> str:
    """Write `tables/`: how well points are found, the heads, and the paper's metric; return all as Markdown."""
    run = read(folder)
    out = folder / "tables"
    models = by_model(run.predictions, run.baselines)
    title = f"Source localisation, {run.config.protocol}: {scored(run, models)}"
    notes = [*points_notes(run, models), *paper.quirks(run.config)]
    parts = [write_table(out, "results_points", points(run, models), title, notes, run.simulated)]
    return "\n".join([*parts, heads(out, run), paper_metric(out, run.simulated)])


def scored(run: Finished, models: Mapping[str, pd.DataFrame]) -> str:
    """How many samples of how many heads."""
    n_heads = next(iter(models.values()))["subject"].nunique()
    silent = run.metrics["n_silent"]
    without = f", and {silent} without any source" if silent else ""
    return f"{format_count(run.metrics['n_samples'], 'test sample')} of {format_count(n_heads, 'head')}{without}"


def points(run: Finished, models: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row per model; columns that would be empty are left out."""
    column = f"F1 minus that of {title_of(run.networks[0])}"
    frame = pd.DataFrame([cells(run, name, rows) | {column: to_first(run, name)} for name, rows in models.items()])
    return frame.loc[:, (frame != NOTHING).any()]


def cells(run: Finished, model: str, rows: pd.DataFrame) -> dict[str, str]:
    """A model's row, but for the last column; `rows` are its answers."""
    number = partial(run.number, model)
    test = run.config.test
    row = {"model": title_of(model)}
    row[f"F1 at {with_unit(run, test.radius)}"] = format_interval(*run.interval(model, "f1"))
    row["area"] = format_interval(*run.interval(model, "area"))
    for radius in some_radii(test.radii):
        ends = number(f"f1_at_{radius:g}"), number(f"f1_sd_at_{radius:g}")
        row[f"F1 at {with_unit(run, radius)}, mean ± sd"] = format_mean_sd(*ends)
    row |= {f"{name}, mm": format_number(number(f"{key}_mm"), 1) for name, key in (("error", "error"), ("EMD", "emd"))}
    row |= {"dispersion, mm": format_number(number("dispersion_mm"), 1), "AUC": format_number(number("auc"))}
    row["located"] = f"{number('n_located'):.0f} of {run.metrics['n_samples']}"
    row["points in silence"] = format_number(number("silent_points"), 1)
    threshold = number("threshold")
    row["threshold"] = NOTHING if np.isnan(threshold) else f"{threshold:.3g}"
    row["tuned"] = ", ".join(rows["tuned"].unique()) or NOTHING
    return row


def to_first(run: Finished, model: str) -> str:
    """A model's F1 minus the first network's; empty of that itself."""
    return format_difference(*run.difference(model)) if model != run.networks[0] else ""


def some_radii(radii: Sequence[float]) -> list[float]:
    """A few that lie evenly among them."""
    return [radii[(len(radii) - 1) * number // (N_RADII + 1)] for number in range(1, N_RADII + 1)]


def points_notes(run: Finished, models: Mapping[str, pd.DataFrame]) -> list[str]:
    """Footnotes of `points`, but for the quirks."""
    config = run.config
    first = title_of(run.networks[0])
    n_seeds = config.train.n_seeds
    lcmv = "LCMV" not in models and config.data.n_times < LCMV_TIMES
    notes = [
        f"Means are over samples; in brackets 95 % confidence intervals, {run.metrics['interval']}. Area: the mean of "
        f"F1 over the radii from 0 to {with_unit(run, config.test.radii[-1])}. Samples without a source have no F1: of "
        "these the mean number of predicted points is given.",
        f"{with_unit(run, config.test.radius)} are {_other_unit(run)}.",
        "Thresholds (of classical inverses a share of a sample's greatest amplitude) and what stands under 'tuned' were"
        " chosen by the area, for all rows on the same samples, none of them tested.",
        f"{MATCHINGS[config.test.matching]} Predictions closer together than the radius are merged before.",
        "Error: distance from a true point to the nearest prediction, over the samples that are located, which have a "
        "prediction at all: compare it between rows that locate equally many. EMD: earth mover's distance.",
        "Ceiling: true points moved to the centres of their voxels, as near as a network's voxels come. At large radii "
        "merging takes some of its points as well."
        if "voxelised truth" in models
        else "",
        f"Difference: the row's F1 minus that of {first}, paired by sample; {BY_INTERVAL}",
        f"Numbers of a sample are means over {n_seeds} seeds first." if n_seeds > 1 else "",
        f"LCMV: n/a, a covariance takes {LCMV_TIMES} instants, samples have {config.data.n_times}." if lcmv else "",
        _crime(run.card["recordings"]),
    ]
    return [note for note in notes if note]


def _other_unit(run: Finished) -> str:
    """The headline's radius in voxels if it is in mm, and the other way round: the least and the greatest."""
    in_mm = run.config.test.unit == "mm"
    voxel_mm = np.array([one["voxel_mm"] for one in run.card["recordings"] if one["tested"]])
    there = run.config.test.radius / voxel_mm if in_mm else run.config.test.radius * voxel_mm
    low = f"{there.min():.1f}"
    high = f"{there.max():.1f}"
    return f"{low if low == high else f'{low} to {high}'} {'voxels' if in_mm else 'mm'}"


def _crime(recordings: Sequence[dict[str, Any]]) -> str:
    """Whether what was simulated is inverted with the very model that made it."""
    guilty = [one["recording"] for one in recordings if one["tested"] and one["real"] == one["nominal"]]
    if not guilty:
        return ""
    whose = "All tested samples" if len(guilty) == sum(one["tested"] for one in recordings) else ", ".join(guilty)
    return (
        f"{whose}: simulated with the very head model that the classical inverses invert (inverse crime), so that "
        "these do better than on recordings, whose head nobody knows so well."
    )


def heads(out: Path, run: Finished) -> str:
    """The table of recordings: each head as it was simulated, and as it is assumed to be."""
    frame = pd.DataFrame([_head(run.config, one) for one in run.card["recordings"]])
    notes = [
        "Simulated: how the head really is; assumed: what the networks' inputs and the classical inverses know of it.",
        "Below the skull: from the shallowest simulated source to the deepest. Left out: points of the cortex that lie "
        "outside the inner skull or less than 5 mm below it, and so can't be sources.",
        "The template has no outer skull of its own: it is taken to lie half way between inner skull and scalp."
        if any(one["real"]["kind"] == "template" for one in run.card["recordings"])
        else "",
        "Used for thresholds: nothing is trained on that head, they are chosen there."
        if any(one["validates"] for one in run.card["recordings"])
        else "",
        "Electrode fit: how far electrodes were moved to lie on the scalp, mean and greatest. Cap off by: between the "
        "cap as it was and as it is assumed.",
    ]
    notes = [note for note in notes if note]
    return write_table(out, "heads", frame, f"Heads, {run.config.protocol}", notes, run.simulated)


def _head(config: ConfigDict, one: dict[str, Any]) -> dict[str, str]:
    real = one["real"]
    nominal = one["nominal"]
    noisy = config.data.sources != "zones" or len(config.data.zones.snr_db) > 0
    uses = [word for use, word in USES.items() if one[use]]
    return {
        "recording": str(one["recording"]),
        "head": str(one["head"]),
        "used": ", ".join(uses) or "no",
        "sources in": str(one["cortex"]),
        "below the skull, mm": " to ".join(f"{mm:.0f}" for mm in one["depth_mm"]),
        "left out": f"{one['n_dropped']:,}",
        "skull, S/m, simulated": f"{real['skull_conductivity']:g}",
        "skull, S/m, assumed": f"{nominal['skull_conductivity']:g}",
        "sources, simulated": f"{one['n_sources_real']:,}",
        "sources, assumed": f"{one['n_sources']:,}",
        "cap off by": f"{real['coregistration_mm']:g} mm, {real['coregistration_deg']:g}°",
        "noise": ("coloured" if one["coloured"] else "white") if noisy else "none",
        "electrode fit, mm": f"{one['electrode_fit_mm']:.1f} / {one['electrode_fit_max_mm']:.1f}",
        "voxel, mm": " x ".join(f"{mm:.1f}" for mm in one["voxel_mm"]),
        "pairs of sources in one voxel": f"{one['pairs_in_one_voxel']:,}",
    }


def paper_metric(out: Path, simulated: bool) -> str:
    """The table of what random points are worth, the paper's and ours."""
    frame, notes = paper.metric()
    return write_table(
        out, "paper_metric", frame, "The paper's metric: F1 of random points, radii in voxels", notes, simulated
    )

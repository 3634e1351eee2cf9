"""The inverse study's numbers: predicted points against true ones, and models compared on the same samples.

Predictions have a row per sample (kind "sample", with what was measured of it) and one per point ("true",
"predicted"). A silent sample has no true points: F1 is none of it, and what is predicted there is counted apart.
"""

from typing import Any

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.errors import UserError
from eegjax.evaluate.names import difference_name, number_name
from eegjax.evaluate.points import area_under_curve, f1_curve, mean_and_sd, paired_interval

POINTS = {"mm": ["x_mm", "y_mm", "z_mm"], "voxels": ["x", "y", "z"]}  # the columns of a position, by unit
SAMPLE = ["example", "recording", "n_true"]  # what samples of two runs have to share to be the same one
ANSWER = ["example", "fold", "seed", "member"]  # a sample is tested once by each member
ERRORS = ("error_mm", "dispersion_mm", "auc", "emd_mm")
SLIPS = ("cumulative", "drop_last", "skip_empty")  # of the authors' code, as `f1_curve` calls them
ENOUGH_HEADS = 5  # with fewer, drawing heads says nothing: samples are drawn
N_DRAWS = 1000

Curves = tuple[pd.DataFrame, np.ndarray]  # of one model: a row per sample, [n_samples, n_radii] float64


def headline(config: ConfigDict) -> int:
    """The number of the radius that the headline's F1 is of.

    Raises:
        UserError: it isn't one of the radii, or the unit is unknown.
    """
    radii = list(config.test.radii)
    radius = config.test.radius
    if config.test.unit not in POINTS:
        raise UserError(f"config.test.unit is '{config.test.unit}'; expected one of {', '.join(POINTS)}")
    if radius not in radii:
        given = ", ".join(f"{one:g}" for one in radii)
        raise UserError(f"config.test.radius is {radius:g}; expected one of config.test.radii, {given}")
    return radii.index(radius)


def by_model(predictions: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tested rows of every model: networks first, the one named beforehand before all.

    Samples that a model wasn't tested on are left out of the others' tests.
    """
    frames = {
        str(name): part
        for table in (predictions, baselines)
        for name, part in table[table["split"] == "test"].groupby("model", sort=False)
    }
    shared = set.intersection(*(set(part["example"]) for part in frames.values()))
    return {name: part[part["example"].isin(shared)] for name, part in frames.items()}


def samples_of(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per sample of one model, silent ones too, in the order of `example`: means over its members.

    Columns: example, recording, subject, n_true, those of `ERRORS`, and `n_points`, how many were predicted.
    """
    rows, predicted = (frame[frame["kind"] == kind] for kind in ("sample", "predicted"))
    counts = predicted.groupby(ANSWER).size()
    n_points = counts.reindex(pd.MultiIndex.from_frame(rows[ANSWER]), fill_value=0).to_numpy()
    rows = rows.assign(n_points=n_points, n_true=rows["n_true"].astype(int))
    return rows.groupby([*SAMPLE, "subject"])[[*ERRORS, "n_points"]].mean().reset_index()


def metric(config: ConfigDict) -> dict[str, Any]:
    """How points are matched, for `f1_curve`."""
    return {"matching": config.test.matching, **{slip: slip in config.test.slips for slip in SLIPS}}


def curves(config: ConfigDict, frame: pd.DataFrame) -> Curves:
    """F1 against the radius of every sample that isn't silent, the mean over a model's members.

    Args:
        config: of the run: unit, radii, matching and slips.
        frame: tested rows of one model.

    Returns:
        The rows of `samples_of`, and [n_samples, n_radii] float64 in their order; `nan` where the slip
        `skip_empty` skips a sample.
    """
    test = config.test
    columns = POINTS[config.test.unit]
    points = {
        key: part.to_numpy(float) for key, part in frame[frame["kind"] != "sample"].groupby(["kind", *ANSWER])[columns]
    }
    rows = frame[(frame["kind"] == "sample") & (frame["n_true"] > 0)]
    values = np.full((len(rows), len(test.radii)), np.nan)
    for number, key in enumerate(rows[ANSWER].itertuples(index=False, name=None)):
        true, predicted = (points.get((kind, *key), np.zeros((0, 3))) for kind in ("true", "predicted"))
        values[number] = f1_curve(true, predicted, test.radii, **metric(config))
    of_samples = pd.DataFrame(values).groupby(rows["example"].to_numpy()).mean()
    samples = samples_of(frame)
    active = samples[samples["n_true"] > 0].reset_index(drop=True)
    return active, of_samples.loc[active["example"]].to_numpy()


def difference(config: ConfigDict, first: Curves, other: Curves) -> tuple[float, float, float]:
    """The first's F1 at the headline's radius minus the other's, with its interval, on the samples that both have."""
    columns = []
    for samples, values in (first, other):
        index = pd.MultiIndex.from_frame(samples[[*SAMPLE, "subject"]])
        columns.append(pd.Series(values[:, headline(config)], index))
    both = pd.concat(columns, axis=1, join="inner")
    group, _ = drawn(both.index.to_frame())
    return paired_interval(both[0].to_numpy(), both[1].to_numpy(), group, N_DRAWS)


def drawn(samples: pd.DataFrame) -> tuple[np.ndarray, str]:
    """What intervals draw with replacement: the head of each sample, or the sample itself; and what to call that."""
    over, column = ("heads", "subject") if samples["subject"].nunique() >= ENOUGH_HEADS else ("samples", "example")
    return samples[column].to_numpy(), f"bootstrap over {over} ({N_DRAWS} draws)"


def evaluate(config: ConfigDict, predictions: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, Any]:
    """All metrics, of the first network plain, of others behind their names (`random_100_f1`).

    `f1` at the headline's radius and `area` (the mean over the radii) with `_low` and `_high`, `f1_sd`,
    `f1_at_<radius>` and `f1_sd_at_<radius>`; the means of `ERRORS` over the samples where they are defined;
    `n_located`, samples with a predicted point; `silent_points`, how many a silent sample has; `threshold`. Of all but
    the first `difference_to_<name>` with `_low` and `_high`, of F1, first minus other. Beside those `radius`, `unit`,
    `n_samples` (not silent), `n_silent`, and `interval`, what was drawn.

    Raises:
        UserError: the headline's radius isn't one of the radii, or the unit is unknown.
    """
    at_headline = headline(config)
    models = by_model(predictions, baselines)
    found = {name: curves(config, frame) for name, frame in models.items()}
    first = next(iter(found))
    numbers: dict[str, Any] = {}
    for name, frame in models.items():
        named = "" if name == first else name
        of_model = _of_model(config, frame, found[name], at_headline)
        numbers |= {number_name(key, named): value for key, value in of_model.items()}
        if named:
            numbers |= _with_ends(difference_name(name), difference(config, found[first], found[name]))
    samples = samples_of(models[first])
    n_silent = int((samples["n_true"] == 0).sum())
    numbers |= {"radius": float(config.test.radius), "unit": config.test.unit}
    return numbers | {"n_samples": len(samples) - n_silent, "n_silent": n_silent, "interval": drawn(found[first][0])[1]}


def _of_model(config: ConfigDict, frame: pd.DataFrame, found: Curves, at_headline: int) -> dict[str, float]:
    """Of one model; `at_headline` is the headline's radius."""
    active, values = found
    group, _ = drawn(active)
    mean, sd = mean_and_sd(values)
    numbers = _with_ends("f1", _mean(values[:, at_headline], group)) | {"f1_sd": float(sd[at_headline])}
    numbers |= _with_ends("area", _mean(area_under_curve(config.test.radii, values), group))
    for number, radius in enumerate(config.test.radii):
        numbers |= {f"f1_at_{radius:g}": float(mean[number]), f"f1_sd_at_{radius:g}": float(sd[number])}
    numbers |= {name: float(active[name].mean()) for name in ERRORS}
    samples = samples_of(frame)
    rows = frame[frame["kind"] == "sample"]
    numbers["n_located"] = int((active["n_points"] > 0).sum())
    numbers["silent_points"] = float(samples.loc[samples["n_true"] == 0, "n_points"].mean())
    numbers["threshold"] = float(rows.groupby(["fold", "seed", "member"])["value"].mean().mean())
    return numbers


def _mean(values: np.ndarray, group: np.ndarray) -> tuple[float, float, float]:
    """A mean over samples with its interval: that of the difference to nothing."""
    return paired_interval(values, np.zeros(len(values)), group, N_DRAWS)


def _with_ends(name: str, values: tuple[float, float, float]) -> dict[str, float]:
    return {name + end: value for end, value in zip(("", "_low", "_high"), values, strict=True)}

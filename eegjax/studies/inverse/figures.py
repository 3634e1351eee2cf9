"""The inverse study's figures: pure functions of what lies in the run folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from eegjax.report.curves import draw_losses
from eegjax.report.localisation import Curve, Scene, f1_curves, points_in_head, sections
from eegjax.run.finished import Finished, read
from eegjax.studies.inverse.numbers import ANSWER, POINTS, by_model
from eegjax.studies.inverse.paper import RADII, RANDOM_POINTS, random_curve
from eegjax.studies.inverse.tables import curve, title_of

METRIC = {  # the panels of Figure 1
    "a: guesses": ("random 10", "random 100"),
    "b: almost perfect": ("jittered truth", "voxelised truth"),
}
GREY = ("voxelised truth", "random 100", "random 10")  # beside the models of Figure 4
INPUTS = {"electrodes": "input: voltages", "eloreta": "input: eLORETA"}
REGRESSION = ("mse", "l1")  # losses of; other networks' outputs are probabilities


def figures(folder: Path) -> list[Path]:
    """Draw `figures/`: the metric, training, points in the head, F1 against the radius, and sections of volumes."""
    run = read(folder)
    out = folder / "figures"
    models = by_model(run.predictions, run.baselines)
    panels = {
        panel: {title_of(name): curve(run, name) for name in names if name in models} for panel, names in METRIC.items()
    }
    title = "The metric, of guesses and of almost perfect predictions: mean ± sd over samples"
    f1_curves(out / "figure_1_metric.png", run.config.test.radii, panels, run.config.test.unit, title, run.simulated)
    draw_paper_metric(out / "paper_metric.png", run.simulated)
    log = run.log()
    log = log.assign(model=log["model"].map(title_of))
    draw_losses(out / "figure_2_losses.png", log, "Loss in training", run.simulated, log=True)
    examples = run.explanation("examples")
    for number, name in enumerate(run.networks if len(examples["example"]) else ()):
        target = out / (f"points_{name}.png" if number else "figure_3_points.png")  # one as printed
        _draw_points(target, run, name, models[name], examples["example"].tolist())
        _draw_sections(out / f"sections_{name}.png", run, name, models[name], examples)
    draw_f1(out / "figure_4_f1.png", {"": run}, f"F1 of predicted points, {run.config.protocol}")
    return sorted(out.glob("[!.]*.png"))


def draw_paper_metric(path: Path, simulated: bool) -> None:
    """Draw the curves of random points that the authors published, dashed, and ours of the same metric."""
    curves: dict[str, Curve] = {f"{n} points": random_curve(n) for n in RANDOM_POINTS}
    published: dict[str, Curve] = {f"{n} points, published": (np.array(f1), None) for n, f1 in RANDOM_POINTS.items()}
    title = "The paper's metric: F1 of random points"
    f1_curves(path, RADII, {"": curves | published}, "voxels", title, simulated, list(published))


def draw_f1(path: Path, runs: Mapping[str, Finished], title: str) -> None:
    """Draw Figure 4, a panel per run: networks with bands of a standard deviation, classical inverses, guesses."""
    first = next(iter(runs.values()))
    panels = {panel: _curves(run) for panel, run in runs.items()}
    grey = [title_of(name) for name in GREY]
    test = first.config.test
    f1_curves(path, test.radii, panels, test.unit, title, first.simulated, grey)


def _curves(run: Finished) -> dict[str, Curve]:
    found: dict[str, Curve] = {}
    for name in by_model(run.predictions, run.baselines):
        if name != "jittered truth":  # of Figure 1 alone
            mean, sd = curve(run, name)
            found[title_of(name)] = mean, (sd if name in run.networks else None)
    return found


def _of_example(rows: pd.DataFrame, example: int) -> pd.DataFrame:
    """What the first of a network's members says of a sample."""
    rows = rows[rows["example"] == example].sort_values(ANSWER, kind="stable")
    return rows[(rows[ANSWER] == rows[ANSWER].iloc[0]).all(axis=1)] if len(rows) else rows


def _draw_points(path: Path, run: Finished, name: str, answers: pd.DataFrame, examples: Sequence[int]) -> None:
    """True and predicted points of a few samples, each in its head."""
    heads = {str(head["recording"]): head for head in run.explanations("head_*")}
    scenes = []
    for example in examples:
        rows = _of_example(answers, example)
        if not len(rows):  # of a sample that another model wasn't tested on
            continue
        points = {kind: rows.loc[rows["kind"] == kind, POINTS["mm"]].to_numpy(float) for kind in ("true", "predicted")}
        recording = str(rows["recording"].iloc[0])
        head = heads[recording]
        title = f"{recording}, sample {example}"
        scenes.append(Scene(title, head["scalp"], head["inner_skull"], head["electrodes_mm"], points))
    if scenes:
        title = f"{title_of(name)}: true and predicted sources of test samples"
        points_in_head(path, scenes, title, run.simulated)


def _draw_sections(
    path: Path, run: Finished, name: str, answers: pd.DataFrame, examples: Mapping[str, np.ndarray]
) -> None:
    """Input, target and output around the strongest true point of the first sample that has one."""
    for number, example in enumerate(examples["example"].tolist()):
        rows = _of_example(answers, example)
        true = rows[rows["kind"] == "true"]
        if not len(true):
            continue
        strongest = true.loc[true["value"].idxmax(), POINTS["mm"]].to_numpy(float)
        predicted = "predicted value" if run.config.train.loss in REGRESSION else "predicted probability"
        volumes = {
            INPUTS[run.config.inputs.kind]: examples["input"][number],
            "target": examples["target"][number],
            predicted: examples[f"predicted_{name}"][number],
        }
        grid = examples["origin_mm"][number], examples["voxel_mm"][number]
        title = f"{title_of(name)}, sample {example}: around the strongest source"
        sections(path, volumes, strongest, *grid, title, run.simulated)
        return

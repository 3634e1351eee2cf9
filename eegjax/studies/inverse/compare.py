"""What the inverse paper compares: the runs that it takes, and a table and figures of several of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from ml_collections import ConfigDict

from eegjax.baselines.inverse import METHODS
from eegjax.report.cells import NOTHING, format_difference
from eegjax.report.curves import draw_losses
from eegjax.report.footnotes import name_owners
from eegjax.report.tables import write_table
from eegjax.run.finished import Finished, read
from eegjax.run.rows import Rows, Run, arguments, fields_of, set_by_user
from eegjax.studies.inverse.config import SIZES, get_config
from eegjax.studies.inverse.figures import draw_f1, draw_paper_metric
from eegjax.studies.inverse.numbers import by_model, curves, difference
from eegjax.studies.inverse.paper import NETWORKS as PUBLISHED
from eegjax.studies.inverse.paper import quirks
from eegjax.studies.inverse.tables import cells, heads, paper_metric, points_notes, scored, to_first

NETWORKS = {published.title: name for name, published in PUBLISHED.items()}
TASKS = {"classification": "cross_entropy", "regression": "mse"}
DILATIONS = {"plain": 1, "dilated": 5}  # side in voxels of the cube that stands for a point
CLASSICAL = ("eLORETA",)  # of all runs but the first, which has every one: they are the same in all runs
ONCE = ("heads", "paper_metric")  # tables and figures that are the same in all runs


def rows(config: ConfigDict) -> Rows:
    """The runs that the tables need: both networks, both formulations, plain and dilated; the same in all protocols.

    In the paper's each network has its own batch size and weight decay, and the first run has all classical inverses,
    unless these were set.
    """
    named = {"model": config.model.name, "input": config.inputs.kind, "splits": config.splits.kind}
    keys = {key: [value] for key, value in named.items()} | {"size": list(SIZES)}
    given = set_by_user(config, map(get_config, arguments(config.protocol, keys)))
    found: dict[str, Run] = {}
    for network, name in NETWORKS.items():
        for task, loss in TASKS.items():
            for form, side in DILATIONS.items():
                own = {"model.name": name, "model.beside": (), "train.loss": loss, "data.dilation": side}
                usual: dict[str, Any] = {"test.classical": CLASSICAL if found else METHODS}
                if config.protocol == "paper":
                    published = PUBLISHED[name]
                    usual |= {"train.batch_size": published.batch_size, "train.weight_decay": published.weight_decay}
                found[_row(network, task, form)] = Run(own, usual)
    return Rows(fields_of(found, given), ONCE)


def _row(network: str, task: str, form: str) -> str:
    return f"{network}, {task}, {form}"


def compare(folders: Mapping[str, Path], out: Path) -> str:
    """Compare finished runs, and draw losses (Figure 2) and F1 (Figure 4) of plain and dilated points side by side.

    Args:
        folders: row of `rows` -> its run folder.
        out: folder whose `tables` and `figures` are written.

    Returns:
        The tables as Markdown.
    """
    runs = {row: read(folder) for row, folder in folders.items()}
    first = next(iter(runs.values()))
    draw_paper_metric(out / "figures" / "paper_metric.png", first.simulated)
    for network in NETWORKS:
        for task in TASKS:
            pair = {
                f"{letter}: {form}": _row(network, task, form) for letter, form in zip("ab", DILATIONS, strict=True)
            }
            there = {panel: runs[row] for panel, row in pair.items() if row in runs}
            if there:
                _draw_pair(out / "figures", network, task, there)
    models = {row: by_model(run.predictions, run.baselines) for row, run in runs.items()}
    of_first = next(iter(models.values()))
    title = (
        f"Source localisation, {first.config.protocol}: networks, formulations and points, {scored(first, of_first)}"
    )
    notes = [*points_notes(first, of_first), *name_owners({row: quirks(run.config) for row, run in runs.items()})]
    table = write_table(out / "tables", "comparison", _compared(runs, models), title, notes, first.simulated)
    return "\n".join([table, heads(out / "tables", first), paper_metric(out / "tables", first.simulated)])


def _compared(runs: Mapping[str, Finished], models: Mapping[str, dict[str, pd.DataFrame]]) -> pd.DataFrame:
    """A row per run, of its network, then the first run's baselines; differences are to the first row."""
    name, first = next(iter(runs.items()))
    reference = curves(first.config, models[name][first.networks[0]])
    column = "F1 minus that of the first row"
    found: list[dict[str, str]] = []
    for row, run in runs.items():
        network = run.networks[0]
        rows = models[row][network]
        of_first = format_difference(*difference(run.config, curves(run.config, rows), reference)) if found else ""
        found.append({**cells(run, network, rows), "model": row, column: of_first})
    baselines = {model: rows for model, rows in models[name].items() if model not in first.networks}
    found += [{**cells(first, model, rows), column: to_first(first, model)} for model, rows in baselines.items()]
    frame = pd.DataFrame(found)
    return frame.loc[:, (frame != NOTHING).any()]


def _draw_pair(out: Path, network: str, task: str, runs: Mapping[str, Finished]) -> None:
    """Losses and F1 of one network and formulation, a panel per run; those that the paper shows are its figures."""
    shown = (network, task) == ("V-Net", "classification")
    ends = "" if shown else f"_{NETWORKS[network]}_{task}"
    logs = {panel: (run.log(), run.networks[0]) for panel, run in runs.items()}
    log = pd.concat([log[log["model"] == name].assign(model=panel) for panel, (log, name) in logs.items()])
    title = f"{network}, {task}"
    simulated = next(iter(runs.values())).simulated
    losses, f1 = (
        out / f"{name}{ends}.png" for name in (("figure_2_losses", "figure_4_f1") if shown else ("losses", "f1"))
    )
    draw_losses(losses, log, f"Loss in training: {title}", simulated, log=True)
    draw_f1(f1, runs, f"F1 of predicted points: {title}")

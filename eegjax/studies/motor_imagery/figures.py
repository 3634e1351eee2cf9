"""The motor-imagery study's figures: pure functions of what lies in the run folder."""

from pathlib import Path

import numpy as np
import pandas as pd

from eegjax.evaluate.by_subject import accuracy_by_subject
from eegjax.report.accuracy import accuracy_by_subject as draw_by_subject
from eegjax.report.curves import MODEL_COLOURS, draw_losses
from eegjax.report.figures import draw_confusion
from eegjax.report.reconstruction import reconstruction_strip
from eegjax.report.topography import topography
from eegjax.run.answers import class_names
from eegjax.studies.motor_imagery.numbers import task_of, tested
from eegjax.studies.motor_imagery.tables import TASK_TITLES, Finished, title_of

BESIDE = ("csp_lda", "tangent_space", "control")  # baselines that are drawn beside the networks


def figures(folder: Path) -> list[Path]:
    """Draw `figures/`: answers, training, reconstructions, and which channels matter."""
    run, place = Finished(folder), folder / "figures"
    log = pd.read_json(folder / "metrics.jsonl", lines=True)
    for task in run.tasks:
        _draw_confusion(place / f"confusion_{task}.png", run, task)
        _draw_subjects(place / f"accuracy_{task}.png", run, task)
        _draw_losses(place / f"losses_{task}.png", run, task, log)
    explained = folder / "explanations"
    for name in run.networks:
        _draw_importance(place / f"importance_{name}.png", run, name, explained / f"importance_{name}.npz")
    for number, name in enumerate(name for name in run.networks if "vae" in name):
        target = place / (f"reconstruction_{name}.png" if number else "figure_4_reconstruction.png")  # one as printed
        _draw_reconstruction(target, run, name, explained / f"reconstruction_{name}.npz")
    return sorted(place.glob("[!.]*.png"))


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _networks(run: Finished, task: str) -> list[str]:
    return [name for name in run.tasks[task] if name in run.networks]


def _draw_confusion(path: Path, run: Finished, task: str) -> None:
    names = _networks(run, task)
    classes = [name.replace("_", "\n") for name in class_names(run.tasks[task][names[0]])]
    matrices = {title_of(name): run.confusion(task, name) for name in names}
    draw_confusion(path, matrices, classes, f"Tested trials, {TASK_TITLES[task]}", run.simulated)


def _draw_subjects(path: Path, run: Finished, task: str) -> None:
    """As many models as there are colours."""
    beside = [name for name in BESIDE if name in run.tasks[task]]
    names = [*_networks(run, task)[: len(MODEL_COLOURS) - len(beside)], *beside]
    models = {title_of(name): accuracy_by_subject(tested(run.tasks[task][name])) for name in names}
    draw_by_subject(path, models, f"Accuracy per subject, {TASK_TITLES[task]}", run.simulated)


def _draw_losses(path: Path, run: Finished, task: str, log: pd.DataFrame) -> None:
    """Of a network with a VAE the classifier's loss alone: so the columns are alike."""
    rows = log[log["model"].isin(_networks(run, task)) & (task_of(log["fold"]) == task)]
    rows = rows.assign(model=rows["model"].map(title_of))
    for part in ("", "validation_"):
        if f"{part}cross_entropy" in rows:
            rows[f"{part}loss"] = rows[f"{part}cross_entropy"].fillna(rows[f"{part}loss"])
    draw_losses(path, rows, f"Loss and accuracy in training, {TASK_TITLES[task]}", run.simulated)


def _draw_reconstruction(path: Path, run: Finished, name: str, source: Path) -> None:
    arrays, names = _read(source), run.card["ch_names"]
    original, reconstruction = (arrays[key] for key in ("original", "reconstruction"))
    sfreq = original.shape[1] / np.diff(run.config.data.window_s)[0]
    title = f"{title_of(name)}: test trials, and what the VAE leaves of them"
    reconstruction_strip(path, original, reconstruction, names, sfreq, "z-score", title, run.simulated)


def _draw_importance(path: Path, run: Finished, name: str, source: Path) -> None:
    title = f"{title_of(name)}: importance of each channel"
    topography(path, _read(source)["importance"], run.card["ch_names"], title, run.simulated)

"""The motor-imagery study's figures: pure functions of what lies in the run folder."""

from pathlib import Path

import numpy as np
import pandas as pd

from eegjax.evaluate.by_subject import accuracy_by_subject
from eegjax.evaluate.comparison import confusion
from eegjax.report.accuracy import accuracy_by_subject as draw_by_subject
from eegjax.report.curves import MODEL_COLOURS, draw_losses
from eegjax.report.figures import draw_confusion
from eegjax.report.reconstruction import reconstruction_strip
from eegjax.report.topography import topography
from eegjax.run.answers import class_names
from eegjax.run.finished import Finished
from eegjax.studies.motor_imagery.numbers import Models, tested, with_task
from eegjax.studies.motor_imagery.tables import TASK_TITLES, read, title_of

BESIDE = ("csp_lda", "tangent_space", "control")  # baselines that are drawn beside the networks


def figures(folder: Path) -> list[Path]:
    """Draw `figures/`: answers, training, reconstructions, and which channels matter."""
    run, tasks = read(folder)
    out = folder / "figures"
    log = with_task(run.log())
    for task, models in tasks.items():
        _draw_confusion(out / f"confusion_{task}.png", run, task, models)
        _draw_subjects(out / f"accuracy_{task}.png", run, task, models)
        _draw_losses(out / f"losses_{task}.png", run, task, log[log["task"] == task])
    for name in run.networks:
        _draw_importance(out / f"importance_{name}.png", run, name)
    for number, name in enumerate(name for name in run.networks if "vae" in name):
        target = out / (f"reconstruction_{name}.png" if number else "figure_4_reconstruction.png")  # one as printed
        _draw_reconstruction(target, run, name)
    return sorted(out.glob("[!.]*.png"))


def _networks(run: Finished, models: Models) -> list[str]:
    return [name for name in models if name in run.networks]


def _draw_confusion(path: Path, run: Finished, task: str, models: Models) -> None:
    rows = {name: models[name] for name in _networks(run, models)}
    names = class_names(next(iter(rows.values())))
    matrices = {title_of(name): confusion(frame, names) for name, frame in rows.items()}
    titles = [name.replace("_", "\n") for name in names]
    draw_confusion(path, matrices, titles, f"Test trials, {TASK_TITLES[task]}", run.simulated)


def _draw_subjects(path: Path, run: Finished, task: str, models: Models) -> None:
    """As many models as there are colours."""
    beside = [name for name in BESIDE if name in models]
    names = [*_networks(run, models)[: len(MODEL_COLOURS) - len(beside)], *beside]
    scores = {title_of(name): accuracy_by_subject(tested(models[name])) for name in names}
    draw_by_subject(path, scores, f"Accuracy per subject, {TASK_TITLES[task]}", run.simulated)


def _draw_losses(path: Path, run: Finished, task: str, log: pd.DataFrame) -> None:
    """Of a network with a VAE the classifier's loss alone: so the columns are alike."""
    rows = log[log["model"].isin(run.networks)]
    rows = rows.assign(model=rows["model"].map(title_of))
    for part in ("", "validation_"):
        if f"{part}cross_entropy" in rows:
            rows[f"{part}loss"] = rows[f"{part}cross_entropy"].fillna(rows[f"{part}loss"])
    draw_losses(path, rows, f"Loss and accuracy in training, {TASK_TITLES[task]}", run.simulated)


def _draw_reconstruction(path: Path, run: Finished, name: str) -> None:
    arrays = run.explanation(f"reconstruction_{name}")
    names = run.card["ch_names"]
    original, reconstruction = (arrays[key] for key in ("original", "reconstruction"))
    sfreq = original.shape[1] / np.diff(run.config.data.window_s)[0]
    title = f"{title_of(name)}: test trials, and what the VAE leaves of them"
    reconstruction_strip(path, original, reconstruction, names, sfreq, "z-score", title, run.simulated)


def _draw_importance(path: Path, run: Finished, name: str) -> None:
    title = f"{title_of(name)}: importance of each channel"
    topography(path, run.explanation(f"importance_{name}")["importance"], run.card["ch_names"], title, run.simulated)

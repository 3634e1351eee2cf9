"""The sleep study's figures: pure functions of what lies in the run folder."""

from pathlib import Path
from typing import Any

import numpy as np

from eegjax.data.sleep_edf.reader import EPOCH_S
from eegjax.evaluate.calibration import calibration_curve
from eegjax.evaluate.comparison import Answers
from eegjax.report.curves import draw_calibration, draw_losses
from eegjax.report.epochs import WrongEpoch, draw_activations, draw_sensitivity, draw_wrong_epochs
from eegjax.report.figures import draw_confusion, draw_hypnogram
from eegjax.run.answers import class_names
from eegjax.run.finished import Finished, read
from eegjax.studies.sleep.data import SPECTROGRAM
from eegjax.studies.sleep.numbers import by_model
from eegjax.studies.sleep.tables import title_of

Arrays = dict[str, np.ndarray]


def figures(folder: Path) -> list[Path]:
    """Draw `figures/`: what the paper's Figures 1 and 2 show, and what else there is to see of a run."""
    run = read(folder)
    out = folder / "figures"
    answers = _answers(run)
    explained = {name: run.explanation(name) for name in run.networks}
    mapped = {name: arrays for name, arrays in explained.items() if "sensitivity" in arrays}
    _draw_answers(out, run, {name: answers[name] for name in run.answered})
    _draw_losses(out, run)
    if mapped:
        _draw_sensitivity(out / "figure_1_sensitivity.png", run, mapped)
    for name, arrays in mapped.items():
        _draw_activations(out / f"activations_{name}.png", run, name, arrays)
    for name, arrays in explained.items():
        others = [other for other in run.networks if other != name]
        _draw_wrong(out / f"wrong_{name}.png", run, arrays, {one: answers[one] for one in (name, *others)})
    return sorted(out.glob("[!.]*.png"))


def _answers(run: Finished) -> dict[str, Answers]:
    """Of the networks, and of what was made of their answers."""
    rows = by_model(run.predictions, run.baselines)
    names = class_names(run.predictions)
    return {name: Answers(rows[name], names) for name in run.answered}


def _draw_answers(out: Path, run: Finished, answers: dict[str, Answers]) -> None:
    """The hypnogram of the first tested night, the confusion matrices, and the calibration."""
    first = answers[run.answered[0]]
    names = class_names(run.predictions)
    recording = first.frame["recording"].iloc[0]
    rows = np.flatnonzero(first.frame["recording"] == recording)
    onset_s = first.frame["onset_s"].to_numpy()[rows]
    lines = [("scorer", onset_s, first.target[rows])]
    for name, one in answers.items():
        here = np.flatnonzero(one.frame["recording"] == recording)  # a network in sequences may lack partial batches
        lines.append((title_of(name), one.frame["onset_s"].to_numpy()[here], one.predicted[0][here]))
    title = f"Recording {recording}, held-out epochs"
    draw_hypnogram(out / "figure_2_hypnogram.png", lines, names, title, run.simulated)
    matrices = {title_of(name): one.confusion().sum(0) for name, one in answers.items()}
    title = "Test epochs: the scorer's stages and the networks'"
    draw_confusion(out / "confusion.png", matrices, names, title, run.simulated)
    curves = {title_of(name): _calibration(answers[name]) for name in run.networks}
    draw_calibration(out / "calibration.png", curves, "Calibration on the test epochs", run.simulated)


def _calibration(answers: Answers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    target = np.tile(answers.target, len(answers.probabilities))
    curve = calibration_curve(target, answers.probabilities.reshape(len(target), -1))
    return curve["confidence"].to_numpy(), curve["accuracy"].to_numpy(), curve["count"].to_numpy()


def _draw_losses(out: Path, run: Finished) -> None:
    frame = run.log()
    frame = frame.assign(model=frame["model"].map(title_of))
    draw_losses(out / "losses.png", frame, "Loss and accuracy in training", run.simulated)


def _context_s(run: Finished) -> tuple[float, float]:
    """Before and after the epoch."""
    before = run.config.data.context_epochs * EPOCH_S
    return before, 0.0 if run.config.data.causal else before


def _draw_sensitivity(path: Path, run: Finished, explained: dict[str, Arrays]) -> None:
    first = next(iter(explained.values()))
    draw_sensitivity(
        path,
        _per_stage(run, first, "image"),
        {title_of(name): _per_stage(run, arrays, "sensitivity") for name, arrays in explained.items()},
        class_names(run.predictions),
        EPOCH_S,
        _context_s(run),
        "An epoch of each stage, and what the loss depends on (equation 3), of the first test subject",
        run.simulated,
    )


def _per_stage(run: Finished, arrays: Arrays, key: str) -> dict[str, np.ndarray]:
    """Stage to array, of the stages that occur."""
    stages = zip(class_names(run.predictions), arrays[key], arrays["count"], strict=True)
    return {stage: array for stage, array, count in stages if count}


def _draw_activations(path: Path, run: Finished, name: str, arrays: Arrays) -> None:
    layers = {key.removeprefix("activation/"): key for key in arrays if key.startswith("activation/")}
    by_layer = {layer: _per_stage(run, arrays, key) for layer, key in layers.items()}
    images = _per_stage(run, arrays, "image")
    maps = {stage: {layer: found[stage] for layer, found in by_layer.items()} for stage in images}
    title = f"{title_of(name)}: an epoch of each stage through the layers"
    draw_activations(path, images, maps, class_names(run.predictions), EPOCH_S, _context_s(run), title, run.simulated)


def _draw_wrong(path: Path, run: Finished, arrays: Arrays, answers: dict[str, Answers]) -> None:
    """The epochs that the first of the models had wrong, with what all of them say."""
    said = {title_of(name): _by_example(one) for name, one in answers.items()}
    epochs = [
        WrongEpoch(
            str(arrays["wrong_recording"][k]),
            float(arrays["wrong_onset_s"][k]),
            arrays["wrong_eeg_uv"][k],
            SPECTROGRAM.sfreq,
            arrays["wrong_image"][k],
            int(arrays["wrong_target"][k]),
            _said(said, int(example)),
        )
        for k, example in enumerate(arrays["wrong_example"])
    ]
    title = f"{next(iter(said))}: the test epochs to whose true stage it gave the lowest probability"
    draw_wrong_epochs(path, epochs, class_names(run.predictions), _context_s(run), title, run.simulated)


def _by_example(answers: Answers) -> dict[int, np.ndarray]:
    return dict(zip(answers.frame["example"].tolist(), answers.probabilities[0], strict=True))


def _said(said: dict[str, dict[int, np.ndarray]], example: int) -> dict[str, Any]:
    """What each model says of an example that it was tested on."""
    return {title: found[example] for title, found in said.items() if example in found}

"""A trained run on a user's own recording: stages, probabilities, the night's statistics, a picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.annotations import stage_texts, write_edf_annotations, write_epochs_tsv
from eegjax.data.recording import EegChannel, read_eeg_channel
from eegjax.errors import note
from eegjax.evaluate.night import certainty, night_statistics
from eegjax.files import disk_errors, hash_file, read_json, write_json
from eegjax.report.night import draw_night
from eegjax.studies import trained
from eegjax.studies.sleep_data import EPOCH_S, SPECTROGRAM, classes, unlabelled
from eegjax.studies.sleep_network import decoded
from eegjax.studies.study import Study

NO_DEVICE = "No medical device: for research only, not for diagnosis or treatment."
LONG_S = 14 * 3600.0


def apply(folder: Path, path: Path, channel: str | None, out: Path, study: Study) -> str:
    """Stage a recording with the network that a run's configuration names, averaged over its members.

    Args:
        folder: of a finished run.
        path: the recording: EDF, BDF, BrainVision or FIF, any length from one epoch, any sampling rate.
        channel: to read; None is the one that the run was trained on.
        out: folder for `<stem>_epochs.tsv`, `<stem>_annotations.edf`, `<stem>.png`, `<stem>_statistics.json`.
        study: the sleep study.

    Returns:
        What to print.

    Raises:
        UserError: the run isn't finished, or the recording can't be read.
    """
    config = trained.finished(folder)
    card = read_json(Path(folder) / "card.json")
    learnt = sorted({name for row in card["recordings"] for name in row["ch_names"]})
    recording = read_eeg_channel(path, channel, SPECTROGRAM.sfreq, default=learnt[0], min_s=EPOCH_S)
    _remark(path, recording, learnt, card)
    networks = trained.load(folder, config.model.name)
    dataset = unlabelled(config, path.stem, recording.eeg)
    rows = np.arange(len(dataset.index))
    each = trained.predict(config, study, dataset, networks, rows)
    stages, probabilities = _decided(config, networks[0].stats, dataset.index, each.mean(0))
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    numbers = _statistics(config, stages, probabilities, each)
    about = {
        "recording": path.name,
        "channel": recording.ch_name,
        "sfreq_recorded": recording.sfreq_recorded,
        "run": str(folder),
        "model": config.model.name,
        "n_networks": len(networks),
        "trained_on_simulated_data": bool(card["simulated"]),
        "notice": NO_DEVICE,
    }
    names, onset_s = classes(config), dataset.index["onset_s"].to_numpy()
    labels = [names[stage] for stage in stages]
    write_epochs_tsv(out / f"{path.stem}_epochs.tsv", onset_s, EPOCH_S, labels, probabilities, names)
    write_edf_annotations(
        out / f"{path.stem}_annotations.edf", onset_s, EPOCH_S, stage_texts(labels, names), recording.start
    )
    write_json(out / f"{path.stem}_statistics.json", {**about, **numbers})
    title = f"{path.name}, {recording.ch_name}, by {config.model.name}"
    draw_night(out / f"{path.stem}.png", onset_s, stages, probabilities, names, title, card["simulated"])
    return _said(about, numbers, out)


def _remark(path: Path, recording: EegChannel, learnt: list[str], card: dict[str, Any]) -> None:
    """Say what makes the answers worth less than they look."""
    if recording.ch_name.casefold() not in [name.casefold() for name in learnt]:
        note(
            f"{path}: channel '{recording.ch_name}', but the run was trained on {', '.join(learnt)}: another montage "
            "gives other amplitudes, and nothing was measured there"
        )
    if card["simulated"]:
        note("this run was trained on simulated nights: its stages of a real recording mean nothing")
    if hash_file(path) in [sha for row in card["recordings"] for sha in row["files"].values()]:
        note(f"{path}: this very file belongs to the run's own data; where it was trained on, its stages are no test")
    if len(recording.eeg) > LONG_S * SPECTROGRAM.sfreq:
        note(
            f"{path}: {len(recording.eeg) / SPECTROGRAM.sfreq / 3600:.1f} h; images are equalised over the whole "
            "recording, but the run learnt from nights cropped to sleep: cut the day off first"
        )


def _decided(
    config: ConfigDict, stats: Any, index: pd.DataFrame, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Stages and probabilities as the run's own best row: corrected for the prior, smoothed, where it was."""
    columns = [f"p_{name}" for name in classes(config)]
    frame = index.assign(model="", **dict(zip(columns, probabilities.T, strict=True)))
    values = {one["model"].iloc[0]: one[columns].to_numpy() for one in (frame, *decoded(config, stats, frame))}
    final = list(values.values())[-1]
    return final.argmax(-1), values.get("_prior", values[""])


def _statistics(config: ConfigDict, stages: np.ndarray, probabilities: np.ndarray, each: np.ndarray) -> dict[str, Any]:
    """The night's statistics, how certain they are, and how far the run's networks agree."""
    numbers = {**night_statistics(stages, classes(config), EPOCH_S), **certainty(probabilities)}
    if len(each) > 1:
        agreed = (each.argmax(-1) == probabilities.argmax(-1)).mean()
        numbers["share_of_networks_that_agree"] = float(agreed)
    return {**numbers, "smoothed": bool(config.test.viterbi), "prior_corrected": bool(config.test.prior_correction)}


def _said(about: dict[str, Any], numbers: dict[str, Any], out: Path) -> str:
    lines = [f"{about['recording']}, {about['channel']}, staged by {about['n_networks']} x {about['model']}", ""]
    for name, value in numbers.items():
        if not isinstance(value, dict):
            lines.append(f"  {name.replace('_', ' '):40s} {'–' if value is None else _short(value)}")
    return "\n".join([*lines, "", f"Written to {out}", NO_DEVICE])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

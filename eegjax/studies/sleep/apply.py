"""A trained run on a user's own recording: stages, probabilities, the night's statistics, a picture."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.formats.annotations import make_stage_texts, write_edf_annotations, write_epochs_tsv
from eegjax.data.recording import PASSED, EegChannel, plain_name, read_eeg_channel
from eegjax.errors import note
from eegjax.evaluate.night import certainty, night_statistics
from eegjax.files import hash_file, read_json, write_json
from eegjax.report.night import draw_night, night_text
from eegjax.run.apply import predict
from eegjax.run.finished import finished
from eegjax.run.weights import Trained, load
from eegjax.studies.sleep.answers import decode_member
from eegjax.studies.sleep.data import EPOCH_S, SPECTROGRAM, classes, unlabelled
from eegjax.studies.sleep.network import TASK

NO_DEVICE = "No medical device: for research only, not for diagnosis or treatment."
LONG_S = 14 * 3600.0


class Staged(NamedTuple):
    """What is said of n epochs."""

    onset_s: np.ndarray  # [n] float, from the start of the recording
    stages: np.ndarray  # [n] int, places in the run's classes
    probabilities: np.ndarray  # [n, n_classes] float


def apply(folder: Path, recording: Path, channel: str | None, out: Path) -> str:
    """Stage a recording with the network that a run's configuration names, averaged over its members.

    Args:
        folder: of a finished run.
        recording: the file: EDF, BDF, BrainVision or FIF, any length from one epoch, any sampling rate.
        channel: to read; None is the one that the run was trained on.
        out: folder for `<stem>_epochs.tsv`, `<stem>_annotations.edf`, `<stem>.png`, `<stem>_statistics.json`; files of
            these names are replaced.

    Returns:
        What to print.

    Raises:
        UserError: the run isn't finished or not whole, the recording can't be read, or `out` can't be written.
    """
    config = finished(folder)
    networks = load(folder, config.model.name)
    card = read_json(Path(folder) / "card.json")
    learnt = sorted({name for row in card["recordings"] for name in row["ch_names"]})
    channel_read = read_eeg_channel(recording, channel, SPECTROGRAM.sfreq, default=learnt[0], min_s=EPOCH_S)
    _remark(recording, channel_read, learnt, card)
    dataset = unlabelled(config, recording.stem, channel_read.eeg)
    each = predict(config, TASK, dataset, networks, np.arange(len(dataset.index)))
    staged = _decided(config, networks, dataset.index, each.mean(0))
    about = {
        "recording": recording.name,
        "channel": channel_read.ch_name,
        "start": channel_read.start and channel_read.start.isoformat(),
        "sfreq_recorded_hz": channel_read.sfreq_recorded,
        "high_passed_hz": channel_read.high_passed_hz,
        "run": str(folder),
        "model": config.model.name,
        "n_networks": len(networks),
        "trained_on_simulated_data": bool(card["simulated"]),
        **_meaning(config),
    }
    numbers = {**night_statistics(staged.stages, classes(config), EPOCH_S), **_certainty(staged, each)}
    _write(out, config, channel_read, staged, {**about, **numbers, "notice": NO_DEVICE})
    return _said(about, numbers, classes(config), out)


def _remark(path: Path, recording: EegChannel, learnt: list[str], card: dict[str, Any]) -> None:
    """Say what makes the answers worth less than they look."""
    if plain_name(recording.ch_name) not in map(plain_name, learnt):
        note(
            f"{path}: channel '{recording.ch_name}', but the run was trained on {', '.join(learnt)}: another montage "
            "gives other amplitudes, and nothing was measured there"
        )
    if card["simulated"]:
        note("this run was trained on simulated nights: its stages of a real recording mean nothing")
    if hash_file(path) in [sha for row in card["recordings"] for sha in row["files"].values()]:
        note(f"{path}: this very file belongs to the run's own data; where it was trained on, its stages are no test")
    if PASSED * recording.sfreq_recorded < SPECTROGRAM.f_max_hz:
        note(
            f"{path}: recorded at {recording.sfreq_recorded:g} Hz, which is whole up to "
            f"{PASSED * recording.sfreq_recorded:.3g} Hz, but the run learnt from up to {SPECTROGRAM.f_max_hz:g} Hz"
        )
    if len(recording.eeg) > LONG_S * SPECTROGRAM.sfreq:
        note(
            f"{path}: {len(recording.eeg) / SPECTROGRAM.sfreq / 3600:.1f} h; images are equalised over the whole "
            "recording, but the run learnt from nights cropped to sleep: cut the day off first"
        )


def _decided(config: ConfigDict, networks: list[Trained], index: pd.DataFrame, probabilities: np.ndarray) -> Staged:
    """Stages and probabilities as the run's own best row: corrected for the prior, smoothed, where it was."""
    stats = {name: np.mean([one.stats[name] for one in networks], 0) for name in networks[0].stats}
    columns = [f"p_{name}" for name in classes(config)]
    frame = index.assign(model="", **dict(zip(columns, probabilities.T, strict=True)))
    values = {one["model"].iloc[0]: one[columns].to_numpy() for one in (frame, *decode_member(config, stats, frame))}
    final = list(values.values())[-1]
    return Staged(index["onset_s"].to_numpy(), final.argmax(-1), values.get("_prior", values[""]))


def _meaning(config: ConfigDict) -> dict[str, str]:
    """What stages, labels and probabilities are, in words."""
    correction = ", corrected for how training balanced the stages" if config.test.prior_correction else ""
    course = "the likeliest course of the night (Viterbi, by how stages follow one another in the training nights)"
    return {
        "manual": "Rechtschaffen & Kales" if config.data.n_classes == 6 else "AASM",
        "label": course if config.test.viterbi else "the stage of the largest probability",
        "probability": f"of each epoch by itself{correction}",
    }


def _certainty(staged: Staged, each: np.ndarray) -> dict[str, float]:
    """How certain the answers are, and how far the run's networks agree."""
    numbers = certainty(staged.probabilities)
    if len(each) > 1:
        numbers["share_of_networks_that_agree"] = float((each.argmax(-1) == each.mean(0).argmax(-1)).mean())
    return numbers


def _write(out: Path, config: ConfigDict, recording: EegChannel, staged: Staged, said: dict[str, Any]) -> None:
    """The four files."""
    names = classes(config)
    name = said["recording"]
    stem = Path(name.removesuffix(".gz")).stem
    labels = [names[stage] for stage in staged.stages]
    write_epochs_tsv(out / f"{stem}_epochs.tsv", staged.onset_s, EPOCH_S, labels, staged.probabilities, names)
    texts = make_stage_texts(labels, names)
    write_edf_annotations(out / f"{stem}_annotations.edf", staged.onset_s, EPOCH_S, texts, recording.start)
    simulated = said["trained_on_simulated_data"]
    title = f"{name}, {recording.ch_name}, by {said['model']}{' trained on simulated nights' if simulated else ''}"
    draw_night(out / f"{stem}.png", *staged, names, title, simulated)
    write_json(out / f"{stem}_statistics.json", said)


def _said(about: dict[str, Any], numbers: dict[str, Any], names: tuple[str, ...], out: Path) -> str:
    """For a human to read."""
    count = about["n_networks"]
    networks = about["model"] if count == 1 else f"the mean of {count} x {about['model']}"
    lines = [
        f"{about['recording']}, {about['channel']}, staged by {networks} ({about['manual']})",
        "",
        night_text(numbers, names),
        "",
        "How certain the network is of an epoch, which is not how right it is:",
        f"  largest probability, on average {numbers['mean_largest_probability']:.2f}, and below 0.50 in "
        f"{100 * numbers['share_below_half']:.0f} % of the epochs",
        f"  entropy {numbers['mean_normalised_entropy']:.2f}, from 0 (certain) to 1 (all stages alike)",
    ]
    if count > 1:
        share = 100 * numbers["share_of_networks_that_agree"]
        lines.append(f"  the stages of single networks are in {share:.0f} % those of their mean")
    return "\n".join([*lines, "", f"Stage: {about['label']}", f"Written to {out}", NO_DEVICE])

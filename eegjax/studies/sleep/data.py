"""Nights become the sleep study's dataset, and what a network reads per epoch."""

import datetime
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data import sleep_edf
from eegjax.data.dataset import Dataset, Part
from eegjax.data.feed import Source, cut_window
from eegjax.data.formats.edf_header import read_edf_header
from eegjax.data.sleep_edf import simulator
from eegjax.data.sleep_edf.fetch import read_lights_off
from eegjax.errors import UserError, note
from eegjax.files import hash_file, hash_of
from eegjax.run import datasets
from eegjax.signal import image as images
from eegjax.signal.multitaper import Multitaper, multitaper_spectrogram

EPOCH_S = sleep_edf.EPOCH_S
SPECTROGRAM = Multitaper()
FRAME_S = SPECTROGRAM.step / SPECTROGRAM.sfreq
AASM_STAGES = ("W", "N1", "N2", "N3", "R")
SEQUENTIAL = ("vgg16_conv_lstm",)  # networks that read several consecutive epochs
ON_SIGNAL = ("lstm",)  # networks that read the EEG instead of its image
NIGHTS = (1, 2)
HOW_TO_GET = (
    "Sleep-EDF files (eegjax prepare --dataset=sleep_edf --root=FOLDER --download fetches them from "
    "https://physionet.org/content/sleep-edfx) or any *-PSG.edf with *-Hypnogram.edf"
)
DAY_S = 86400
LATE_S = 6 * 3600  # a recording that begins up to so long after lights off lacks what was before


def prepare(config: ConfigDict) -> Dataset:
    """Read every night, crop it, make its spectrogram image; simulate the nights first in the demo.

    Raises:
        UserError: the demo with a root, another protocol without one, or anything wrong with a file.
    """
    return datasets.prepare(
        config,
        "sleep",
        lambda root: sleep_edf.find_pairs(datasets.find_root(config, lambda: _simulated(config, root), HOW_TO_GET)),
        lambda pair, hash_of_file: [pair.recording, hash_of_file(pair.psg), hash_of_file(pair.hypnogram)],
        lambda pair: _part(config, pair),
        _card(config),
    )


def _simulated(config: ConfigDict, root: Path) -> Path:
    settings = config.data.simulation.to_dict()
    folder = root / f"simulated-sleep-{hash_of([settings, simulator.VERSION])}"

    def is_there(names: tuple[int, int]) -> bool:
        return len(list(folder.glob(f"SC4{names[0]:02d}{names[1]}*.edf"))) == 2

    def write(names: tuple[int, int]) -> None:
        simulator.write_night(folder, settings["seed"], *names, settings["n_epochs"])

    wanted = [(subject, night) for subject in range(settings["n_subjects"]) for night in NIGHTS]
    datasets.simulate_missing(wanted, is_there, write, "nights", config.run.workers)
    return folder


def _card(config: ConfigDict) -> dict[str, Any]:
    demo = config.protocol == "demo"
    return {
        "source": "simulated by eegjax.data.sleep_edf.simulator" if demo else "EDF recordings with EDF+ hypnograms",
        "licence": "none needed" if demo else "that of the recordings' owners (Sleep-EDF: ODC-By 1.0)",
        "citation": "none" if demo else "Sleep-EDF: Kemp et al., IEEE Trans. Biomed. Eng. 47 (2000); PhysioNet",
        "simulated": demo,
        "array": "image",
        "unit": {"eeg": "µV", "image": "level 0..254 of the night's equalised log10(S + 1), S in µV²/Hz"},
        "sfreq": {"eeg": SPECTROGRAM.sfreq, "image": 1 / FRAME_S},
        "multitaper": SPECTROGRAM._asdict(),
        "channel": config.data.channel,
        "crop": config.data.crop,
        "margin_s": config.data.margin_s,
        "unscored": config.data.unscored,
        "saturate": config.data.saturate,
        "preparation": 3,  # raised when the code that prepares changes what it makes
    }


def _part(config: ConfigDict, pair: sleep_edf.Pair) -> Part:
    """One night, cropped: its EEG, its image, and its scored epochs."""
    recording = sleep_edf.read_recording(pair, config.data.channel or None)
    night = _night(config, pair, recording.stages)
    stages = recording.stages[night]
    first_s = (night.start or 0) * EPOCH_S
    begin = round(first_s * recording.sfreq)
    eeg = recording.eeg[begin : begin + round(len(stages) * EPOCH_S * recording.sfreq)]
    if config.data.unscored == "wake":
        stages = np.maximum(stages, 0)
    epochs = np.flatnonzero(stages >= 0)
    counts = np.bincount(stages[epochs], minlength=len(sleep_edf.STAGES))
    return Part(
        arrays={"eeg": eeg[:, None], "image": to_levels(eeg, config.data.saturate)},
        examples=_examples(epochs, first_s, stages[epochs]),
        card={
            "recording": pair.recording,
            "subject": pair.subject,
            "session": pair.session,
            "ch_names": [recording.ch_name],
            "first_s": first_s,
            "epochs": dict(zip(sleep_edf.STAGES, counts.tolist(), strict=True)),
            "files": {path.name: hash_file(path) for path in (pair.psg, pair.hypnogram)},
        },
    )


def _examples(epochs: np.ndarray, first_s: float, stages: np.ndarray) -> dict[str, np.ndarray]:
    """The index's columns of a recording whose arrays begin at `first_s`."""
    onset_s = epochs * EPOCH_S
    return {
        "onset_s": onset_s + first_s,
        "start": np.asarray(SPECTROGRAM.frame_at(onset_s)),
        "stop": np.asarray(SPECTROGRAM.frame_at(onset_s + EPOCH_S)),
        "label": stages,
    }


def _night(config: ConfigDict, pair: sleep_edf.Pair, stages: np.ndarray) -> slice:
    """The epochs of the night: from `margin_s` before sleep to as much after it, or from lights off.

    The time of lights off stands in a table beside the recordings; lights on stands nowhere, and without a time of
    lights off neither is known: the margin then decides.
    """
    night = sleep_edf.crop_to_sleep(stages, config.data.margin_s)
    time = read_lights_off(pair.recording) if config.data.crop == "lights" else None
    if time is None:
        return night
    begun = datetime.datetime.strptime(read_edf_header(pair.psg).start_time, "%H.%M.%S").time()
    of_day_s = [value.hour * 3600 + value.minute * 60 + value.second for value in (begun, time)]
    since_begin_s = (of_day_s[1] - of_day_s[0] + LATE_S) % DAY_S - LATE_S
    first = max(int(since_begin_s // EPOCH_S), 0)
    if first > np.flatnonzero(stages > 0)[-1]:
        note(f"{pair.psg}: lights off at {time} is after all sleep; {config.data.margin_s:g} s before sleep instead")
        return night
    return slice(first, night.stop)


def to_levels(eeg: np.ndarray, saturate: bool) -> np.ndarray:
    """The image of a whole night: [n_times] float32, µV -> [n_frames, n_freqs] uint8, equalised levels 0..254."""
    power = multitaper_spectrogram(eeg, SPECTROGRAM)
    return np.asarray(images.equalise(jnp.log10(power + 1), upper=1.0 if saturate else None))


def unlabelled(config: ConfigDict, recording: str, eeg: np.ndarray) -> Dataset:
    """A dataset of one recording that nobody has scored: all its whole epochs, with label 0.

    Args:
        config: of the run that will be applied to it.
        recording: its name.
        eeg: [n_times] float32, µV, at the spectrogram's rate.
    """
    n_epochs = int(len(eeg) // (EPOCH_S * SPECTROGRAM.sfreq))
    arrays = {"eeg": eeg[:, None], "image": to_levels(eeg, config.data.saturate)}
    examples = _examples(np.arange(n_epochs), 0.0, np.zeros(n_epochs, np.int8))
    index = pd.DataFrame({"subject": recording, "session": "1", "recording": recording, **examples})
    index.insert(0, "example", np.arange(n_epochs))
    extents = {name: [0, len(array)] for name, array in arrays.items()}
    rows = [{"recording": recording, "first_s": 0.0, "extents": extents}]
    return Dataset(Path(), index, {**_card(config), "recordings": rows, "hash": ""}, arrays)


def classes(config: ConfigDict) -> tuple[str, ...]:
    """The six stages of Rechtschaffen & Kales, or the AASM's five."""
    if config.data.n_classes not in (5, 6):
        raise UserError(
            f"config.data.n_classes is {config.data.n_classes}; there are 6 (Rechtschaffen & Kales) and 5 (AASM)"
        )
    return sleep_edf.STAGES if config.data.n_classes == 6 else AASM_STAGES


def labels(config: ConfigDict, index: pd.DataFrame) -> np.ndarray:
    """[n] int8, the stage of each row in `classes`."""
    stages = index["label"].to_numpy(np.int8)
    return stages if config.data.n_classes == 6 else sleep_edf.merge_to_aasm(stages)


def source(config: ConfigDict, dataset: Dataset) -> Source:
    """Each epoch's frames (or samples), with its `context_epochs`, and its label."""
    before_s = config.data.context_epochs * EPOCH_S
    label = {"label": labels(config, dataset.index)}
    if config.model.name in ON_SIGNAL:
        start = epoch_starts(dataset) - round(before_s * SPECTROGRAM.sfreq)
        columns, _ = cut_window(dataset, "eeg", start.astype(float), n_samples(config))
        return Source({"eeg": dataset.arrays["eeg"]}, {"eeg": n_samples(config)}, {**columns, **label})
    start = dataset.index["start"].to_numpy() - before_s / FRAME_S + 0.5  # half a frame: pixels stand for their middles
    columns, fraction = cut_window(dataset, "image", start, n_frames(config))
    table = {**columns, "fraction": fraction, **label}
    return Source({"image": dataset.arrays["image"]}, {"image": n_frames(config) + 1}, table)


def n_frames(config: ConfigDict) -> int:
    """Frames that a network sees: of the epoch and its context."""
    return round(window_s(config) / FRAME_S)


def n_samples(config: ConfigDict) -> int:
    """Samples that a network on the raw signal sees."""
    return round(window_s(config) * SPECTROGRAM.sfreq)


def window_s(config: ConfigDict) -> float:
    """Seconds that a network sees: the epoch and `context_epochs` on both sides, or before it only (causal)."""
    return (1 + config.data.context_epochs * (1 if config.data.causal else 2)) * EPOCH_S


def epoch_starts(dataset: Dataset) -> np.ndarray:
    """[n_examples] int64: where each example's epoch begins in the array `eeg`."""
    first_s = {row["recording"]: row["first_s"] for row in dataset.card["recordings"]}
    onset_s = dataset.index["onset_s"].to_numpy() - dataset.index["recording"].map(first_s).to_numpy()
    return dataset.extent("eeg")[:, 0] + np.round(onset_s * SPECTROGRAM.sfreq).astype(np.int64)


def epochs_uv(dataset: Dataset, rows: np.ndarray | None = None) -> np.ndarray:
    """[n_rows, n_times] float32, µV: the EEG of examples' epochs, of all without `rows`."""
    begin = epoch_starts(dataset)[slice(None) if rows is None else rows]
    return dataset.arrays["eeg"][begin[:, None] + np.arange(round(EPOCH_S * SPECTROGRAM.sfreq)), 0]


def positions(index: pd.DataFrame) -> np.ndarray:
    """[n] int: the number of each epoch in its recording."""
    return np.round(index["onset_s"].to_numpy() / EPOCH_S).astype(int)


def units(config: ConfigDict, dataset: Dataset, rows: np.ndarray, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Single epochs, or sequences of consecutive epochs of one night for the recurrent network.

    Sequences stop where epochs are missing. For predictions they overlap by half, so that all but a stretch's first
    epochs are scored with at least half a sequence before them.
    """
    length = config.model.sequence_epochs if config.model.name in SEQUENTIAL else 1
    if length == 1:
        return rows, np.ones(rows.shape, bool)
    index = dataset.index.iloc[rows]
    position = positions(index)
    recording = index["recording"].to_numpy()
    breaks = np.flatnonzero((np.diff(position) != 1) | (recording[1:] != recording[:-1])) + 1
    warm_up = 0 if train else length // 2
    sequences = []
    scored = []
    for stretch in np.split(rows, breaks) if len(rows) else []:
        for begin in range(0, max(len(stretch) - warm_up, 1), length - warm_up):
            part = stretch[begin : begin + length]
            sequences.append(np.pad(part, (0, length - len(part)), constant_values=-1))
            scored.append((sequences[-1] >= 0) & (np.arange(length) >= (warm_up if begin else 0)))
    return np.array(sequences, np.int64).reshape(-1, length), np.array(scored, bool).reshape(-1, length)

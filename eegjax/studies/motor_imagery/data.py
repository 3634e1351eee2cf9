"""Runs of cued trials become the motor-imagery study's dataset, and what a network reads per trial."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data import bci_iv_2a, eegmmidb
from eegjax.data.bci_iv_2a import simulator
from eegjax.data.dataset import Dataset, Part
from eegjax.data.feed import Source, cut_window
from eegjax.data.trials import REST, Trials
from eegjax.errors import UserError, check_choice, note
from eegjax.files import hash_of
from eegjax.run import datasets
from eegjax.signal.filters import band_pass, notch
from eegjax.signal.reference import reference_to_average, reference_to_channel
from eegjax.signal.resampling import resample
from eegjax.signal.standardise import exponential_moving_standardise

READERS: dict[str, ModuleType] = {"bci_iv_2a": bci_iv_2a, "eegmmidb": eegmmidb}
CONTROL_S = {"bci_iv_2a": (-2.0, 0.0), "eegmmidb": (-4.0, 0.0)}  # before the cue: the fixation cross, or rest
HOW_TO_GET = {
    "bci_iv_2a": "A01T.mat and A01E.mat of BNCI Horizon 2020 (001-2014), the competition's GDF, or the course release",
    "eegmmidb": "S001/S001R04.edf and so on of PhysioNet's eegmmidb",
}


def prepare(config: ConfigDict) -> Dataset:
    """Read every run, filter it as a whole, and find its trials; simulate the sessions first in the demo.

    Raises:
        UserError: the demo with a root or of another data set, another protocol without a root, a window that reaches
            into the next trial, or anything wrong with a file.
    """
    reader = _reader(config)
    dataset = datasets.prepare(
        config,
        f"motor-imagery-{config.data.dataset}",
        lambda root: reader.find(_root(config, root), tuple(config.data.exclude)),
        # the name counts too: that of an EEGMMIDB run tells the classes
        lambda file, hash_of_file: [
            file.subject,
            file.session,
            [[path.name, hash_of_file(path)] for path in _paths(file)],
        ],
        lambda file: _part(config, file),
        _card(config),
    )
    return _usable(dataset)


def _reader(config: ConfigDict) -> ModuleType:
    check_choice("config.data.dataset", config.data.dataset, READERS)
    return READERS[config.data.dataset]


def _paths(file: Any) -> list[Path]:
    """The files that a session is read from."""
    if getattr(file, "form", "") == "release":
        return [file.path.with_name(f"{name}_{file.session}.npy") for name in ("X", "y", "person")]
    return [file.path, *([file.labels] if getattr(file, "labels", None) else [])]


def _read(config: ConfigDict, file: Any) -> list[Trials]:
    if config.data.dataset == "bci_iv_2a":
        return bci_iv_2a.read(file, tuple(config.data.window_s))
    # all people have these, and networks and baselines see the same as on the other data set
    return eegmmidb.read(file, tuple(config.data.window_s), bci_iv_2a.CH_NAMES)


def _root(config: ConfigDict, root: Path) -> Path:
    name = config.data.dataset
    command = f"eegjax prepare --dataset={name} --root=FOLDER --download"
    return datasets.find_root(config, lambda: _simulated(config, root), f"{HOW_TO_GET[name]} ({command} fetches them)")


def _simulated(config: ConfigDict, root: Path) -> Path:
    if config.data.dataset != "bci_iv_2a":
        raise UserError(
            f"config.data.dataset is '{config.data.dataset}', but the demo simulates bci_iv_2a; for real recordings "
            f"name a protocol: eegjax run motor_imagery:standard,dataset={config.data.dataset}"
        )
    settings = config.data.simulation.to_dict()
    folder = root / f"simulated-motor-imagery-{hash_of([settings, simulator.VERSION])}"

    def is_there(names: tuple[int, str]) -> bool:
        return (folder / f"A{names[0]:02d}{names[1]}.mat").exists()

    def write(names: tuple[int, str]) -> None:
        simulator.write_session(folder, settings["seed"], *names, settings["n_runs"], settings["n_trials_per_run"])

    wanted = [(subject, session) for subject in range(1, settings["n_subjects"] + 1) for session in "TE"]
    datasets.simulate_missing(wanted, is_there, write, "sessions", config.run.workers)
    return folder


def _card(config: ConfigDict) -> dict[str, Any]:
    demo = config.protocol == "demo"
    data = config.data
    owners = {
        "bci_iv_2a": "Brunner et al. 2008, BCI Competition IV data set 2a; Tangermann et al. 2012",
        "eegmmidb": "Schalk et al., IEEE Trans. Biomed. Eng. 51 (2004); PhysioNet",
    }
    return {
        "source": "simulated by eegjax.data.bci_iv_2a.simulator" if demo else data.dataset,
        "licence": "none needed" if demo else "that of the recordings' owners (eegmmidb: ODC-By 1.0)",
        "citation": "none" if demo else owners[data.dataset],
        "simulated": demo,
        "array": "eeg",
        "unit": {"eeg": "moving z-score" if data.moving else "µV"},
        "sfreq": {"eeg": data.sfreq},
        "ch_names": list(bci_iv_2a.CH_NAMES),
        "window_s": list(data.window_s),
        "band_hz": [data.l_freq_hz, data.h_freq_hz],
        "notch_hz": data.notch_hz,
        "causal": data.causal,
        "reference": data.reference,
        "preparation": 1,  # raised when the code that prepares changes what it makes
    }


def _part(config: ConfigDict, file: Any) -> Part:
    """One session, its runs filtered and put end to end, and its trials."""
    runs = _read(config, file)
    eeg = [_filtered(config, run) for run in runs]
    ends = np.cumsum([0, *map(len, eeg)])
    columns = [_examples(config, *pair) for pair in zip(runs, eeg, strict=True)]
    examples = {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
    for name in ("start", "stop"):
        examples[name] += np.repeat(ends[:-1], [len(column["label"]) for column in columns])
    artifact, missing = (examples.pop(name) for name in ("artifact", "missing"))
    return Part(
        arrays={"eeg": np.concatenate(eeg)},
        examples={**examples, "usable": ~artifact & ~missing},
        card={
            "recording": getattr(file, "recording", f"{file.subject}{file.session}"),
            "subject": file.subject,
            "session": file.session,
            "runs": [[int(begin), int(end)] for begin, end in pairwise(ends)],
            "n_trials": len(artifact),
            "dropped": {
                "artifact": int(artifact.sum()),
                "nan": int((missing & ~artifact).sum()),
                "cut": sum(run.n_cut for run in runs),
            },
        },
    )


def _examples(config: ConfigDict, run: Trials, eeg: np.ndarray) -> dict[str, np.ndarray]:
    """The trials of one run, in samples of its filtered EEG; rest is none."""
    _check_window(config, run)
    table = run.table[run.table["label"] != REST]
    cue_s = table["cue"].to_numpy() / run.sfreq
    first_s = config.data.window_s[0]
    control_s = CONTROL_S[config.data.dataset][0]
    start, control = (np.rint((cue_s + at_s) * config.data.sfreq).astype(np.int64) for at_s in (first_s, control_s))
    stop = start + n_times(config)
    finite = np.isfinite(eeg).all(axis=1)

    def whole(begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
        pairs = zip(begins, ends, strict=True)
        return np.array([begin >= 0 and end <= len(eeg) and finite[begin:end].all() for begin, end in pairs], bool)

    # single trials have nothing in front of them but other trials
    before = whole(control, control + n_control(config)) & (run.session not in bci_iv_2a.PARTS)
    return {
        "onset_s": cue_s,  # in its run
        "start": start,
        "stop": stop,
        "label": table["label"].to_numpy(np.int8),
        "run": table["run"].to_numpy(str),
        "trial": np.arange(len(table)),  # of the run
        "control": np.where(before, control - start, 0),  # begins there, counted from `start`; 0: there is none
        "artifact": table["artifact"].to_numpy(bool),
        "missing": ~whole(start, stop),
    }


def _check_window(config: ConfigDict, run: Trials) -> None:
    """A window that has another trial in it, or the rest behind its own, has what it isn't labelled as."""
    table = run.table.sort_values("cue")
    cue = table["cue"].to_numpy()
    task = (table["label"] != REST).to_numpy()
    low, high = config.data.window_s
    until_next = np.diff(cue)[task[:-1]]
    between = np.diff(cue[task])
    for length, samples in ((high, until_next), (high - low, between)):
        if len(samples) and round(length * run.sfreq) > samples.min():
            raise UserError(
                f"{run.recording}: config.data.window_s is {tuple(config.data.window_s)}, but the next trial, or rest, "
                f"begins {samples.min() / run.sfreq:g} s after a cue; choose a shorter window, or leave the subject "
                "out (config.data.exclude)"
            )


def _filtered(config: ConfigDict, trials: Trials) -> np.ndarray:
    """[n_times, n_chans] float32, µV (or moving z-scores) at `config.data.sfreq`.

    Whole recordings are filtered, so that no trial has an edge in it; the course release's trials stand side by side
    and would run into each other: they are left as they are.
    """
    data = config.data
    eeg = trials.eeg
    joined = trials.session in bci_iv_2a.PARTS
    if joined and (data.l_freq_hz or data.h_freq_hz or data.notch_hz or data.moving or data.sfreq != trials.sfreq):
        raise UserError(
            f"{trials.recording}: the course release holds single trials, which can't be filtered, standardised along "
            "time or resampled; set config.data.l_freq_hz=0, h_freq_hz=0, notch_hz=0, moving=false and sfreq=250"
        )
    if data.notch_hz:
        eeg = notch(eeg, trials.sfreq, data.notch_hz, causal=data.causal)
    if data.l_freq_hz or data.h_freq_hz:
        eeg = band_pass(eeg, trials.sfreq, data.l_freq_hz or None, data.h_freq_hz or None, causal=data.causal)
    if data.reference == "average":
        eeg = np.asarray(reference_to_average(eeg))
    elif data.reference:
        eeg = np.asarray(reference_to_channel(eeg, trials.ch_names, data.reference))
    if data.sfreq != trials.sfreq:
        if np.isnan(eeg).any():
            raise UserError(
                f"{trials.recording}: has missing samples (NaN), and can't be resampled from {trials.sfreq:g} to "
                f"{data.sfreq:g} Hz; set config.data.sfreq={trials.sfreq:g}"
            )
        eeg = resample(eeg, trials.sfreq, data.sfreq)
    if data.moving:
        eeg = np.asarray(exponential_moving_standardise(eeg))
    return np.ascontiguousarray(eeg, np.float32)


def _usable(dataset: Dataset) -> Dataset:
    """The dataset without trials that hold NaN or were marked as artifacts; how many those are is said."""
    counts = pd.DataFrame([row["dropped"] for row in dataset.card["recordings"]]).sum()
    said = ", ".join(f"{counts[name]} {words}" for name, words in DROPPED.items() if counts[name])
    n_trials = sum(row["n_trials"] for row in dataset.card["recordings"]) + counts["cut"]
    keep = dataset.index["usable"].to_numpy()
    if not keep.any():
        raise UserError(
            f"{dataset.folder}: of {n_trials} trials none is left: {said}; choose another "
            "config.data.window_s or other recordings"
        )
    if said:
        note(f"of {n_trials} trials are left out: {said}")
    index = dataset.index[keep].reset_index(drop=True).assign(example=np.arange(keep.sum()))
    card = {**dataset.card, "dropped": {name: int(count) for name, count in counts.items()}}
    return Dataset(dataset.folder, index, card, dataset.arrays)


DROPPED = {"artifact": "marked as artifacts", "nan": "with samples missing", "cut": "cut off by the recording"}


def classes(config: ConfigDict) -> tuple[str, ...]:
    """The four imagined movements."""
    return _reader(config).CLASSES


def labels(config: ConfigDict, index: pd.DataFrame) -> np.ndarray:
    """[n] int8, the class of each row."""
    return index["label"].to_numpy(np.int8)


def n_times(config: ConfigDict) -> int:
    """Samples that a network sees, before upsampling."""
    low, high = config.data.window_s
    return round((high - low) * config.data.sfreq)


def n_control(config: ConfigDict) -> int:
    """Samples in front of a cue that a control sees."""
    return round(-CONTROL_S[config.data.dataset][0] * config.data.sfreq)


def source(config: ConfigDict, dataset: Dataset) -> Source:
    """Each trial's window, its label, and the number of its subject."""
    columns, _ = cut_window(dataset, "eeg", dataset.index["start"].to_numpy(float), n_times(config))
    subjects = sorted(dataset.index["subject"].unique())
    number = dataset.index["subject"].map({name: k for k, name in enumerate(subjects)}).to_numpy(np.int32)
    table = {**columns, "label": labels(config, dataset.index), "subject": number}
    return Source({"eeg": dataset.arrays["eeg"]}, {"eeg": n_times(config)}, table)


def trials_uv(config: ConfigDict, dataset: Dataset, band_hz: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Every trial, and what precedes its cue, filtered along whole recordings.

    For baselines, which see power in one band. The course release's trials are filtered one by one.

    Returns:
        [n_examples, n_times, n_chans] float32, the trials; [n_examples, n_control, n_chans] float32, what precedes
        their cues: all NaN where nothing does (`control` is 0 in the index).
    """
    sfreq = config.data.sfreq
    index = dataset.index
    joined = set(index["session"]) <= set(bci_iv_2a.PARTS)
    start = index["start"].to_numpy()
    control = index["control"].to_numpy()
    sizes = (n_times(config), n_control(config))
    n_chans = dataset.arrays["eeg"].shape[1]
    trials, before = (np.full((len(index), size, n_chans), np.nan, np.float32) for size in sizes)
    for row in dataset.card["recordings"]:
        begins = row["extents"]["eeg"][0]
        for first, last in np.array(row["runs"]) + begins:
            eeg = np.asarray(dataset.arrays["eeg"][first:last])
            if not joined:
                eeg = band_pass(eeg, sfreq, *band_hz, causal=config.data.causal)
            for at in np.flatnonzero((index["start"] >= first) & (index["stop"] <= last)):
                begin = start[at] - first
                trial = eeg[begin : begin + sizes[0]]
                trials[at] = band_pass(trial, sfreq, *band_hz, causal=True) if joined else trial
                if control[at] < 0:
                    before[at] = eeg[begin + control[at] :][: sizes[1]]
    return trials, before

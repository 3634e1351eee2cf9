"""A finished run on recordings of the user's own: four files that agree, whatever the format, rate and length."""

import datetime
import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import edfio
import jax
import mne
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.signal import resample_poly

from eegjax import commands
from eegjax.data.sleep_edf.reader import STAGES, read_hypnogram
from eegjax.data.sleep_edf.simulator import simulate_night
from eegjax.errors import UserError
from eegjax.files import hash_file, write_json
from eegjax.run import apply, weights
from eegjax.run.finished import finished as finished_config
from eegjax.studies.sleep import apply as sleep_predict
from eegjax.studies.sleep import study as sleep
from eegjax.studies.sleep.data import unlabelled

N_EPOCHS, SFREQ = 60, 100.0
START = datetime.datetime(2024, 1, 31, 22, 30, 5)
ENDS = ("_annotations.edf", "_epochs.tsv", "_statistics.json", ".png")


class Outcome(NamedTuple):
    """What the command left."""

    epochs: pd.DataFrame
    statistics: dict[str, Any]
    printed: str

    @property
    def probabilities(self) -> np.ndarray:
        return self.epochs.filter(like="p_").to_numpy()


def stage(run: Path, path: Path, out: Path, stem: str | None = None, channel: str | None = None) -> Outcome:
    printed = commands.apply(run, path, channel, out)
    stem = stem or path.stem
    return Outcome(
        pd.read_csv(out / f"{stem}_epochs.tsv", sep="\t", keep_default_na=False),
        json.loads((out / f"{stem}_statistics.json").read_text()),
        printed,
    )


def write_edf(path: Path, eeg: np.ndarray, sfreq: float = SFREQ, ch_names=("EEG Fpz-Cz",), **signal: Any) -> Path:
    bdf = path.suffix == ".bdf"
    signal_class, file_class = (edfio.BdfSignal, edfio.Bdf) if bdf else (edfio.EdfSignal, edfio.Edf)
    signal = {"physical_dimension": "uV", "physical_range": (-500, 500), **signal}
    signals = [
        signal_class(row, sfreq, label=name, **signal) for row, name in zip(np.atleast_2d(eeg), ch_names, strict=True)
    ]
    file_class(signals, recording=edfio.Recording(startdate=START.date()), starttime=START.time()).write(path)
    return path


@pytest.fixture(scope="module")
def eeg() -> np.ndarray:
    """Half an hour of a sleeper whom nobody has seen, µV."""
    return simulate_night(3, 50, 1, N_EPOCHS).eeg.astype(float).clip(-499, 499)


@pytest.fixture(scope="module")
def night(eeg: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_edf(tmp_path_factory.mktemp("recordings") / "night.edf", eeg)


@pytest.fixture(scope="module")
def staged(finished, night: Path) -> Outcome:
    return stage(finished.folder, night, night.parent / "out")


@pytest.fixture
def changed(finished, tmp_path: Path) -> Callable[..., Path]:
    """A function: fields of the configuration -> a copy of the run with them."""

    def change(**fields: Any) -> Path:
        folder = tmp_path / "changed"
        folder.mkdir()
        for name in ("environment.json", "card.json", "metrics.json"):
            shutil.copy(finished.folder / name, folder)
        shutil.copytree(finished.folder / "weights", folder / "weights")
        config = finished_config(finished.folder)
        config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
        write_json(folder / "config.json", {"config": config.to_dict()})
        return folder

    return change


# ---- what is written


def test_there_is_a_row_per_whole_epoch(staged: Outcome) -> None:
    epochs = staged.epochs
    assert list(epochs.columns) == ["onset_s", "duration_s", "label", *(f"p_{name}" for name in STAGES)]
    assert epochs["onset_s"].tolist() == [30.0 * number for number in range(N_EPOCHS)]
    assert set(epochs["duration_s"]) == {30.0}
    assert set(epochs["label"]) <= set(STAGES)
    np.testing.assert_allclose(staged.probabilities.sum(1), 1, atol=1e-5)


def test_the_probabilities_are_the_networks(staged: Outcome, finished, eeg: np.ndarray) -> None:
    config = finished_config(finished.folder)
    dataset = unlabelled(config, "night", eeg.astype(np.float32))
    networks = weights.load(finished.folder, "vgg16")
    expected = apply.predict(config, sleep.TASK, dataset, networks, np.arange(N_EPOCHS))[0]
    np.testing.assert_allclose(staged.probabilities, expected, atol=1e-3)  # the file's digital steps
    assert staged.probabilities.std(0).max() > 2e-3


def test_a_recording_of_the_run_gives_what_the_run_said(finished, run_root: Path, tmp_path: Path, caplog) -> None:
    """Uncropped, the night is equalised with a little more wake, and else the same."""
    card = json.loads((finished.folder / "card.json").read_text())
    own = {sha for row in card["recordings"] for sha in row["files"].values()}
    nights = run_root.glob("datasets/simulated-sleep-*/SC4021*-PSG.edf")
    psg = next(path for path in nights if hash_file(path) in own)
    epochs = stage(finished.folder, psg, tmp_path).epochs
    assert "this very file belongs to the run's own data" in caplog.text
    assert "DC-coupled" not in caplog.text
    frame = pd.read_parquet(finished.folder / "predictions.parquet")
    frame = frame[(frame["model"] == "vgg16") & (frame["recording"] == "SC4021")].merge(epochs, on="onset_s")
    assert len(frame) > 40
    for name in STAGES:
        before, after = frame[f"p_{name}_x"], frame[f"p_{name}_y"]
        assert np.abs(before - after).mean() < 0.3 * before.std() + 1e-3
        assert before.std() < 1e-3 or np.corrcoef(before, after)[0, 1] > 0.9


def test_annotations_are_the_table_for_mne_and_for_our_own_reader(staged: Outcome, night: Path) -> None:
    path = night.parent / "out" / "night_annotations.edf"
    annotations = mne.read_annotations(path)
    shown = {"N1": "1", "N2": "2", "N3": "3", "N4": "4"}
    read = [
        text
        for duration_s, text in zip(annotations.duration, annotations.description, strict=True)
        for _ in range(round(duration_s / 30))
    ]
    assert read == [f"Sleep stage {shown.get(label, label)}" for label in staged.epochs["label"]]
    assert np.cumsum(annotations.duration)[:-1].tolist() == annotations.onset[1:].tolist()
    assert [STAGES[code] for code in read_hypnogram(path)] == staged.epochs["label"].tolist()
    edf = edfio.read_edf(path)
    assert datetime.datetime.combine(edf.startdate, edf.starttime) == START  # beside the recording in a viewer
    assert staged.statistics["start"] == START.isoformat()


def test_the_statistics_are_the_tables(staged: Outcome) -> None:
    numbers, labels = staged.statistics, staged.epochs["label"]
    for name in STAGES:
        assert numbers[f"{name}_min"] == 0.5 * (labels == name).sum()
    assert numbers["total_recording_min"] == 30
    assert numbers["total_sleep_min"] == 0.5 * (labels != "W").sum()
    largest = staged.probabilities.max(1)
    assert numbers["mean_largest_probability"] == pytest.approx(largest.mean(), abs=1e-5)
    assert numbers["share_below_half"] == pytest.approx((largest < 0.5).mean())
    assert (numbers["recording"], numbers["channel"], numbers["model"]) == ("night.edf", "EEG Fpz-Cz", "vgg16")
    assert (numbers["n_networks"], numbers["sfreq_recorded_hz"], numbers["high_passed_hz"]) == (1, 100, None)
    assert (numbers["trained_on_simulated_data"], numbers["manual"]) == (True, "Rechtschaffen & Kales")
    assert "medical device" in numbers["notice"]
    assert "Viterbi" in numbers["label"]


def test_the_picture_shows_the_table(staged: Outcome, finished, night: Path, tmp_path: Path, monkeypatch) -> None:
    kept: list[Figure] = []
    savefig = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (kept.append(self), savefig(self, *a, **k)))
    stage(finished.folder, night, tmp_path)
    above, below = kept[0].axes
    hours, level = above.lines[0].get_data()
    names = [text.get_text() for text in above.get_yticklabels()]
    assert [names[int(place)] for place in level[:N_EPOCHS]] == staged.epochs["label"].tolist()
    np.testing.assert_allclose(hours[:N_EPOCHS] * 3600, staged.epochs["onset_s"])
    for area in below.collections:
        heights = [np.ptp(area.get_paths()[0].vertices[[2 * n + 1, -2 * n - 2], 1]) for n in range(N_EPOCHS)]
        np.testing.assert_allclose(heights, staged.epochs[f"p_{area.get_label()}"], atol=1e-4)
    assert "trained on simulated nights" in kept[0].get_suptitle()


def test_the_same_call_again_gives_the_same_bytes(staged: Outcome, finished, night: Path) -> None:
    before = {path: path.read_bytes() for path in night.parent.rglob("*") if path.is_file()}
    assert {path.name for path in before} == {"night.edf", *(f"night{end}" for end in ENDS)}
    assert stage(finished.folder, night, night.parent / "out").printed == staged.printed
    assert {path: path.read_bytes() for path in night.parent.rglob("*") if path.is_file()} == before


def test_the_printed_text_is_for_people(staged: Outcome, night: Path) -> None:
    lines = staged.printed.splitlines()
    assert lines[0] == "night.edf, EEG Fpz-Cz, staged by vgg16 (Rechtschaffen & Kales)"
    assert re.search(r"^  recording +30\.0 min$", staged.printed, re.M)
    assert f"entropy {staged.statistics['mean_normalised_entropy']:.2f}, from 0 (certain)" in staged.printed
    assert lines[-2] == f"Written to {night.parent / 'out'}"
    assert lines[-1] == "No medical device: for research only, not for diagnosis or treatment."
    assert max(map(len, lines)) <= 120


# ---- which networks


def test_several_networks_are_averaged(finished, changed, staged: Outcome, night: Path, tmp_path: Path) -> None:
    run = changed(test__viterbi=False)
    (first,) = weights.load(run, "vgg16")
    turned = dict(first.variables["params"])
    turned["head"] = {name: np.roll(leaf, 2, -1) for name, leaf in turned["head"].items()}  # says W of N2, and so on
    weights.write(run / "weights", {**first.names, "member": 1}, {**first.variables, "params": turned}, first.stats)
    both = stage(run, night, tmp_path / "out")
    expected = (staged.probabilities + np.roll(staged.probabilities, 2, 1)) / 2
    np.testing.assert_allclose(both.probabilities, expected, atol=2e-6)
    agree = [
        (p.argmax(1) == expected.argmax(1)).mean() for p in (staged.probabilities, np.roll(staged.probabilities, 2, 1))
    ]
    assert both.statistics["share_of_networks_that_agree"] == pytest.approx(np.mean(agree))
    assert both.statistics["n_networks"] == 2
    assert "the mean of 2 x vgg16" in both.printed


def test_the_recurrent_network_stages_in_sequences(finished, changed, eeg, night: Path, tmp_path: Path) -> None:
    run = changed(model__name="vgg16_conv_lstm")
    outcome = stage(run, night, tmp_path / "out")
    config = finished_config(run)
    dataset = unlabelled(config, "night", eeg.astype(np.float32))
    model, make = sleep.TASK.model(config, dataset), sleep.TASK.inputs(config)
    (network,) = weights.load(run, "vgg16_conv_lstm")
    source = sleep.TASK.source(config, dataset)
    from eegjax.data.feed import gather

    rows = np.arange(8, 12)[None]  # of four epochs, the first two are there to warm up
    images = make(network.stats, gather(np, source, rows, rows >= 0), None, False)["inputs"]
    logits = np.asarray(jax.jit(partial(model.apply, train=False))(network.variables, images))[0]
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(outcome.probabilities[10:12], expected[2:], atol=1e-3)
    assert len(outcome.epochs) == N_EPOCHS


# ---- what labels and probabilities are


def test_without_smoothing_the_label_is_the_largest_probability(changed, staged, night: Path, tmp_path: Path) -> None:
    outcome = stage(changed(test__viterbi=False), night, tmp_path / "out")
    np.testing.assert_array_equal(outcome.probabilities, staged.probabilities)
    assert outcome.epochs["label"].tolist() == [STAGES[code] for code in outcome.probabilities.argmax(1)]
    assert outcome.statistics["label"] == "the stage of the largest probability"
    assert outcome.statistics["probability"] == "of each epoch by itself"


def test_prior_correction_is_bayes_rule_and_is_said(changed, staged, night: Path, tmp_path: Path) -> None:
    run = changed(test__viterbi=False, test__prior_correction=True)
    (network,) = weights.load(run, "vgg16")
    prior = np.array([0.1, 0.05, 0.5, 0.1, 0.05, 0.2], np.float32)
    stats = {**network.stats, "prior": prior, "trained_prior": np.full(6, 1 / 6, np.float32)}
    weights.write(run / "weights", network.names, network.variables, stats)
    outcome = stage(run, night, tmp_path / "out")
    expected = staged.probabilities * prior * 6
    np.testing.assert_allclose(outcome.probabilities, expected / expected.sum(1, keepdims=True), atol=1e-4)
    assert outcome.epochs["label"].tolist() == [STAGES[code] for code in outcome.probabilities.argmax(1)]
    assert outcome.statistics["probability"].endswith("corrected for how training balanced the stages")


def test_five_classes_have_the_names_of_the_aasm(changed, night: Path, eeg: np.ndarray, tmp_path: Path) -> None:
    run = changed(data__n_classes=5)
    (network,) = weights.load(run, "vgg16")
    five = [0, 1, 2, 3, 5]
    params = dict(network.variables["params"])
    params["head"] = {name: leaf[..., five] for name, leaf in params["head"].items()}
    stats = {name: network.stats[name][five] for name in ("prior", "trained_prior")}
    stats["transitions"] = np.full((5, 5), 0.2, np.float32)
    weights.write(run / "weights", network.names, {**network.variables, "params": params}, stats)
    outcome = stage(run, night, tmp_path / "out")
    names = ["W", "N1", "N2", "N3", "R"]
    assert [column for column in outcome.epochs if column.startswith("p_")] == [f"p_{name}" for name in names]
    assert set(outcome.epochs["label"]) <= set(names)
    texts = set(mne.read_annotations(tmp_path / "out" / "night_annotations.edf").description)
    assert texts == {f"Sleep stage {label}" for label in outcome.epochs["label"]}
    assert outcome.statistics["manual"] == "AASM"
    assert "N4_min" not in outcome.statistics


# ---- formats, rates, lengths, channels


def _bdf(path: Path, eeg: np.ndarray) -> Path:
    return write_edf(path / "night.bdf", eeg)


def _fif(path: Path, eeg: np.ndarray) -> Path:
    info = mne.create_info(["EEG Fpz-Cz"], SFREQ, "eeg")
    raw = mne.io.RawArray(eeg[None] * 1e-6, info, verbose="error")
    raw.set_meas_date(START.replace(tzinfo=datetime.UTC)).save(path / "night_raw.fif.gz", verbose="error")
    return path / "night_raw.fif.gz"


def _brainvision(path: Path, eeg: np.ndarray) -> Path:
    eeg.astype("<f4").tofile(path / "night.eeg")
    (path / "night.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\nDataFile=night.eeg\n[Marker Infos]\n"
        f"Mk1=New Segment,,1,1,0,{START:%Y%m%d%H%M%S%f}\n"
    )
    (path / "night.vhdr").write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nDataFile=night.eeg\n"
        "MarkerFile=night.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\nNumberOfChannels=1\n"
        "SamplingInterval=10000\n[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n[Channel Infos]\nCh1=EEG Fpz-Cz,,1,µV\n",
        encoding="utf-8",
    )
    return path / "night.vhdr"


@pytest.mark.parametrize(("write", "stem"), [(_bdf, "night"), (_fif, "night_raw"), (_brainvision, "night")])
def test_every_format_gives_the_same_answers(finished, staged, eeg, tmp_path: Path, write, stem: str) -> None:
    outcome = stage(finished.folder, write(tmp_path, eeg), tmp_path / "out", stem)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{stem}{end}" for end in ENDS}
    np.testing.assert_allclose(outcome.probabilities, staged.probabilities, atol=1e-3)
    assert (outcome.epochs["label"] == staged.epochs["label"]).mean() > 0.95
    assert outcome.statistics["start"] == START.isoformat()


@pytest.mark.parametrize("sfreq", [128.0, 256.0, 512.0])
def test_every_rate_gives_nearly_the_same_answers(finished, staged, eeg, tmp_path: Path, sfreq: float, caplog) -> None:
    same = resample_poly(eeg, int(sfreq), 100, window=("kaiser", 8.0), padtype="reflect")
    outcome = stage(finished.folder, write_edf(tmp_path / "night.edf", same.clip(-499, 499), sfreq), tmp_path)
    assert f"resampled from {sfreq:g} Hz to 100 Hz" in caplog.text
    assert len(outcome.epochs) == N_EPOCHS
    spread = staged.probabilities.std(0).mean()
    assert np.abs(outcome.probabilities - staged.probabilities).mean() < 0.05 * spread
    assert (outcome.epochs["label"] == staged.epochs["label"]).mean() > 0.95


def test_a_dc_coupled_recording_gives_nearly_the_same_answers(finished, staged, eeg, tmp_path: Path, caplog) -> None:
    time = np.linspace(0, 1, eeg.size)
    both = np.stack([eeg - 28_000 + 600 * time, 15_000 + 300 * np.sin(5 * time)])
    path = write_edf(tmp_path / "night.bdf", both, ch_names=("Fpz", "Cz"), physical_range=(-262_144, 262_143))
    outcome = stage(finished.folder, path, tmp_path)
    assert "DC-coupled" in caplog.text
    assert "another montage" not in caplog.text  # Fpz minus Cz is what the run was trained on
    assert (outcome.statistics["channel"], outcome.statistics["high_passed_hz"]) == ("Fpz-Cz", 0.3)
    spread = staged.probabilities.std(0).mean()
    assert np.abs(outcome.probabilities - staged.probabilities).mean() < 0.2 * spread
    assert (outcome.epochs["label"] == staged.epochs["label"]).mean() > 0.9


@pytest.mark.parametrize(("seconds", "n_epochs"), [(30.0, 1), (59.99, 1)])
def test_any_length_from_an_epoch(finished, eeg, tmp_path: Path, seconds: float, n_epochs: int) -> None:
    cut = eeg[: round(seconds * SFREQ)]
    outcome = stage(finished.folder, _brainvision(tmp_path, cut), tmp_path)
    assert len(outcome.epochs) == n_epochs


def test_less_than_an_epoch_is_an_error(finished, eeg, tmp_path: Path) -> None:
    path = write_edf(tmp_path / "short.edf", eeg[:2900])
    with pytest.raises(UserError, match=r"short\.edf, channel 'EEG Fpz-Cz': 29 s long, expected at least 30 s"):
        commands.apply(finished.folder, path, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_channel_is_an_error_that_lists_the_others(finished, eeg, tmp_path: Path) -> None:
    path = write_edf(tmp_path / "night.edf", np.stack([eeg, -eeg]), ch_names=("EEG Pz-Oz", "EEG C4-M1"))
    with pytest.raises(UserError, match=r"no channels named 'EEG Fpz-Cz', expected one of: EEG Pz-Oz, EEG C4-M1"):
        commands.apply(finished.folder, path, None, tmp_path)
    with pytest.raises(UserError, match=r"no channels named 'EEG Pz-Ox', expected one of: .* Did you mean 'EEG Pz-Oz'"):
        commands.apply(finished.folder, path, "EEG Pz-Ox", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["night.edf"]


# ---- what is said beside the answers


def test_another_channel_is_said(finished, staged, eeg, tmp_path: Path, caplog) -> None:
    path = write_edf(tmp_path / "night.edf", np.stack([-0.3 * eeg, eeg]), ch_names=("EEG Fpz-Cz", "EEG Pz-Oz"))
    outcome = stage(finished.folder, path, tmp_path, channel="pz-oz")
    assert "channel 'EEG Pz-Oz', but the run was trained on EEG Fpz-Cz: another montage" in caplog.text
    np.testing.assert_allclose(outcome.probabilities, staged.probabilities, atol=1e-3)  # it is that one that was read


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"ch_name": "fpz-cz"}, []),
        ({"ch_name": "EEG"}, ["channel 'EEG', but the run was trained on EEG Fpz-Cz"]),
        ({"sfreq_recorded": 64.0}, ["recorded at 64 Hz, which is whole up to 22.4 Hz, but .* up to 30 Hz"]),
        ({"eeg": np.zeros(14 * 360_000, np.float32)}, []),
        ({"eeg": np.zeros(15 * 360_000, np.float32)}, ["15.0 h; images are equalised over the whole recording"]),
    ],
)
@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_what_makes_answers_worth_less_is_said(night: Path, caplog, change, expected, simulated, own) -> None:
    from eegjax.data.recording import EegChannel

    plain = EegChannel("EEG Fpz-Cz", np.zeros(3000, np.float32), START, ("EEG Fpz-Cz",), 100.0, None)
    files = {"a-PSG.edf": hash_file(night) if own else "0", "a-Hypnogram.edf": "1"}
    card = {"simulated": simulated, "recordings": [{"files": {"b-PSG.edf": "2"}}, {"files": files}]}
    sleep_predict._remark(night, plain._replace(**change), ["EEG Fpz-Cz"], card)
    words = [*expected, *["trained on simulated nights"] * simulated, *["very file belongs to the run's own"] * own]
    assert len(caplog.messages) == len(words)
    for word in words:
        assert any(re.search(word, message) for message in caplog.messages)


# ---- disks


def test_a_folder_that_cannot_be_written_is_one_clear_line(finished, night: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"night_epochs\.tsv: not writable .*choose another folder") as caught:
        commands.apply(finished.folder, night, None, tmp_path / "file")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_full_disk_leaves_nothing_half_written(finished, staged, night: Path, tmp_path: Path) -> None:
    sizes = {end: (night.parent / "out" / f"night{end}").stat().st_size for end in ENDS}
    assert sizes["_epochs.tsv"] < sizes[".png"]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sizes[".png"] - 1, before[1]))  # a real error of the kernel
    try:
        with pytest.raises(UserError, match=r"night\.png: the disk is full .*free some space"):
            commands.apply(finished.folder, night, None, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {path.name for path in tmp_path.iterdir()} == {"night_epochs.tsv", "night_annotations.edf"}


def test_the_later_of_two_recordings_of_one_name_replaces_the_earlier(
    finished, staged, night: Path, eeg: np.ndarray, tmp_path: Path
) -> None:
    shutil.copytree(night.parent / "out", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    other = write_edf(tmp_path / "night.edf", eeg[: 20 * 3000])
    assert len(stage(finished.folder, other, tmp_path / "out").epochs) == 20
    after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)


# ---- as it is typed


@pytest.mark.slow
def test_the_command(finished, staged, night: Path, repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, repository / "launch" / "predict.py", f"--run={finished.folder}", night]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *staged.printed.splitlines()[:-2],
        "Written to .",
        staged.printed.splitlines()[-1],
    ]
    assert done.stderr.splitlines() == [
        "note: this run was trained on simulated nights: its stages of a real recording mean nothing",
        "note: form of convolutions and pools: fast, for one CPU device",
    ]
    for end in ENDS:
        left, right = tmp_path / f"night{end}", night.parent / "out" / f"night{end}"
        assert left.read_bytes() == right.read_bytes()

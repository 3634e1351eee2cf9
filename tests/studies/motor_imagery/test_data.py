"""Prepared trials against the files themselves, read with SciPy and MNE, and filtered with theirs."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import edfio
import jax
import jax.numpy as jnp
import mne
import numpy as np
import pandas as pd
import pytest
import scipy.io
from ml_collections import ConfigDict
from scipy import signal

from eegjax import cli
from eegjax.data import bci_iv_2a
from eegjax.data.bci_iv_2a import simulator
from eegjax.data.bci_iv_2a.reader import CH_NAMES
from eegjax.data.dataset import Dataset
from eegjax.data.feed import gather
from eegjax.errors import UserError
from eegjax.studies.motor_imagery import network as motor_imagery_network
from eegjax.studies.motor_imagery import study as motor_imagery
from eegjax.studies.motor_imagery.data import classes, labels, prepare, source, trials_uv
from eegjax.studies.motor_imagery.folds import folds

ROOT = Path(__file__).parents[3]
SFREQ, APART_S = 250, 7.5  # of BCI IV 2a; from cue to cue in the runs written here
PLAIN = {"data__l_freq_hz": 0.0, "data__h_freq_hz": 0.0, "data__sfreq": 250.0}  # as recorded


@pytest.fixture(scope="module")
def run_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`config.run.root` of this file, with prepared datasets in it."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def configure(run_root: Path) -> Callable[..., ConfigDict]:
    """A function: argument, folder of recordings, fields -> the smallest configuration; `a__b` stands for `a.b`."""

    def make(argument: str, root: Path | str = "", **fields: object) -> ConfigDict:
        config = cli.configure(f"{ROOT}/configs/motor_imagery.py:{argument},size=tiny", ["main.py"])
        given = {name.replace("__", "."): value for name, value in fields.items()}
        with config.unlocked():
            config.update_from_flattened_dict({"run.root": str(run_root), "data.root": str(root), **given})
        return config

    return make


# ---- the truth


class Run(NamedTuple):
    """A run as its file has it: EEG [n_times, 22] float64 µV, and of each trial the cue's sample and what it is."""

    eeg: np.ndarray
    cues: np.ndarray
    labels: np.ndarray
    artifacts: np.ndarray


def read_mat(path: Path) -> dict[str, Run]:
    """The runs that have trials, by number from 1; the cue is 2 s after the cross, which counts from 1."""
    runs = np.atleast_1d(scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)["data"])
    return {
        str(number): Run(
            run.X[:, :22].astype(np.float64),
            np.atleast_1d(run.trial).astype(int) - 1 + 500,
            np.atleast_1d(run.y).astype(int) - 1,
            np.atleast_1d(run.artifacts) > 0,
        )
        for number, run in enumerate(runs, 1)
        if np.size(run.trial)
    }


def mne_filtered(x: np.ndarray, sfreq: float, low: float | None, high: float | None) -> np.ndarray:
    return mne.filter.filter_data(x.T, sfreq, low, high, method="iir", phase="zero", verbose="ERROR").T


def scipy_filtered(x: np.ndarray, sfreq: float, low: float, high: float) -> np.ndarray:
    return signal.sosfiltfilt(signal.butter(4, (low, high), "bandpass", fs=sfreq, output="sos"), x, axis=0)


def samples(dataset: Dataset, row: int, begin: int = 0, length: int = 0) -> np.ndarray:
    """A trial's samples, or `length` of them from `begin` on, counted from its start."""
    start, stop = (int(dataset.index[edge].iloc[row]) for edge in ("start", "stop"))
    first = start + begin
    return dataset.arrays["eeg"][first : first + (length or stop - start)]


# ---- files written here


def run_of(n_trials: int = 4, seed: int = 0, **changed: Any) -> dict[str, Any]:
    """A run as BNCI has it: white noise, a trial of each class in turn, the first cross after 2 s."""
    crosses = 501 + APART_S * SFREQ * np.arange(n_trials)
    run = {
        "X": np.random.default_rng(seed).normal(0, 15, (int((2 + APART_S * n_trials) * SFREQ), 25)),
        "trial": crosses[:, None],
        "y": (1.0 + np.arange(n_trials) % 4)[:, None],
        "fs": 250.0,
        "classes": np.array(["left hand", "right hand", "feet", "tongue"], object)[:, None],
        "artifacts": np.zeros((n_trials, 1)),
        "gender": "female",
        "age": 22.0,
    }
    return run | changed


def write_mat(path: Path, *runs: dict[str, Any]) -> Path:
    """A file of `runs` behind one without trials; returns its folder."""
    cells = np.empty((1, len(runs) + 1), object)
    cells[0] = [run_of(0), *runs]
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"data": cells})
    return path.parent


def write_edf(path: Path, names: tuple[str, ...] = CH_NAMES, sfreq: int = 160, n_trials: int = 4) -> Path:
    """A run of EEGMMIDB: rest of 4.2 s and trials of 4.1 s, in turn T1 and T2; returns its folder."""
    n_times = int((8.3 * n_trials + 4.7) * sfreq) // sfreq * sfreq
    rng = np.random.default_rng(sum(path.stem.encode()))
    signals = [
        edfio.EdfSignal(rng.normal(0, 15, n_times).clip(-190, 190), sfreq, label=name.ljust(4, "."),
                        physical_dimension="uV", physical_range=(-200, 200))
        for name in names
    ]  # fmt: skip
    marks = [(8.3 * trial + at_s, long_s, mark) for trial in range(n_trials)
             for at_s, long_s, mark in ((0, 4.2, "T0"), (4.2, 4.1, f"T{1 + trial % 2}"))]  # fmt: skip
    marks.append((8.3 * n_trials, 4.2, "T0"))
    path.parent.mkdir(parents=True, exist_ok=True)
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(*mark) for mark in marks]).write(path)
    return path.parent


def write_release(folder: Path, n_trials: int = 6) -> Path:
    """The course release's six files, of two persons."""
    for seed, part in enumerate(("train_valid", "test")):
        rng = np.random.default_rng(seed)
        np.save(folder / f"X_{part}.npy", rng.normal(0, 10, (n_trials, 22, 1000)))
        np.save(folder / f"y_{part}.npy", 769 + rng.permutation(n_trials) % 4)
        np.save(folder / f"person_{part}.npy", np.arange(n_trials)[:, None] % 2 * 8.0)
    return folder


@pytest.fixture(scope="module")
def one_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one session of two runs."""
    return write_mat(tmp_path_factory.mktemp("one") / "A01T.mat", run_of(seed=1), run_of(seed=2))


@pytest.fixture(scope="module")
def demo(configure, run_root: Path) -> tuple[ConfigDict, Dataset, dict[tuple[str, str, str], Run]]:
    """Two simulated subjects, windows from .5 to 2.5 s, and the runs of their files by subject, session, number."""
    config = configure("demo", data__window_s=(0.5, 2.5), data__sfreq=250.0)
    dataset = prepare(config)
    paths = sorted(run_root.rglob("*.mat"))
    assert [path.stem for path in paths] == ["A01E", "A01T", "A02E", "A02T"]
    runs = {(path.stem[:3], path.stem[3], number): run for path in paths for number, run in read_mat(path).items()}
    return config, dataset, runs


# ---- the demo


def test_a_trial_is_its_run_filtered_as_mne_filters(demo) -> None:
    """From .5 to 2.5 s after the cue, at 4 to 38 Hz; so are the 2 s before the cue."""
    _, dataset, runs = demo
    filtered = {key: mne_filtered(run.eeg, SFREQ, 4, 38) for key, run in runs.items()}
    for row, trial in dataset.index.iterrows():
        key = (trial["subject"], trial["session"], trial["run"])
        cue = runs[key].cues[trial["trial"]]
        np.testing.assert_allclose(samples(dataset, row), filtered[key][cue + 125 : cue + 625], atol=2e-3)
        before = samples(dataset, row, trial["control"], 500)
        np.testing.assert_allclose(before, filtered[key][cue - 500 : cue], atol=2e-3)
        assert trial["onset_s"] == cue / SFREQ
    assert dataset.arrays["eeg"].dtype == np.float32


def test_all_trials_of_the_files_are_there_but_for_the_artifacts(demo) -> None:
    config, dataset, runs = demo
    wanted = [
        (*key, place, run.labels[place])
        for key, run in sorted(runs.items())
        for place in np.flatnonzero(~run.artifacts)
    ]
    columns = ["subject", "session", "run", "trial", "label"]
    assert list(dataset.index[columns].itertuples(index=False, name=None)) == wanted
    assert labels(config, dataset.index).tolist() == [row[-1] for row in wanted]
    assert dataset.index["example"].tolist() == list(range(len(wanted)))
    assert classes(config) == ("left_hand", "right_hand", "feet", "tongue")
    assert dataset.card["dropped"] == {"artifact": 64 - len(wanted), "nan": 0, "cut": 0}
    for recording in dataset.card["recordings"]:
        own = [run for key, run in runs.items() if key[:2] == (recording["subject"], recording["session"])]
        assert recording["n_trials"] == sum(len(run.cues) for run in own)
        assert recording["dropped"]["artifact"] == sum(run.artifacts.sum() for run in own)
        assert [end - begin for begin, end in recording["runs"]] == [len(run.eeg) for run in own]
    assert dataset.card["simulated"] is True
    assert dataset.card["unit"] == {"eeg": "µV"}
    assert tuple(dataset.card["ch_names"]) == CH_NAMES


def test_a_network_gets_the_trial_its_label_and_its_subject(demo) -> None:
    config, dataset, _ = demo
    rows = np.array([0, 5, len(dataset.index) - 1])
    batch = gather(np, source(config, dataset), rows, np.ones(3, bool))
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(batch["eeg"][place], samples(dataset, row))
    assert batch["eeg"].shape == (3, 500, 22)
    assert batch["label"].tolist() == dataset.index["label"].iloc[rows].tolist()
    assert batch["subject"].tolist() == [int(name == "A02") for name in dataset.index["subject"].iloc[rows]]
    assert motor_imagery.STUDY.task.units(config, dataset, rows, True)[0].tolist() == rows.tolist()


def test_preparing_twice_reads_nothing_again(demo, configure, run_root: Path, monkeypatch) -> None:
    config, dataset, _ = demo
    made = {path: path.stat().st_mtime_ns for path in run_root.rglob("*") if path.suffix in (".mat", ".npy")}
    for module, name in ((bci_iv_2a, "read"), (simulator, "write_session")):
        monkeypatch.setattr(module, name, lambda *given: pytest.fail("done again"))
    again = prepare(config)
    assert again.card == dataset.card
    assert again.index.equals(dataset.index)
    assert made == {path: path.stat().st_mtime_ns for path in made}


def test_another_seed_makes_other_people(demo, configure, tmp_path: Path) -> None:
    few = {"data__simulation__n_subjects": 1, "data__simulation__n_runs": 1, "run__root": str(tmp_path)}
    one, other = (prepare(configure("demo", data__simulation__seed=seed, **few)) for seed in (0, 1))
    assert one.card["hash"] != other.card["hash"]
    assert not np.allclose(one.arrays["eeg"][:1000], other.arrays["eeg"][:1000], atol=1)


# ---- what the settings do


SETTINGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "another lower edge": {"data__l_freq_hz": 8.0},
    "another upper edge": {"data__h_freq_hz": 30.0},
    "notch": {"data__notch_hz": 50.0},
    "causal": {"data__causal": True},
    "average": {"data__reference": "average"},
    "a channel": {"data__reference": "Cz"},
    "moving": {"data__moving": True},
    "another rate": {"data__sfreq": 250.0},
    "another window": {"data__window_s": (0.5, 2.5)},
}


def test_every_setting_makes_another_dataset(configure, one_session: Path) -> None:
    found = {name: prepare(configure("standard", one_session, **given)) for name, given in SETTINGS.items()}
    assert len({dataset.card["hash"] for dataset in found.values()}) == len(SETTINGS)
    assert len({dataset.folder for dataset in found.values()}) == len(SETTINGS)
    plain = found.pop("as it is").arrays["eeg"]
    for name, dataset in found.items():
        same = dataset.arrays["eeg"].shape == plain.shape and np.allclose(dataset.arrays["eeg"], plain, atol=1e-3)
        assert same == (name == "another window")


def prepared(configure, root: Path, **given: Any) -> tuple[np.ndarray, np.ndarray]:
    """The EEG of the session's first run, at 250 Hz and not filtered unless `given` says so, and that of its file."""
    dataset = prepare(configure("standard", root, **(PLAIN | given)))
    begin, end = dataset.card["recordings"][0]["runs"][0]
    return np.asarray(dataset.arrays["eeg"][begin:end], np.float64), read_mat(root / "A01T.mat")["2"].eeg


def test_without_filters_the_eeg_is_the_files(configure, one_session: Path) -> None:
    made, eeg = prepared(configure, one_session)
    np.testing.assert_array_equal(made, eeg.astype(np.float32))


@pytest.mark.parametrize(("low", "high"), [(8.0, 0.0), (0.0, 20.0), (4.0, 38.0), (8.0, 30.0)])
def test_edges_are_those_of_mnes_filter(configure, one_session: Path, low: float, high: float) -> None:
    made, eeg = prepared(configure, one_session, data__l_freq_hz=low, data__h_freq_hz=high)
    far = slice(500, -500)  # from the ends, which MNE pads in another way
    np.testing.assert_allclose(made[far], mne_filtered(eeg, SFREQ, low or None, high or None)[far], atol=2e-3)


def test_the_average_reference_has_a_mean_of_0_over_channels(configure, one_session: Path) -> None:
    made, eeg = prepared(configure, one_session, data__reference="average")
    np.testing.assert_allclose(made.mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(made, eeg - eeg.mean(axis=1, keepdims=True), atol=1e-4)


def test_a_reference_channel_is_0(configure, one_session: Path) -> None:
    made, eeg = prepared(configure, one_session, data__reference="Cz")
    assert not made[:, 9].any()
    np.testing.assert_allclose(made, eeg - eeg[:, 9:10], atol=1e-4)
    with pytest.raises(UserError, match="reference: found 'Cx', expected one of Fz, FC3"):
        prepared(configure, one_session, data__reference="Cx")


def test_the_notch_takes_the_mains_away_and_nothing_else(configure, tmp_path: Path) -> None:
    run = run_of()
    run["X"] += 20 * np.sin(2 * np.pi * 50 * np.arange(len(run["X"])) / SFREQ)[:, None]
    root = write_mat(tmp_path / "A01T.mat", run)
    made, eeg = prepared(configure, root, data__notch_hz=50.0)
    freqs, before = signal.welch(eeg, SFREQ, nperseg=500, axis=0)
    after = signal.welch(made, SFREQ, nperseg=500, axis=0)[1]
    line, others = freqs == 50, (np.abs(freqs - 50) > 5) & (freqs > 1)
    assert np.all(before[line] > 100 * np.median(before[others]))
    assert np.all(after[line] < 0.1 * np.median(before[others]))
    np.testing.assert_allclose(after[others] / before[others], 1, atol=0.02)


@pytest.mark.parametrize("given", [{"data__l_freq_hz": 4.0, "data__h_freq_hz": 38.0}, {"data__notch_hz": 50.0}])
def test_a_causal_filter_has_no_response_before_an_impulse(configure, tmp_path: Path, given: dict) -> None:
    at, quiet, struck = 3000, run_of(), run_of()
    struck["X"][at] += 80
    roots = [write_mat(tmp_path / name / "A01T.mat", run) for name, run in (("quiet", quiet), ("struck", struck))]
    for causal in (True, False):
        one, other = (prepared(configure, root, data__causal=causal, **given)[0] for root in roots)
        response = np.abs(other - one)
        assert response[at + 1 : at + 50].max() > 0.5
        assert (response[:at].max() > 0.5) == (not causal)
        assert (response[:at].max() < 1e-3) == causal


def test_resampling_keeps_what_is_slow_and_cues_in_their_places(configure, one_session: Path) -> None:
    band = {"data__l_freq_hz": 4.0, "data__h_freq_hz": 20.0}  # nothing of which is lost or folded back
    half, eeg = prepared(configure, one_session, data__sfreq=125.0, **band)
    np.testing.assert_allclose(half[250:-250], mne_filtered(eeg, SFREQ, 4, 20)[::2][250:-250], atol=2e-2)
    dataset = prepare(configure("standard", one_session, data__sfreq=125.0, data__window_s=(0.5, 2.5), **band))
    (first, second), runs = dataset.card["recordings"][0]["runs"], read_mat(one_session / "A01T.mat")
    wanted = [*(first[0] + (runs["2"].cues + 125) / 2), *(second[0] + (runs["3"].cues + 125) / 2)]
    assert np.abs(dataset.index["start"] - wanted).max() <= 0.5  # the nearest sample
    assert (dataset.index["stop"] - dataset.index["start"] == 250).all()
    assert dataset.card["sfreq"] == {"eeg": 125.0}


def test_moving_standardisation_is_by_what_went_before(configure, one_session: Path) -> None:
    """Exponentially weighted means by pandas; the first thousand samples by their own mean and deviation."""
    made, eeg = prepared(configure, one_session, data__moving=True)
    frame = pd.DataFrame(eeg)
    moved = frame - frame.ewm(alpha=1e-3).mean()
    wanted = (moved / np.sqrt((moved**2).ewm(alpha=1e-3).mean()).clip(lower=1e-4)).to_numpy()
    block = eeg[:1000]
    np.testing.assert_allclose(made[:1000], (block - block.mean(axis=0)) / block.std(axis=0), atol=1e-4)
    np.testing.assert_allclose(made[1000:], wanted[1000:], atol=1e-3)
    assert prepare(configure("standard", one_session, data__moving=True, **PLAIN)).card["unit"] == {
        "eeg": "moving z-score"
    }


# ---- trials that can't be used


def test_trials_with_artifacts_or_gaps_or_cut_off_are_left_out_and_said(configure, tmp_path: Path, caplog) -> None:
    """Trials 0 to 6 of a run: whole, artifact, NaN in it, both, NaN before its cue, whole, cut off by the end."""
    run = run_of(7)
    cues = run["trial"][:, 0].astype(int) - 1 + 500
    run["artifacts"][[1, 3]] = 1
    for place, channel in ((cues[2] + 499, 4), (cues[3], 7), (cues[4] - 300, 9)):
        run["X"][place, channel] = np.nan
    run["X"] = run["X"][: cues[6] + 499]
    root = write_mat(tmp_path / "A01T.mat", run, run_of(seed=5))
    config = configure("standard", root, data__sfreq=250.0)
    dataset = prepare(config)
    assert dataset.index["trial"].tolist() == [0, 4, 5, 0, 1, 2, 3]
    assert dataset.index["label"].tolist() == [0, 0, 1, 0, 1, 2, 3]
    assert dataset.index["run"].tolist() == ["2"] * 3 + ["3"] * 4
    assert dataset.card["dropped"] == {"artifact": 2, "nan": 1, "cut": 1}
    assert dataset.card["recordings"][0]["dropped"] == {"artifact": 2, "nan": 1, "cut": 1}
    said = "of 11 trials are left out: 2 marked as artifacts, 1 with samples missing, 1 cut off by the recording"
    assert caplog.messages == [said]
    # a gap spoils nothing beside it: each stretch of a channel is filtered by itself
    wanted = scipy_filtered(np.nan_to_num(run["X"]), SFREQ, 4, 38)
    wanted[cues[4] - 299 :, 9] = scipy_filtered(run["X"][cues[4] - 299 :, 9], SFREQ, 4, 38)
    for row, trial in ((0, 0), (1, 4), (2, 5)):
        got = samples(dataset, row)
        assert np.isfinite(got).all()
        kept = [c for c in range(22) if c not in (4, 7)]
        np.testing.assert_allclose(got[:, kept], wanted[cues[trial] : cues[trial] + 500][:, kept], atol=2e-3)
    # of the trial behind a gap there is no control
    assert (dataset.index["control"] == 0).tolist() == [False, True, *[False] * 5]
    _, before = trials_uv(config, dataset, (8.0, 30.0))
    assert np.isnan(before).any(axis=(1, 2)).tolist() == (dataset.index["control"] == 0).tolist()


def test_all_trials_unusable_is_an_error(configure, tmp_path: Path) -> None:
    root = write_mat(tmp_path / "A01T.mat", run_of(artifacts=np.ones((4, 1))))
    with pytest.raises(UserError, match=r"of 4 trials none is left: 4 marked as artifacts; choose another .*window_s"):
        prepare(configure("standard", root))


def test_gaps_cannot_be_resampled(configure, tmp_path: Path) -> None:
    run = run_of()
    run["X"][100, 3] = np.nan
    root = write_mat(tmp_path / "A01T.mat", run)
    with pytest.raises(UserError, match=r"A01T-run2: has missing samples .* 250 to 125 Hz; set .*sfreq=250"):
        prepare(configure("standard", root))
    assert len(prepare(configure("standard", root, data__sfreq=250.0)).index) == 4


@pytest.mark.parametrize(("window_s", "fits"), [((0.0, 7.5), True), ((0.0, 7.6), False), ((-4.0, 3.6), False)])
def test_a_window_longer_than_a_trial_is_an_error(configure, one_session: Path, window_s, fits: bool) -> None:
    config = configure("standard", one_session, data__window_s=window_s)
    if fits:
        assert len(prepare(config).index) == 6  # the runs end 5.5 s after their last cues
        return
    said = f"A01T-run2: config.data.window_s is {window_s}, but the next trial, or rest, begins 7.5 s after a cue"
    with pytest.raises(UserError, match=re.escape(said) + "; choose a shorter window"):
        prepare(config)


@pytest.mark.parametrize(("window_s", "fits"), [((0.0, 4.1), True), ((-1.0, 4.0), True), ((0.0, 4.2), False)])
def test_a_window_does_not_reach_into_the_rest_behind_a_trial(configure, tmp_path: Path, window_s, fits: bool) -> None:
    root = write_edf(tmp_path / "S001R04.edf")
    config = configure("standard,dataset=eegmmidb", root, data__window_s=window_s)
    if fits:
        assert len(prepare(config).index) == 4
        return
    with pytest.raises(UserError, match=r"S001R04: config\.data\.window_s is .*rest, begins 4\.1 s after a cue"):
        prepare(config)


@pytest.mark.parametrize(
    ("name", "smallest"),
    [("conv_net", 961), ("eegnet", 32), ("deep4", 441), ("shallow", 99), ("cnn_lstm", 32), ("vae_conv_net", 961)],
)
def test_a_window_too_short_for_the_network_names_the_smallest(configure, one_session: Path, name, smallest) -> None:
    """What it names is enough."""

    def built(n_times: int) -> Any:
        given = {"data__sfreq": 250.0, "data__window_s": (0.0, n_times / 250), "model__name": name}
        config = configure("standard", one_session, model__n_blocks=4, **given)
        dataset = prepare(config)
        batch = gather(jnp, source(config, dataset), np.array([0]), np.ones(1, bool))
        assert batch["eeg"].shape == (1, n_times, 22)
        model = motor_imagery_network.model(config, dataset)
        keys = {"params": jax.random.key(0), "sample": jax.random.key(0), "dropout": jax.random.key(0)}
        return jax.eval_shape(lambda x: model.init(keys, x, train=False), batch["eeg"])

    with pytest.raises(UserError, match=f"windows of at least {smallest} samples, these have {smallest - 1}: take"):
        built(smallest - 1)
    assert built(smallest)


# ---- what can't be read


def test_the_demo_with_a_root_and_others_without_are_errors(configure, one_session: Path) -> None:
    with pytest.raises(UserError, match=r"config\.data\.root is .*but the demo simulates its data.*:standard"):
        prepare(configure("demo", one_session))
    for argument, files in (("standard", "A01T.mat"), ("paper", "A01T.mat"), ("standard,dataset=eegmmidb", "S001R04")):
        with pytest.raises(UserError, match=rf"config\.data\.root is not set.*{files}.*--download.*or run the demo"):
            prepare(configure(argument))


def test_another_data_set_is_an_error(configure) -> None:
    with pytest.raises(UserError, match=r"dataset is 'bci_iv_2b'; there are bci_iv_2a, eegmmidb\. Did you mean 'bci_"):
        prepare(configure("demo", data__dataset="bci_iv_2b"))
    with pytest.raises(UserError, match=r"dataset is 'eegmmidb', but the demo simulates bci_iv_2a.*dataset=eegmmidb"):
        prepare(configure("demo,dataset=eegmmidb"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"y": np.ones((3, 1))}, r"A01T\.mat, run 2: 4 trials, 3 labels \(y\)"),
        ({"X": np.ones((8000, 21))}, r"A01T\.mat, run 2: X is \(8000, 21\).*leave the subject out \(config\.data\.exc"),
        ({"fs": 128.0}, r"A01T\.mat, run 2: 128\.0 Hz, expected 250 Hz"),
    ],
)
def test_a_session_that_is_not_as_published_is_an_error(configure, tmp_path: Path, changed: dict, said: str) -> None:
    write_mat(tmp_path / "A02T.mat", run_of())
    write_mat(tmp_path / "A01T.mat", run_of() | changed)
    with pytest.raises(UserError, match=said):
        prepare(configure("standard", tmp_path))
    left = prepare(configure("standard", tmp_path, data__exclude=("A01",)))
    assert set(left.index["subject"]) == {"A02"}


def test_a_run_of_eegmmidb_with_fewer_channels_or_another_rate_is_an_error(configure, tmp_path: Path) -> None:
    write_edf(tmp_path / "S001R04.edf")
    write_edf(tmp_path / "S002R04.edf", CH_NAMES[:-1])
    config = configure("standard,dataset=eegmmidb", tmp_path)
    with pytest.raises(UserError, match=r"S002R04\.edf: no channel POz.*leave the subject out \(config\.data\.exclude"):
        prepare(config)
    write_edf(tmp_path / "S003R04.edf", sfreq=128)
    with pytest.raises(UserError, match=r"two sampling rates: S003R04 at 128 Hz.*config\.data\.exclude=\('S003',\)"):
        prepare(config)
    left = prepare(configure("standard,dataset=eegmmidb", tmp_path, data__exclude=("S002", "S003")))
    assert set(left.index["subject"]) == {"S001"}


# ---- the course release


def test_the_course_release_stays_as_it_is(configure, tmp_path: Path) -> None:
    root = write_release(tmp_path)
    config = configure("paper", root, data__sfreq=250.0, data__window_s=(0.0, 4.0))
    dataset = prepare(config)
    assert dataset.arrays["eeg"].shape == (12 * 1000, 22)
    assert (dataset.index["control"] == 0).all()  # the samples in front of a trial are another trial's
    found = {}
    for part in ("train_valid", "test"):
        x, y, person = (np.load(root / f"{name}_{part}.npy") for name in ("X", "y", "person"))
        for subject, number in (("A01", 0), ("A09", 8)):
            rows = np.flatnonzero(person[:, 0] == number)
            found |= {(subject, part, place): (x[row], y[row] - 769) for place, row in enumerate(rows)}
    assert len(dataset.index) == len(found) == 12
    band = signal.butter(4, (8, 30), "bandpass", fs=250, output="sos")
    filtered, _ = trials_uv(config, dataset, (8.0, 30.0))
    for row, trial in dataset.index.iterrows():
        x, label = found[trial["subject"], trial["session"], trial["trial"]]
        np.testing.assert_array_equal(samples(dataset, row).T, x.astype(np.float32))
        assert trial["label"] == label
        alone = signal.sosfilt(band, x.T, axis=0, zi=signal.sosfilt_zi(band)[:, :, None] * x.T[0])[0]
        np.testing.assert_allclose(filtered[row], alone, atol=1e-3)  # no sample comes from another trial


@pytest.mark.parametrize(
    "given",
    [
        {"data__l_freq_hz": 4.0},
        {"data__h_freq_hz": 38.0},
        {"data__notch_hz": 50.0},
        {"data__moving": True},
        {"data__sfreq": 125.0},
    ],
)
def test_the_course_release_refuses_what_runs_along_time(configure, tmp_path: Path, given: dict) -> None:
    config = configure("paper", write_release(tmp_path), **({"data__sfreq": 250.0} | given))
    with pytest.raises(UserError, match=r"A01-test: the course release holds single trials.*set config\.data\.l_freq_"):
        prepare(config)


# ---- EEGMMIDB


@pytest.fixture(scope="module")
def imagery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects' runs 4 and 6."""
    folder = tmp_path_factory.mktemp("eegmmidb")
    for name in ("S001R04", "S001R06", "S002R04", "S002R06"):
        write_edf(folder / f"{name}.edf")
    return folder


def test_a_trial_of_eegmmidb_is_its_run_filtered_and_resampled(configure, imagery: Path) -> None:
    """By MNE and by SciPy's Fourier method; T1 and T2 are the run's two classes; rest is what precedes the cue."""
    given = {"data__sfreq": 250.0, "data__window_s": (0.5, 3.5)}
    dataset = prepare(configure("standard,dataset=eegmmidb", imagery, **given))
    assert dataset.index["recording"].tolist() == np.repeat(["S001R04", "S001R06", "S002R04", "S002R06"], 4).tolist()
    assert dataset.index["label"].tolist() == [0, 1, 0, 1, 2, 3, 2, 3] * 2
    assert set(dataset.index["session"]) == {"1"}
    for name, own in dataset.index.groupby("recording"):
        raw = mne.io.read_raw_edf(imagery / f"{name}.edf", verbose="ERROR")
        assert tuple(label.strip(".") for label in raw.ch_names) == CH_NAMES
        eeg = mne_filtered(raw.get_data().T * 1e6, 160, 4, 38)
        eeg = signal.resample(eeg, len(eeg) * 250 // 160, axis=0)
        cues_s = [onset for onset, mark in zip(raw.annotations.onset, raw.annotations.description) if mark != "T0"]  # noqa: B905
        assert own["onset_s"].tolist() == pytest.approx(cues_s)
        for row, cue_s in zip(own.index, cues_s, strict=True):
            cue = round(cue_s * 250)
            np.testing.assert_allclose(samples(dataset, row), eeg[cue + 125 : cue + 875], atol=0.1)
            before = samples(dataset, row, own["control"][row], 1000)
            far = slice(250, None)  # the first rest begins with the file
            np.testing.assert_allclose(before[far], eeg[cue - 1000 : cue][far], atol=0.1)


def test_a_runs_name_tells_its_classes_and_so_its_dataset(configure, tmp_path: Path) -> None:
    """The same file under two names has two pairs of classes."""
    write_edf(tmp_path / "S001R04.edf")
    config = configure("standard,dataset=eegmmidb", tmp_path)
    fists = prepare(config)
    (tmp_path / "S001R04.edf").rename(tmp_path / "S001R06.edf")
    feet = prepare(config)
    assert [sorted(set(dataset.index["label"])) for dataset in (fists, feet)] == [[0, 1], [2, 3]]
    assert fists.card["hash"] != feet.card["hash"]
    shutil.copy(tmp_path / "S001R06.edf", tmp_path / "S001R04.edf")
    assert prepare(config).index["label"].tolist() == [0, 1, 0, 1, 2, 3, 2, 3]


# ---- what the baselines see


@pytest.mark.parametrize("control", [False, True])
def test_baselines_see_runs_filtered_as_a_whole(demo, control: bool) -> None:
    """The runs' own filter, then the band's: from .5 to 2.5 s after the cue, or 2 s before it."""
    config, dataset, runs = demo
    seen = trials_uv(config, dataset, (8.0, 30.0))[control]
    assert seen.shape == (len(dataset.index), 500, 22)
    filtered = {key: mne_filtered(mne_filtered(run.eeg, SFREQ, 4, 38), SFREQ, 8, 30) for key, run in runs.items()}
    first = -500 if control else 125
    for row, trial in dataset.index.iterrows():
        key = (trial["subject"], trial["session"], trial["run"])
        begin = runs[key].cues[trial["trial"]] + first
        np.testing.assert_allclose(seen[row], filtered[key][begin : begin + 500], atol=5e-3)


def test_baselines_and_their_control_live_with_a_gap_before_a_cue(demo) -> None:
    """A test trial without a control is answered with the classes' shares; the others by CSP + LDA."""
    config, dataset, _ = demo
    first = dataset.index["example"] == dataset.index.groupby(["subject", "session"])["example"].transform("min")
    index = dataset.index.assign(control=dataset.index["control"].where(~first, 0))
    dataset = replace(dataset, index=index, card={**dataset.card, "simulated": False})
    found = folds(config, dataset)
    table = motor_imagery.baselines(config, dataset, found)
    chances = [f"p_{name}" for name in classes(config)]
    assert np.isfinite(table[chances].to_numpy()).all()
    control = table[table["model"] == "control"].set_index("example")
    for fold in found:
        shares = np.bincount(dataset.index["label"].iloc[fold.train], minlength=4) / len(fold.train)
        alike = np.isclose(control.loc[fold.test, chances], shares).all(axis=1)
        assert alike.tolist() == first.iloc[fold.test].tolist()


@pytest.mark.parametrize("cut", [0, 3])
def test_the_ceiling_is_that_of_trials_numbered_as_the_simulators(demo, monkeypatch, caplog, cut: int) -> None:
    config, dataset, runs = demo

    def oracle(seed: int, subject: int, session: str, n_runs: int, n_trials: int) -> np.ndarray:
        assert (seed, n_runs, n_trials) == (0, 2, 8)
        own = [runs[f"A{subject:02d}", session, number].labels for number in ("2", "3")]
        return np.eye(4)[np.concatenate(own)]

    monkeypatch.setattr(simulator, "oracle", oracle)
    dataset = replace(dataset, card={**dataset.card, "dropped": {**dataset.card["dropped"], "cut": cut}})
    table = motor_imagery.baselines(config, dataset, folds(config, dataset)[:1])
    right = table[table["model"] == "oracle"]
    assert bool(len(right)) == (not cut)
    assert ("3 trials are cut off" in caplog.text) == bool(cut)
    if not cut:
        names = [f"p_{name}" for name in classes(config)]
        assert (right[names].to_numpy().argmax(axis=1) == right["target"]).all()

"""The reader of data set 2a: GDF bytes laid out by hand after the format, MAT files by scipy, and the real labels."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from eegjax.data.bci_iv_2a import reader
from eegjax.data.bci_iv_2a.reader import CH_NAMES, CLASSES, File, find, read
from eegjax.data.eegmmidb.reader import standard_name
from eegjax.errors import UserError

SFREQ, STEP_UV = 250, 100 / 2048  # of the amplifier: 12 bits for ±100 µV
GDF_LABELS = ["EEG-Fz", *["EEG"] * 6, "EEG-C3", "EEG", "EEG-Cz", "EEG", "EEG-C4", *["EEG"] * 7, "EEG-Pz", "EEG", "EEG"]
GDF_LABELS += ["EOG-left", "EOG-central", "EOG-right"]
LABELS = np.array([2, 4, 1, 3])  # 1-based, of the four trials that a test recording has
RUN = 2500  # samples, with cues at 1000 and 2000 (from 0) after its start
GAP = 100  # samples without a signal in front of a run


def noise(n_times: int, n_chans: int = 25, seed: int = 0) -> np.ndarray:
    """Digital values, in steps of the amplifier."""
    return np.random.default_rng(seed).normal(0, 300, (n_times, n_chans)).clip(-2000, 2000).astype("<i2")


# ---- writing


def write_gdf(path: Path, digital: np.ndarray, events: list[tuple[int, int]], labels=GDF_LABELS, **given) -> Path:
    """GDF 1.25 (Schlögl 2006, arXiv:cs/0608052), one record per sample; `events` are (sample from 0, code)."""
    n, (high, unit, sfreq) = (
        len(labels),
        [given.get(k, v) for k, v in (("high", 100), ("unit", "uV"), ("sfreq", SFREQ))],
    )

    def texts(values, width: int) -> bytes:
        return b"".join(value.encode().ljust(width) for value in values)

    fixed = b"GDF 1.25" + texts(["X X", "X"], 80) + b"2008010100000000" + np.int64(256 * (n + 1)).tobytes() + bytes(44)
    fixed += np.int64(len(digital)).tobytes() + np.array([1, sfreq, n], "<u4").tobytes()
    channels = texts(labels, 16) + texts([""] * n, 80) + texts([unit] * n, 8)
    channels += (
        np.repeat([-high, high], n).astype("<f8").tobytes() + np.repeat([-2048, 2048], n).astype("<i8").tobytes()
    )
    channels += texts([""] * n, 80) + np.repeat([1, 3], n).astype("<i4").tobytes() + bytes(32 * n)  # 3: int16
    positions, codes = np.array(events).reshape(-1, 2).T
    table = bytes([1, 250, 0, 0]) + np.uint32(len(events)).tobytes()
    table += (positions + 1).astype("<u4").tobytes() + codes.astype("<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fixed + channels + np.ascontiguousarray(digital[:, :n]).tobytes() + table)
    return path


def gdf_events(codes=LABELS + 768) -> list[tuple[int, int]]:
    """A calibration, two runs of two trials; the third trial is marked as an artifact."""
    events = [(0, 32766), (0, 1072), (500, 32766), (500 + GAP + RUN, 32766)]
    for place, code in zip((500 + GAP, 500 + GAP, 600 + RUN + GAP, 600 + RUN + GAP), codes, strict=True):
        nth = sum(code == 768 for _, code in events) % 2
        events += [(place + 500 + 1000 * nth, 768), (place + 1000 + 1000 * nth, int(code))]
    return sorted([*events, (600 + RUN + GAP + 500, 1023)])


def gdf_digital() -> np.ndarray:
    digital = noise(500 + 2 * (GAP + RUN))
    for start in (500, 500 + GAP + RUN):
        digital[start : start + GAP] = -32768
    return digital


def write_labels(path: Path, labels=LABELS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"classlabel": np.asarray(labels)[:, None]})
    return path


def bnci_run(trials=(501, 1501), labels=(2, 4), artifacts=(0, 0), seed: int = 0, n_times: int = RUN, **given) -> dict:
    """A run as BNCI has it: columns, doubles, crosses counted from 1."""
    run = {
        "X": noise(n_times, seed=seed) * STEP_UV,
        "trial": np.array(trials, float)[:, None],
        "y": np.array(labels, float)[:, None],
        "fs": 250.0,
        "classes": np.array(["left hand", "right hand", "feet", "tongue"], object)[:, None],
        "artifacts": np.array(artifacts, float)[:, None],
        "gender": "female",
        "age": 22.0,
    }
    return run | given


def write_bnci(path: Path, runs: list[dict] | None = None, struct_array: bool = False) -> Path:
    runs = (
        [bnci_run((), (), ()), bnci_run(), bnci_run(labels=(1, 3), artifacts=(1, 0), seed=1)] if runs is None else runs
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    if struct_array:
        data = np.array([tuple(run.values()) for run in runs], [(name, object) for name in runs[0]])[None]
    else:
        data = np.empty((1, len(runs)), object)
        data[0] = runs
    scipy.io.savemat(path, {"data": data}, do_compression=True)
    return path


def write_release(folder: Path, n: int = 4, **given) -> Path:
    """Six files; the person of the last trial of each part is 8, of all others 0."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, part in enumerate(("train_valid", "test")):
        arrays = {
            "X": np.random.default_rng(seed).normal(0, 10, (n, 22, 1000)),
            "y": np.resize(LABELS + 768, n).astype(np.int32),
            "person": np.array([0.0] * (n - 1) + [8.0])[:, None],
        }
        for name, array in (arrays | given).items():
            np.save(folder / f"{name}_{part}.npy", array)
    return folder


# ---- finding


def test_bnci_files_are_found_at_any_depth(tmp_path: Path) -> None:
    paths = [write_bnci(tmp_path / name) for name in ("b/A01T.mat", "A02E.mat", "b/c/A01E.mat")]
    (tmp_path / "b/notes.mat").write_text("not of the data set")
    (tmp_path / "b/._A01T.mat").write_text("what macOS leaves")
    assert find(str(tmp_path)) == [
        File("bnci", "A01", "E", paths[2]),
        File("bnci", "A01", "T", paths[0]),
        File("bnci", "A02", "E", paths[1]),
    ]
    assert [file.subject for file in find(tmp_path, exclude=("A01", "A07"))] == ["A02"]


def test_a_gdf_finds_its_labels(tmp_path: Path) -> None:
    gdfs = [write_gdf(tmp_path / "gdf" / f"{name}.gdf", noise(1), []) for name in ("A01E", "A01T", "A02T")]
    labels = [write_labels(tmp_path / "true_labels" / f"{name}.mat") for name in ("A01E", "A01T")]
    assert find(tmp_path) == [
        File("gdf", "A01", "E", gdfs[0], labels[0]),
        File("gdf", "A01", "T", gdfs[1], labels[1]),
        File("gdf", "A02", "T", gdfs[2], None),
    ]


def test_a_release_has_a_file_per_part_and_person(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "course")
    paths = [folder / f"X_{part}.npy" for part in ("test", "train_valid", "test", "train_valid")]
    keys = [("A01", "test"), ("A01", "train_valid"), ("A09", "test"), ("A09", "train_valid")]
    assert find(tmp_path) == [File("release", *key, path) for key, path in zip(keys, paths, strict=True)]


MAKE = {
    "gdf": lambda path: write_gdf(path, noise(1), []),
    "labels": write_labels,
    "bnci": write_bnci,
    "release": write_release,
    "other": lambda path: scipy.io.savemat(path, {"x": 1}),
    "text": lambda path: path.write_text("no MAT"),
}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({}, r"holds no recordings; expected A01T\.gdf with A01T\.mat.*--dataset=bci_iv_2a"),
        ({"A01T.mat": "labels"}, "holds no recordings"),
        ({"A01E.gdf": "gdf"}, r"A01E\.gdf: its cues don't tell.*expected A01E\.mat with 'classlabel'"),
        ({"A01T.gdf": "gdf", "A02T.mat": "bnci"}, r"data set 2 times \(A01T\.gdf, BNCI's A01T\.mat\), expected once"),
        ({"A02T.mat": "bnci", "r": "release"}, r"2 times \(BNCI's A01T\.mat, .*r\)"),
        ({"q": "release", "r": "release"}, r"2 times \(.*q, .*r\)"),
        ({"A01T.mat": "other"}, r"A01T\.mat: holds x, expected 'classlabel'.*or 'data'"),
        ({"A01T.mat": "text"}, r"A01T\.mat: can't be read as MAT"),
    ],
)
def test_a_root_that_is_not_whole_is_an_error(tmp_path: Path, made: dict[str, str], said: str) -> None:
    for name, kind in made.items():
        MAKE[kind](tmp_path / name)
    with pytest.raises(UserError, match=said):
        find(tmp_path)


def test_a_session_twice_is_an_error(tmp_path: Path) -> None:
    for name in ("1/A01T.mat", "2/A01T.mat"):
        write_bnci(tmp_path / name)
    with pytest.raises(UserError, match=r"2/A01T\.mat: also .*1/A01T\.mat"):
        find(tmp_path)


def test_a_missing_root_and_wrong_exclusions_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: is no folder"):
        find(tmp_path / "nowhere")
    write_bnci(tmp_path / "A01T.mat")
    with pytest.raises(UserError, match=r"config\.data\.exclude holds 'A1', expected subjects such as A04"):
        find(tmp_path, exclude=["A1"])
    with pytest.raises(UserError, match=r"config\.data\.exclude leaves no subject"):
        find(tmp_path, exclude=["A01"])


# ---- BNCI's MAT


@pytest.mark.parametrize("struct_array", [False, True])
def test_each_bnci_run_with_trials_is_a_recording(tmp_path: Path, struct_array: bool) -> None:
    write_bnci(tmp_path / "A01T.mat", struct_array=struct_array)
    first, second = read(find(tmp_path)[0], (0.0, 2.0))
    assert (first.recording, second.recording) == ("A01T-run2", "A01T-run3")
    assert (first.subject, first.session, first.sfreq, first.ch_names, first.n_cut) == ("A01", "T", 250, CH_NAMES, 0)
    assert first.eeg.dtype == np.float32
    np.testing.assert_array_equal(first.eeg, np.float32(noise(RUN)[:, :22] * STEP_UV))
    np.testing.assert_array_equal(second.eeg, np.float32(noise(RUN, seed=1)[:, :22] * STEP_UV))
    assert first.table["cue"].tolist() == [1000, 2000]  # the cross at the 501st sample, 2 s later the cue
    assert [[CLASSES[label] for label in run.table["label"]] for run in (first, second)] == [
        ["right_hand", "tongue"],
        ["left_hand", "feet"],
    ]
    assert [run.table["artifact"].tolist() for run in (first, second)] == [[False, False], [True, False]]
    assert second.table["run"].tolist() == ["3", "3"]
    types = dict(first.table.dtypes)
    assert (types["cue"], types["label"], types["artifact"]) == (np.int64, np.int8, bool)


def test_a_file_of_one_run_with_one_trial(tmp_path: Path) -> None:
    write_bnci(tmp_path / "A01T.mat", [bnci_run((501,), (3,), (1,))])
    (run,) = read(find(tmp_path)[0], (0.0, 2.0))
    assert run.table.to_dict("list") == {"cue": [1000], "label": [2], "run": ["1"], "artifact": [True]}


@settings(max_examples=30)
@given(st.integers(-1100, 400), st.integers(1, 700))
def test_trials_that_the_run_cuts_off_are_counted(tmp_path: Path, first: int, length: int) -> None:
    """The window is [cue + first, cue + first + length) in samples, of a recording of 2500."""
    path = tmp_path / "A01T.mat"
    if not path.exists():
        write_bnci(path, [bnci_run()])
    (run,) = read(File("bnci", "A01", "T", path), (first / 250, (first + length) / 250))
    whole = [cue for cue in (1000, 2000) if set(range(cue + first, cue + first + length)) <= set(range(2500))]
    assert run.table["cue"].tolist() == whole
    assert run.n_cut == 2 - len(whole)


def test_nan_stays_in_place(tmp_path: Path) -> None:
    x = noise(RUN) * STEP_UV
    x[[700, 701], 3] = np.nan
    write_bnci(tmp_path / "A01T.mat", [bnci_run(X=x)])
    (run,) = read(find(tmp_path)[0], (0.0, 2.0))
    assert np.argwhere(np.isnan(run.eeg)).tolist() == [[700, 3], [701, 3]]


def test_an_electrode_that_is_off_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    x = noise(RUN) * STEP_UV
    x[:, 7] = 0.0
    write_bnci(tmp_path / "A01T.mat", [bnci_run(X=x)])
    read(find(tmp_path)[0], (0.0, 2.0))
    assert re.search(r"A01T\.mat, run 1: flat or far too large \(electrode off\?\): C3; kept", caplog.text)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"X": noise(RUN) * STEP_UV * 1e-6}, r"run 1, channel '\w+': amplitude .*volts taken for µV"),
        ({"X": noise(RUN, 20) * STEP_UV}, r"run 1: X is \(2500, 20\).*expected numbers \[n_times, 25\].*POz and 3 EOG"),
        ({"X": np.where(noise(RUN) > 900, np.inf, 1.0)}, "infinite"),
        ({"fs": 128.0}, r"run 1: 128\.0 Hz, expected 250 Hz"),
        ({"y": [1.0]}, r"2 trials, 1 labels \(y\) and 2 artifacts"),
        ({"artifacts": [0.0, 0.0, 1.0]}, r"2 labels \(y\) and 3 artifacts"),
        ({"y": [1.0, 5.0]}, "labels are 1, 5, expected 1 to 4"),
        ({"y": [1.0, 2.5]}, "'y': expected whole numbers"),
        ({"y": ["left", "right"]}, "'y': expected whole numbers"),
        (
            {"classes": np.array(["right hand", "left hand", "feet", "tongue"], object)},
            "classes are right hand, left hand.*expected left_hand, right_hand",
        ),
    ],
)
def test_a_run_that_is_not_as_published_is_an_error(tmp_path: Path, changed: dict, said: str) -> None:
    write_bnci(tmp_path / "A01T.mat", [bnci_run(**changed)])
    with pytest.raises(UserError, match=rf"A01T\.mat.*{said}"):
        read(find(tmp_path)[0], (0.0, 2.0))


def test_a_bnci_file_without_trials_or_fields_is_an_error(tmp_path: Path) -> None:
    path = write_bnci(tmp_path / "A01T.mat", [bnci_run((), (), ())])
    with pytest.raises(UserError, match=r"A01T\.mat: no trials in it"):
        read(find(tmp_path)[0], (0.0, 2.0))
    run = bnci_run()
    del run["y"], run["fs"]
    write_bnci(path, [run])
    with pytest.raises(UserError, match=r"run 1: no field y, fs"):
        read(find(tmp_path)[0], (0.0, 2.0))
    scipy.io.savemat(path, {"data": np.arange(3.0)})
    with pytest.raises(UserError, match=r"run 1: no field X"):
        read(find(tmp_path)[0], (0.0, 2.0))


def test_a_window_without_length_is_an_error(tmp_path: Path) -> None:
    write_bnci(tmp_path / "A01T.mat")
    with pytest.raises(UserError, match=r"window_s is \(4\.0, 0\.0\)"):
        read(find(tmp_path)[0], (4.0, 0.0))


@settings(max_examples=40)
@given(data=st.data())
def test_a_damaged_mat_is_read_or_one_clear_error(tmp_path: Path, data: st.DataObject) -> None:
    whole = tmp_path / "whole.mat"
    if not whole.exists():
        write_bnci(whole, [bnci_run(n_times=1100, trials=(1,), labels=(1,), artifacts=(0,))])
    content = bytearray(whole.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, 200))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "A01T.mat"
    path.write_bytes(content)
    runs, said = [], ""
    try:
        runs = read(File("bnci", "A01", "T", path), (0.0, 1.0))
    except UserError as error:
        said = str(error)
    assert bool(runs) == (not said)
    assert not said or (said.startswith(str(path)) and "\n" not in said)
    for run in runs:
        assert run.eeg.shape[1:] == (len(CH_NAMES),)
        assert run.table["label"].isin(range(len(CLASSES))).all()
        assert run.table["cue"].between(0, len(run.eeg) - SFREQ).all()


# ---- the competition's GDF


def test_a_gdf_is_cut_into_its_runs(tmp_path: Path) -> None:
    """Without the gaps in front of them, so that they are what BNCI's file has."""
    write_gdf(tmp_path / "A01T.gdf", gdf_digital(), gdf_events())
    first, second = read(find(tmp_path)[0], (0.0, 2.0))
    assert (first.recording, second.recording) == ("A01T-run2", "A01T-run3")
    assert (second.subject, second.session, second.sfreq, second.ch_names) == ("A01", "T", 250, CH_NAMES)
    for run, start in ((first, 600), (second, 600 + RUN + GAP)):
        expected = gdf_digital()[start : start + RUN, :22] * STEP_UV
        np.testing.assert_allclose(run.eeg, expected, atol=1e-4)
        assert run.eeg.dtype == np.float32
        assert run.table["cue"].tolist() == [1000, 2000]
    assert [run.table["label"].tolist() for run in (first, second)] == [[1, 3], [0, 2]]
    assert [run.table["artifact"].tolist() for run in (first, second)] == [[False, False], [True, False]]
    assert [run.table["run"].tolist() for run in (first, second)] == [["2", "2"], ["3", "3"]]


def test_gdf_and_bnci_of_one_session_are_the_same(tmp_path: Path) -> None:
    digital = gdf_digital()
    write_gdf(tmp_path / "gdf" / "A01T.gdf", digital, gdf_events())
    starts = (600, 600 + RUN + GAP)
    runs = [bnci_run((), (), ())] + [
        bnci_run(labels=labels, artifacts=artifacts, X=digital[start : start + RUN] * STEP_UV)
        for start, labels, artifacts in zip(starts, ((2, 4), (1, 3)), ((0, 0), (1, 0)), strict=True)
    ]
    write_bnci(tmp_path / "bnci" / "A01T.mat", runs)
    for one, other in zip(*(read(find(tmp_path / form)[0], (0.0, 2.0)) for form in ("gdf", "bnci")), strict=True):
        assert (one.recording, one.subject, one.session, one.n_cut) == (*other[:3], other.n_cut)
        assert one.table.equals(other.table)
        np.testing.assert_allclose(one.eeg, other.eeg, atol=1e-4)


def test_what_the_amplifier_could_not_record_is_nan(tmp_path: Path) -> None:
    digital = gdf_digital()
    digital[1700, 2], digital[1701, 3], digital[1702, 4], digital[1703, 5] = -2048, 2048, 2047, -32768
    write_gdf(tmp_path / "A01T.gdf", digital, gdf_events())
    run = read(find(tmp_path)[0], (0.0, 2.0))[0]
    assert np.argwhere(np.isnan(run.eeg)).tolist() == [[1100, 2], [1101, 3], [1103, 5]]
    assert run.eeg[1102, 4] == pytest.approx(2047 * STEP_UV)


def test_unknown_cues_have_their_labels_from_the_file(tmp_path: Path) -> None:
    write_gdf(tmp_path / "A01E.gdf", gdf_digital(), gdf_events([783] * 4))
    write_labels(tmp_path / "A01E.mat")
    runs = read(find(tmp_path)[0], (0.0, 2.0))
    assert np.concatenate([run.table["label"] for run in runs]).tolist() == (LABELS - 1).tolist()


def test_the_end_of_a_run_cuts_a_trial_off(tmp_path: Path) -> None:
    """Though the file goes on."""
    write_gdf(tmp_path / "A01T.gdf", gdf_digital(), gdf_events())
    first, second = read(find(tmp_path)[0], (0.0, 4.0))
    assert [(run.table["cue"].tolist(), run.n_cut) for run in (first, second)] == [([1000], 1)] * 2


@pytest.mark.parametrize(
    ("name", "codes", "labels", "said"),
    [
        ("A01E", [783] * 4, [1, 2, 3], r"A01E\.mat: 3 labels, A01E\.gdf has 4 trials"),
        ("A01T", LABELS + 768, [1, 2, 3], r"A01T\.mat: 3 labels, A01T\.gdf has 4 trials"),
        ("A01T", LABELS + 768, [2, 4, 3, 1], r"trial 3 is feet, in A01T\.gdf left_hand \(2 such trials\)"),
        ("A01T", [783] * 4, None, r"A01T\.gdf: its cues don't tell the class"),
        ("A01E", [783] * 4, [0, 1, 2, 3], "labels are 0, 1, 2, 3, expected 1 to 4"),
    ],
)
def test_labels_that_do_not_fit_are_an_error(tmp_path: Path, name: str, codes, labels, said: str) -> None:
    write_gdf(tmp_path / f"{name}.gdf", gdf_digital(), gdf_events(codes))
    if labels:
        write_labels(tmp_path / f"{name}.mat", labels)
    with pytest.raises(UserError, match=said):
        read(find(tmp_path)[0], (0.0, 2.0))


def swapped(one: int, other: int) -> list[str]:
    labels = list(GDF_LABELS)
    labels[one], labels[other] = labels[other], labels[one]
    return labels


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (swapped(7, 8), "channel 8 is 'EEG-.*', expected C3; a wrong order"),
        (swapped(9, 11), "channel 10 is 'EEG-C4', expected Cz"),
        (swapped(0, 1), "channel 1 is 'EEG-.*', expected Fz"),
        (swapped(0, 22), "in the order EOG-left"),
        ([*GDF_LABELS[:19], *GDF_LABELS[20:]], "21 EEG channels, without Pz; expected 22"),
        ([*GDF_LABELS[:3], *GDF_LABELS[4:]], "21 EEG channels, in the order EEG-Fz"),
        (
            ["EEG-FC1" if i == 1 else label for i, label in enumerate(GDF_LABELS)],
            "channel 2 is 'EEG-FC1', expected FC3",
        ),
    ],
)
def test_channels_elsewhere_are_an_error(tmp_path: Path, labels: list[str], said: str) -> None:
    write_gdf(tmp_path / "A01T.gdf", gdf_digital(), gdf_events(), labels)
    with pytest.raises(UserError, match=rf"A01T\.gdf: .*{said}"):
        read(find(tmp_path)[0], (0.0, 2.0))


def test_a_gdf_with_all_names_is_read(tmp_path: Path) -> None:
    names = [f"EEG-{name}" for name in CH_NAMES] + GDF_LABELS[22:]
    write_gdf(tmp_path / "A01T.gdf", gdf_digital(), gdf_events(), names)
    assert len(read(find(tmp_path)[0], (0.0, 2.0))) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sfreq": 128}, "128.0 Hz, expected 250 Hz"),
        ({"unit": "V"}, r"100% of the samples are beyond -100 to 100.*unit isn't uV"),
        ({"high": 1e-4}, r"channel '\w+': amplitude .*volts taken for µV"),
    ],
)
def test_another_rate_or_unit_is_an_error(tmp_path: Path, given: dict, said: str) -> None:
    write_gdf(tmp_path / "A01T.gdf", gdf_digital(), gdf_events(), **given)
    with pytest.raises(UserError, match=said):
        read(find(tmp_path)[0], (0.0, 2.0))


def test_a_gdf_without_cues_or_cut_short_is_an_error(tmp_path: Path) -> None:
    path = write_gdf(tmp_path / "A01T.gdf", gdf_digital(), [(0, 32766), (5, 276)])
    with pytest.raises(UserError, match=r"A01T\.gdf: no trials in it"):
        read(find(tmp_path)[0], (0.0, 2.0))
    for n_bytes in (0, 100, 3000, 20_000, path.stat().st_size - 100):
        path.write_bytes(write_gdf(tmp_path / "x" / "whole", gdf_digital(), gdf_events()).read_bytes()[:n_bytes])
        with pytest.raises(UserError, match=r"A01T\.gdf: MNE can't read it"):
            read(find(tmp_path)[0], (0.0, 2.0))


# ---- the course release


def test_a_persons_trials_follow_one_another(tmp_path: Path) -> None:
    x = np.random.default_rng(3).normal(0, 10, (4, 22, 1000))
    x[1, 5, 10] = np.nan
    write_release(tmp_path, X=x)
    files = find(tmp_path)
    (trials,) = read(files[1], (0.0, 4.0))
    assert trials[:3] == ("A01-train_valid", "A01", "train_valid")
    assert (trials.sfreq, trials.ch_names, trials.eeg.shape, trials.n_cut) == (250, CH_NAMES, (3000, 22), 0)
    assert trials.table.to_dict("list") == {
        "cue": [0, 1000, 2000],
        "label": [1, 3, 0],
        "run": [""] * 3,
        "artifact": [False] * 3,
    }
    for i, cue in enumerate(trials.table["cue"]):
        np.testing.assert_array_equal(trials.eeg[cue : cue + 1000].T, x[i].astype(np.float32))
    (last,) = read(files[3], (0.5, 2.5))
    assert (last.recording, last.table["label"].tolist()) == ("A09-train_valid", [2])
    np.testing.assert_array_equal(last.eeg.T, x[3].astype(np.float32))


@pytest.mark.parametrize("window_s", [(-0.1, 4.0), (0.0, 4.004)])
def test_a_window_never_reaches_into_the_next_trial(tmp_path: Path, window_s: tuple[float, float]) -> None:
    write_release(tmp_path)
    with pytest.raises(UserError, match=r"window_s is .*holds 4 s from the cue on"):
        read(find(tmp_path)[0], window_s)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"X": np.ones((4, 25, 1000))}, r"X is \(4, 25, 1000\) float64.*expected numbers \[n, 22, 1000\]"),
        ({"X": np.ones((3, 22, 1000))}, r"X is \(3, 22, 1000\)"),
        ({"person": np.zeros((3, 1))}, r"person \(3, 1\)"),
        ({"y": np.array([769, 770, 771, 783])}, r"y_train_valid\.npy: expected 769 to 772 alone"),
        ({"person": np.array([0, 1, 2, 9.0])}, r"person_train_valid\.npy: expected 0 to 8 alone"),
        ({"person": np.array([0, 1, 2, 0.5])}, r"person_train_valid\.npy: expected 0 to 8 alone"),
        ({"X": np.array([None] * 4)}, r"X_train_valid\.npy: can't be read"),  # pickled
    ],
)
def test_a_release_that_is_not_as_published_is_an_error(tmp_path: Path, changed: dict, said: str) -> None:
    write_release(tmp_path, **changed)
    with pytest.raises(UserError, match=said):
        find(tmp_path)


@pytest.mark.parametrize("name", ["X_train_valid", "y_test", "person_train_valid", "X_test"])
def test_a_release_has_six_files(tmp_path: Path, name: str) -> None:
    write_release(tmp_path)
    (tmp_path / f"{name}.npy").unlink()
    with pytest.raises(UserError, match=rf"{name}\.npy: can't be read .*six files"):
        find(tmp_path)


@pytest.mark.parametrize("content", [pickle.dumps(np.zeros(4)), b"PK\x03\x04" + bytes(50), b"", b"\x93NUMPY"])
def test_an_array_of_another_kind_is_an_error(tmp_path: Path, content: bytes) -> None:
    """A pickle above all."""
    write_release(tmp_path)
    (tmp_path / "y_test.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"y_test\.npy: can't be read"):
        find(tmp_path)


def test_the_real_split_comes_through(tmp_path: Path, data_root: Path) -> None:
    """With a sparse X that holds a signal for the first person only."""
    source = data_root / "motor_imagery" / "bci_iv_2a_split"
    counts = []
    for part in ("train_valid", "test"):
        y, person = (np.load(source / f"{name}_{part}.npy", allow_pickle=False) for name in ("y", "person"))
        counts.append(np.unique(y, return_counts=True)[1].tolist())
        np.save(tmp_path / f"y_{part}.npy", y)
        np.save(tmp_path / f"person_{part}.npy", person)
        x = np.lib.format.open_memmap(tmp_path / f"X_{part}.npy", "w+", np.int8, (y.size, 22, 1000))
        for row in np.flatnonzero(person.ravel() == 0):
            x[row] = np.random.default_rng(row).integers(-50, 50, (22, 1000))
        x.flush()
    assert counts == [[529, 513, 543, 530], [111, 127, 96, 109]]
    files = find(tmp_path)
    assert len(files) == 18
    assert {file.subject for file in files} == {f"A{n:02d}" for n in range(1, 10)}
    for file, n in ((files[0], 50), (files[1], 237)):
        (trials,) = read(file, (0.0, 4.0))
        y, person = (np.load(source / f"{name}_{file.session}.npy") for name in ("y", "person"))
        assert trials.table["label"].tolist() == (y[person.ravel() == 0] - 769).tolist()
        assert len(trials.table) == n


# ---- the constants


def test_the_channels_are_the_22_of_the_competition() -> None:
    assert len(set(CH_NAMES)) == 22
    assert {place: CH_NAMES[place] for place in (0, 7, 9, 11, 19)} == {0: "Fz", 7: "C3", 9: "Cz", 11: "C4", 19: "Pz"}
    assert reader._NAMED == {0: "Fz", 7: "C3", 9: "Cz", 11: "C4", 19: "Pz"}
    assert all(standard_name(name) == name for name in CH_NAMES)

"""The reader of EEGMMIDB against edfio (an independent writer), MNE's own table of names, and real runs."""

from collections import Counter
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest

from eegjax.data.eegmmidb.reader import CLASSES, File, find, read, standard_name
from eegjax.data.trials import REST
from eegjax.errors import UserError

LABELS = ("Fc3.", "C3..", "Cz..", "Fp1.")
MARKS = ((0.0, 4.2, "T0"), (4.2, 4.1, "T2"), (8.3, 4.2, "T0"), (12.5, 4.1, "T1"), (16.6, 3.4, "T0"))


def noise_uv(sfreq: float = 160.0, seconds: int = 20) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 30, (len(LABELS), int(seconds * sfreq))).clip(-190, 190)


def write(path: Path, sfreq: float = 160.0, labels=LABELS, marks=MARKS, unit: str = "uV", scale: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    signals = [
        edfio.EdfSignal(
            x * scale, sfreq, label=label, physical_dimension=unit, physical_range=(-200 * scale, 200 * scale)
        )
        for x, label in zip(noise_uv(sfreq), labels, strict=False)
    ]
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(*mark) for mark in marks] or None).write(path)
    return path


# ---- finding


def test_imagery_runs_are_found_at_any_depth(tmp_path: Path) -> None:
    names = ("b/S002R14", "S001/S001R04", "S001/S001R06", "S001/S001R03", "S001/S001R01", "S001/._S001R08", "S1R04")
    for name in names:
        write(tmp_path / f"{name}.edf")
    assert find(str(tmp_path)) == [
        File("S001R04", "S001", "1", "4", tmp_path / "S001/S001R04.edf"),
        File("S001R06", "S001", "1", "6", tmp_path / "S001/S001R06.edf"),
        File("S002R14", "S002", "1", "14", tmp_path / "b/S002R14.edf"),
    ]
    assert [file.recording for file in find(tmp_path, exclude=("S001", "S088"))] == ["S002R14"]


def test_two_rates_are_one_error_that_names_them(tmp_path: Path) -> None:
    for name, sfreq in (("S001R04", 160), ("S002R04", 160), ("S003R04", 160), ("S088R04", 128), ("S092R06", 128)):
        write(tmp_path / f"{name}.edf", sfreq)
    with pytest.raises(UserError) as caught:
        find(tmp_path)
    for words in (
        "S088R04 at 128 Hz, S092R06 at 128 Hz, the other 3 runs at 160 Hz",
        "config.data.exclude=('S088', 'S092')",
    ):
        assert words in str(caught.value)
    assert [file.subject for file in find(tmp_path, ("S088", "S092"))] == ["S001", "S002", "S003"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], r"holds no imagery runs; expected files such as S001/S001R04\.edf.*PhysioNet.*--dataset=eegmmidb"),
        (["S001R03"], "holds no imagery runs"),
        (["a/S001R04", "b/S001R04"], r"b/S001R04\.edf: also .*a/S001R04\.edf"),
    ],
)
def test_a_root_that_is_not_whole_is_an_error(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        write(tmp_path / f"{name}.edf")
    with pytest.raises(UserError, match=said):
        find(tmp_path)


def test_a_missing_root_and_wrong_exclusions_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: is no folder"):
        find(tmp_path / "nowhere")
    path = write(tmp_path / "S001R04.edf")
    with pytest.raises(UserError, match=r"config\.data\.exclude holds '88', expected subjects such as S088"):
        find(tmp_path, exclude=["88"])
    with pytest.raises(UserError, match=r"config\.data\.exclude leaves no subject"):
        find(tmp_path, exclude=["S001"])
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"S001R04\.edf: truncated"):
        find(tmp_path)


# ---- reading


@pytest.mark.parametrize(("run", "classes"), [("4", (0, 1)), ("6", (2, 3)), ("12", (0, 1)), ("14", (2, 3))])
def test_a_run_is_read(tmp_path: Path, run: str, classes: tuple[int, int]) -> None:
    """T1 is the first class of the run's pair, T2 the second."""
    name = f"S007R{int(run):02d}"
    write(tmp_path / f"{name}.edf")
    (trials,) = read(find(tmp_path)[0], (0.0, 3.4))
    assert trials[:3] == (name, "S007", "1")
    assert (trials.sfreq, trials.ch_names, trials.n_cut) == (160, ("FC3", "C3", "Cz", "Fp1"), 0)
    assert trials.eeg.dtype == np.float32
    np.testing.assert_allclose(trials.eeg, noise_uv().T, atol=400 / 65535)
    assert trials.table["cue"].tolist() == [0, 672, 1328, 2000, 2656]
    assert trials.table["label"].tolist() == [REST, classes[1], REST, classes[0], REST]
    assert set(trials.table["run"]) == {run}
    assert not trials.table["artifact"].any()
    types = dict(trials.table.dtypes)
    assert (types["cue"], types["label"], types["artifact"]) == (np.int64, np.int8, bool)


def test_names_choose_and_order_channels(tmp_path: Path) -> None:
    write(tmp_path / "S001R04.edf")
    (trials,) = read(find(tmp_path)[0], (0.0, 3.0), ("Cz", "FC3"))
    assert trials.ch_names == ("Cz", "FC3")
    np.testing.assert_allclose(trials.eeg, noise_uv()[[2, 0]].T, atol=400 / 65535)
    with pytest.raises(
        UserError, match=r"no channel Fz, C4, expected some of FC3, C3, Cz, Fp1;.*config\.data\.exclude"
    ):
        read(find(tmp_path)[0], (0.0, 3.0), ("Fz", "C4", "C3"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"unit": "mV"}, "channel 'FC3' is in 'mV', expected uV"),
        ({"scale": 1e-6}, r"channel '\w+': amplitude .*volts taken for µV"),
        ({"marks": [*MARKS, (19.0, 0.5, "T3")]}, "annotation 'T3', expected T0, T1 and T2"),
        ({"marks": [(0.0, 4.2, "T0")]}, "no trial in it"),
        ({"marks": []}, "no trial in it"),
    ],
)
def test_a_run_that_is_not_as_published_is_an_error(tmp_path: Path, given: dict, said: str) -> None:
    write(tmp_path / "S001R04.edf", **given)
    with pytest.raises(UserError, match=rf"S001R04\.edf.*{said}"):
        read(find(tmp_path)[0], (0.0, 3.0))


def test_a_run_with_gaps_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "S001R04.edf")
    path.write_bytes(path.read_bytes().replace(b"EDF+C", b"EDF+D", 1))
    with pytest.raises(UserError, match=r"recorded with gaps \(EDF\+D\)"):
        read(find(tmp_path)[0], (0.0, 3.0))


def test_names_are_those_that_mne_gives() -> None:
    """For all 64 channels as the files have them."""
    sides = {"Fc": "531z246", "C": "531z246", "Cp": "531z246", "Fp": "1z2", "Af": "73z48", "F": "7531z2468", "Ft": "78"}
    sides |= {"Tp": "78", "P": "7531z2468", "Po": "73z48", "O": "1z2", "I": "z"}
    published = [f"{area}{side}".ljust(4, ".") for area, of_area in sides.items() for side in of_area]
    published += ["T7..", "T8..", "T9..", "T10."]
    assert len(set(published)) == 64
    raw = mne.io.RawArray(np.zeros((64, 2)), mne.create_info(published, 160.0), verbose="error")
    mne.datasets.eegbci.standardize(raw)
    assert [standard_name(name) for name in published] == raw.ch_names


# ---- the real ones


def test_real_counts(data_root: Path) -> None:
    """90 trials of each subject, as the data set's own annotations have them."""
    counts = {"S001": [23, 22, 21, 24], "S002": [23, 22, 24, 21], "S003": [23, 22, 21, 24]}
    files = find(data_root / "motor_imagery" / "eegmmidb")
    assert len(files) == 18
    found: dict[str, Counter[int]] = {subject: Counter() for subject in counts}
    for file in files:
        (trials,) = read(file, (0.0, 4.0), ("C3", "Cz", "C4"))
        found[file.subject].update(trials.table["label"].tolist())
        assert trials.sfreq == 160
        assert trials.n_cut == 0
        assert len(trials.eeg) == (19_680 if file.subject == "S002" else 20_000)
        assert 10 < trials.eeg.std() < 200
    for subject, expected in counts.items():
        assert [found[subject][label] for label in range(len(CLASSES))] == expected
        assert sum(expected) == 90


def test_the_real_subjects_have_the_channels_of_bci_iv_2a(data_root: Path) -> None:
    from eegjax.data.bci_iv_2a.reader import CH_NAMES

    files = {file.subject: file for file in find(data_root / "motor_imagery" / "eegmmidb")}
    for subject, file in files.items():
        (trials,) = read(file, (0.0, 4.0), CH_NAMES)
        assert trials.ch_names == CH_NAMES
        (everything,) = read(file, (0.0, 4.0))
        assert len(everything.ch_names) == (64 if subject == "S001" else 22)
        place = everything.ch_names.index("CPz")
        np.testing.assert_array_equal(trials.eeg[:, CH_NAMES.index("CPz")], everything.eeg[:, place])

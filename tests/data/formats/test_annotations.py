"""What is written is read back by other readers: pandas, MNE, edfio and the project's own hypnogram reader."""

import datetime
import tempfile
from pathlib import Path

import edfio
import mne
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegjax.data.formats.annotations import make_stage_texts, write_edf_annotations, write_epochs_tsv
from eegjax.data.sleep_edf.reader import LABELS, STAGES, Pair, read_hypnogram, read_recording
from eegjax.errors import UserError

AASM = ("W", "N1", "N2", "N3", "R")
START = datetime.datetime(2024, 1, 31, 22, 30, 5)


# ---- the table


def test_the_table_has_a_line_per_epoch(tmp_path: Path) -> None:
    probabilities = np.array([[0.7, 0.1, 0.1, 0.05, 0.05], [1 / 3, 1 / 3, 1 / 3, 0, 0]], np.float32)
    path = write_epochs_tsv(tmp_path / "a_epochs.tsv", [0, 86_370.5], 30, ["W", "N1"], probabilities, AASM)
    assert path.read_bytes() == (
        b"onset_s\tduration_s\tlabel\tp_W\tp_N1\tp_N2\tp_N3\tp_R\n"
        b"0.0\t30.0\tW\t0.7\t0.1\t0.1\t0.05\t0.05\n"
        b"86370.5\t30.0\tN1\t0.333333\t0.333333\t0.333333\t0.0\t0.0\n"
    )


def test_the_table_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(6), 200).astype(np.float32)
    labels = [STAGES[code] for code in probabilities.argmax(1)]
    frame = pd.read_csv(
        write_epochs_tsv(tmp_path / "a.tsv", 30.0 * np.arange(200), 30.0, labels, probabilities, STAGES), sep="\t"
    )
    np.testing.assert_array_equal(frame["onset_s"], 30.0 * np.arange(200))
    assert frame["label"].tolist() == labels
    np.testing.assert_allclose(frame[[f"p_{name}" for name in STAGES]], probabilities, atol=5e-7)


def test_columns_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        write_epochs_tsv(tmp_path / "a.tsv", [0.0], 30.0, ["W"], np.ones((1, 6)), AASM)
    with pytest.raises(ValueError, match="same length"):
        write_epochs_tsv(tmp_path / "a.tsv", [0.0], 30.0, ["W", "R"], np.ones((1, 5)), AASM)
    assert not list(tmp_path.iterdir())


# ---- the texts


def test_stages_are_named_as_edf_plus_does() -> None:
    assert make_stage_texts(["W", "N1", "N3", "R", "?"], AASM) == [
        f"Sleep stage {x}" for x in ("W", "N1", "N3", "R", "?")
    ]
    assert make_stage_texts(STAGES, STAGES) == [f"Sleep stage {x}" for x in "W1234R"]
    for names in (AASM, STAGES):
        assert [STAGES[LABELS[text]] for text in make_stage_texts(names, names)] == list(names)


# ---- the annotations


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from([*STAGES, "?"]), st.integers(1, 40)), min_size=1, max_size=12))
def test_our_own_reader_gets_the_same_stages(runs: list[tuple[str, int]]) -> None:
    stages = [stage for stage, n_epochs in runs for _ in range(n_epochs)]
    expected = [STAGES.index(stage) if stage in STAGES else -1 for stage in stages]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.edf"
        write_edf_annotations(path, 30.0 * np.arange(len(stages)), 30.0, make_stage_texts(stages, STAGES), START)
        np.testing.assert_array_equal(read_hypnogram(path), expected)


def test_mne_reads_runs_with_their_durations(tmp_path: Path) -> None:
    texts = make_stage_texts(["W", "W", "N2", "N2", "N2", "R", "R"], AASM)
    onset_s = [0.0, 30.0, 60.0, 90.0, 150.0, 180.0, 210.0]  # the epoch at 120 s is missing
    read = mne.read_annotations(write_edf_annotations(tmp_path / "a.edf", onset_s, 30.0, texts, START))
    np.testing.assert_allclose(read.onset, [0, 60, 150, 180])
    np.testing.assert_allclose(read.duration, [60, 60, 30, 60])
    assert read.description.tolist() == ["Sleep stage W", "Sleep stage N2", "Sleep stage N2", "Sleep stage R"]


def test_epochs_of_any_length_touch_whatever_their_rounding(tmp_path: Path) -> None:
    onset_s = np.float32(0.1) + np.arange(1000) / 3
    read = mne.read_annotations(write_edf_annotations(tmp_path / "a.edf", onset_s, 1 / 3, ["x"] * 1000))
    np.testing.assert_allclose(read.onset, [0.1], atol=1e-6)
    np.testing.assert_allclose(read.duration, [1000 / 3], atol=1e-6)


@pytest.mark.parametrize(
    ("start", "date", "time"),
    [
        (START, "31.01.24", "22.30.05"),
        (START.replace(microsecond=250_000), "31.01.24", "22.30.05"),
        (START.replace(tzinfo=datetime.UTC), "31.01.24", "22.30.05"),
        (START.replace(year=1925), "01.01.85", "22.30.05"),
        (None, "01.01.85", "00.00.00"),
    ],
)
def test_the_file_starts_with_its_recording(tmp_path: Path, start, date: str, time: str) -> None:
    path = write_edf_annotations(tmp_path / "a.edf", [0.0, 30.0], 30.0, ["Sleep stage W", "Sleep stage R"], start)
    assert path.read_bytes()[168:184] == (date + time).encode()
    edf = edfio.read_edf(path)
    if date == "31.01.24":
        assert edf.startdatetime == start.replace(tzinfo=None)
    np.testing.assert_array_equal(read_hypnogram(path), [0, 5])
    np.testing.assert_allclose([annotation.onset for annotation in edf.annotations], [0, 30])


@pytest.mark.parametrize("start", [START, None])
def test_predictions_can_serve_as_the_hypnogram_of_their_recording(tmp_path: Path, start) -> None:
    signal = edfio.EdfSignal(
        np.random.default_rng(0).normal(0, 20, 12_000), 100.0, label="EEG", physical_dimension="uV"
    )
    when = {"recording": edfio.Recording(startdate=start.date()), "starttime": start.time()} if start else {}
    edfio.Edf([signal], **when).write(tmp_path / "a-PSG.edf")
    path = tmp_path / "a-Hypnogram.edf"
    write_edf_annotations(path, 30.0 * np.arange(4), 30.0, make_stage_texts(["W", "N1", "R", "N3"], AASM), start)
    recording = read_recording(Pair("a", "a", "1", tmp_path / "a-PSG.edf", path))
    np.testing.assert_array_equal(recording.stages, [0, 1, 5, 3])
    if start:
        write_edf_annotations(path, [0.0], 30.0, ["Sleep stage W"], start + datetime.timedelta(hours=1))
        with pytest.raises(UserError, match="another recording"):
            read_recording(recording.pair)


def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="not writable"):
        write_edf_annotations(tmp_path / "file" / "a.edf", [0.0], 30.0, ["Sleep stage W"])

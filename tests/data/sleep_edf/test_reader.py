"""The reader of sleep recordings against edfio (an independent writer), hand-made hypnograms and published counts."""

import datetime
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import edfio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegjax.data.formats.edf_header import read_edf_header
from eegjax.data.sleep_edf.reader import (
    LABELS,
    STAGES,
    Pair,
    crop_to_sleep,
    find_pairs,
    merge_to_aasm,
    read_channel,
    read_hypnogram,
    read_recording,
)
from eegjax.errors import UserError

N_EPOCHS = 10
DAY = datetime.date(1989, 4, 24)
CH_NAMES = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal")


def noise_uv(sfreq: float = 100.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 20, int(N_EPOCHS * 30 * sfreq)).clip(-190, 190)


def write_edf(
    path: Path,
    signals: Sequence[edfio.EdfSignal] = (),
    runs: Sequence[tuple[float, float | None, str]] = (),
    date: datetime.date | None = DAY,
    time: datetime.time = datetime.time(22, 30),
    name: str = "Female_33yr",
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    edfio.Edf(
        signals,
        patient=edfio.Patient(sex="F", name=name),
        recording=edfio.Recording(startdate=date),
        starttime=time,
        annotations=[edfio.EdfAnnotation(*run) for run in runs] or None,
    ).write(path)
    return path


def channel(data: np.ndarray, label: str = "EEG", sfreq: float = 100.0, unit: str = "uV", high: float = 200.0):
    return edfio.EdfSignal(data, sfreq, label=label, physical_dimension=unit, physical_range=(-high, high))


def write_pair(folder: Path, sfreq: float = 100.0, n_scored: int = N_EPOCHS, **hypnogram) -> Pair:
    channels = [channel(noise_uv(sfreq, seed), label, sfreq) for seed, label in enumerate(CH_NAMES)]
    channels.append(channel(np.full(N_EPOCHS * 30, 37.0), "Temp rectal", 1.0, "DegC"))  # as Sleep-EDF has it
    psg = write_edf(folder / "SC4001E0-PSG.edf", channels)
    runs = [(30.0 * i, 30.0, f"Sleep stage {'W1234R'[i % 6]}") for i in range(n_scored)]
    hypnogram_path = write_edf(folder / "SC4001EC-Hypnogram.edf", runs=runs, **hypnogram)
    return Pair("SC4001", "SC400", "1", psg, hypnogram_path)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


# ---- finding


def test_files_pair_by_their_names_at_any_depth(tmp_path: Path) -> None:
    names = ["b/SC4011E0-PSG", "b/SC4011EH-Hypnogram", "SC4802G0-PSG", "SC4802GW-Hypnogram", "SC4801G0-PSG"]
    names += [
        "SC4801GV-Hypnogram",
        "st/ST7011J0-PSG",
        "st/ST7011JP-Hypnogram",
        "me/my night-PSG",
        "me/my night-Hypnogram",
    ]
    names += ["._SC4011E0-PSG"]  # what macOS leaves on shared disks
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.edf").touch()
    pairs = find_pairs(str(tmp_path))
    assert [pair[:3] for pair in pairs] == [
        ("SC4011", "SC401", "1"),
        ("SC4801", "SC480", "1"),
        ("SC4802", "SC480", "2"),
        ("ST7011", "ST701", "1"),
        ("my night", "my night", "1"),
    ]
    assert pairs[0].psg == tmp_path / "b/SC4011E0-PSG.edf"
    assert pairs[0].hypnogram == tmp_path / "b/SC4011EH-Hypnogram.edf"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"holds no recordings.*SC4001E0-PSG\.edf.*PhysioNet.*sleep-edfx"),
        (["SC4001E0-PSG", "SC4002EC-Hypnogram"], r"SC4001E0-PSG\.edf: no hypnogram.*SC4001E\?-Hypnogram\.edf; fetch"),
        (["a-PSG", "aa-Hypnogram"], r"a-PSG\.edf: no hypnogram beside it, expected one named a-Hypnogram\.edf"),
        (["SC4001E0-PSG", "SC4001EC-Hypnogram", "SC4001EH-Hypnogram"], r"2 hypnograms.*keep one scorer's"),
        (
            ["1/a-PSG", "1/a-Hypnogram", "2/a-PSG", "2/a-Hypnogram"],
            r"2/a-PSG\.edf: recording 'a' is also .*1/a-PSG.*rename",
        ),
    ],
)
def test_a_root_that_is_not_whole_is_an_error(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.edf").touch()
    with pytest.raises(UserError, match=message):
        find_pairs(tmp_path)


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: is no folder.*PhysioNet"):
        find_pairs(tmp_path / "nowhere")


def test_a_hypnogram_without_psg_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("SC4001E0-PSG", "SC4001EC-Hypnogram", "SC4002EC-Hypnogram"):
        (tmp_path / f"{name}.edf").touch()
    assert len(find_pairs(tmp_path)) == 1
    assert re.search(r"1 hypnogram.*no PSG.*SC4002EC", caplog.text)


# ---- the signal


@pytest.mark.parametrize(
    ("name", "seed"),
    [(None, 0), ("EEG Fpz-Cz", 0), ("fpz-cz", 0), ("EEG FPZ-CZ", 0), ("Pz-Oz", 1), ("eog HORIZONTAL", 2)],
)
def test_channels_are_found_by_name_and_alias(tmp_path: Path, name: str | None, seed: int) -> None:
    recording = read_recording(write_pair(tmp_path), name)
    assert recording.ch_name == CH_NAMES[seed]
    assert recording.eeg.dtype == np.float32
    np.testing.assert_allclose(recording.eeg, noise_uv(seed=seed), atol=400 / 65535)
    np.testing.assert_array_equal(recording.stages, [0, 1, 2, 3, 4, 5, 0, 1, 2, 3])
    assert (recording.stages.dtype, recording.sfreq) == (np.int8, 100.0)


@pytest.mark.parametrize(
    ("labels", "name", "message"),
    [
        (CH_NAMES, "Fz-Cz", r"no channels named 'Fz-Cz'.*EEG Fpz-Cz, EEG Pz-Oz, EOG horizontal.*Did you mean"),
        (("C3-M2", "C4-M1"), None, r"no channels named 'EEG Fpz-Cz', expected one of: C3-M2, C4-M1; name the channel"),
        (("Fpz-Cz", "EEG FPZ-CZ"), None, "2 channels named 'EEG Fpz-Cz'"),
        (("EEG",), "Cz", "no channels named 'Cz', expected one of: EEG"),
    ],
)
def test_a_channel_that_is_not_there_is_an_error(tmp_path: Path, labels, name: str | None, message: str) -> None:
    psg = write_edf(tmp_path / "a-PSG.edf", [channel(noise_uv(), label) for label in labels])
    with pytest.raises(UserError, match=rf"a-PSG\.edf: {message}"):
        read_channel(psg, name)


def test_the_only_channel_needs_no_name(tmp_path: Path) -> None:
    psg = write_edf(tmp_path / "a-PSG.edf", [channel(noise_uv(), "C4-M1")], runs=[(0, None, "Lights off")])
    assert read_channel(psg)[0] == "C4-M1"


@pytest.mark.parametrize(("unit", "per_uv"), [("V", 1e-6), ("mV", 1e-3), ("uV", 1.0), ("\xb5V", 1.0), ("nV", 1e3)])
def test_every_voltage_becomes_microvolts(tmp_path: Path, unit: str, per_uv: float) -> None:
    psg = write_edf(tmp_path / "a-PSG.edf", [channel(per_uv * noise_uv(), unit="uV", high=200 * per_uv)])
    overwrite(psg, 256 + 96, unit.encode("latin-1").ljust(8))
    np.testing.assert_allclose(read_channel(psg)[1], noise_uv(), atol=400 / 65535)


@pytest.mark.parametrize(
    ("unit", "per_uv", "cure"), [("uV", 1e-6, "volts taken for µV"), ("V", 1.0, "µV taken for volts")]
)
def test_volts_taken_for_microvolts_are_an_error(tmp_path: Path, unit: str, per_uv: float, cure: str) -> None:
    psg = write_edf(tmp_path / "a-PSG.edf", [channel(per_uv * noise_uv(), unit=unit, high=200 * per_uv)])
    with pytest.raises(UserError, match=rf"a-PSG\.edf, channel 'EEG': amplitude.*{cure}.*(physical dimension|header)"):
        read_channel(psg)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros(30_000), "flat"),
        ((3 * noise_uv()).clip(-40, 40), "clipped"),
    ],
)
def test_a_dead_or_clipped_channel_is_an_error(tmp_path: Path, data: np.ndarray, message: str) -> None:
    psg = write_edf(tmp_path / "a-PSG.edf", [channel(data)])
    with pytest.raises(UserError, match=rf"a-PSG\.edf, channel 'EEG': {message}"):
        read_channel(psg)


def test_clipping_is_seen_before_resampling_hides_it(tmp_path: Path) -> None:
    psg = write_edf(tmp_path / "a-PSG.edf", [channel((3 * noise_uv(128.0)).clip(-40, 40), sfreq=128.0)])
    with pytest.raises(UserError, match="clipped"):
        read_channel(psg)


@pytest.mark.parametrize("sfreq", [128.0, 200.0, 64.0])
def test_another_rate_is_resampled_and_said(tmp_path: Path, sfreq: float, caplog: pytest.LogCaptureFixture) -> None:
    def sine_uv(rate: float) -> np.ndarray:
        return 50 * np.sin(2 * np.pi * 10.1 * np.arange(N_EPOCHS * 30 * rate) / rate)

    psg = write_edf(tmp_path / "a-PSG.edf", [channel(sine_uv(sfreq), sfreq=sfreq)])
    _, eeg_uv = read_channel(psg)
    assert eeg_uv.shape == (N_EPOCHS * 3000,)
    np.testing.assert_allclose(eeg_uv[300:-300], sine_uv(100.0)[300:-300], atol=0.05)
    assert f"resampled from {sfreq:g} Hz to 100 Hz" in caplog.text


def test_a_file_at_the_right_rate_is_read_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd) -> None:
    read_recording(write_pair(tmp_path))
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


# ---- the two files together


@pytest.mark.parametrize(("n_scored", "said"), [(14, r"4 epochs longer.*cut \(4 of them"), (7, "3 epochs shorter")])
def test_stages_end_with_the_shorter_file(
    tmp_path: Path, n_scored: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    recording = read_recording(write_pair(tmp_path, n_scored=n_scored))
    np.testing.assert_array_equal(recording.stages, [0, 1, 2, 3, 4, 5, 0, 1, 2, 3][:n_scored])
    assert recording.eeg.size == N_EPOCHS * 3000
    assert re.search(rf"SC4001EC-Hypnogram\.edf: {said}", caplog.text)


@pytest.mark.parametrize(
    ("hypnogram", "message"),
    [
        ({"date": DAY + datetime.timedelta(1)}, r"starts 25\.04\.89 22\.30\.00, SC4001E0-PSG\.edf starts 24\.04\.89"),
        ({"time": datetime.time(21, 30)}, r"starts 24\.04\.89 21\.30\.00"),
        ({"date": None, "time": datetime.time(21, 30)}, r"starts 01\.01\.85 21\.30\.00"),
        ({"name": "Male_40yr"}, "patient 'X F X Male_40yr'"),
    ],
)
def test_a_hypnogram_of_another_recording_is_an_error(tmp_path: Path, hypnogram: dict, message: str) -> None:
    pair = write_pair(tmp_path, **hypnogram)
    with pytest.raises(UserError, match=rf"SC4001EC-Hypnogram\.edf: hypnogram of another recording.*{message}.*header"):
        read_recording(pair)


@pytest.mark.parametrize(
    "hypnogram",
    [{"date": None}, {"date": None, "time": datetime.time(0)}, {"name": "X"}],
    ids=["date", "start", "name"],
)
def test_what_a_header_leaves_out_is_no_difference(tmp_path: Path, hypnogram: dict) -> None:
    assert read_recording(write_pair(tmp_path, **hypnogram)).stages.size == N_EPOCHS


# ---- broken files


def _cut(n_bytes: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, n_bytes if n_bytes > 0 else path.stat().st_size + n_bytes)


def _write(offset: int, text: str) -> Callable[[Path], None]:
    return lambda path: overwrite(path, offset, text.encode("latin-1").ljust(8))


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(600))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (os.remove, "can't be read.*No such file.*check the path"),
        (
            _cut(-1),
            r"truncated: header announces 300 records \(60512 bytes\), the file has 60511 bytes; fetch it again",
        ),
        (_cut(30_512), r"truncated: .*30512 bytes; fetch it again"),
        (_cut(400), "truncated in the header: expected 512 bytes.*400 bytes; fetch it again"),
        (_cut(200), "truncated in the header: expected 512 bytes.*200 bytes; fetch it again"),
        (_write(252, "abcd"), "'number of signals' holds 'abcd', expected a number; fetch"),
        (_append, "longer than its header says.*61112 bytes"),
        (_write(236, "-1"), "never closed.*-1 records.*holds 300; .*write 300 into bytes 236-243"),
        (_write(0, "BIOSEMI"), "not an EDF file.*convert"),
        (_write(236, "many"), "'number of data records' holds 'many', expected a number"),
        (_write(244, "0"), "100 samples per record of 0 s.*correct the header"),
        (_write(192, "EDF+D"), "gaps.*EDF\\+C"),
        (_write(256 + 96, "mmHg"), "unit .*'mmHg', expected uV, µV, mV, V or nV"),
        (_write(256 + 96, ""), "unit .*'', expected uV"),
        (_write(256 + 104, "200"), "0 uV per digital step"),
        (_write(256 + 120, "32767"), "nan uV per digital step"),
        (_write(256 + 112, "high"), "'physical maximum of signal 'EEG'' holds 'high'"),
    ],
)
def test_a_broken_edf_is_one_clear_error(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    psg = write_edf(tmp_path / "a-PSG.edf", [channel(noise_uv())])
    damage(psg)
    with pytest.raises(UserError, match=rf"a-PSG\.edf.*{message}") as caught:
        read_channel(psg)
    assert "\n" not in str(caught.value)


def test_a_truncated_hypnogram_loses_no_stage_in_silence(tmp_path: Path) -> None:
    pair = write_pair(tmp_path)
    _cut(-100)(pair.hypnogram)
    with pytest.raises(UserError, match=r"SC4001EC-Hypnogram\.edf: truncated.*fetch it again"):
        read_recording(pair)


def test_numbers_with_a_decimal_comma_are_read(tmp_path: Path) -> None:
    psg = write_edf(tmp_path / "a-PSG.edf", [channel(noise_uv())])
    _write(256 + 104, "-200,0")(psg)
    assert read_edf_header(psg).signals[0].scale == pytest.approx(400 / 65535)
    np.testing.assert_allclose(read_channel(psg)[1], noise_uv(), atol=400 / 65535)


# ---- the hypnogram


@settings(max_examples=15)
@given(
    runs=st.lists(st.tuples(st.sampled_from(sorted(LABELS)), st.integers(1, 60)), min_size=1, max_size=12),
    offset_s=st.floats(0, 14.9),
)
def test_runs_make_the_round_trip_through_edf(runs: list[tuple[str, int]], offset_s: float) -> None:
    stages = np.concatenate([np.full(n_epochs, LABELS[label]) for label, n_epochs in runs])
    onsets = 30 * np.cumsum([0] + [n_epochs for _, n_epochs in runs[:-1]]) + round(offset_s, 2)
    with tempfile.TemporaryDirectory() as folder:
        annotations = [(float(t), 30.0 * n, label) for t, (label, n) in zip(onsets, runs, strict=True)]
        path = write_edf(Path(folder) / "a-Hypnogram.edf", runs=annotations)
        np.testing.assert_array_equal(read_hypnogram(path), stages)


@pytest.mark.parametrize(
    ("runs", "stages"),
    [
        ([(0, 60, "Sleep stage N2"), (90, 30, "Sleep stage R")], [2, 2, -1, 5]),  # a gap
        ([(0, 90, "Sleep stage 2"), (30, 30, "Sleep stage 4")], [2, 4, 2]),  # an overlap: the later run
        ([(0, 44, "Sleep stage 1"), (44, 31, "Sleep stage 3")], [1, 3]),  # its centre decides
        ([(60, 30, "Sleep stage R"), (0, 60, "Sleep stage W")], [0, 0, 5]),  # not in order
        ([(0, 30, "Sleep stage W"), (30, 30, "Movement time"), (60, 30, "Sleep stage ?")], [0, -1, -1]),
        ([(0, None, "Lights off"), (0, 30, "Sleep stage N3")], [3]),  # an event is no stage
    ],
)
def test_an_epoch_has_the_stage_at_its_centre(tmp_path: Path, runs, stages: list[int]) -> None:
    np.testing.assert_array_equal(read_hypnogram(write_edf(tmp_path / "a-Hypnogram.edf", runs=runs)), stages)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (
            [(0, 30, "Sleep stage W"), (30, 30, "Sleep stage N5")],
            r"unknown stage 'Sleep stage N5' at 30 s.*Sleep stage N3.*rename",
        ),
        ([(0, 30, "Wake")], "unknown stage 'Wake' at 0 s"),
        ([(0, None, "Sleep stage 2")], "'Sleep stage 2' at 0 s has no duration"),
        ([(0, None, "Lights off")], "no stage covers"),
    ],
)
def test_a_hypnogram_without_sound_stages_is_an_error(tmp_path: Path, runs, message: str) -> None:
    with pytest.raises(UserError, match=rf"a-Hypnogram\.edf: {message}"):
        read_hypnogram(write_edf(tmp_path / "a-Hypnogram.edf", runs=runs))


def test_a_signal_file_is_no_hypnogram(tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a-Hypnogram.edf", [channel(noise_uv())])
    with pytest.raises(UserError, match=r"a-Hypnogram\.edf: no signal 'EDF Annotations'.*EDF\+"):
        read_hypnogram(path)


def test_annotations_in_an_unknown_encoding_are_an_error(tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a-Hypnogram.edf", runs=[(0, 30, "Sleep stage W")])
    overwrite(path, path.read_bytes().index(b"Sleep stage W"), b"\xff\xfe")
    with pytest.raises(UserError, match=r"a-Hypnogram\.edf: MNE can't read it \(.*utf-8"):
        read_hypnogram(path)


# ---- stages


@settings(max_examples=30)
@given(stages=st.lists(st.integers(-1, 5), min_size=1, max_size=200), margin=st.integers(0, 70))
def test_cropping_keeps_what_lies_within_the_margin_of_sleep(stages: list[int], margin: int) -> None:
    sleep = [i for i, stage in enumerate(stages) if stage > 0]
    if not sleep:
        with pytest.raises(UserError, match=r"none of the \d+ epochs is sleep"):
            crop_to_sleep(np.array(stages))
        return
    kept = range(len(stages))[crop_to_sleep(np.array(stages), margin_s=30.0 * margin)]
    assert list(kept) == [i for i in range(len(stages)) if sleep[0] - margin <= i <= sleep[-1] + margin]


def test_merging_gives_the_five_aasm_classes() -> None:
    merged = merge_to_aasm(np.arange(-1, 6, dtype=np.int8))
    aasm = ("W", "N1", "N2", "N3", "R")
    assert [aasm[code] for code in merged[1:]] == [stage.replace("N4", "N3") for stage in STAGES]
    assert (merged[0], merged.dtype) == (-1, np.int8)


# ---- published counts


@pytest.fixture(scope="module")
def sleep_root() -> Path:
    if "EEGJAX_DATA" not in os.environ:
        pytest.skip("EEGJAX_DATA names no folder of recordings")
    return Path(os.environ["EEGJAX_DATA"]) / "sleep"


def test_the_counts_of_a_real_night_segment(sleep_root: Path) -> None:
    recording = read_recording(*find_pairs(sleep_root / "night_segment"))
    assert recording.pair[:3] == ("segment", "segment", "1")
    assert (recording.ch_name, recording.sfreq, recording.eeg.size) == ("EEG", 100.0, 501_000)
    np.testing.assert_array_equal(np.bincount(recording.stages), [2, 7, 95, 37, 0, 26])
    assert recording.eeg.std() == pytest.approx(25.2, abs=0.05)


def test_the_counts_of_the_39_nights(sleep_root: Path) -> None:
    folder = sleep_root / "sleep_edf_20_hypnograms"
    code = {letter: i for i, letter in enumerate("W1234R")} | {"M": -1, "?": -1}
    letters = json.loads((folder / "hypnograms_39_nights.json").read_text())["nights"]
    nights = {name: np.array([code[letter] for letter in night], np.int8) for name, night in letters.items()}

    # The file goes on for 230 unscored epochs after the PSG's last, where the published string ends.
    read = read_hypnogram(folder / "SC4001EC-Hypnogram.edf")
    np.testing.assert_array_equal(read, np.concatenate([nights["SC4001E0"], np.full(230, -1)]))

    cropped = np.concatenate([merge_to_aasm(night[crop_to_sleep(night)]) for night in nights.values()])
    np.testing.assert_array_equal(np.bincount(cropped[cropped >= 0]), [8285, 2804, 17799, 5703, 7717])
    everything = np.concatenate(list(nights.values()))
    np.testing.assert_array_equal(np.bincount(everything + 1), [2646, 72391, 2804, 17799, 3370, 2333, 7717])

"""One channel of every format, against edfio, MNE's own writer and BrainVision files made by hand."""

import datetime
import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest

from eegjax.data.formats.edf_header import read_edf_header
from eegjax.data.recording import HIGH_PASS_HZ, EegChannel, high_pass, plain_name, read_eeg_channel, resample
from eegjax.errors import UserError

SFREQ, N_TIMES = 100.0, 6000
START = datetime.datetime(2024, 1, 31, 22, 30, 5)
CH_NAMES = ("Fpz", "Cz", "EOG")
FORMATS = ("edf", "bdf", "vhdr", "fif", "fif.gz")


def noise_uv(n_chans: int = len(CH_NAMES), n_times: int = N_TIMES) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 20, (n_chans, n_times)).clip(-190, 190)


def write_edf(path: Path, data: np.ndarray, ch_names=CH_NAMES, sfreq=SFREQ, start=START, units=None, **more) -> Path:
    bdf = path.suffix == ".bdf"
    signal_class, file_class = (edfio.BdfSignal, edfio.Bdf) if bdf else (edfio.EdfSignal, edfio.Edf)
    units = units or ["uV"] * len(ch_names)
    signals = [
        signal_class(row, sfreq, label=name, physical_dimension=unit, physical_range=(-200, 200))
        for row, name, unit in zip(data, ch_names, units, strict=True)
    ]
    when = {"recording": edfio.Recording(startdate=start.date()), "starttime": start.time()} if start else {}
    file_class(signals, **when, **more).write(path)
    return path


def make_raw(data: np.ndarray, ch_names=CH_NAMES, sfreq=SFREQ, start=START, types="eeg") -> mne.io.RawArray:
    with mne.use_log_level("error"):
        raw = mne.io.RawArray(data * 1e-6, mne.create_info(list(ch_names), sfreq, types))
    return raw.set_meas_date(start.replace(tzinfo=datetime.UTC) if start else None)


def write_fif(path: Path, data: np.ndarray, *args, **kwargs) -> Path:
    make_raw(data, *args, **kwargs).save(path, overwrite=True, verbose="error")
    return path


def write_brainvision(
    path: Path,
    data: np.ndarray,
    ch_names=CH_NAMES,
    sfreq=SFREQ,
    start=START,
    units=("µV", "µV", "µV"),
    orientation="MULTIPLEXED",
    dtype="INT_16",
    encoding="utf-8",
    infos="",
    markers="",
) -> Path:
    per_uv = {"µV": 1.0, "mV": 1e-3, "V": 1e-6, "nV": 1e3}
    resolutions = [0.01 * per_uv.get(unit, 1.0) for unit in units]
    channels = [
        f"Ch{i}={n},,{r:g},{u}" for i, (n, r, u) in enumerate(zip(ch_names, resolutions, units, strict=True), 1)
    ]
    path.write_text(
        f"Brain Vision Data Exchange Header File Version 1.0\n; a comment, [Channel Infos] too\n\n[Common Infos]\n"
        f"DataFile={path.stem}.eeg\nMarkerFile={path.stem}.vmrk\nDataFormat=BINARY\nDataOrientation={orientation}\n"
        f"NumberOfChannels={len(ch_names)}\nSamplingInterval={1e6 / sfreq:g}\n{infos}\n[Binary Infos]\n"
        f"BinaryFormat={dtype}\n\n[Channel Infos]\n" + "\n".join(channels) + "\n\n[Coordinates]\n"
        # as for a channel without a place, which MNE makes one of another type
        "Ch1=0,0,0\n" + "".join(f"Ch{i}=1,90,{i}\n" for i in range(2, len(ch_names) + 1)),
        encoding=encoding,
    )
    samples = (data * 100).astype({"INT_16": "<i2", "IEEE_FLOAT_32": "<f4"}[dtype])
    (samples.T if orientation == "MULTIPLEXED" else samples).copy().tofile(path.with_suffix(".eeg"))
    path.with_suffix(".vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\n"
        f"DataFile={path.stem}.eeg\n\n[Marker Infos]\nMk1=New Segment,,1,1,0,{start:%Y%m%d%H%M%S%f}\n{markers}"
    )
    return path


def write(folder: Path, kind: str, data: np.ndarray | None = None, ch_names=CH_NAMES, **kwargs) -> Path:
    writers = {"edf": write_edf, "bdf": write_edf, "vhdr": write_brainvision, "fif": write_fif, "fif.gz": write_fif}
    name = f"night_raw.{kind}" if "fif" in kind else f"night.{kind}"
    return writers[kind](folder / name, noise_uv(len(ch_names)) if data is None else data, ch_names, **kwargs)


def one_line(path: Path, *args, **kwargs) -> str:
    """The message of the error that reading raises."""
    with pytest.raises(UserError) as caught:
        read_eeg_channel(path, *args, **kwargs)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


# ---- the signal comes back


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_microvolts(tmp_path: Path, kind: str, caplog, capfd) -> None:
    read = read_eeg_channel(write(tmp_path, kind), "Cz", min_s=60.0)
    assert isinstance(read, EegChannel)
    assert (read.ch_name, read.ch_names, read.sfreq_recorded, read.start) == ("Cz", CH_NAMES, SFREQ, START)
    assert read.high_passed_hz is None
    assert (read.eeg.dtype, read.eeg.shape) == (np.float32, (N_TIMES,))
    np.testing.assert_allclose(read.eeg, noise_uv()[1], atol=0.011)  # the files' digital steps
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "kwargs",
    [
        {"orientation": "VECTORIZED"},
        {"dtype": "IEEE_FLOAT_32"},
        {"units": ("mV", "V", "nV")},
        {"units": ("", "", "")},  # the format's µV
        {"encoding": "latin-1"},
        {"infos": f"DataPoints={N_TIMES}\n"},
    ],
    ids=str,
)
def test_every_kind_of_brainvision_gives_the_same_microvolts(tmp_path: Path, kwargs: dict) -> None:
    path = write(tmp_path, "vhdr", **kwargs)
    for number, name in enumerate(CH_NAMES):
        np.testing.assert_allclose(read_eeg_channel(path, name).eeg, noise_uv()[number], atol=0.011)


@pytest.mark.parametrize(("unit", "high"), [("mV", 0.2), ("V", 2e-4), ("nV", 2e5)])
def test_every_voltage_in_bdf_becomes_microvolts(tmp_path: Path, unit: str, high: float) -> None:
    data = noise_uv(1)[0] * high / 200
    signal = edfio.BdfSignal(data, SFREQ, label="Cz", physical_dimension=unit, physical_range=(-high, high))
    edfio.Bdf([signal]).write(tmp_path / "a.bdf")
    np.testing.assert_allclose(read_eeg_channel(tmp_path / "a.bdf").eeg, noise_uv(1)[0], atol=1e-3)


def test_a_channel_keeps_its_own_rate_among_others(tmp_path: Path) -> None:
    slow, fast = noise_uv(1, N_TIMES)[0], noise_uv(1, 4 * N_TIMES)[0]
    signals = [
        edfio.EdfSignal(data, sfreq, label=label, physical_dimension="uV", physical_range=(-200, 200))
        for data, sfreq, label in ((fast, 400.0, "EMG"), (slow, 100.0, "C4-M1"))
    ]
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(1, None, "Lights off")]).write(tmp_path / "a.edf")
    read = read_eeg_channel(tmp_path / "a.edf", "C4-M1")
    assert read.ch_names == ("EMG", "C4-M1")
    np.testing.assert_allclose(read.eeg, slow, atol=0.01)


@pytest.mark.parametrize("kind", ["edf", "vhdr", "fif"])
def test_one_channel_of_many_is_all_that_memory_holds(tmp_path: Path, kind: str) -> None:
    n_chans, n_times = 32, 200_000
    names = [f"C{number}" for number in range(n_chans)]
    data = np.tile(noise_uv(1, n_times), (n_chans, 1))
    path = write(tmp_path, kind, data, names, **({"units": ("µV",) * n_chans} if kind == "vhdr" else {}))
    read_eeg_channel(path, "C7")  # what is imported on first use is not the recording's
    tracemalloc.start()
    read_eeg_channel(path, "C7")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < data.nbytes  # MNE reads 10 MB at a time


# ---- start


def test_a_cropped_fif_starts_where_it_was_cropped(tmp_path: Path) -> None:
    raw = make_raw(noise_uv()).crop(12.5, None).save(tmp_path / "a_raw.fif", verbose="error")
    assert raw
    assert read_eeg_channel(tmp_path / "a_raw.fif", "Cz").start == START + datetime.timedelta(seconds=12.5)


@pytest.mark.parametrize("kind", ["edf", "bdf", "fif"])
def test_an_unknown_start_is_none(tmp_path: Path, kind: str) -> None:
    assert read_eeg_channel(write(tmp_path, kind, start=None), "Cz").start is None


# ---- which channel


@pytest.mark.parametrize("kind", FORMATS)
def test_channels_are_found_in_any_case_with_or_without_eeg(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind, ch_names=("EEG Fpz", "EEG Cz-Pz", "Oz"))
    names = {"fpz": "EEG Fpz", "Eeg Fpz": "EEG Fpz", "CZ-PZ": "EEG Cz-Pz", "eeg OZ": "Oz"}
    for asked, name in names.items():
        read = read_eeg_channel(path, asked)
        assert read.ch_name == name
        row = ("EEG Fpz", "EEG Cz-Pz", "Oz").index(name)
        np.testing.assert_allclose(read.eeg, noise_uv()[row], atol=0.011)


@pytest.mark.parametrize(
    ("ch_names", "channel", "default", "expected"),
    [
        (("C4-M1",), None, None, "C4-M1"),
        (("C4-M1",), None, "EEG Fpz-Cz", "C4-M1"),  # the only one
        (("EOG left", "EEG C4-M1", "EMG"), None, "Fpz-Cz", "EEG C4-M1"),  # the only one marked as EEG
        (("EEG Fpz-Cz", "EEG Pz-Oz"), None, "fpz-cz", "EEG Fpz-Cz"),
        (("EEG Fpz-Cz", "EEG Pz-Oz"), "Pz-Oz", "Fpz-Cz", "EEG Pz-Oz"),
        (("Cz", "CZ"), "CZ", None, "CZ"),  # written the same, where others mean the same
    ],
)
def test_the_channel_that_is_meant(tmp_path: Path, ch_names, channel, default, expected: str) -> None:
    assert read_eeg_channel(write(tmp_path, "edf", ch_names=ch_names), channel, default=default).ch_name == expected


def test_types_and_units_tell_the_only_eeg_channel(tmp_path: Path) -> None:
    assert read_eeg_channel(write(tmp_path, "fif", types=["eog", "eeg", "misc"])).ch_name == "Cz"
    path = write(tmp_path, "vhdr", ch_names=("HEOGL", "Cz", "Temp"), units=("µV", "µV", "C"))
    assert read_eeg_channel(path).ch_name == "Cz"
    assert read_eeg_channel(write(tmp_path, "bdf", units=["Boolean", "uV", "degC"])).ch_name == "Cz"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_missing_channel_is_an_error_that_lists_them(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    message = one_line(path, "Fpx")
    assert re.search(r"no channels named 'Fpx', expected one of: Fpz, Cz, EOG; name.*Did you mean 'Fpz'\?$", message)
    assert "no channels named 'Fpz-Oz'" in one_line(path, "Fpz-Oz")
    assert "no channels named 'C4'" in one_line(path, default="C4")
    only = write(tmp_path, kind, ch_names=("EEG C4-M1",), **({"units": ["µV"]} if kind == "vhdr" else {}))
    assert "no channels named 'Cz'" in one_line(only, "Cz")


def test_several_channels_and_no_name_is_an_error(tmp_path: Path) -> None:
    assert "2 EEG channels, expected one of: C4-M1, C3-M2; name" in one_line(
        write(tmp_path, "edf", ch_names=("C4-M1", "C3-M2"))
    )
    assert "2 EEG channels, expected" in one_line(write(tmp_path, "edf", ch_names=("", "C3-M2")))
    assert "2 channels named 'cz'" in one_line(write(tmp_path, "edf", ch_names=("Cz", "CZ")), "cz")


# ---- the difference of two electrodes


@pytest.mark.parametrize("kind", FORMATS)
def test_a_derivation_is_the_difference_of_its_electrodes(tmp_path: Path, kind: str, caplog) -> None:
    read = read_eeg_channel(write(tmp_path, kind), default="EEG fpz-CZ")
    assert (read.ch_name, read.start) == ("Fpz-Cz", START)
    np.testing.assert_allclose(read.eeg, noise_uv()[0] - noise_uv()[1], atol=0.022)
    assert "computed as 'Fpz' minus 'Cz'" in caplog.text


def test_a_derivation_that_the_file_has_is_read(tmp_path: Path, caplog) -> None:
    read = read_eeg_channel(write(tmp_path, "edf", ch_names=("Fpz", "Cz", "EEG Fpz-Cz")), "Fpz-Cz")
    np.testing.assert_allclose(read.eeg, noise_uv()[2], atol=0.011)
    assert not caplog.records


def test_a_derivation_needs_two_living_electrodes_at_one_rate(tmp_path: Path) -> None:
    dead = noise_uv()
    dead[1] = 0
    assert "channel 'Cz': flat" in one_line(write(tmp_path, "edf", dead), "Fpz-Cz")
    assert "channel 'Fpz-Fpz': flat" in one_line(write(tmp_path, "edf"), "Fpz-Fpz")
    signals = [
        edfio.EdfSignal(noise_uv(1, int(60 * rate))[0], rate, label=label, physical_dimension="uV")
        for label, rate in (("Fpz", 100.0), ("Cz", 200.0))
    ]
    edfio.Edf(signals).write(tmp_path / "b.edf")
    assert "'Fpz' at 100 Hz and 'Cz' at 200 Hz, expected the same rate" in one_line(tmp_path / "b.edf", "Fpz-Cz")


# ---- resampling


@pytest.mark.parametrize("sfreq", [64.0, 128.0, 199.97, 200.0, 250.0, 256.0, 512.0])
def test_sines_below_a_third_of_the_rate_come_out_as_they_are(sfreq: float) -> None:
    time_s = np.arange(int(60 * sfreq)) / sfreq
    for f_hz in (0.3, 1.0, 10.1, 0.33 * min(sfreq, 100)):
        y = resample(np.sin(2 * np.pi * f_hz * time_s), sfreq, 100.0)
        assert abs(y.size - 6000) <= 1
        expected = np.sin(2 * np.pi * f_hz * np.arange(y.size) / 100)
        np.testing.assert_allclose(y[100:-100], expected[100:-100], atol=3e-4)


def test_what_would_alias_is_damped_by_80_db() -> None:
    time_s = np.arange(60 * 256) / 256
    for f_hz in (65.0, 80.0, 99.0, 120.0):
        assert np.abs(resample(np.sin(2 * np.pi * f_hz * time_s), 256.0, 100.0)[100:-100]).max() < 1e-4


def test_resampling_agrees_with_mne_on_an_eeg_band() -> None:
    noise = mne.filter.filter_data(noise_uv(1, 256 * 60)[0], 256.0, 0.3, 30.0, verbose="error")
    expected = mne.filter.resample(noise, 100, 256, npad=128, verbose="error")  # so that no sample shifts
    np.testing.assert_allclose(resample(noise, 256.0, 100.0)[1000:-1000], expected[1000:-1000], atol=0.01)


def test_an_offset_leaves_no_step_at_the_edges() -> None:
    np.testing.assert_allclose(resample(np.full(5120, 5e3), 512.0, 100.0), 5e3, rtol=1e-3)


@pytest.mark.parametrize("kind", FORMATS)
def test_another_rate_is_resampled_and_said(tmp_path: Path, kind: str, caplog) -> None:
    read = read_eeg_channel(write(tmp_path, kind, sfreq=250.0), "Cz")
    assert (read.sfreq_recorded, read.eeg.size) == (250.0, N_TIMES * 100 // 250)
    np.testing.assert_allclose(read.eeg, resample(noise_uv()[1], 250.0, 100.0), atol=0.02)
    assert "channel 'Cz': resampled from 250 Hz to 100 Hz" in caplog.text


# ---- DC-coupled recordings


def drift_uv(n_times: int, level_uv: float = -28_000.0) -> np.ndarray:
    """Tens of millivolts that drift by millivolts."""
    time = np.linspace(0, 1, n_times)
    return level_uv + 400 * time + 150 * np.sin(5 * time)


@pytest.mark.parametrize("f_hz", [0.1, HIGH_PASS_HZ, 0.6, 1.0, 12.0])
@pytest.mark.parametrize("sfreq", [100.0, 512.0])
def test_the_high_pass_has_butterworths_gain_and_no_phase(f_hz: float, sfreq: float) -> None:
    time_s = np.arange(int(120 * sfreq)) / sfreq
    sine = np.sin(2 * np.pi * f_hz * time_s)
    middle = slice(int(40 * sfreq), int(80 * sfreq))
    gain = 1 / (1 + (HIGH_PASS_HZ / f_hz) ** 4)  # second order, twice
    np.testing.assert_allclose(high_pass(sine, sfreq)[middle], gain * sine[middle], atol=2e-3)


@pytest.mark.parametrize("kind", ["bdf", "vhdr", "fif"])
def test_a_dc_coupled_recording_is_read_as_if_it_were_none(tmp_path: Path, kind: str, caplog) -> None:
    sfreq, n_times = 256.0, 256 * 120
    eeg = mne.filter.filter_data(noise_uv(1, n_times)[0], sfreq, 0.5, 30.0, verbose="error")
    data = np.stack([eeg + drift_uv(n_times), drift_uv(n_times, 15_000.0)[::-1] - eeg, noise_uv(1, n_times)[0]])
    path = tmp_path / f"dc_raw.{kind}"
    if kind == "bdf":
        wide = {"physical_dimension": "uV", "physical_range": (-262_144, 262_143)}  # BioSemi's
        signals = [edfio.BdfSignal(x, sfreq, label=n, **wide) for x, n in zip(data, CH_NAMES, strict=True)]
        edfio.Bdf(signals).write(path)
    else:
        write(tmp_path, kind, data, sfreq=sfreq, **({"dtype": "IEEE_FLOAT_32"} if kind == "vhdr" else {}))
        path = tmp_path / ("night.vhdr" if kind == "vhdr" else "night_raw.fif")
    expected, itself = (resample(x, sfreq, 100.0) for x in (high_pass(eeg, sfreq), eeg))
    assert (expected - itself).std() < 0.05 * itself.std()  # what lies at 0.5 Hz is weakened a little
    for channel, factor in (("Fpz", 1), ("Cz", -1), ("Fpz-Cz", 2)):
        caplog.clear()
        read = read_eeg_channel(path, channel)
        assert read.high_passed_hz == HIGH_PASS_HZ
        assert re.search(rf"channel '{channel}': DC-coupled .* high-passed at 0.3 Hz", caplog.text)
        np.testing.assert_allclose(read.eeg, factor * expected, atol=0.1)  # of the drift, a millionth is left
    assert read_eeg_channel(path, "EOG").high_passed_hz is None


@pytest.mark.parametrize(("level_uv", "passed"), [(9.0, False), (-9.0, False), (11.0, True), (-11.0, True)])
def test_half_the_amplitude_decides(tmp_path: Path, level_uv: float, passed: bool) -> None:
    eeg = noise_uv(1)
    eeg *= 20 / (1.4826 * np.median(np.abs(eeg)))
    path = write(tmp_path, "edf", eeg + level_uv, ("Cz",))
    assert (read_eeg_channel(path).high_passed_hz is not None) == passed


@pytest.mark.parametrize("n_times", [1, 2, 100, 3000])
def test_any_length_can_be_high_passed(n_times: int) -> None:
    np.testing.assert_allclose(high_pass(np.full(n_times, -28_000.0), 100.0), 0, atol=1e-6)


def test_names_of_the_same_channel() -> None:
    assert len({plain_name(name) for name in ("EEG Fpz-Cz", "FPZ-CZ", "eeg fpz - cz")}) == 1
    assert plain_name("Fpz-Cz") != plain_name("Pz-Oz")


# ---- units


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        ("edf", {"units": ["uV", "mmHg", "uV"]}, r"unit \(physical dimension\) is 'mmHg', expected uV"),
        ("bdf", {"units": ["uV", "", "uV"]}, r"unit \(physical dimension\) is '', expected uV"),
        ("vhdr", {"units": ("µV", "C", "µV")}, "unit is 'C', expected a voltage; choose an EEG channel or correct"),
        ("vhdr", {"units": ("µV", "\u03bcV", "µV")}, "unit is '\u03bcV', expected"),  # MNE takes a Greek mu for volts
        ("fif", {"types": ["eeg", "misc", "eeg"]}, "channel type is 'misc', expected a voltage.*set_channel_types"),
        ("fif", {"types": ["eeg", "mag", "eeg"]}, "channel type is 'mag'"),
    ],
)
def test_an_unknown_unit_is_an_error(tmp_path: Path, kind: str, kwargs: dict, message: str) -> None:
    path = write(tmp_path, kind, **kwargs)
    assert re.search(rf"channel 'Cz': {message}", one_line(path, "Cz"))
    assert read_eeg_channel(path, "Fpz").eeg.size == N_TIMES  # the others are well


def test_numbers_in_microvolts_saved_as_volts_are_an_error(tmp_path: Path) -> None:
    message = one_line(write(tmp_path, "fif", 1e6 * noise_uv()), "Cz")
    assert re.search(r"channel 'Cz': amplitude.*µV taken for volts", message)


# ---- broken, missing, not continuous


@pytest.mark.parametrize("kind", FORMATS)
def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"night.{kind}"
    assert "can't be read (No such file or directory); check the path" in one_line(path)
    path.mkdir()
    assert "can't be read (Is a directory)" in one_line(path)


@pytest.mark.parametrize("name", ["night.eeg", "night.vmrk", "night.EEG"])
def test_a_companion_of_brainvision_names_its_header(tmp_path: Path, name: str) -> None:
    assert "give the .vhdr (night.vhdr) instead" in one_line(tmp_path / name)


@pytest.mark.parametrize("name", ["night.set", "night", "night.gz", "nightedf"])
def test_an_unknown_format_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "expected .edf, .bdf, .vhdr, .fif, .fif.gz; export it as EDF" in one_line(tmp_path / name)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def _scramble(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("damage", [_cut, _scramble, _empty])
def test_a_broken_file_is_one_clear_error(tmp_path: Path, kind: str, damage: Callable[[Path], None]) -> None:
    path = write(tmp_path, kind)
    damage(path)
    assert re.search("truncated|not an? .DF file|MNE can't read it", one_line(path, "Cz"))


def test_brainvision_without_its_data_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, "vhdr")
    path.with_suffix(".eeg").rename(tmp_path / "renamed.eeg")
    assert re.search(r"needs .*night\.eeg, which isn't there; put it beside, or correct", one_line(path, "Cz"))


def test_brainvision_data_of_another_length_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, "vhdr", infos=f"DataPoints={N_TIMES + 1}\n")
    assert "announces 6001 samples (DataPoints), its data file has 6000; fetch it again" in one_line(path, "Cz")


@pytest.mark.parametrize(
    ("offset", "text", "message"),
    [
        (192, "BDF+D", r"recorded with gaps \(BDF\+D\)"),
        (236, "61", r"truncated: header announces 61 records \(55924 bytes\), the file has 55024 bytes"),
        (0, "0", r"not a BDF file: starts with '0       ', expected '\xffBIOSEMI'"),
    ],
)
def test_bdf_headers_are_checked_like_those_of_edf(tmp_path: Path, offset: int, text: str, message: str) -> None:
    path = write(tmp_path, "bdf")
    assert read_edf_header(path).n_records == 60
    data = bytearray(path.read_bytes())
    data[offset : offset + 8] = text.ljust(8).encode()
    path.write_bytes(data)
    assert re.search(message, one_line(path, "Cz"))


def test_bdf_named_edf_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, "bdf").rename(tmp_path / "night.edf")
    assert "not an EDF file: starts with '\xffBIOSEMI', expected '0'" in one_line(path, "Cz")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_recording_shorter_than_an_epoch_is_an_error(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind, noise_uv()[:, :2900])
    assert "channel 'Cz': 29 s long, expected at least 30 s" in one_line(path, "Cz", min_s=30.0)
    assert read_eeg_channel(path, "Cz").eeg.size == 2900


@pytest.mark.parametrize(("kind", "kwargs"), [("vhdr", {"dtype": "IEEE_FLOAT_32"}), ("fif", {})])
def test_samples_that_are_no_numbers_are_an_error(tmp_path: Path, kind: str, kwargs: dict) -> None:
    data = noise_uv()
    data[1, 150] = np.nan
    path = write(tmp_path, kind, data, **kwargs)
    assert re.search(r"channel 'Cz': 1 of 6000 samples are NaN.*sample 150 \(1.50 s\)", one_line(path, "Cz"))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_dead_channel_is_an_error(tmp_path: Path, kind: str) -> None:
    data = noise_uv()
    data[1] = 7
    assert "channel 'Cz': flat" in one_line(write(tmp_path, kind, data), "Cz")


def test_epochs_and_averages_are_no_recording(tmp_path: Path) -> None:
    epochs = mne.make_fixed_length_epochs(make_raw(noise_uv()), 10.0, preload=True, verbose="error")
    epochs.save(tmp_path / "a-epo.fif", verbose="error")
    epochs.average().save(tmp_path / "a-ave.fif", verbose="error")
    assert "holds epochs, expected a continuous recording (raw); save that" in one_line(tmp_path / "a-epo.fif", "Cz")
    assert "holds evoked, expected a continuous" in one_line(tmp_path / "a-ave.fif", "Cz")


def test_a_hypnogram_is_no_recording(tmp_path: Path) -> None:
    edfio.Edf([], annotations=[edfio.EdfAnnotation(0, 30, "Sleep stage W")]).write(tmp_path / "a.edf")
    assert "holds no signals, expected a recording; is it the hypnogram of one?" in one_line(tmp_path / "a.edf")


def test_gaps_in_a_fif_are_said(tmp_path: Path, caplog) -> None:
    raw = make_raw(noise_uv())
    raw.set_annotations(mne.Annotations([20.0], [10.0], ["BAD_ACQ_SKIP"], raw.info["meas_date"]))
    raw.save(tmp_path / "a_raw.fif", buffer_size_sec=1.0, verbose="error")
    read = read_eeg_channel(tmp_path / "a_raw.fif", "Cz")
    assert "10 s were not recorded (1 gap(s), BAD_ACQ_SKIP) and are zeros" in caplog.text
    np.testing.assert_allclose(read.eeg[3000:], noise_uv()[1, 3000:], atol=0.01)  # time goes on


def test_pauses_in_brainvision_are_said(tmp_path: Path, caplog) -> None:
    markers = "Mk2=New Segment,,1,1,0\nMk3=New Segment,,2001,1,0,20240131223905000000\nMk4=Stimulus,S  1,3001,1,0\n"
    assert read_eeg_channel(write(tmp_path, "vhdr", markers=markers), "Cz").start == START
    assert "paused 1 time(s) (New Segment), first after 20 s" in caplog.text


def test_annotations_in_an_old_encoding_stop_no_reading(tmp_path: Path) -> None:
    path = write(tmp_path, "edf", annotations=[edfio.EdfAnnotation(1, None, "Augen auf, bitte")])
    path.write_bytes(path.read_bytes().replace(b"Augen", b"\xc4ugen"))
    np.testing.assert_allclose(read_eeg_channel(path, "Cz").eeg, noise_uv()[1], atol=0.011)


# ---- a real recording


def test_a_real_night_segment_is_the_same_in_every_format(data_root: Path, tmp_path: Path) -> None:
    path = data_root / "sleep" / "night_segment" / "segment-PSG.edf"
    read = read_eeg_channel(path)
    assert (read.ch_name, read.eeg.size) == ("EEG", 501_000)
    assert read.eeg.std() == pytest.approx(25.2, abs=0.05)
    mne.io.read_raw_edf(path, verbose="error").save(tmp_path / "a_raw.fif", verbose="error")
    again = read_eeg_channel(tmp_path / "a_raw.fif")
    np.testing.assert_allclose(again.eeg, read.eeg, rtol=1e-6, atol=1e-6)
    assert again.start == read.start

import logging

import numpy as np
import pytest

from eegjax.data.signal_checks import check_eeg, level_and_amplitude
from eegjax.data.sleep_edf.simulator import simulate_night
from eegjax.errors import UserError

WHERE = "night.edf, channel 'EEG'"
SFREQ = 100.0


@pytest.fixture
def eeg_uv() -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 20.0, 30_000)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_a_sound_eeg_passes_in_silence(eeg_uv: np.ndarray, scale: float, caplog: pytest.LogCaptureFixture) -> None:
    check_eeg((scale * eeg_uv).astype(np.float32), WHERE, SFREQ)
    assert not caplog.records


@pytest.fixture
def dc_coupled_uv() -> np.ndarray:
    """Eight hours at 10 Hz of 20 µV, tens of millivolts from zero, drifting by millivolts."""
    time = np.linspace(0, 1, 288_000)
    return np.random.default_rng(0).normal(0, 20.0, time.size) - 28_000 + 10_000 * time


def test_a_dc_coupled_eeg_passes_in_silence(dc_coupled_uv: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    check_eeg(dc_coupled_uv, WHERE, 10.0)
    assert not caplog.records


def test_level_and_amplitude_are_what_they_were_made_of(eeg_uv: np.ndarray, dc_coupled_uv: np.ndarray) -> None:
    assert level_and_amplitude(eeg_uv, SFREQ) == pytest.approx((3, 20), rel=0.1)
    assert level_and_amplitude(-7 * eeg_uv, SFREQ) == pytest.approx((21, 140), rel=0.1)
    assert level_and_amplitude(dc_coupled_uv, 10.0) == pytest.approx((23_000, 20), rel=0.02)


@pytest.mark.parametrize("n_times", [1, 7, 999, 1001])
def test_any_length_has_a_level_and_an_amplitude(eeg_uv: np.ndarray, n_times: int) -> None:
    level, amplitude = level_and_amplitude(eeg_uv[:n_times], SFREQ)
    x = eeg_uv[: min(n_times, 1000)]
    assert level == abs(np.median(x))
    assert amplitude == pytest.approx(1.4826 * np.median(np.abs(x - np.median(x))))


def test_ac_coupled_nights_lie_near_zero() -> None:
    level, amplitude = level_and_amplitude(simulate_night(0, 0, 1, 80).eeg, SFREQ)
    assert level < 0.1 * amplitude


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_number_are_counted_and_located(eeg_uv: np.ndarray, bad: float) -> None:
    eeg_uv[[1234, 5000]] = bad
    with pytest.raises(UserError, match=rf"^{WHERE}: 2 of 30000 samples are NaN.*sample 1234 \(12.34 s\).*cut"):
        check_eeg(eeg_uv, WHERE, SFREQ)


def test_an_empty_signal_is_an_error() -> None:
    with pytest.raises(UserError, match="no samples"):
        check_eeg(np.zeros(0), WHERE, SFREQ)


def _zeros(x: np.ndarray) -> np.ndarray:
    return np.zeros_like(x)


def _mostly_flat(x: np.ndarray) -> np.ndarray:
    return np.where(np.arange(x.size) < 0.6 * x.size, 7.0, x)


def _rare_spikes(x: np.ndarray) -> np.ndarray:
    return np.where(np.arange(x.size) % 100 == 0, 50.0, 0.0)


@pytest.mark.parametrize("break_signal", [_zeros, _mostly_flat, _rare_spikes])
def test_a_flat_channel_is_an_error(eeg_uv: np.ndarray, break_signal) -> None:
    with pytest.raises(UserError, match=rf"^{WHERE}: flat.*another channel"):
        check_eeg(break_signal(eeg_uv), WHERE, SFREQ)


@pytest.mark.parametrize(("share", "noted"), [(0.05, False), (0.3, True)])
@pytest.mark.parametrize("level_uv", [0.0, 600.0])
def test_a_loose_electrode_is_at_most_noted(
    eeg_uv: np.ndarray, share: float, noted: bool, level_uv: float, caplog: pytest.LogCaptureFixture
) -> None:
    eeg_uv[-int(share * eeg_uv.size) :] = level_uv  # 600: at the amplifier's rail, which is not clipping
    with caplog.at_level(logging.WARNING, "eegjax"):
        check_eeg(eeg_uv, WHERE, SFREQ)
    assert [record.getMessage()[: len(WHERE) + 5] for record in caplog.records] == [f"{WHERE}: 30%"] * noted


def test_a_clipped_channel_is_an_error_and_a_touched_rail_is_not(eeg_uv: np.ndarray) -> None:
    check_eeg(eeg_uv.clip(-47, 53), WHERE, SFREQ)  # 2.5 standard deviations: 1.2 % of a Gaussian
    with pytest.raises(UserError, match=rf"^{WHERE}: clipped: 1[23]\..% .*-27 or 33 µV.*wider range"):
        check_eeg(eeg_uv.clip(-27, 33), WHERE, SFREQ)  # 1.5 standard deviations: 13.4 %


@pytest.mark.parametrize(
    ("factor", "cure"),
    [
        (1e-6, "volts taken for µV: multiply by 1e6.*'V'"),
        (1e-3, "millivolts taken for µV: multiply by 1e3.*'mV'"),
        (1e3, "nanovolts taken for µV.*1e-3"),
        (1e6, "µV taken for volts.*1e-6.*'uV'"),
        (0.015, "no mistaken unit.*gain"),
    ],
)
def test_a_wrong_unit_is_an_error_that_names_the_mistake(
    eeg_uv: np.ndarray, dc_coupled_uv: np.ndarray, factor: float, cure: str
) -> None:
    with pytest.raises(UserError, match=rf"^{WHERE}: amplitude .* expected 0.5 to 1000 µV; {cure}"):
        check_eeg(factor * eeg_uv, WHERE, SFREQ)
    with pytest.raises(UserError, match=rf"^{WHERE}: amplitude .* expected 0.5 to 1000 µV; {cure}"):
        check_eeg(factor * dc_coupled_uv, WHERE, 10.0)


def test_one_huge_artefact_does_not_hide_or_feign_a_unit(eeg_uv: np.ndarray) -> None:
    eeg_uv[100:200] = 1e6 * np.random.default_rng(1).normal(size=100)
    check_eeg(eeg_uv, WHERE, SFREQ)
    with pytest.raises(UserError, match="volts taken for µV"):
        check_eeg(1e-6 * eeg_uv, WHERE, SFREQ)

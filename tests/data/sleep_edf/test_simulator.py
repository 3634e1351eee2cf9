"""The simulated nights: are they like the real ones, as hard as they claim, and whole on disk?"""

import errno
import json
import os
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest
from scipy import signal
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eegjax.data.sleep_edf import statistics
from eegjax.data.sleep_edf.simulator import Night, draw_stages, score, simulate_night, true_stages, write_night
from eegjax.data.sleep_edf.statistics import DWELL_EDGES, DWELLS, TRANSITIONS
from eegjax.errors import UserError

BANDS_HZ = {"delta": (0.5, 4), "theta": (4, 8), "alpha": (8, 12), "sigma": (12, 15), "beta": (15, 30)}
EPOCH_SAMPLES = 3000


def sleep_period(stages: np.ndarray) -> np.ndarray:
    """Return a night from its first to its last epoch of sleep."""
    asleep = np.flatnonzero(stages > 0)
    return stages[asleep[0] : asleep[-1] + 1]


def dwells_and_transitions(nights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return each stage's mean run (cut to the longest that the simulator knows), and P(next | left)."""
    total, counts = np.zeros((2, 6)), np.zeros((6, 6))
    for stages in nights:
        edges = np.r_[0, np.flatnonzero(np.diff(stages)) + 1, len(stages)]
        runs = stages[edges[:-1]]
        np.add.at(total, (0, runs), np.minimum(np.diff(edges), DWELL_EDGES[-1] - 1))
        np.add.at(total, (1, runs), 1)
        np.add.at(counts, (runs[:-1], runs[1:]), 1)
    return total[0] / total[1], counts / counts.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def nights() -> list[np.ndarray]:
    """The true stages of 80 nights as long as the real ones are on average."""
    return [draw_stages(np.random.default_rng([5, night]), 1085) for night in range(80)]


@pytest.fixture(scope="module")
def simulated() -> list[Night]:
    """Two nights of two subjects, long enough to hold every stage."""
    return [simulate_night(3, subject, night, 480) for subject in (0, 1) for night in (1, 2)]


def relative_powers(night: Night) -> np.ndarray:
    """Return each epoch's log share of power in the five bands."""
    freqs, psd = signal.welch(night.eeg.reshape(-1, EPOCH_SAMPLES), 100, nperseg=400)
    powers = np.stack([psd[:, (freqs >= low) & (freqs < high)].sum(1) for low, high in BANDS_HZ.values()], axis=1)
    return np.log(powers / powers.sum(axis=1, keepdims=True))


def test_nights_follow_the_numbers_in_the_code(nights):
    dwell, transition = dwells_and_transitions([sleep_period(stages) for stages in nights])
    middle = (DWELL_EDGES[:-1] + DWELL_EDGES[1:] - 1) / 2
    np.testing.assert_allclose(dwell, DWELLS @ middle / DWELLS.sum(axis=1), rtol=0.2)
    np.testing.assert_allclose(transition, TRANSITIONS / TRANSITIONS.sum(axis=1, keepdims=True), atol=0.06)


def test_nights_are_like_the_39_real_ones(nights):
    if "EEGJAX_DATA" not in os.environ:
        pytest.skip("EEGJAX_DATA is not set")
    path = Path(os.environ["EEGJAX_DATA"], "sleep/sleep_edf_20_hypnograms/hypnograms_39_nights.json")
    letters = [np.array(list(night)) for night in json.loads(path.read_text())["nights"].values()]
    codes = [np.select([night == letter for letter in "1234R"], [1, 2, 3, 4, 5], 0) for night in letters]
    real, ours = ([sleep_period(stages) for stages in group] for group in (codes, nights))
    np.testing.assert_allclose(dwells_and_transitions(ours)[0], dwells_and_transitions(real)[0], rtol=0.2)
    np.testing.assert_allclose(dwells_and_transitions(ours)[1], dwells_and_transitions(real)[1], atol=0.06)
    shares = [np.bincount(np.concatenate(group), minlength=6) / sum(map(len, group)) for group in (ours, real)]
    np.testing.assert_allclose(*shares, atol=0.04)


def test_a_night_begins_and_ends_awake_and_deep_sleep_comes_before_rem(nights):
    assert all(stages[0] == stages[-1] == 0 for stages in nights)
    deep, rem = (
        np.mean([np.flatnonzero(np.isin(stages, wanted)).mean() for stages in nights if np.isin(stages, wanted).any()])
        for wanted in ((3, 4), (5,))
    )
    assert deep < 0.45 * 1085
    assert rem > 0.55 * 1085


@pytest.mark.parametrize("n_epochs", [40, 41, 100])
def test_a_short_night_holds_sleep_too(n_epochs):
    stages = draw_stages(np.random.default_rng(0), n_epochs)
    assert stages.shape == (n_epochs,)
    assert stages.dtype == np.int8
    assert stages[0] == stages[-1] == 0
    assert np.any(stages > 0)


def test_the_scorer_agrees_with_the_truth_as_the_simulator_claims(nights):
    pairs = [(stages, score(np.random.default_rng([6, night]), stages)) for night, stages in enumerate(nights)]
    true, scored = (np.concatenate(side) for side in zip(*pairs, strict=True))
    known = scored >= 0
    assert 0.995 < known.mean() < 1
    assert 0.75 < cohen_kappa_score(true[known], scored[known]) < 0.85
    shares = np.bincount(true, minlength=6) / true.size, np.bincount(scored[known], minlength=6) / known.sum()
    np.testing.assert_allclose(*shares, atol=0.03)
    near_border = np.r_[False, np.diff(true) != 0] | np.r_[np.diff(true) != 0, False]
    wrong = known & (true != scored)
    assert wrong[near_border].mean() > 2 * wrong[~near_border].mean()
    far_off = wrong & (np.isin(true, (3, 4)) & np.isin(scored, (0, 1, 5)) | (true == 0) & np.isin(scored, (2, 3, 4)))
    assert far_off.sum() < 0.1 * wrong.sum()


def test_amplitude_alone_does_not_tell_the_stage_but_rhythms_do(simulated):
    true = [night.true for night in simulated]
    log_rms = [np.log(night.eeg.reshape(-1, EPOCH_SAMPLES).std(axis=1))[:, None] for night in simulated]
    kappas = []
    for features in (log_rms, [relative_powers(night) for night in simulated]):
        model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500))
        model.fit(np.concatenate(features[:2]), np.concatenate(true[:2]))
        kappas.append(cohen_kappa_score(np.concatenate(true[2:]), model.predict(np.concatenate(features[2:]))))
    assert kappas[0] < 0.1
    assert kappas[1] > 0.35


def test_each_stage_looks_like_itself(simulated):
    true = np.concatenate([night.true for night in simulated])
    powers = dict(zip(BANDS_HZ, np.concatenate([relative_powers(night) for night in simulated]).T, strict=True))
    mean = {name: np.array([power[true == stage].mean() for stage in range(6)]) for name, power in powers.items()}
    assert mean["alpha"].argmax() == 0
    assert mean["theta"].argmax() == 1
    assert mean["sigma"].argmax() == 2
    assert np.argsort(mean["delta"])[-2:].tolist() == [3, 4]


def test_spindles_are_short_events(simulated):
    sos = signal.butter(4, (11.5, 15), "bandpass", fs=100, output="sos")
    envelopes = [np.abs(signal.hilbert(signal.sosfiltfilt(sos, night.eeg))) for night in simulated]
    peak = np.concatenate([np.log(e.reshape(-1, EPOCH_SAMPLES).max(1) / np.median(e)) for e in envelopes])
    median = np.concatenate([np.log(np.median(e.reshape(-1, EPOCH_SAMPLES), axis=1) / np.median(e)) for e in envelopes])
    true = np.concatenate([night.true for night in simulated])
    burst = [np.median((peak - median)[true == stage]) for stage in range(6)]
    assert burst[2] > max(burst[0], burst[1], burst[5]) + np.log(1.5)


def test_the_same_arguments_give_the_same_night(simulated):
    again = simulate_night(3, 0, 1, 480)
    for ours, theirs in zip(simulated[0], again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(again.true, true_stages(3, 0, 1, 480))
    assert (again.eeg.dtype, again.true.dtype, again.scored.dtype) == (np.float32, np.int8, np.int8)
    assert again.eeg.shape == (480 * EPOCH_SAMPLES,)


def test_seeds_subjects_and_nights_differ():
    nights = [simulate_night(*who, 60).eeg for who in ((0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 2))]
    correlation = np.corrcoef(nights) - np.eye(4)
    assert np.abs(correlation).max() < 0.1


def test_a_subject_keeps_its_alpha_frequency_from_night_to_night():
    peaks_hz = np.zeros((6, 2))
    for subject in range(6):
        for night in (1, 2):
            simulated = simulate_night(0, subject, night, 120)
            wake = simulated.eeg.reshape(-1, EPOCH_SAMPLES)[simulated.true == 0]
            freqs, psd = signal.welch(wake, 100, nperseg=400)
            alpha = (freqs > 7.5) & (freqs < 12)
            peaks_hz[subject, night - 1] = freqs[alpha][psd.mean(axis=0)[alpha].argmax()]
    assert np.abs(peaks_hz[:, 0] - peaks_hz[:, 1]).max() <= 0.5
    assert np.ptp(peaks_hz[:, 0]) >= 1


def test_files_read_back_by_mne_are_what_was_simulated(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "UNSCORED_SHARE", 0.05)
    night = simulate_night(0, 7, 2, 80)
    assert -1 in night.scored
    psg, hypnogram = write_night(tmp_path, 0, 7, 2, 80)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SC4072E0-PSG.edf", "SC4072EC-Hypnogram.edf"]
    raw = mne.io.read_raw_edf(psg, verbose="error")
    assert (raw.ch_names, raw.info["sfreq"]) == (["EEG Fpz-Cz"], 100)
    assert raw._orig_units == {"EEG Fpz-Cz": "µV"}
    np.testing.assert_allclose(raw.get_data()[0] * 1e6, night.eeg, atol=1000 / 65535)

    runs = mne.read_annotations(hypnogram)
    assert len(runs) == 1 + np.count_nonzero(np.diff(night.scored))
    codes = ["W1234R?".index(text.removeprefix("Sleep stage ")) for text in runs.description]
    scored = np.repeat(codes, (runs.duration / 30).astype(int))
    np.testing.assert_array_equal(np.where(scored == 6, -1, scored), night.scored)
    np.testing.assert_array_equal(runs.onset, np.r_[0, np.cumsum(runs.duration)[:-1]])


def test_both_files_are_of_one_simulated_patient_at_one_time(tmp_path):
    psg, hypnogram = (edfio.read_edf(path) for path in write_night(tmp_path, 0, 3, 1, 40))
    assert psg.local_patient_identification == hypnogram.local_patient_identification
    assert psg.patient.name == "SIMULATED"
    assert (psg.startdate, psg.starttime) == (hypnogram.startdate, hypnogram.starttime)
    assert hypnogram.signals == ()


def test_robust_amplitude_is_that_of_an_eeg_in_microvolts(simulated):
    for night in simulated:
        assert 10 < 1.4826 * np.median(np.abs(night.eeg - np.median(night.eeg))) < 60
        assert np.abs(night.eeg).max() <= 500


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(self, data):
        with open(self, "wb") as file:
            file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(UserError, match="the disk is full"):
        write_night(tmp_path, 0, 0, 1, 40)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("subject", "night", "n_epochs", "message"),
    [
        (100, 1, 40, "subject: found 100"),
        (-1, 1, 40, "subject: found -1"),
        (0, 3, 40, "night: found 3"),
        (0, 1, 39, "39"),
    ],
)
def test_what_sleep_edf_cannot_name_or_hold_is_a_users_mistake(tmp_path, subject, night, n_epochs, message):
    with pytest.raises(UserError, match=message):
        write_night(tmp_path, 0, subject, night, n_epochs)

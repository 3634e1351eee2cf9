"""The simulated imagery: is it like the real files, does it depend on the class where it should and nowhere else, and
is it as hard as it claims?"""

from pathlib import Path

import mne
import numpy as np
import pytest
from mne.decoding import CSP
from scipy import io, signal, stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from eegjax.data.bci_iv_2a import signals, simulator
from eegjax.data.bci_iv_2a.simulator import CHANCE_SUBJECT, oracle, true_labels, write_session
from eegjax.errors import UserError

C3, CZ, C4, POZ, EOG = 7, 9, 11, 21, slice(22, 25)
LEFT, RIGHT, FEET, TONGUE = range(4)
SIZE = {"n_runs": 3, "n_trials_per_run": 32}


def read(path: Path) -> list:
    """The runs of a file."""
    return list(io.loadmat(path, squeeze_me=True, struct_as_record=False)["data"])


def trials(runs: list, start_s: float, stop_s: float, bands_hz: tuple = ()) -> np.ndarray:
    """[n_trials, n_times, n_chans], between two times after the cue, float64 µV, band-passed."""
    cut = []
    for run in runs[1:]:
        x = run.X.astype(np.float64)
        if bands_hz:
            x = signal.sosfiltfilt(signal.butter(4, bands_hz, "bandpass", fs=250, output="sos"), x, axis=0)
        cut += [x[int(t) - 1 + 500 + int(250 * start_s) : int(t) - 1 + 500 + int(250 * stop_s)] for t in run.trial]
    return np.array(cut)


def labels(runs: list) -> np.ndarray:
    return np.concatenate([run.y - 1 for run in runs[1:]]).astype(int)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], list]:
    """Both sessions of a good subject and of the one at chance."""
    folder = tmp_path_factory.mktemp("sessions")
    keys = [(subject, session) for subject in (1, CHANCE_SUBJECT) for session in "TE"]
    return {key: read(write_session(folder, 0, *key, **SIZE)) for key in keys}


# ---- the file


def test_the_file_is_as_bnci_horizon_has_it(tmp_path):
    path = write_session(tmp_path / "made", 3, 2, "E", n_runs=2, n_trials_per_run=8)
    assert path == tmp_path / "made" / "A02E.mat"
    assert [each.name for each in path.parent.iterdir()] == ["A02E.mat"]
    cells = io.loadmat(path)["data"]  # a cell array whose cells hold one structure each
    assert (cells.shape, cells.dtype) == ((1, 3), object)
    for number, cell in enumerate(cells[0]):
        assert cell.shape == (1, 1)
        assert cell.dtype.names == ("X", "trial", "y", "fs", "classes", "artifacts", "gender", "age")
        run = cell[0, 0]
        assert run["X"].dtype == np.float32
        assert run["X"].shape[1] == 25
        assert run["fs"].item() == 250
        assert [name.item() for name in run["classes"][0]] == ["left hand", "right hand", "feet", "tongue"]
        n_trials = 8 if number else 0
        assert run["trial"].size == run["y"].size == run["artifacts"].size == n_trials
        assert set(run["artifacts"].ravel()) <= {0, 1}
        if n_trials:
            apart_s = np.diff(run["trial"][:, 0]) / 250
            assert np.all((apart_s > 7.4) & (apart_s < 8.1))
            assert run["trial"][0, 0] >= 1
            assert run["trial"][-1, 0] + 250 * 7 < len(run["X"])


def test_the_same_arguments_give_the_same_file_and_others_do_not(tmp_path):
    asked = [(0, 1, "T"), (0, 1, "T"), (1, 1, "T"), (0, 2, "T"), (0, 1, "E")]
    paths = [write_session(tmp_path / str(n), *key, 1, 4) for n, key in enumerate(asked)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"Created on" not in paths[0].read_bytes()[:116]  # when that is would make another file of it
    runs = [read(path) for path in paths]
    for one, other in zip(runs[0], runs[1], strict=True):
        assert np.array_equal(one.X, other.X)
        assert np.array_equal(one.y, other.y)
    length = min(len(run[1].X) for run in runs)
    first = np.array([run[1].X[:length, C3] for run in runs[1:]])
    assert np.abs(np.corrcoef(first) - np.eye(4)).max() < 0.3


def test_a_longer_session_begins_as_the_shorter_one(tmp_path):
    short, long = (read(write_session(tmp_path / str(n), 0, 3, "T", n, 4)) for n in (1, 2))
    assert all(np.array_equal(one.X, other.X) for one, other in zip(short, long, strict=False))


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ((0, 10, "T"), "found 10, expected 1 to 9"),
        ((0, 0, "T"), "found 0, expected 1 to 9"),
        ((0, 1, "X"), "found 'X', expected 'T'"),
        ((0, 1, "T", 1, 6), "found 6, expected a multiple of 4"),
        ((0, 1, "T", 1, 0), "found 0, expected a multiple of 4"),
        ((0, 1, "T", 0, 4), "found 0, expected at least 1"),
    ],
)
def test_what_cannot_be_is_an_error(tmp_path, arguments, found):
    for function in (lambda *given: write_session(tmp_path, *given), true_labels, oracle):
        with pytest.raises(UserError, match=found):
            function(*arguments)
    assert not list(tmp_path.iterdir())


# ---- what has nothing to do with the class


def test_nothing_of_a_run_tells_the_class(sessions):
    for (subject, session), runs in sessions.items():
        assert np.array_equal(labels(runs), true_labels(0, subject, session, **SIZE))
        for run in runs[1:]:
            assert np.bincount(run.y.astype(int), minlength=5)[1:].tolist() == [8, 8, 8, 8]
    orders = {tuple(true_labels(seed, 1, "T", 1, 8)) for seed in range(20)}
    assert len(orders) == 20


@pytest.fixture
def relabelled(tmp_path, monkeypatch):
    """A function: subject -> its session twice, with other labels the second time."""

    def write(subject: int) -> tuple[list, list]:
        one = read(write_session(tmp_path / "one", 0, subject, "T", 1, 8))
        monkeypatch.setattr(simulator, "_LABELS", 99)
        other = read(write_session(tmp_path / "other", 0, subject, "T", 1, 8))
        assert not np.array_equal(one[1].y, other[1].y)
        assert np.array_equal(one[1].trial, other[1].trial)
        assert np.array_equal(one[1].artifacts, other[1].artifacts)
        return one, other

    return write


def test_the_subject_at_chance_has_the_same_eeg_whatever_it_imagines(relabelled):
    one, other = relabelled(CHANCE_SUBJECT)
    assert all(np.array_equal(a.X, b.X) for a, b in zip(one, other, strict=True))


def test_the_class_changes_motor_areas_after_the_cue_and_nothing_else(relabelled):
    one, other = relabelled(1)
    assert np.array_equal(one[0].X, other[0].X)
    change = np.abs(one[1].X - other[1].X)
    assert change[:, EOG].max() == 0
    assert change[:, [C3, CZ, C4]].max() > 5
    assert change[:, POZ].max() < 0.2 * change[:, [C3, CZ, C4]].max()
    since_cue = np.arange(len(change))[:, None] - (one[1].trial - 1 + 500)
    outside = ~((since_cue >= -125) & (since_cue < 1375)).any(axis=1)
    assert change[outside].max() == 0


def test_the_amplitudes_are_those_of_eeg(sessions):
    for runs in sessions.values():
        for run in runs:
            rms = run.X.std(axis=0)
            assert np.all((rms[:22] > 5) & (rms[:22] < 30)), rms
            assert np.abs(run.X[:, :22]).max() <= 100
        offsets = np.array([run.X[:, :22].mean(axis=0) for run in runs])
        assert np.all(offsets.std(axis=0) > 2)  # each run has its own


def test_nuisances_are_there(sessions):
    runs = sessions[1, "T"]
    x = np.concatenate([run.X for run in runs]).astype(np.float64)
    freqs, psd = signal.welch(x, 250, nperseg=500, axis=0)
    line = psd[freqs == 50] / psd[(freqs == 47) | (freqs == 53)].mean(axis=0)
    assert np.median(line) > 2  # mains
    slope = np.polyfit(np.log(freqs[(freqs > 1.5) & (freqs < 7)]), np.log(psd[(freqs > 1.5) & (freqs < 7)][:, :22]), 1)
    assert np.all(slope[0] < -0.5)  # 1/f
    blinks = np.percentile(np.abs(x - np.median(x, axis=0)), 99, axis=0)
    assert blinks[EOG].min() > 3 * blinks[POZ]
    away = np.linalg.norm(signals.ELECTRODES[:22, None] - signals.ELECTRODES[:22], axis=2)
    together = np.corrcoef(signal.sosfilt(signal.butter(4, 4, "highpass", fs=250, output="sos"), x[:, :22], axis=0).T)
    assert together[away == 1].mean() > together[(away > 3) & (away < 4)].mean() + 0.2
    flagged = np.mean([run.artifacts.mean() for runs in sessions.values() for run in runs[1:]])
    assert 0.01 < flagged < 0.12
    loud = np.concatenate([run.artifacts for run in runs[1:]]) > 0
    height = np.abs(np.diff(trials(runs, -2, 4)[:, :, :22], axis=1)).max(axis=(1, 2))
    assert np.median(height[loud]) > np.median(height[~loud])


# ---- what has


def powers(runs: list, band_hz: tuple, start_s: float, stop_s: float) -> np.ndarray:
    """[n_trials, 22], power in a band."""
    return np.mean(trials(runs, start_s, stop_s, band_hz)[:, :, :22] ** 2, axis=1)


@pytest.fixture(scope="module")
def pooled(sessions) -> tuple[list, np.ndarray]:
    runs = [sessions[1, "T"][0], *sessions[1, "T"][1:], *sessions[1, "E"][1:]]
    return runs, labels(runs)


@pytest.mark.parametrize("band_hz", [(8, 13), (17, 25)])
def test_imagery_takes_power_from_its_own_area(pooled, band_hz):
    runs, label = pooled
    during = powers(runs, band_hz, 1, 3.5)
    median = np.array([np.median(during[label == each], axis=0) for each in range(4)])
    assert median[RIGHT, C3] < 0.8 * median[LEFT, C3]
    assert median[LEFT, C4] < 0.8 * median[RIGHT, C4]
    assert median[FEET, CZ] < 0.9 * median[[LEFT, RIGHT, TONGUE], CZ].min()
    before = powers(runs, band_hz, -1.9, -0.3)
    change = np.median(during, axis=0) / np.median(before, axis=0)
    assert np.abs(np.log(change[POZ])) < 0.15  # no area beside POz takes part


def test_power_returns_and_rebounds_after_imagery(pooled):
    runs, label = pooled
    before, during, after = (powers(runs, (17, 25), *when) for when in ((-1.9, -0.3), (1, 3.5), (4.4, 5.0)))
    own = ((RIGHT, C3), (LEFT, C4), (FEET, CZ))
    change = [[np.median(x[label == k, c]) / np.median(before[label == k, c]) for k, c in own] for x in (during, after)]
    assert np.mean(change[0]) < 0.8
    assert np.mean(change[1]) > 1.1


def test_the_response_is_induced_and_not_evoked(pooled):
    """The mean of n trials of random phase has a n-th of their power."""
    runs, label = pooled
    for each in range(4):
        x = trials(runs, 0, 4, (8, 30))[label == each][:, :, [C3, CZ, C4]]
        ratio = np.mean(x.mean(axis=0) ** 2) / np.mean(x**2) * len(x)
        assert 0.6 < ratio < 1.5


def test_a_session_is_shifted_against_the_other():
    brains = [simulator._draw_session(0, 1, session, 1, 4)[0].brain for session in "TE"]
    assert brains[0].depth == brains[1].depth
    assert 0 < np.abs(brains[0].centres_hz - brains[1].centres_hz).max() < 2
    for name in ("patterns", "gains", "mixing_uv"):
        one, other = (getattr(brain, name) for brain in brains)
        assert 0.01 < np.linalg.norm(one - other) / np.linalg.norm(one) < 0.3


# ---- how hard it is


def csp_lda(train: list, test: list) -> tuple[float, int]:
    """Accuracy of MNE's CSP and scikit-learn's LDA on another session, and how many trials that has."""
    with mne.use_log_level("ERROR"):
        csp, lda = CSP(8, reg="ledoit_wolf", log=True), LinearDiscriminantAnalysis()
        x, unseen = (trials(runs, 0.5, 3.5, (8, 30))[:, :, :22].swapaxes(1, 2) for runs in (train, test))
        clean = np.concatenate([run.artifacts for run in train[1:]]) == 0
        lda.fit(csp.fit_transform(x[clean], labels(train)[clean]), labels(train)[clean])
        return float(lda.score(csp.transform(unseen), labels(test))), len(unseen)


@pytest.mark.slow
def test_patterns_learnt_in_one_session_hold_in_the_other_but_for_one_subject(sessions):
    good, n_trials = csp_lda(sessions[1, "T"], sessions[1, "E"])
    limit = stats.binom.isf(1e-3, n_trials, 0.25) / n_trials
    assert good > limit
    assert good < np.mean(oracle(0, 1, "E", **SIZE).argmax(axis=1) == labels(sessions[1, "E"]))
    chance, _ = csp_lda(sessions[CHANCE_SUBJECT, "T"], sessions[CHANCE_SUBJECT, "E"])
    assert abs(chance - 0.25) < limit - 0.25


@pytest.mark.slow
def test_the_oracle_is_as_often_right_as_it_says():
    subjects = (1, 2, 3)
    said = np.concatenate([oracle(1, subject, "E", **SIZE) for subject in subjects])
    true = np.concatenate([true_labels(1, subject, "E", **SIZE) for subject in subjects])
    right = said.argmax(axis=1) == true
    np.testing.assert_allclose(said.sum(axis=1), 1)
    assert said.shape == (len(true), 4)
    assert 0.6 < right.mean() < 0.95
    assert right.mean() == pytest.approx(said.max(axis=1).mean(), abs=3 * np.sqrt(0.2 * 0.8 / len(true)))
    for each in range(4):  # and each class as often as it says
        assert said[:, each].mean() == pytest.approx(0.25, abs=0.05)


def test_the_oracle_knows_nothing_of_the_subject_at_chance():
    np.testing.assert_allclose(oracle(0, CHANCE_SUBJECT, "E", 1, 8), 0.25)

"""Motor imagery baselines: the textbook's equations, simulated patterns, and a published example on real imagery."""

import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from sklearn.covariance import OAS
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ShuffleSplit

from eegjax.baselines.motor_imagery import csp_lda, predict_majority, tangent_space
from eegjax.data import eegmmidb
from eegjax.errors import UserError

N_CHANS, N_TIMES = 8, 100
BASELINES = [csp_lda, tangent_space]


def imagery(n_per_class: int, n_classes: int, contrast: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Trials in which one source per class is louder; the sources are mixed into all channels."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(N_CHANS, N_CHANS))
    targets = rng.permutation(np.repeat(np.arange(n_classes), n_per_class))
    sources = rng.normal(size=(len(targets), N_TIMES, N_CHANS))
    sources[np.arange(len(targets)), :, targets] *= contrast
    return (10 * sources @ mixing.T).astype(np.float32), targets


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_classes_that_differ_in_one_source_are_told_apart(baseline, n_classes):
    trials, targets = imagery(30, n_classes)
    half = len(trials) // 2
    probabilities = baseline(trials[:half], targets[:half], trials[half:], n_classes)
    assert probabilities.shape == (len(trials) - half, n_classes)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (probabilities.argmax(1) == targets[half:]).mean() > 0.9
    in_volts = baseline(1e-6 * trials[:half], targets[:half], 1e-6 * trials[half:], n_classes)
    np.testing.assert_allclose(in_volts, probabilities, atol=1e-3)


def test_csp_is_the_generalised_eigenvalue_problem():
    """Blankertz et al. 2008: filters are eigenvectors of (C1, C1 + C2), best those farthest from 1/2."""
    trials, targets = imagery(20, 2, contrast=1.15)
    train, test, known = trials[:30].astype(float), trials[30:].astype(float), targets[:30]
    # band-passed signals have mean 0, so none is taken away
    covariances = [np.einsum("ntc,ntd->cd", part, part) / len(part) for part in (train[known == 0], train[known == 1])]
    eigenvalues, vectors = scipy.linalg.eigh(covariances[0], sum(covariances))
    best = vectors[:, np.argsort(-np.abs(eigenvalues - 0.5))[:4]]
    features = [np.log(((part @ best) ** 2).mean(1)) for part in (train, test)]
    expected = LinearDiscriminantAnalysis().fit(features[0], known).predict_proba(features[1])
    assert (abs(expected[:, 0] - 0.5) < 0.45).sum() >= 2  # undecided enough for the comparison to say something
    np.testing.assert_allclose(csp_lda(trials[:30], known, trials[30:], 2), expected, atol=1e-6)


def test_four_classes_have_eight_patterns(monkeypatch):
    import mne.decoding

    asked = []
    real = mne.decoding.CSP
    monkeypatch.setattr(mne.decoding, "CSP", lambda *given, **named: asked.append(named) or real(*given, **named))
    for n_classes in (2, 4):
        trials, targets = imagery(6, n_classes)
        csp_lda(trials, targets, trials[:1], n_classes)
    assert [named["n_components"] for named in asked] == [4, 8]


def power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**exponent) @ vectors.T


def logarithm(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.log(values)) @ vectors.T


def test_tangent_space_is_that_of_the_riemannian_mean():
    """Barachant et al. 2012, equations 7 and 13, with scikit-learn's shrinkage."""
    trials, targets = imagery(10, 3, contrast=1.3)
    covariances = np.stack([OAS().fit(trial).covariance_ for trial in trials.astype(float)])
    mean = covariances[:20].mean(0)
    for _ in range(50):
        white, back = power(mean, -0.5), power(mean, 0.5)
        step = np.mean([logarithm(white @ matrix @ white) for matrix in covariances[:20]], axis=0)
        mean = back @ scipy.linalg.expm(step) @ back
    white = power(mean, -0.5)
    rows, columns = np.triu_indices(N_CHANS)
    weight = np.where(rows == columns, 1, np.sqrt(2))
    features = np.stack([weight * logarithm(white @ matrix @ white)[rows, columns] for matrix in covariances])
    regression = LogisticRegression(max_iter=1000).fit(features[:20], targets[:20])
    expected = regression.predict_proba(features[20:])
    np.testing.assert_allclose(tangent_space(trials[:20], targets[:20], trials[20:], 3), expected, atol=2e-3)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("absent", [0, 1, 3])
def test_absent_classes_have_their_empty_column(baseline, absent):
    trials, targets = imagery(20, 4, contrast=3.0)
    known = targets != absent
    probabilities = baseline(trials[known], targets[known], trials, 4)
    assert (probabilities[:, absent] == 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (probabilities.argmax(1) == targets)[known].mean() > 0.9


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_single_class_is_predicted_everywhere(baseline):
    trials, _ = imagery(3, 2)
    assert baseline(trials, np.full(6, 2), trials[:2], 4).tolist() == [[0, 0, 1, 0]] * 2
    assert predict_majority(np.full(6, 2), 2, 4).tolist() == [[0, 0, 1, 0]] * 2


def test_csp_says_nothing_and_leaves_the_log_level():
    import mne

    trials, targets = imagery(5, 2)
    with mne.utils.use_log_level("info"), mne.utils.catch_logging() as said:
        csp_lda(trials, targets, trials, 2)
        mne.utils.logger.info("after")
    assert said.getvalue().strip() == "after"


def test_without_pyriemann_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyriemann.estimation", None)
    trials, targets = imagery(3, 2)
    with pytest.raises(UserError, match=r"needs pyriemann.*pip install 'eegjax\[baselines\]'"):
        tangent_space(trials, targets, trials, 2)


# ---- real imagery


@pytest.fixture
def runs(data_root: Path) -> list[Path]:
    """Fists against feet of the subject of MNE's example."""
    folder = data_root / "motor_imagery" / "eegmmidb" / "S001"
    return [folder / f"S001R{number:02d}.edf" for number in (6, 10, 14)]


@pytest.fixture
def example(runs: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Trials [45, 161, 64] in µV, 7-30 Hz, 1-2 s after the cue, and targets [45], by MNE alone."""
    import mne

    with mne.utils.use_log_level("error"):
        raw = mne.io.concatenate_raws([mne.io.read_raw_edf(path, preload=True) for path in runs])
        raw.filter(7.0, 30.0, fir_design="firwin", skip_by_annotation="edge")
        epochs = mne.Epochs(raw, event_id=["T1", "T2"], tmin=-1, tmax=4, baseline=None, preload=True).crop(1.0, 2.0)
        trials = epochs.get_data(units="uV").transpose(0, 2, 1)
    assert trials.shape == (45, 161, 64)
    return trials, (epochs.events[:, 2] == epochs.event_id["T2"]).astype(int)


@pytest.mark.slow
def test_mne_example(example):
    """MNE's "Motor imagery decoding from EEG data using the Common Spatial Pattern" prints .933."""
    trials, targets = example
    hits = []
    for train, test in ShuffleSplit(10, test_size=0.2, random_state=42).split(trials):
        hits += [csp_lda(trials[train], targets[train], trials[test], 2).argmax(1) == targets[test]]
    assert np.mean(hits) == pytest.approx(84 / 90, abs=0.012)  # one trial is .011


def test_tangent_space_generalises_to_another_run(example):
    trials, targets = example
    trials = trials[..., :21]  # the sensorimotor channels
    right = tangent_space(trials[:30], targets[:30], trials[30:], 2).argmax(1) == targets[30:]
    assert right.mean() > 0.79  # 15 guesses reach .73 (95 %)


def test_our_reader_gives_the_trials_of_the_example(runs, example):
    import mne

    trials, targets = [], []
    for file in eegmmidb.find(runs[0].parent):
        if file.path in runs:
            (run,) = eegmmidb.read(file, (1.0, 2.0))
            filtered = mne.filter.filter_data(run.eeg.T.astype(float), run.sfreq, 7.0, 30.0, verbose="error").T
            cued = run.table[run.table["label"] >= 0]
            trials += [filtered[cue + 160 : cue + 321] for cue in cued["cue"]]
            targets += [eegmmidb.CLASSES[label] == "both_feet" for label in cued["label"]]
    np.testing.assert_allclose(trials, example[0], atol=1e-3)
    assert targets == example[1].tolist()

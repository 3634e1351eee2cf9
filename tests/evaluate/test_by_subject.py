"""Accuracies of subjects against scikit-learn, chance against brute force and the published bound."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import comb
from sklearn.metrics import accuracy_score, cohen_kappa_score

from eegjax.evaluate.by_subject import accuracy_by_subject, chance_bound, mean_sd


def predictions(sizes: dict[str, int], n_classes: int, seed: int = 0) -> pd.DataFrame:
    """Random answers of which about half are right, subjects mixed."""
    rng = np.random.default_rng(seed)
    subject = rng.permutation(np.repeat(list(sizes), list(sizes.values())))
    target = rng.integers(0, n_classes, len(subject))
    probabilities = rng.random((len(subject), n_classes)) + 0.4 * np.eye(n_classes)[target]
    names = [f"p_{name}" for name in ("rest", "left", "right", "feet")[:n_classes]]  # not in alphabetical order
    frame = pd.DataFrame(probabilities / probabilities.sum(1, keepdims=True), columns=names)
    return frame.assign(subject=subject, target=target)


def test_every_subject_is_scored_on_its_own_trials():
    frame = predictions({"S2": 90, "S10": 45, "S1": 20}, 4)
    table = accuracy_by_subject(frame).set_index("subject")
    assert list(table.index) == ["S1", "S10", "S2"]
    assert table["n_trials"].to_dict() == {"S1": 20, "S10": 45, "S2": 90}
    predicted = frame.filter(like="p_").to_numpy().argmax(1)
    for subject, row in table.iterrows():
        own = (frame["subject"] == subject).to_numpy()
        assert row["accuracy"] == pytest.approx(accuracy_score(frame["target"][own], predicted[own]))
        assert row["kappa"] == pytest.approx(cohen_kappa_score(frame["target"][own], predicted[own]))
    assert (table["chance"] == 0.25).all()
    assert table.loc["S2", "chance_high"] == pytest.approx(29 / 90)
    assert table.loc["S1", "chance_high"] == pytest.approx(8 / 20)


def test_seeds_are_averaged_and_make_no_more_trials():
    runs = [predictions({"A": 40, "B": 40}, 2, seed).assign(seed=seed) for seed in (0, 1)]
    both = accuracy_by_subject(pd.concat(runs))
    single = [accuracy_by_subject(run) for run in runs]
    assert both["n_trials"].tolist() == [40, 40]
    for name in ("accuracy", "kappa"):
        np.testing.assert_allclose(both[name], (single[0][name] + single[1][name]) / 2)
    np.testing.assert_array_equal(both["chance_high"], single[0]["chance_high"])


def test_targets_without_a_probability_are_refused():
    with pytest.raises(ValueError, match="class number 2"):
        accuracy_by_subject(predictions({"A": 9}, 2).assign(target=2))


def test_mean_and_deviation_over_subjects():
    assert mean_sd(np.array([0.4, 0.6, 0.8])) == pytest.approx((0.6, 0.2))  # n - 1
    mean, sd = mean_sd(np.array([0.5]))
    assert mean == 0.5
    assert np.isnan(sd)


def test_published_bound_of_chance():
    assert chance_bound(90, 4) == pytest.approx(0.32, abs=0.005)


@pytest.mark.parametrize("n_trials", [1, 7, 45, 90])
@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_chance_exceeds_its_bound_once_in_twenty(n_trials, n_classes):
    right = np.arange(n_trials + 1)
    share = comb(n_trials, right) * (n_classes - 1.0) ** (n_trials - right) / float(n_classes) ** n_trials
    bound = round(chance_bound(n_trials, n_classes) * n_trials)
    assert share[right > bound].sum() <= 0.05
    assert share[right >= bound].sum() > 0.05  # and no smaller bound would do

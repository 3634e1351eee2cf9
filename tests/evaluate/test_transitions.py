"""Transitions against brute force, and prior correction against Bayes' rule where it is known."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from eegjax.evaluate.transitions import correct_prior, count_transitions, decode_viterbi, estimate_transitions, smooth

STICKY = np.array([[0.9, 0.08, 0.02], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9]])


def test_counts_neighbours_only():
    """Two recordings, out of order, one with a gap between 3 and 7."""
    recording = np.array(["b", "a", "a", "b", "a", "a", "a", "b"])
    position = np.array([1, 2, 3, 0, 1, 8, 7, 2])
    labels = np.array([2, 0, 1, 2, 0, 2, 1, 0])  # a: 0 0 1 | 1 2, b: 2 2 0
    counts = count_transitions(labels, recording, position, 4)
    assert counts.dtype == np.int64
    expected = np.zeros((4, 4), int)
    for earlier, later in [(0, 0), (0, 1), (1, 2), (2, 2), (2, 0)]:
        expected[earlier, later] += 1
    assert np.array_equal(counts, expected)
    np.testing.assert_allclose(estimate_transitions(counts)[[0, 3]], [[2 / 6, 2 / 6, 1 / 6, 1 / 6], [1 / 4] * 4])


def test_counts_nothing():
    none = np.zeros(0, int)
    assert count_transitions(none, none, none, 2).sum() == 0
    assert count_transitions(np.array([1, 1]), np.array([0, 1]), np.array([4, 5]), 2).sum() == 0


def test_refuses_an_epoch_twice():
    with pytest.raises(ValueError, match="recording x has an epoch twice"):
        count_transitions(np.array([0, 0, 1]), np.array(["x", "a", "x"]), np.array([3, 3, 3]), 2)
    with pytest.raises(ValueError, match="class number 5"):
        count_transitions(np.array([0, 5]), np.array(["x", "x"]), np.array([3, 4]), 2)


def log_probability(path, log_likelihood, log_transition, log_initial) -> float:
    steps = sum(log_transition[pair] for pair in itertools.pairwise(path))
    return log_initial[path[0]] + steps + log_likelihood[np.arange(len(path)), list(path)].sum()


@settings(max_examples=100)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**32 - 1), st.booleans())
def test_viterbi_is_the_best_of_all_paths(n, n_classes, seed, forbid):
    rng = np.random.default_rng(seed)
    log_likelihood, log_initial = rng.normal(size=(n, n_classes)), rng.normal(size=n_classes)
    log_transition = rng.normal(size=(n_classes, n_classes))
    if forbid:
        log_transition[~np.eye(n_classes, dtype=bool) & (rng.random((n_classes, n_classes)) < 0.5)] = -np.inf
    parts = (log_likelihood, log_transition, log_initial)
    path = decode_viterbi(*parts)
    assert path.dtype == np.int64
    best = max(itertools.product(range(n_classes), repeat=n), key=lambda one: log_probability(one, *parts))
    assert tuple(path) == best


def test_viterbi_of_nothing():
    assert decode_viterbi(np.zeros((0, 3)), np.zeros((3, 3)), np.zeros(3)).shape == (0,)


def gaussians(n: int, prior: np.ndarray, x: np.ndarray | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points from three normal distributions (or those given), and p(class | x) by Bayes' rule."""
    if x is None:
        rng = np.random.default_rng(seed)
        x = rng.normal(rng.choice(3, n, p=prior), 1.0)
    joint = prior * norm.pdf(x[:, None], np.arange(3))
    return x, joint / joint.sum(1, keepdims=True)


def test_correct_prior_is_bayes_rule():
    trained, true = np.array([0.2, 0.3, 0.5]), np.array([0.7, 0.29, 0.01])
    x, probabilities = gaussians(50, trained)
    corrected = correct_prior(probabilities, trained, true)
    np.testing.assert_allclose(corrected, gaussians(50, true, x)[1], rtol=1e-10)
    np.testing.assert_allclose(correct_prior(corrected, true, trained), probabilities, rtol=1e-10)
    np.testing.assert_allclose(correct_prior(probabilities.astype(np.float32), trained, true), corrected, rtol=1e-4)


def test_correct_prior_without_a_class():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]])
    corrected = correct_prior(probabilities, np.array([0.5, 0.5, 0]), np.array([0.4, 0.4, 0.2]))
    np.testing.assert_allclose(corrected, [[0.625, 0.375, 0], [np.nan] * 3])


def test_smooth_without_memory_is_the_corrected_prior():
    """If the next class doesn't depend on the last, the likeliest sequence is each epoch's likeliest class."""
    trained, true = np.full(3, 1 / 3), np.array([0.6, 0.3, 0.1])
    _, probabilities = gaussians(80, trained)
    recording, position = np.repeat([0, 1], 40), np.tile(np.arange(40), 2)
    predicted = smooth(probabilities, trained, np.tile(true, (3, 1)), true, recording, position)
    expected = correct_prior(probabilities, trained, true).argmax(1)
    assert np.array_equal(predicted, expected)
    assert not np.array_equal(predicted, probabilities.argmax(1))


def test_smooth_breaks_chains_and_keeps_the_order():
    """Each run of neighbours is the best of all its paths, whatever the order of the rows."""
    trained, initial = np.array([0.5, 0.3, 0.2]), np.array([0.6, 0.3, 0.1])
    probabilities = np.random.default_rng(3).dirichlet([0.2] * 3, 15)
    recording = np.repeat(["a", "b"], [10, 5])
    position = np.array([0, 1, 2, 3, 7, 8, 9, 10, 20, 21, 22, 23, 24, 25, 26])
    expected = []
    for run in (slice(0, 4), slice(4, 8), slice(8, 10), slice(10, 15)):
        parts = np.log(probabilities[run] / trained), np.log(STICKY), np.log(initial)
        paths = itertools.product(range(3), repeat=len(parts[0]))
        expected += max(paths, key=lambda path, parts=parts: log_probability(path, *parts))
    assert len(set(expected[10:])) > 1  # else their order would not show
    shuffled = np.random.default_rng(0).permutation(15)
    predicted = smooth(probabilities[shuffled], trained, STICKY, initial, recording[shuffled], position[shuffled])
    assert np.array_equal(predicted, np.array(expected)[shuffled])
    joined = smooth(probabilities, trained, STICKY, initial, np.zeros(15), np.arange(15))
    assert not np.array_equal(joined, expected)


def test_smooth_knows_more_than_single_epochs():
    """On a hidden Markov chain of known transitions, neighbours help."""
    rng = np.random.default_rng(1)
    true = [0]
    while len(true) < 1000:
        true.append(rng.choice(3, p=STICKY[true[-1]]))
    prior = np.full(3, 1 / 3)
    _, probabilities = gaussians(1000, prior, rng.normal(true, 1.0))
    predicted = smooth(probabilities, prior, STICKY, prior, np.zeros(1000), np.arange(1000))
    assert (predicted == true).mean() > (probabilities.argmax(1) == true).mean() + 0.1


def test_smooth_overrules_a_single_certainty():
    """One epoch quite sure of a class that is hard to go to, and one quite sure of a class that was never trained."""
    probabilities = np.array([[0.9, 0.1, 0], [0.9, 0.1, 0], [0, 1, 0], [0.9, 0.1, 0], [0.1, 0, 0.9]], np.float32)
    transitions = np.array([[1 - 1e-6, 1e-6, 0], [0.999, 0.001, 0], [0, 0, 1]])
    prior = np.array([0.5, 0.5, 0])
    recording, position = np.zeros(5), np.arange(5)
    predicted = smooth(probabilities, prior, transitions, prior, recording, position)
    assert predicted.tolist() == [0, 0, 1, 0, 0]  # a step of 1e-6 outweighs the smallest probability, 1.2e-7
    transitions[0, 1] = 1e-8
    assert smooth(probabilities, prior, transitions, prior, recording, position).tolist() == [0] * 5

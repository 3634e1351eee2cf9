"""How classes follow one another, and predictions that respect it.

A network that sees one epoch gives p(class | epoch) under the class shares it was trained with. Divided by those
shares this is, up to a factor, the likelihood of the epoch, which Bayes' rule combines with other shares
(`correct_prior`) or, in a hidden Markov model, with the neighbouring epochs (`smooth`; Bourlard and Morgan,
"Connectionist speech recognition: a hybrid approach", 1994).
"""

import numpy as np

from eegjax.evaluate.classification import SMALLEST, confusion_matrix


def _chains(recording: np.ndarray, position: np.ndarray) -> list[np.ndarray]:
    """The rows of each run of neighbouring epochs in one recording, in order of time."""
    position = np.asarray(position)
    names, owner = np.unique(np.asarray(recording), return_inverse=True)
    order = np.lexsort((position, owner))
    same = np.diff(owner[order]) == 0
    step = np.diff(position[order])
    twice = np.flatnonzero(same & (step == 0))
    if twice.size:
        name = names[owner[order[twice[0]]]]
        raise ValueError(f"recording {name} has an epoch twice: give one fold's and one seed's rows")
    return np.split(order, np.flatnonzero(~same | (step != 1)) + 1)


def count_transitions(labels: np.ndarray, recording: np.ndarray, position: np.ndarray, n_classes: int) -> np.ndarray:
    """Count which class follows which, over neighbouring epochs only.

    Args:
        labels: [n] int, class numbers.
        recording: [n] str or int, the recording of each epoch.
        position: [n] int, number of the epoch in its recording; over missing numbers nothing is counted.
        n_classes: the number of classes.

    Returns:
        [n_classes, n_classes] int64: rows the earlier class, columns the later.

    Raises:
        ValueError: an epoch occurs twice in a recording, or a class number lies outside 0..n_classes-1.
    """
    labels = np.asarray(labels)
    chains = _chains(recording, position)
    earlier, later = (np.concatenate([chain[part] for chain in chains]) for part in (slice(-1), slice(1, None)))
    return confusion_matrix(labels[earlier], labels[later], n_classes)


def estimate_transitions(counts: np.ndarray) -> np.ndarray:
    """Turn counts into probabilities, one added to each so that nothing unseen is impossible (Laplace).

    Args:
        counts: [n_classes, n_classes] int of `count_transitions`.

    Returns:
        [n_classes, n_classes] float64, rows summing to 1.
    """
    counts = np.asarray(counts) + 1.0
    return counts / counts.sum(1, keepdims=True)


def decode_viterbi(log_likelihood: np.ndarray, log_transition: np.ndarray, log_initial: np.ndarray) -> np.ndarray:
    """Find the likeliest path of a hidden Markov model (Viterbi, 1967; Rabiner, 1989, eqs. 32-35).

    Args:
        log_likelihood: [n, n_classes] float, log p(observation | class), each row up to a constant.
        log_transition: [n_classes, n_classes] float, log p(later | earlier), rows earlier; `-inf` forbids.
        log_initial: [n_classes] float, log p(class) of the first.

    Returns:
        [n] int64, class numbers; of equally likely paths one.
    """
    n, n_classes = np.shape(log_likelihood)
    came_from = np.zeros((n, n_classes), np.int64)
    best = np.asarray(log_initial, float)
    for time, likelihood in enumerate(log_likelihood):
        if time:
            paths = best[:, None] + log_transition
            came_from[time] = paths.argmax(0)
            best = paths.max(0)
        best = best + likelihood
    path = np.empty(n, np.int64)
    state = best.argmax()
    for time in reversed(range(n)):
        path[time] = state
        state = came_from[time, state]
    return path


def correct_prior(probabilities: np.ndarray, trained_prior: np.ndarray, true_prior: np.ndarray) -> np.ndarray:
    """Move probabilities from the class shares of training to those of use.

    p'(c | x) ∝ p(c | x) · true(c) / trained(c) (Saerens, Latinne and Decaestecker, "Adjusting the outputs of a
    classifier to new a priori probabilities", Neural Computation 14, 2002, eq. 2.4).

    Args:
        probabilities: [n, n_classes] float, rows summing to 1.
        trained_prior: [n_classes] float, class shares of the training examples as drawn (equal after undersampling).
            A class with share 0 was never learnt and gets probability 0.
        true_prior: [n_classes] float, class shares where the model is used.

    Returns:
        [n, n_classes] float64, rows summing to 1; `nan` in rows that leave no class possible.
    """
    odds = _likelihood(np.asarray(probabilities, float), trained_prior) * true_prior
    with np.errstate(invalid="ignore"):
        return odds / odds.sum(1, keepdims=True)


def _likelihood(probabilities: np.ndarray, trained_prior: np.ndarray) -> np.ndarray:
    """p(x | class) up to a factor per row; 0 for classes never trained on."""
    prior = np.asarray(trained_prior, float)
    return np.divide(probabilities, prior, out=np.zeros_like(probabilities), where=prior > 0)


def smooth(
    probabilities: np.ndarray,
    trained_prior: np.ndarray,
    transitions: np.ndarray,
    initial: np.ndarray,
    recording: np.ndarray,
    position: np.ndarray,
) -> np.ndarray:
    """Predict the likeliest sequence of classes of each recording instead of the likeliest class of each epoch.

    Args:
        probabilities: [n, n_classes] float, rows summing to 1; below `SMALLEST` they count as that, so that a single
            mistake made with certainty can be overruled.
        trained_prior: [n_classes] float, class shares of the training examples as drawn; a class with share 0 is never
            predicted.
        transitions: [n_classes, n_classes] float, `estimate_transitions` of the training recordings.
        initial: [n_classes] float, probabilities of a chain's first epoch. Chains also begin after gaps: the class
            shares of the training recordings suit.
        recording: [n] str or int, the recording of each epoch.
        position: [n] int, number of the epoch in its recording; where numbers are missing, a new chain begins.

    Returns:
        [n] int64, class numbers, in the order given.

    Raises:
        ValueError: an epoch occurs twice in a recording.
    """
    likelihood = _likelihood(np.asarray(probabilities, float).clip(min=SMALLEST), trained_prior)
    with np.errstate(divide="ignore"):
        log_likelihood = np.log(likelihood)
        log_transition = np.log(transitions)
        log_initial = np.log(initial)
    predicted = np.empty(len(likelihood), np.int64)
    for rows in _chains(recording, position):
        predicted[rows] = decode_viterbi(log_likelihood[rows], log_transition, log_initial)
    return predicted

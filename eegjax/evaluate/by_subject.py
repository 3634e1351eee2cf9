"""Accuracies of each subject, as the field of brain-computer interfaces reports them, and what luck reaches."""

import numpy as np
import pandas as pd

from eegjax.evaluate.classification import check_probabilities, confusion_matrix, summarise

LEVEL = 0.95


def accuracy_by_subject(predictions: pd.DataFrame) -> pd.DataFrame:
    """Score every subject on its own test trials.

    Args:
        predictions: rows of one model, all of them test trials, each once per seed: `subject`, `target` (class number)
            and the probabilities `p_<class>` in the order of the class numbers; `seed` where there are several.

    Returns:
        A row per subject, in the order of their names: `subject`, `n_trials` (of one seed), `accuracy` and `kappa`
        (Cohen's; `nan` where chance alone agrees always), both averaged over the seeds, `chance` (1 / n_classes) and
        `chance_high` (`chance_bound` of `n_trials`).

    Raises:
        ValueError: a target is no class number.
    """
    classes = [name for name in predictions.columns if name.startswith("p_")]
    rows = []
    for subject, own in predictions.groupby("subject", sort=True):
        runs = [run for _, run in own.groupby("seed")] if "seed" in own else [own]
        scores = summarise(np.stack([_confusion(run, classes) for run in runs]))
        n_trials = round(len(own) / len(runs))
        rows.append(
            {
                "subject": subject,
                "n_trials": n_trials,
                "accuracy": float(scores["accuracy"].mean()),
                "kappa": float(scores["kappa"].mean()),
                "chance": 1 / len(classes),
                "chance_high": chance_bound(n_trials, len(classes)),
            }
        )
    return pd.DataFrame(rows)


def _confusion(run: pd.DataFrame, classes: list[str]) -> np.ndarray:
    target, probabilities = check_probabilities(run["target"].to_numpy(), run[classes].to_numpy())
    return confusion_matrix(target, probabilities.argmax(1), len(classes))


def mean_sd(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation over subjects.

    Args:
        values: [n_subjects] float.

    Returns:
        The mean, and the standard deviation of a sample (n - 1 in the denominator); `nan` for a single subject.
    """
    values = np.asarray(values, float)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def chance_bound(n_trials: int, n_classes: int) -> float:
    """The accuracy that guessing exceeds in less than one case of twenty.

    A guess is right with probability 1 / n_classes, so the trials guessed right are binomial (Combrisson and Jerbi,
    "Exceeding chance level by chance", J. Neurosci. Methods 250, 2015): 90 trials of four classes reach .32.

    Args:
        n_trials: the number of test trials, at least 1.
        n_classes: the number of equally frequent classes.

    Returns:
        The bound, a share of the trials.
    """
    from scipy.stats import binom

    return float(binom.ppf(LEVEL, n_trials, 1 / n_classes) / n_trials)

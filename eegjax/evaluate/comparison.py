"""Networks and baselines on the same test examples: their metrics with intervals, and their paired differences."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from eegjax.evaluate.bootstrap import draw_blocks, draw_subjects, percentile_interval
from eegjax.evaluate.classification import confusion_matrix, summarise
from eegjax.evaluate.names import difference_name, number_name

ENOUGH_SUBJECTS = 8  # below that, drawing subjects says nothing: blocks of epochs are drawn instead
ENUMERATED = 16  # differences at most whose signs are flipped in every way; of more, flips are drawn
N_FLIPS = 10_000


class Answers:
    """A model's answers on the test examples, in the order of `example`.

    target: [n] int; predicted: [n_runs, n] int, one run per seed; probabilities: [n_runs, n, n_classes].
    """

    def __init__(self, frame: pd.DataFrame, class_names: tuple[str, ...]) -> None:
        """From the rows of one model in `predictions.parquet` or `baselines.parquet`."""
        test = frame[frame["split"] == "test"]
        runs = test.assign(seed=test.get("seed", 0)).sort_values(["seed", "example"])
        n_runs = runs["seed"].nunique()
        self.frame = runs.iloc[: len(runs) // n_runs].reset_index(drop=True)
        probabilities = runs[[f"p_{name}" for name in class_names]].to_numpy()
        self.probabilities = probabilities.reshape(n_runs, len(self.frame), len(class_names))
        self.target = self.frame["target"].to_numpy()
        self.predicted = self.probabilities.argmax(-1)

    def confusion(self, rows: np.ndarray | None = None) -> np.ndarray:
        """[n_runs, n_classes, n_classes] int64, of some of the examples or of all."""
        chosen = slice(None) if rows is None else rows
        n_classes = self.probabilities.shape[-1]
        return np.stack([confusion_matrix(self.target[chosen], run[chosen], n_classes) for run in self.predicted])


def confusion(frame: pd.DataFrame, class_names: tuple[str, ...]) -> np.ndarray:
    """[n_classes, n_classes] int64 of a model's rows, true classes in rows, summed over seeds."""
    return Answers(frame, class_names).confusion().sum(0)


def drawing(
    frame: pd.DataFrame, epoch_s: float, block_epochs: int, examples: str = "epochs"
) -> tuple[Callable[[], Iterator[np.ndarray]], str]:
    """How examples are drawn for intervals: (a function that begins the same draws anew, what to call them).

    Subjects are drawn where there are enough of them, blocks of neighbouring epochs within each recording otherwise.
    `examples` is what the examples are called.
    """
    if frame["subject"].nunique() >= ENOUGH_SUBJECTS:
        subject = frame["subject"].to_numpy()
        return lambda: draw_subjects(subject), "bootstrap over subjects (1000 draws)"
    recording = frame["recording"].to_numpy()
    position = np.round(frame["onset_s"].to_numpy() / epoch_s).astype(int)
    return (
        lambda: draw_blocks(recording, position, block_epochs),
        f"moving-block bootstrap (1000 draws of blocks of {block_epochs} {examples} within each recording)",
    )


def compare(
    models: dict[str, pd.DataFrame],
    class_names: tuple[str, ...],
    epoch_s: float,
    block_epochs: int,
    examples: str = "epochs",
) -> dict[str, Any]:
    """All metrics of all models, and how much better the first one is than each of the others.

    Args:
        models: name -> its rows; the first is the network named beforehand. Examples that one lacks are left out.
        class_names: in the order of the targets.
        epoch_s: seconds per example, for neighbours.
        block_epochs: length of a drawn block.
        examples: what the examples are called.

    Returns:
        `kappa`, `kappa_low`, `kappa_high`, ... of the first; `<name>_kappa`, ... of the others, and
        `difference_to_<name>` (of the accuracy, first minus other) with `_low`, `_high` and `_better` (+1: the first is
        better, -1: the other is, 0: the interval holds 0).
    """
    tested = [set(frame.loc[frame["split"] == "test", "example"]) for frame in models.values()]
    shared = set.intersection(*tested)  # a network that leaves out its last batch is compared on the others
    answers = {name: Answers(frame[frame["example"].isin(shared)], class_names) for name, frame in models.items()}
    draws, how = drawing(next(iter(answers.values())).frame, epoch_s, block_epochs, examples)
    numbers: dict[str, Any] = {"interval": how}
    first: dict[str, np.ndarray] = {}
    for name, one in answers.items():
        # metrics of all examples, then of every draw; several runs (seeds) are averaged
        confusions = np.stack([one.confusion(), *(one.confusion(rows) for rows in draws())])
        values = {metric: value.mean(-1) for metric, value in summarise(confusions).items()}
        for metric, value in values.items():
            numbers |= _with_interval(number_name(metric, name if first else ""), value)
        if first:
            difference = difference_name(name)
            numbers |= _with_interval(difference, first["accuracy"] - values["accuracy"])
            low, high = (numbers[f"{difference}_{end}"] for end in ("low", "high"))
            numbers[f"{difference}_better"] = int(low > 0) - int(high < 0)
        first = first or values
    return numbers


def sign_flip(differences: np.ndarray, seed: int = 0) -> float:
    """Paired permutation test, two-sided: how often chance makes two models differ this much.

    If neither model is better, each difference might as well have had the other sign (Fisher, "The design of
    experiments", 1935). Up to 16 differences, all flips are enumerated and p is exact; of more, 10,000 are drawn and
    the flip that was observed counts as one of them, so that p is never 0 (Phipson and Smyth, "Permutation p-values
    should never be zero", Stat. Appl. Genet. Mol. Biol. 9, 2010).

    Args:
        differences: [n] float, of accuracies per subject or of hits per example, first model minus other. Zeros keep
            their value whatever their sign, and don't count towards the 16.
        seed: of the drawn flips.

    Returns:
        p, the share of flips whose mean lies at least as far from 0; 1 if all differences are 0.

    Raises:
        ValueError: a difference is not finite.
    """
    differences = np.asarray(differences, float)
    if not np.isfinite(differences).all():
        raise ValueError("differences should be finite")
    sizes = np.abs(differences[differences != 0])
    observed = abs(differences.sum()) - 1e-9 * sizes.sum()  # sums that are equal but for rounding count as reached
    if len(sizes) <= ENUMERATED:
        flipped = (np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes))) & 1
        return float((np.abs((1 - 2 * flipped) @ sizes) >= observed).mean())
    rng = np.random.default_rng(seed)
    sums = np.array([sizes[rng.random(len(sizes)) < 0.5].sum() for _ in range(N_FLIPS)])
    return float(((np.abs(2 * sums - sizes.sum()) >= observed).sum() + 1) / (N_FLIPS + 1))


def _with_interval(name: str, values: np.ndarray) -> dict[str, float]:
    """The first value is that of all examples, the others those of the draws."""
    low, high = percentile_interval(values[1:])
    return {name: float(values[0]), f"{name}_low": low, f"{name}_high": high}

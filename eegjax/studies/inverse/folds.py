"""The inverse study's folds: a whole head for test, or samples of all heads at random."""

import numpy as np
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.splits import Fold
from eegjax.studies.inverse import heads

N_SEARCHED = 1000  # samples of the paper's parameter search
SEARCH_TEST_SHARE = 0.2  # of those: 800 and 200


def folds(config: ConfigDict, dataset: Dataset) -> list[Fold]:
    """One fold: whole heads for test and validation, or samples of all heads at random.

    Of random ones each is a group by itself: they are drawn independently of each other. Those of the parameter search
    are the first 1000 that the random fold draws for training, or all if there are fewer, split once more.
    """
    rng = np.random.default_rng(config.seed)
    index = dataset.index
    rows = np.arange(len(index))
    if config.splits.kind == "head":
        head = index["subject"].to_numpy(str)
        number = heads.number_of_recording(dataset)
        uses = {use: [row[use] for row in dataset.card["recordings"]] for use in ("trained", "validates", "tested")}
        train, validation, test = (rows[np.array(whether)[number]] for whether in uses.values())
        return [Fold(f"{head[test][0]} left out", train, validation, test, head)]
    splits = config.splits
    test, validation, train = _cut(rng.permutation(rows), splits.test_share, splits.validation_share)
    if splits.kind == "search":
        test, validation, train = _cut(train[:N_SEARCHED], SEARCH_TEST_SHARE, splits.validation_share)
    return [Fold(splits.kind, np.sort(train), np.sort(validation), np.sort(test), rows)]


def _cut(order: np.ndarray, test_share: float, validation_share: float) -> list[np.ndarray]:
    """Test, validation (a share of the rest) and training rows, in this order."""
    n_test = round(len(order) * test_share)
    return np.split(order, [n_test, n_test + round((len(order) - n_test) * validation_share)])

"""The interval that the sleep paper's Table 4 prints, so that ours can stand beside it.

It isn't a confidence interval: it multiplies two widths. `eegjax.evaluate.bootstrap` has the intervals to believe.
"""

import itertools

import numpy as np
from scipy.special import factorial

LEVEL = 0.95  # the share of bootstrap means that the paper's code keeps


def compute_paper_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean over classes with the sleep paper's "bootstrap" interval.

    With m the mean of n values drawn with replacement from the n class values,

        low, high = mean ± sd(m) · (q(m, 97.5 %) - q(m, 2.5 %)),    sd(m) = sd(values) / √n

    (Baek, "Deep convolutional and recurrent neural networks for interpretable analysis of EEG sleep stage scoring",
    Table 4, as its public code computes it). The paper drew m 100,000 times without a seed; here m's distribution is
    exact, from all multisets of the classes, so that the result is what infinitely many draws would give. As a product
    of two widths it depends on the scale: values are shares, not per cent.

    Args:
        values: [n_classes] float, a metric of each class as a share of 1; up to about ten. `nan` is left out.

    Returns:
        low, mean and high, as shares; `nan` if no class has a value.
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan"), float("nan")
    means, weights = _mean_of_draws(values)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], weights=weights, method="inverted_cdf")
    mean = values.mean()
    half = values.std() / np.sqrt(len(values)) * (high - low)
    return float(mean - half), float(mean), float(mean + half)


def _mean_of_draws(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All means that n draws out of n values can have, and in how many ways (over n!) each comes about."""
    every = np.arange(len(values))
    drawn = np.array(list(itertools.combinations_with_replacement(every, len(values))))
    times = (drawn[:, :, None] == every).sum(1)
    return values[drawn].mean(1), 1 / factorial(times).prod(1)

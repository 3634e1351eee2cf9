"""The paper's interval against drawing at random, and by hand; test_sleep_paper.py has it against Table 4."""

import numpy as np
import pytest

from eegjax.evaluate.paper_interval import compute_paper_interval


@pytest.mark.parametrize("n_classes", [5, 6])
def test_is_the_limit_of_random_draws(n_classes):
    rng = np.random.default_rng(n_classes)
    values = rng.uniform(0.3, 1, n_classes)
    means = rng.choice(values, (100_000, n_classes)).mean(1)
    half = means.std() * np.ptp(np.sort(means)[2500:97500])
    low, mean, high = compute_paper_interval(values)
    assert mean == pytest.approx(means.mean(), abs=1e-3)
    assert high - mean == pytest.approx(half, abs=5e-4)
    assert mean - low == pytest.approx(high - mean)


def test_by_hand():
    """Of two values 0 and 1 the mean of two draws is 0, 1/2, 1 at 1 : 2 : 1: sd 1/(2√2), central 95 % 1 wide."""
    half = 1 / np.sqrt(8)
    assert compute_paper_interval(np.array([0, 1])) == pytest.approx((0.5 - half, 0.5, 0.5 + half))
    assert compute_paper_interval(np.array([0, np.nan, 1])) == compute_paper_interval(np.array([0, 1]))


def test_width_goes_with_the_square_of_the_scale():
    """Why shares and per cent give different intervals: two widths are multiplied."""
    values = np.array([0.2, 0.5, 0.6, 0.9])
    low, mean, _ = compute_paper_interval(values)
    low_10, mean_10, _ = compute_paper_interval(10 * values)
    assert mean_10 - low_10 == pytest.approx(100 * (mean - low))


def test_without_spread_or_values():
    assert compute_paper_interval(np.full(4, 0.5)) == (0.5, 0.5, 0.5)
    assert np.isnan(compute_paper_interval(np.array([np.nan]))).all()

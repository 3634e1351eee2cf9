"""Confidence intervals for numbers whose examples depend on one another.

Neighbouring epochs of a night are alike, and so are the epochs of one person. Drawing single examples with
replacement ignores that and gives intervals far too narrow; here whole blocks of neighbours (Künsch, "The jackknife
and the bootstrap for general stationary observations", Ann. Stat. 17, 1989) or whole subjects are drawn.
"""

from collections.abc import Iterator

import numpy as np


def _blocks(position: np.ndarray, block_epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of every block in one recording's ascending positions; none reaches over a gap.

    Blocks may begin before a run's first epoch and end after its last, and are cut there: every epoch then lies in
    exactly `block_epochs` of them, so that the epochs at a recording's edges and gaps are drawn as often as others.
    """
    edges = np.flatnonzero(np.diff(position) != 1) + 1
    starts = []
    stops = []
    for run in np.split(np.arange(len(position)), edges):
        free = np.arange(run[0] - block_epochs + 1, run[-1] + 1)
        starts.append(free.clip(min=run[0]))
        stops.append((free + block_epochs).clip(max=run[-1] + 1))
    start = np.concatenate(starts)
    return start, np.concatenate(stops) - start


def draw_blocks(
    recording: np.ndarray, position: np.ndarray, block_epochs: int, n_draws: int = 1000, seed: int = 0
) -> Iterator[np.ndarray]:
    """Moving-block bootstrap: within each recording, draw blocks of neighbouring epochs with replacement.

    Args:
        recording: [n] str or int, the recording of each epoch.
        position: [n] int, number of the epoch in its recording; where numbers are missing, blocks end.
        block_epochs: the length of a block; longer than the dependence lasts, far shorter than a recording.
        n_draws: how many draws.
        seed: of the random numbers.

    Yields:
        [n] int64, indices of the drawn epochs: from each recording as many as it has.

    Raises:
        ValueError: `block_epochs` is below 1, or an epoch occurs twice in a recording.
    """
    if block_epochs < 1:
        raise ValueError(f"block_epochs is {block_epochs}, should be at least 1")
    recording = np.asarray(recording)
    position = np.asarray(position)
    rng = np.random.default_rng(seed)
    recordings = []
    for name in np.unique(recording):
        rows = np.flatnonzero(recording == name)
        rows = rows[np.argsort(position[rows])]
        if (np.diff(position[rows]) == 0).any():
            raise ValueError(f"recording {name} has an epoch twice: give one fold's and one seed's rows")
        recordings.append((rows, *_blocks(position[rows], block_epochs)))
    for _ in range(n_draws):
        yield np.concatenate([_drawn(rng, *parts) for parts in recordings])


def _drawn(rng: np.random.Generator, rows: np.ndarray, start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Join random blocks until there are as many epochs as the recording has, and cut the last."""
    chosen = rng.integers(len(start), size=len(rows))  # enough even if every block were one epoch long
    filled = np.cumsum(length[chosen])
    chosen = chosen[: np.searchsorted(filled, len(rows)) + 1]
    before = filled[: len(chosen)] - length[chosen]
    epochs = np.arange(filled[len(chosen) - 1]) + np.repeat(start[chosen] - before, length[chosen])
    return rows[epochs[: len(rows)]]


def draw_subjects(subject: np.ndarray, n_draws: int = 1000, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw subjects with replacement, each with all its examples.

    Args:
        subject: [n] str or int, the subject of each example.
        n_draws: how many draws.
        seed: of the random numbers.

    Yields:
        [n_drawn] int64, indices of the drawn examples; as many subjects as there are, so n_drawn varies.
    """
    _, owner, counts = np.unique(np.asarray(subject), return_inverse=True, return_counts=True)
    rows = np.split(np.argsort(owner, kind="stable"), np.cumsum(counts)[:-1])
    rng = np.random.default_rng(seed)
    for _ in range(n_draws):
        yield np.concatenate([rows[chosen] for chosen in rng.integers(len(rows), size=len(rows))])


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of a statistic.

    Args:
        values: [n_draws] float, the statistic of each draw of `draw_blocks` or `draw_subjects`; of a difference
            between two models on the same draws, the difference. Undefined ones (`nan`) are left out.
        level: the share of draws inside.

    Returns:
        The lower and upper end; `nan` if no draw has a value.
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

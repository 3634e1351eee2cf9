"""Nights of sleep stages: a semi-Markov chain with the counts of 39 real nights, and a scorer who errs.

The counts are those of the 39 nights of Sleep-EDF-20 (sleep cassette; Kemp et al. 2000, IEEE TBME 47:1185;
PhysioNet, ODC-By), between the first and the last epoch of sleep, in epochs of 30 s.
"""

import numpy as np

from eegjax.errors import UserError

STAGE_LETTERS = ("W", "1", "2", "3", "4", "R")
UNSCORED = -1
WAKE, N1, N2, N3, N4, REM = range(6)

# Rows: stage left; columns: stage entered.
TRANSITIONS = np.array(
    [
        [0, 404, 47, 4, 0, 32],
        [163, 0, 688, 2, 0, 116],
        [202, 344, 0, 802, 14, 245],
        [28, 24, 730, 0, 439, 4],
        [8, 6, 22, 416, 0, 0],
        [86, 167, 136, 1, 0, 0],
    ]
)

# Runs of each stage by length in epochs, DWELL_EDGES[i] <= length < DWELL_EDGES[i + 1]; longer wakes are cut to 135.
DWELL_EDGES = np.array([1, 2, 3, 4, 6, 9, 13, 19, 28, 41, 61, 91, 136])
DWELLS = np.array(
    [
        [208, 102, 48, 39, 35, 16, 16, 11, 3, 4, 1, 4],
        [412, 241, 121, 102, 57, 29, 12, 5, 4, 0, 0, 0],
        [375, 205, 136, 164, 145, 134, 154, 113, 113, 55, 27, 3],
        [632, 213, 114, 110, 84, 44, 22, 4, 2, 0, 0, 0],
        [206, 80, 36, 37, 26, 22, 20, 7, 11, 3, 5, 0],
        [33, 12, 31, 36, 47, 37, 55, 44, 47, 32, 18, 5],
    ]
)

CYCLE_EPOCHS = 180
MARGIN_EPOCHS = 60

# How far each stage is favoured by the part of the cycle and at the start of the night (log odds); the mean keeps
# the shares of the stages at the real ones.
CYCLE_TILT = np.array([0.0, 0.0, 0.1, 0.5, 0.6, -0.9])
NIGHT_TILT = np.array([0.2, 0.0, -0.2, 0.35, 0.5, -0.5])
MEAN_TILT = np.array([0.1, 0.1, 0.1, 0.0, -0.15, -0.1])

# P(scored | true) beside the shifted borders: scorers disagree mostly about neighbouring stages
# (Danker-Hopfe et al. 2009, J. Sleep Res. 18:74).
CONFUSION = np.array(
    [
        [0.955, 0.035, 0.00, 0.00, 0.00, 0.01],
        [0.08, 0.74, 0.12, 0.00, 0.00, 0.06],
        [0.005, 0.025, 0.925, 0.035, 0.00, 0.01],
        [0.00, 0.00, 0.15, 0.75, 0.10, 0.00],
        [0.00, 0.00, 0.02, 0.13, 0.85, 0.00],
        [0.01, 0.035, 0.025, 0.00, 0.00, 0.93],
    ]
)
BORDER_SHIFT = {-2: 0.03, -1: 0.14, 0: 0.66, 1: 0.14, 2: 0.03}
CONFUSED_EPOCHS = 3
UNSCORED_SHARE = 0.0015


def draw_stages(rng: np.random.Generator, n_epochs: int) -> np.ndarray:
    """Draw the true stages of a night that begins and ends with up to half an hour of wake.

    A semi-Markov chain: the next stage from `TRANSITIONS`, its length from `DWELLS`, both tilted by the part of the
    sleep cycle and in the night, so that N3 and N4 come early and REM comes late and long.

    Args:
        rng: source of randomness.
        n_epochs: number of 30 s epochs, at least 40.

    Returns:
        [n_epochs] int8, stage codes 0 W, 1 N1, 2 N2, 3 N3, 4 N4, 5 REM.

    Raises:
        UserError: `n_epochs` is too short to hold sleep.
    """
    if n_epochs < 40:
        raise UserError(f"n_epochs: found {n_epochs}, expected at least 40: a shorter night has no room for sleep")
    before, after = (int(min(MARGIN_EPOCHS, n_epochs // 16) * share) for share in rng.uniform(0.7, 1.0, 2))
    n_sleep = n_epochs - before - after
    cycle = n_sleep / max(2, round(n_sleep / rng.normal(CYCLE_EPOCHS, 15)))
    stages = np.zeros(n_epochs, np.int8)
    at = 0
    stage = N1
    while at < n_sleep:
        tilt = _tilt(at / cycle, at / n_sleep)
        dwell = min(_dwell(rng, stage, tilt[stage]), n_sleep - at)
        stages[before + at : before + at + dwell] = stage
        odds = TRANSITIONS[stage] * np.exp(tilt)
        at = at + dwell
        stage = int(rng.choice(6, p=odds / odds.sum()))
    return stages


def score(rng: np.random.Generator, stages: np.ndarray) -> np.ndarray:
    """Score a night as a human scorer would: late or early at borders, in doubt between neighbouring stages.

    Args:
        rng: source of randomness.
        stages: [n_epochs] int8, true stages.

    Returns:
        [n_epochs] int8, scored stages, `UNSCORED` (-1) at a few epochs; Cohen's kappa with the truth is about .8.
    """
    n_epochs = len(stages)
    borders = np.flatnonzero(np.diff(stages)) + 1
    shifts = rng.choice(list(BORDER_SHIFT), len(borders), p=list(BORDER_SHIFT.values()))
    edges = np.r_[0, np.sort(np.clip(borders + shifts, 0, n_epochs)), n_epochs]
    shifted = np.repeat(stages[np.r_[0, borders]], np.diff(edges))
    doubt = np.cumsum(rng.random(n_epochs) < 1 / CONFUSED_EPOCHS)  # epochs of one doubt share one decision
    decision = rng.random(n_epochs)[doubt - doubt[0]]
    scored = (decision[:, None] > np.cumsum(CONFUSION, axis=1)[shifted, :-1]).sum(axis=1)
    return np.where(rng.random(n_epochs) < UNSCORED_SHARE, UNSCORED, scored).astype(np.int8)


def _tilt(cycles: float, night: float) -> np.ndarray:
    """Return the log odds [6] for each stage after so many cycles, at this share (0..1) of the night."""
    return MEAN_TILT + CYCLE_TILT * np.cos(2 * np.pi * (cycles - 0.3)) + NIGHT_TILT * (1 - 2 * night)


def _dwell(rng: np.random.Generator, stage: int, tilt: float) -> int:
    """Draw a run's length in epochs; a favoured stage (tilt above zero) draws from the longer runs."""
    cumulative = np.cumsum(DWELLS[stage]) / DWELLS[stage].sum()
    chosen = int(np.searchsorted(cumulative, rng.random() ** np.exp(0.1 - tilt / 2)))  # about the real mean length
    return int(rng.integers(DWELL_EDGES[chosen], DWELL_EDGES[chosen + 1]))

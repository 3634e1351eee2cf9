"""A night in numbers: what a sleep laboratory reports of a hypnogram, and how certain the stages are.

Definitions: the AASM manual for the scoring of sleep and associated events (Iber et al. 2007), with the whole recording
taken for the time between lights out and lights on, which files don't tell.
"""

from collections.abc import Sequence

import numpy as np


def night_statistics(stages: np.ndarray, names: Sequence[str], epoch_s: float = 30.0) -> dict[str, float | int | None]:
    """Compute the sleep statistics of one recording.

    Sleep onset is the first epoch of any sleep. The sleep period lasts from there to the end of the last epoch of
    sleep. Latencies of stages count from sleep onset. Unscored epochs are neither wake nor sleep; they stay in the
    times that are measured from one epoch to another.

    Args:
        stages: [n] int, indices into `names`, -1 unscored; n is 1 or more.
        names: the stages, 'W' for wake among them, 'R' for REM; N4 counts as N3 in `n3_latency_min`.
        epoch_s: length of an epoch in s.

    Returns:
        Minutes: `total_recording_min`, `sleep_period_min`, `total_sleep_min`, `sleep_onset_latency_min`,
        `rem_latency_min`, `n2_latency_min`, `n3_latency_min`, `waso_min` (wake within the sleep period),
        `final_wake_min` (wake after it; the manual's WASO is the sum of both), `unscored_min` and `<stage>_min`.
        Per cent: `sleep_efficiency_percent` (sleep of the recording) and `<stage>_percent` (of sleep). Numbers, within
        the sleep period: `n_awakenings` (runs of wake, however short) and `n_stage_shifts` (with those to wake and
        back).
        None where there is no sleep, or none of the stage, to measure.

    Raises:
        ValueError: `stages` is empty or holds a code that is no stage, or `names` has no 'W'.
    """
    stages = np.asarray(stages)
    if "W" not in names or not stages.size or stages.min() < -1 or stages.max() >= len(names):
        raise ValueError(f"stages should be one or more places in {tuple(names)} or -1, with 'W' among the names")
    wake = stages == names.index("W")
    asleep = np.flatnonzero((stages >= 0) & ~wake)
    minutes = epoch_s / 60
    numbers: dict[str, float | int | None] = {
        "total_recording_min": stages.size * minutes,
        "total_sleep_min": asleep.size * minutes,
        "sleep_efficiency_percent": 100 * asleep.size / stages.size,
        "unscored_min": np.count_nonzero(stages < 0) * minutes,
    }
    for code, name in enumerate(names):
        count = np.count_nonzero(stages == code)
        numbers[f"{name}_min"] = count * minutes
        if name != "W":
            numbers[f"{name}_percent"] = 100 * count / asleep.size if asleep.size else None
    return numbers | _sleep_period(stages, names, asleep, minutes)


def _sleep_period(
    stages: np.ndarray, names: Sequence[str], asleep: np.ndarray, minutes: float
) -> dict[str, float | int | None]:
    """What is measured from sleep onset, all None where nobody slept but the length of the period, which is 0."""
    counted = {"rem_latency_min": ("R",), "n2_latency_min": ("N2",), "n3_latency_min": ("N3", "N4")}
    if not asleep.size:
        undefined = ("sleep_onset_latency_min", *counted, "waso_min", "final_wake_min", "n_awakenings")
        return {"sleep_period_min": 0.0} | dict.fromkeys((*undefined, "n_stage_shifts"))
    onset = int(asleep[0])
    end = int(asleep[-1]) + 1
    wake = names.index("W")
    period = stages[onset:end]
    latencies: dict[str, float | int | None] = {}
    for key, counts in counted.items():
        epochs = np.flatnonzero(np.isin(period, [code for code, name in enumerate(names) if name in counts]))
        latencies[key] = int(epochs[0]) * minutes if epochs.size else None
    bouts = period[period >= 0]
    bouts = bouts[np.flatnonzero(np.diff(bouts, prepend=-1))]  # one for each run of the same stage
    return {
        "sleep_period_min": (end - onset) * minutes,
        "sleep_onset_latency_min": onset * minutes,
        **latencies,
        "waso_min": np.count_nonzero(period == wake) * minutes,
        "final_wake_min": np.count_nonzero(stages[end:] == wake) * minutes,
        "n_awakenings": int(np.count_nonzero(bouts == wake)),
        "n_stage_shifts": bouts.size - 1,
    }


def certainty(probabilities: np.ndarray) -> dict[str, float]:
    """Sum up how certain a model is of its answers, which is not how right it is.

    Args:
        probabilities: [n, n_classes] float, rows summing to 1, two or more classes.

    Returns:
        `mean_largest_probability`, `share_below_half` (epochs whose largest probability is below .5) and
        `mean_normalised_entropy` (Shannon's, 0 for certain to 1 for all classes alike).
    """
    probabilities = np.asarray(probabilities, float)
    largest = probabilities.max(1)
    surprise = -np.log(np.where(probabilities > 0, probabilities, 1))
    entropy = (probabilities * surprise).sum(1) / np.log(probabilities.shape[1])
    return {
        "mean_largest_probability": float(largest.mean()),
        "share_below_half": float((largest < 0.5).mean()),
        "mean_normalised_entropy": float(entropy.mean()),
    }

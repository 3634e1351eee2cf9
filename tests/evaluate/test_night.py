"""Sleep statistics against nights worked by hand and against a plain count, epoch by epoch."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from eegjax.evaluate.night import certainty, night_statistics

AASM = ("W", "N1", "N2", "N3", "R")
RK = ("W", "N1", "N2", "N3", "N4", "R")


def codes(letters: str, names=AASM) -> np.ndarray:
    """W, R, ? or the digit of an N, a letter per epoch."""
    spelled = {name[-1]: code for code, name in enumerate(names)} | {"?": -1}
    return np.array([spelled[letter] for letter in letters])


def test_a_night_worked_by_hand() -> None:
    #   onset at 4; last sleep at 19; wake within at 9, 10 and 17; ends in 3 of wake
    stages = codes("WWWW" "1122" "3" "WW" "1" "2" "RRRR" "W" "2R" "WWW")  # fmt: skip
    assert night_statistics(stages, AASM) == pytest.approx(
        {
            "total_recording_min": 11.5,
            "sleep_period_min": 8.0,
            "total_sleep_min": 6.5,
            "sleep_efficiency_percent": 100 * 13 / 23,
            "sleep_onset_latency_min": 2.0,
            "rem_latency_min": 4.5,
            "n2_latency_min": 1.0,
            "n3_latency_min": 2.0,
            "waso_min": 1.5,
            "final_wake_min": 1.5,
            "unscored_min": 0.0,
            "W_min": 5.0,
            "N1_min": 1.5,
            "N2_min": 2.0,
            "N3_min": 0.5,
            "R_min": 2.5,
            "N1_percent": 100 * 3 / 13,
            "N2_percent": 100 * 4 / 13,
            "N3_percent": 100 * 1 / 13,
            "R_percent": 100 * 5 / 13,
            "n_awakenings": 2,
            "n_stage_shifts": 9,
        }
    )


def test_the_published_example_of_two_stages() -> None:
    """10 W, 40 S, 5 W, 40 S, 9 W of 15 s: YASA's documentation gives these numbers for it."""
    stages = np.repeat([0, 1, 0, 1, 0], [10, 40, 5, 40, 9])
    numbers = night_statistics(stages, ("W", "N2"), epoch_s=15.0)
    expected = {
        "total_recording_min": 26.0,
        "sleep_period_min": 21.25,
        "waso_min": 1.25,
        "total_sleep_min": 20.0,
        "sleep_efficiency_percent": 76.9231,
        "sleep_onset_latency_min": 2.5,
        "W_min": 6.0,
    }
    assert {key: numbers[key] for key in expected} == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("2", {"sleep_onset_latency_min": 0, "sleep_efficiency_percent": 100, "n_awakenings": 0, "n_stage_shifts": 0}),
        ("W2", {"sleep_onset_latency_min": 0.5, "rem_latency_min": None, "n3_latency_min": None, "R_percent": 0}),
        ("RWR", {"rem_latency_min": 0, "waso_min": 0.5, "n_awakenings": 1, "n_stage_shifts": 2}),
        ("2W", {"waso_min": 0, "final_wake_min": 0.5, "n_awakenings": 0, "n_stage_shifts": 0}),  # woke for good
        # unscored epochs are neither wake nor sleep, and no shift
        ("??2?2", {"sleep_onset_latency_min": 1, "sleep_period_min": 1.5, "total_sleep_min": 1, "unscored_min": 1.5}),
        ("2?2", {"n_stage_shifts": 0, "waso_min": 0, "n_awakenings": 0}),
        ("2?R", {"n_stage_shifts": 1, "rem_latency_min": 1.0}),
        ("2W?W2?", {"n_awakenings": 1, "waso_min": 1, "final_wake_min": 0, "n_stage_shifts": 2}),
        ("?W2W?W", {"sleep_onset_latency_min": 1, "final_wake_min": 1, "W_min": 1.5, "unscored_min": 1}),
    ],
)
def test_small_nights_worked_by_hand(letters: str, expected: dict) -> None:
    numbers = night_statistics(codes(letters), AASM)
    assert {key: numbers[key] for key in expected} == expected


def test_n4_counts_as_n3_in_its_latency_only() -> None:
    numbers = night_statistics(codes("1" "2" "4" "3", RK), RK)  # fmt: skip
    assert (numbers["n3_latency_min"], numbers["N3_min"], numbers["N4_min"]) == (1.0, 0.5, 0.5)


@pytest.mark.parametrize("letters", ["W", "WWWW", "??", "W?"])
def test_a_night_without_sleep(letters: str) -> None:
    numbers = night_statistics(codes(letters), AASM)
    zero = {"total_sleep_min", "sleep_efficiency_percent", "sleep_period_min", *(f"{name}_min" for name in AASM[1:])}
    assert {key for key, value in numbers.items() if value is None} == {
        *(f"{name}_percent" for name in AASM[1:]),
        *("sleep_onset_latency_min", "rem_latency_min", "n2_latency_min", "n3_latency_min"),
        *("waso_min", "final_wake_min", "n_awakenings", "n_stage_shifts"),
    }
    assert all(numbers[key] == 0 for key in zero)
    assert numbers["W_min"] + numbers["unscored_min"] == numbers["total_recording_min"] == len(letters) / 2
    assert list(numbers) == list(night_statistics(codes("W2R"), AASM))


@settings(max_examples=200)
@given(st.lists(st.integers(-1, 5), min_size=1, max_size=60), st.sampled_from([20.0, 30.0]))
def test_the_parts_make_the_whole(stages: list[int], epoch_s: float) -> None:
    numbers = night_statistics(np.array(stages, np.int8), RK, epoch_s)
    whole = numbers["total_recording_min"]
    assert whole == pytest.approx(len(stages) * epoch_s / 60)
    assert sum(numbers[f"{name}_min"] for name in RK) + numbers["unscored_min"] == pytest.approx(whole)
    sleep = numbers["total_sleep_min"]
    assert sum(numbers[f"{name}_min"] for name in RK[1:]) == pytest.approx(sleep)
    assert numbers["sleep_efficiency_percent"] == pytest.approx(100 * sleep / whole)
    if not sleep:
        return
    assert sum(numbers[f"{name}_percent"] for name in RK[1:]) == pytest.approx(100)
    if -1 not in stages:
        latency, period = numbers["sleep_onset_latency_min"], numbers["sleep_period_min"]
        assert sleep + numbers["waso_min"] == pytest.approx(period)
        assert latency + period + numbers["final_wake_min"] == pytest.approx(whole)


@settings(max_examples=200)
@given(st.lists(st.integers(-1, 4), min_size=1, max_size=40))
def test_numbers_agree_with_a_plain_count(stages: list[int]) -> None:
    numbers = night_statistics(np.array(stages), AASM)
    asleep = [i for i, stage in enumerate(stages) if stage > 0]
    if not asleep:
        assert numbers["n_awakenings"] is None
        return
    period = [stage for stage in stages[asleep[0] : asleep[-1] + 1] if stage >= 0]
    bouts = [stage for stage, _ in itertools.groupby(period)]
    assert numbers["n_awakenings"] == bouts.count(0)
    assert numbers["n_stage_shifts"] == len(bouts) - 1
    for key, code in (("rem_latency_min", 4), ("n2_latency_min", 2), ("n3_latency_min", 3)):
        assert numbers[key] == ((stages.index(code) - asleep[0]) / 2 if code in stages else None)


@pytest.mark.parametrize(("stages", "names"), [([], AASM), ([5], AASM), ([-2], AASM), ([0], ("N1", "N2"))])
def test_what_is_no_hypnogram_is_refused(stages: list[int], names) -> None:
    with pytest.raises(ValueError, match="places in"):
        night_statistics(np.array(stages, int), names)


# ---- certainty


def test_certainty_of_extremes() -> None:
    assert certainty(np.eye(5, dtype=np.float32)) == {
        "mean_largest_probability": 1.0,
        "share_below_half": 0.0,
        "mean_normalised_entropy": 0.0,
    }
    alike = certainty(np.full((3, 5), 0.2))
    assert alike == pytest.approx(
        {"mean_largest_probability": 0.2, "share_below_half": 1.0, "mean_normalised_entropy": 1.0}
    )


def test_certainty_agrees_with_scipy() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(6), 50)
    probabilities[0] = [0.5, 0.5, 0, 0, 0, 0]  # not below a half
    numbers = certainty(probabilities)
    assert numbers["mean_normalised_entropy"] == pytest.approx(entropy(probabilities, base=6, axis=1).mean())
    assert numbers["share_below_half"] == sum(max(row) < 0.5 for row in probabilities.tolist()) / 50
    assert numbers["mean_largest_probability"] == pytest.approx(np.mean([max(row) for row in probabilities.tolist()]))

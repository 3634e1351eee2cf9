"""What all readers of cued trials do, whatever the format."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegjax.data.eegmmidb.reader import File
from eegjax.data.trials import Trials, check_trials, leave_out, make_trial_table
from eegjax.errors import UserError


@given(st.lists(st.integers(1, 109), unique=True, min_size=2), st.data())
def test_leaving_out_keeps_all_others_in_order(numbers: list[int], data: st.DataObject) -> None:
    files = [File("", f"S{number:03d}", "1", "4", Path()) for number in numbers]
    out = data.draw(st.sets(st.sampled_from(numbers[1:])))
    left = leave_out(files, {f"S{number:03d}" for number in out}, "S088")
    assert [int(file.subject[1:]) for file in left] == [number for number in numbers if number not in out]


def whole(eeg: np.ndarray, cues: list[int]) -> Trials:
    names = tuple("ABC"[: eeg.shape[1]])
    return Trials("r", "s", "1", eeg, 100.0, names, make_trial_table(np.array(cues), np.zeros(len(cues)), "1"))


@settings(max_examples=50)
@given(
    st.lists(st.integers(-50, 450), max_size=6), st.floats(-2, 2), st.floats(0.02, 3)
)  # of a recording of 400 samples
def test_windows_wholly_inside_stay(cues: list[int], first: float, length: float) -> None:
    eeg = np.random.default_rng(0).normal(0, 20, (400, 2)).astype(np.float32)
    window_s = (first, first + length)
    trials = check_trials(whole(eeg, cues), window_s, "here")
    stay = [cue for cue in cues if cue + round(100 * window_s[0]) >= 0 and cue + round(100 * window_s[1]) <= 400]
    assert trials.table["cue"].tolist() == stay
    assert trials.table.index.tolist() == list(range(len(stay)))
    assert trials.n_cut == len(cues) - len(stay)
    for cue in stay:
        assert len(eeg[cue + round(100 * window_s[0]) : cue + round(100 * window_s[1])]) > 0


def test_one_loose_electrode_is_noted_and_a_wrong_unit_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    eeg = np.random.default_rng(0).normal(0, 20, (2000, 3)).astype(np.float32)
    eeg[:100] = np.nan
    loose = eeg * np.array([1, 1, 0], np.float32)
    assert check_trials(whole(loose, [0]), (0, 1), "here").eeg is loose
    assert re.search(r"here: flat or far too large \(electrode off\?\): C; kept", caplog.text)
    for factor, said in ((1e-6, "volts taken for µV"), (1e6, "µV taken for volts")):
        with pytest.raises(UserError, match=f"here, channel '.': amplitude .*{said}"):
            check_trials(whole(eeg * factor, [0]), (0, 1), "here")
    with pytest.raises(UserError, match="holds no samples"):
        check_trials(whole(np.full((2000, 3), np.nan), [0]), (0, 1), "here")
    eeg[5, 0] = np.inf
    with pytest.raises(UserError, match="here: infinite samples"):
        check_trials(whole(eeg, [0]), (0, 1), "here")


def test_a_window_without_length_is_an_error() -> None:
    with pytest.raises(UserError, match=r"window_s is \(1, 1\)"):
        check_trials(whole(np.ones((4, 1)), [0]), (1, 1), "here")

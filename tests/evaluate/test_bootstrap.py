"""The bootstrap against normal theory, known dependence, and the rules its draws must keep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from eegjax.evaluate.bootstrap import draw_blocks, draw_subjects, percentile_interval


def night(n_epochs: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(n_epochs, int), np.arange(n_epochs)


def means(values: np.ndarray, draws) -> np.ndarray:
    return np.array([values[draw].mean() for draw in draws])


@settings(max_examples=50)
@given(st.data())
def test_block_draws_keep_the_rules(data):
    """As many epochs per recording as it has; jumps only after whole blocks, at recording edges and at gaps."""
    owners = data.draw(st.lists(st.sampled_from("ab"), min_size=1, max_size=40))
    recording = np.array(owners)
    position = np.zeros(len(owners), int)
    for name in np.unique(recording):
        steps = data.draw(
            st.lists(st.sampled_from([1, 1, 1, 5]), min_size=owners.count(name), max_size=owners.count(name))
        )
        position[recording == name] = np.cumsum(steps)
    shuffled = data.draw(st.permutations(range(len(owners))))
    recording, position = recording[shuffled], position[shuffled]
    block = data.draw(st.integers(1, 8))
    known = set(zip(recording.tolist(), position.tolist(), strict=True))

    for draw in draw_blocks(recording, position, block, n_draws=3, seed=1):
        assert len(draw) == len(recording)
        for name in np.unique(recording):
            drawn = position[draw[recording[draw] == name]]
            assert len(drawn) == (recording == name).sum()
            # Walk from block to block: each begins anywhere, and ends early only where the recording does
            jumps = np.flatnonzero(np.diff(drawn) != 1) + 1
            for run in np.split(drawn, jumps)[:-1]:
                whole = len(run) >= block
                cut_at_edge = (name, run[0] - 1) not in known or (name, run[-1] + 1) not in known
                assert whole or cut_at_edge


def test_every_epoch_is_drawn_equally_often():
    """Epochs at a recording's edges and beside gaps are no rarer than others, so the bootstrap mean is the mean."""
    recording = np.repeat([0, 1], [60, 40])
    position = np.concatenate([np.arange(60), np.arange(25), 30 + np.arange(15)])
    counts = np.bincount(np.concatenate(list(draw_blocks(recording, position, 8, n_draws=3000))), minlength=100)
    inner, edges = counts[10:50].mean(), counts[[0, 1, 58, 59, 60, 61, 83, 84, 85, 86, 98, 99]].mean()
    assert edges / inner == pytest.approx(1, abs=0.06)


def test_draws_repeat_with_their_seed():
    recording, position = night(50)
    for make in (
        lambda seed: draw_blocks(recording, position, 5, 2, seed),
        lambda seed: draw_subjects(position // 5, 2, seed),
    ):
        first, again, other = (np.stack(list(make(seed))) for seed in (3, 3, 4))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        assert not np.array_equal(first[0], first[1])


def test_subject_draws_take_whole_subjects():
    subject = np.array(["x", "y", "x", "z", "y", "x"])
    for draw in draw_subjects(subject, n_draws=20):
        times = np.bincount(draw, minlength=6)
        assert all(len(set(times[subject == name])) == 1 for name in "xyz")
        assert sum(times[[0, 1, 3]]) == 3


def test_independent_mean_has_the_normal_interval():
    values = np.random.default_rng(0).normal(size=400)
    low, high = percentile_interval(means(values, draw_blocks(*night(400), 1)))
    theory = 1.96 * values.std() / np.sqrt(400)
    assert [values.mean() - low, high - values.mean()] == pytest.approx([theory, theory], rel=0.15)


def test_subject_interval_is_that_of_the_subject_means():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(100, 1)) + 0.1 * rng.normal(size=(100, 20))
    low, high = percentile_interval(means(values.ravel(), draw_subjects(np.repeat(np.arange(100), 20))))
    assert high - low == pytest.approx(2 * 1.96 * values.mean(1).std() / 10, rel=0.15)


def test_blocks_cover_the_truth_where_single_epochs_do_not():
    """Correctness driven by AR(1) noise (correlation .9): intervals against the spread and mean of many nights."""
    rng = np.random.default_rng(0)
    noise = lfilter([np.sqrt(1 - 0.9**2)], [1, -0.9], rng.normal(size=(150, 1700)))[:, 100:]
    nights = (noise > 0).astype(float)  # right in half of the epochs, by symmetry
    theory = 2 * 1.96 * nights.mean(1).std()
    ends = {}
    for block in (1, 60):
        draws = list(draw_blocks(*night(1600), block, n_draws=150))
        ends[block] = np.array([percentile_interval(means(correct, draws)) for correct in nights])
    width = {block: np.mean(low_high[:, 1] - low_high[:, 0]) for block, low_high in ends.items()}
    covered = {block: np.mean((low_high[:, 0] <= 0.5) & (low_high[:, 1] >= 0.5)) for block, low_high in ends.items()}
    assert 0.8 < width[60] / theory < 1.1  # blocks fall a little short, as theory has it
    assert width[1] / theory < 0.4
    assert covered[60] > 0.85
    assert covered[1] < 0.6


def test_undefined_draws_are_left_out():
    assert percentile_interval(np.array([1.0, np.nan, 1.0])) == (1.0, 1.0)
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()


@pytest.mark.parametrize(("position", "block", "message"), [([0, 1], 0, "at least 1"), ([1, 1], 2, "epoch twice")])
def test_refuses_nonsense(position, block, message):
    with pytest.raises(ValueError, match=message):
        next(draw_blocks(np.zeros(2), np.array(position), block))

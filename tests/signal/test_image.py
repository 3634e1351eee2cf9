"""Images against ranks from SciPy, MATLAB's documented colours, np.interp, and Pillow's resampling."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import rankdata

from eegjax.signal.image import N_BINS, colour, crop_frames, equalise, jet, resize, to_image

SIDE = 64  # of an image of 4096 values, whose ranks are exact in float32


def level_image(seed: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(bin numbers, values well inside those bins of 0..1), [SIDE, SIDE]; the top bin is taken."""
    rng = np.random.default_rng(seed)
    bins = np.floor(rng.random((SIDE, SIDE)) ** spread * N_BINS).astype(int)
    bins[0, 0] = N_BINS - 1
    offset = np.where(bins == N_BINS - 1, 0, rng.uniform(-0.3, 0.3, bins.shape))
    return bins, ((bins + offset) / (N_BINS - 1)).astype(np.float32)


def by_ranks(bins: np.ndarray, n_levels: int) -> np.ndarray:
    ranks = rankdata(bins, method="average") - 0.5
    return np.clip(np.floor(ranks * n_levels / bins.size), 0, n_levels - 1).reshape(bins.shape)


@settings(max_examples=15)
@given(seed=st.integers(0, 999), spread=st.sampled_from([0.3, 1.0, 6.0]), n_levels=st.sampled_from([2, 64, 255, 256]))
def test_a_level_is_the_rank_of_its_bin(seed, spread, n_levels):
    bins, image = level_image(seed, spread)
    levels = np.asarray(equalise(image, n_levels))
    assert levels.dtype == np.uint8
    assert np.array_equal(levels, by_ranks(bins, n_levels))
    assert np.array_equal(levels, np.asarray(equalise(image, n_levels, upper=1.0)))


@pytest.mark.parametrize("upper", [None, 1.0])
def test_equalised_levels_are_monotone_and_about_equally_full(upper):
    image = np.random.default_rng(0).exponential(0.5, 50_000).astype(np.float32)
    levels = np.asarray(equalise(image, upper=upper)).astype(int)
    assert (np.diff(levels[np.argsort(image)]) >= 0).all()
    # a level holds whole bins, so it is wrong by at most half a bin at each of its two ends
    crowd = np.bincount(np.round(np.clip(image / (upper or image.max()), 0, 1) * (N_BINS - 1)).astype(int)).max()
    counts = np.bincount(levels, minlength=255)
    assert np.abs(counts - image.size / 255).max() <= crowd + 1
    if upper:
        assert (levels[image >= 1] == levels.max()).all()  # exp(-2) of the values saturate
        assert levels.max() == 254
    else:
        assert set(levels) == set(range(255))


def test_only_order_within_its_own_range_matters_without_an_upper_limit():
    _, image = level_image(1)
    levels = np.asarray(equalise(image))
    for factor in (2.0**-20, 0.37, 4096.0):
        assert np.array_equal(levels, np.asarray(equalise(factor * image)))
    assert not np.array_equal(levels, np.asarray(equalise(4 * image, upper=1.0)))
    assert np.array_equal(np.asarray(equalise(np.zeros((3, 3), np.float32))), np.full((3, 3), 127))


def test_jet_is_matlabs():
    """The rows of jet(5) and jet(8), and the first and last of jet(64) and jet(256), as MATLAB prints them."""
    five = [[0, 0.5, 1], [0, 1, 1], [0.5, 1, 0.5], [1, 1, 0], [1, 0.5, 0]]
    assert np.array_equal(jet(5), np.array(five, np.float32))
    eight = [[0, 0, 1], [0, 0.5, 1], [0, 1, 1], [0.5, 1, 0.5], [1, 1, 0], [1, 0.5, 0], [1, 0, 0], [0.5, 0, 0]]
    assert np.array_equal(jet(8), np.array(eight, np.float32))
    for n_levels, first in ((64, 0.5625), (256, 0.515625)):
        assert np.array_equal(jet(n_levels)[[0, -1]], np.array([[0, 0, first], [0.5, 0, 0]], np.float32))
    paper = jet(255)
    assert paper.shape == (255, 3)
    assert paper.dtype == np.float32
    assert (paper.max(1) >= 0.5).all()  # no level is dark
    assert len(np.unique(paper, axis=0)) == 255  # or equal to another


def test_colour_looks_levels_up():
    levels = np.random.default_rng(0).integers(0, 255, (2, 3, 4)).astype(np.uint8)
    assert np.array_equal(colour(jnp.asarray(levels), jet(255)), jet(255)[levels])


@settings(max_examples=10)
@given(fractions=st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6), seed=st.integers(0, 99))
def test_crop_interpolates_between_frames(fractions, seed):
    frames = np.random.default_rng(seed).integers(0, 255, (2, 3, 9, 5)).astype(np.uint8)
    starts = np.array(fractions, np.float32).reshape(2, 3)
    cut = np.asarray(crop_frames(jnp.asarray(frames), jnp.asarray(starts), 8))
    assert cut.shape == (2, 3, 8, 5)
    for place in np.ndindex(2, 3):
        expected = [np.interp(starts[place] + np.arange(8), np.arange(9), f) for f in frames[place].T.astype(float)]
        np.testing.assert_allclose(cut[place], np.transpose(expected), atol=1e-4)


def test_crop_at_whole_frames_is_exact():
    frames = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 3)), jnp.float32)
    assert np.array_equal(crop_frames(frames, jnp.array([0.0, 1.0]), 6), jnp.stack([frames[0, :6], frames[1, 1:]]))


@pytest.mark.parametrize(("height", "width"), [(6, 10), (24, 40), (9, 7), (12, 20), (30, 11)])
def test_resize_matches_pillow(height, width):
    """Linear, and a wider triangle when shrinking, so that nothing above the new Nyquist frequency folds back."""
    image = np.random.default_rng(0).normal(size=(12, 20, 2)).astype(np.float32)
    planes = [
        Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR) for plane in image.T.swapaxes(1, 2)
    ]
    resized = resize(jnp.asarray(image), height, width)
    np.testing.assert_allclose(resized, np.stack([np.asarray(plane) for plane in planes], -1), atol=1e-5)


def test_resize_keeps_constants_and_leading_axes():
    images = jnp.broadcast_to(jnp.arange(6.0).reshape(2, 3, 1, 1, 1), (2, 3, 10, 12, 1))
    for height, width in ((5, 6), (20, 24), (7, 31)):
        resized = resize(images, height, width)
        np.testing.assert_allclose(resized, jnp.broadcast_to(images[:, :, :1, :1], (2, 3, height, width, 1)), rtol=1e-6)


def test_doubling_and_halving_are_exact():
    row = jnp.arange(8.0).reshape(1, 8, 1)
    middles = np.interp((np.arange(16) + 0.5) / 2 - 0.5, np.arange(8), np.arange(8))
    np.testing.assert_allclose(resize(row, 1, 16)[0, :, 0], middles, atol=1e-6)
    halves = [5 / 7, 2.5, 4.5, 7 - 5 / 7]  # weights 1, 3, 3, 1; at an edge three of them
    np.testing.assert_allclose(resize(row, 1, 4)[0, :, 0], halves, atol=1e-6)


def test_time_runs_right_and_frequency_up():
    n_frames, n_freqs = 4, 3
    frames = jnp.arange(n_frames)[:, None] * 10.0 + jnp.arange(n_freqs)
    image = np.asarray(to_image(jnp.stack([frames, frames + 100])))
    assert image.shape == (2, n_freqs, n_frames, 1)
    assert image[0, :, 1, 0].tolist() == [12, 11, 10]
    assert image[1, -1, :, 0].tolist() == [100, 110, 120, 130]

"""The filters against MNE's, the theory of Butterworth filters, and signals with gaps."""

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegjax.errors import UserError
from eegjax.signal.filters import band_pass, notch

SFREQ = 250.0
EDGES = [(8.0, 30.0), (4.0, 38.0), (0.5, 40.0), (1.0, None), (None, 20.0)]


def noise(n_times: int = 4000, n_chans: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 20, (n_times, n_chans))


@pytest.mark.parametrize("edges", EDGES)
def test_zero_phase_filters_are_mnes(edges):
    x = noise()
    expected = mne.filter.filter_data(x.T.copy(), SFREQ, *edges, method="iir", phase="zero", verbose="ERROR").T
    far = slice(1500, -1500)  # from the ends, which MNE pads in another way
    np.testing.assert_allclose(band_pass(x, SFREQ, *edges, causal=False)[far], expected[far], atol=1e-3)


@pytest.mark.parametrize("edges", EDGES)
def test_causal_filters_are_mnes(edges):
    x = noise()
    x -= x[0]  # MNE begins at zero, this filter at the first sample
    expected = mne.filter.filter_data(x.T.copy(), SFREQ, *edges, method="iir", phase="forward", verbose="ERROR").T
    np.testing.assert_allclose(band_pass(x, SFREQ, *edges, causal=True), expected, atol=1e-8)


@pytest.mark.parametrize(("causal", "phase"), [(False, "zero"), (True, "forward")])
def test_the_notch_is_mnes(causal, phase):
    x = noise()
    x -= x[0]
    with mne.use_log_level("ERROR"):
        expected = mne.filter.notch_filter(
            x.T.copy(), SFREQ, 50.0, notch_widths=1.0, trans_bandwidth=1.0, method="iir", phase=phase
        ).T
    far = slice(1500, -1500)
    np.testing.assert_allclose(notch(x, SFREQ, 50.0, causal=causal)[far], expected[far], atol=1e-3)


def sine(hz: float, n_times: int = 5000) -> np.ndarray:
    return 10 * np.sin(2 * np.pi * hz * np.arange(n_times) / SFREQ)[:, None]


@pytest.mark.parametrize("causal", [False, True])
def test_gains_are_butterworths(causal):
    """At an edge half the power passes, once forwards and once backwards; |H|^2 = 1 / (1 + (f / f_c)^8) elsewhere."""

    def gain(hz: float) -> float:
        y = band_pass(sine(hz), SFREQ, None, 20.0, causal=causal)[2000:-2000]
        return float(y.std() / (10 / np.sqrt(2)))

    def warped(hz: float) -> float:  # the bilinear transform bends the axis of frequency
        return float(np.tan(np.pi * hz / SFREQ))

    for hz in (5.0, 15.0, 20.0, 30.0, 40.0):
        once = (1 + (warped(hz) / warped(20.0)) ** 8) ** -0.5
        assert gain(hz) == pytest.approx(once if causal else once**2, rel=0.01)


def test_zero_phase_moves_nothing_and_a_causal_filter_sees_no_future():
    impulse = np.zeros((4001, 1))
    impulse[2000] = 1
    y = band_pass(impulse, SFREQ, 8.0, 30.0, causal=False)[:, 0]
    np.testing.assert_allclose(y, y[::-1], atol=1e-6)
    assert np.abs(y).argmax() == 2000
    y = band_pass(impulse, SFREQ, 8.0, 30.0, causal=True)[:, 0]
    assert np.all(y[:2000] == 0)
    assert np.abs(y).argmax() > 2000
    x = noise()
    changed = x.copy()
    changed[3000:] += 100
    one, other = (band_pass(each, SFREQ, 8.0, 30.0, causal=True) for each in (x, changed))
    assert np.array_equal(one[:3000], other[:3000])
    assert not np.array_equal(one[3000:], other[3000:])


def test_mains_goes_and_its_neighbours_stay():
    for causal in (False, True):
        assert notch(sine(50), SFREQ, 50.0, causal=causal)[2000:-2000].std() < 1e-3
        for hz in (10, 40, 60):
            assert notch(sine(hz), SFREQ, 50.0, causal=causal)[2000:-2000].std() == pytest.approx(10 / 2**0.5, rel=0.01)


@pytest.mark.parametrize("causal", [False, True])
def test_an_offset_rings_nowhere(causal):
    x = np.full((3000, 2), 5000.0)
    assert np.abs(band_pass(x, SFREQ, 0.5, 40.0, causal=causal)).max() < 1e-4
    np.testing.assert_allclose(band_pass(x, SFREQ, None, 40.0, causal=causal), 5000)
    np.testing.assert_allclose(notch(x, SFREQ, 50.0, causal=causal), 5000)


@settings(max_examples=20)
@given(
    borders=st.lists(st.integers(1, 2998), min_size=1, max_size=4, unique=True),
    seed=st.integers(0, 99),
    causal=st.booleans(),
)
def test_each_stretch_is_filtered_by_itself(borders, seed, causal):
    x = noise(3000, 2, seed)
    x[borders, 0] = np.nan
    y = band_pass(x, SFREQ, 8.0, 30.0, causal=causal)
    np.testing.assert_array_equal(y[:, [1]], band_pass(x[:, [1]], SFREQ, 8.0, 30.0, causal=causal))
    needed = 0 if causal else int(np.ceil(3 * SFREQ / 8))
    for start, stop in zip([-1, *sorted(borders)], [*sorted(borders), 3000], strict=True):
        part = slice(start + 1, stop)
        if stop - start - 1 > needed:
            expected = band_pass(x[part, :1], SFREQ, 8.0, 30.0, causal=causal)
            np.testing.assert_allclose(y[part, :1], expected, atol=1e-9)
        else:
            assert np.isnan(y[part, 0]).all()
    assert np.isnan(y[borders, 0]).all()


def test_all_missing_stays_missing():
    assert np.isnan(notch(np.full((1000, 2), np.nan), SFREQ, 50.0, causal=False)).all()


def test_float32_is_computed_in_float64():
    x = (noise() + 3000).astype(np.float32)  # an offset and an edge where float32 filters go astray
    for causal in (False, True):
        y = band_pass(x, SFREQ, 0.1, 40.0, causal=causal) if causal else band_pass(x, SFREQ, 1.0, 40.0, causal=False)
        edges = (0.1, 40.0) if causal else (1.0, 40.0)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, band_pass(x.astype(np.float64), SFREQ, *edges, causal=causal), atol=1e-4)
    assert notch(np.arange(2000).reshape(1000, 2), SFREQ, 50.0, causal=True).dtype == np.float64


def test_the_input_is_left_alone():
    x = noise()
    before = x.copy()
    band_pass(x, SFREQ, 8.0, 30.0, causal=True)
    notch(x, SFREQ, 50.0, causal=False)
    assert np.array_equal(x, before)


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ((8.0, 125.0), "h_freq_hz: found 125 Hz, expected more than 0 and less than 125 Hz"),
        ((0.0, 30.0), "l_freq_hz: found 0 Hz"),
        ((-1.0, None), "l_freq_hz: found -1 Hz"),
        ((float("nan"), 30.0), "l_freq_hz: found nan Hz"),
        ((30.0, 8.0), "l_freq_hz: found 30 Hz, expected less than h_freq_hz, which is 8 Hz"),
        ((8.0, 8.0), "l_freq_hz: found 8 Hz"),
    ],
)
def test_impossible_edges_are_errors(edges, found):
    for causal in (False, True):
        with pytest.raises(UserError, match=found):
            band_pass(noise(), SFREQ, *edges, causal=causal)


def test_a_notch_above_half_the_sampling_rate_is_an_error():
    with pytest.raises(UserError, match="notch at 50 Hz: found 51 Hz, expected more than 0 and less than 50 Hz"):
        notch(noise(), 100.0, 50.0, causal=True)


def test_a_window_too_short_for_the_filter_is_an_error():
    assert band_pass(noise(1501), SFREQ, 0.5, 40.0, causal=False).shape == (1501, 3)
    with pytest.raises(UserError, match=r"found 4 s .*edge of 0.5 Hz, which needs more than 6 s: filter the recording"):
        band_pass(noise(1000), SFREQ, 0.5, 40.0, causal=False)
    assert band_pass(noise(1000), SFREQ, 0.5, 40.0, causal=True).shape == (1000, 3)
    with pytest.raises(UserError, match="found 0 s of signal"):
        notch(noise(0), SFREQ, 50.0, causal=True)


def test_other_shapes_are_errors():
    with pytest.raises(ValueError, match="found an array of 1 dimensions"):
        band_pass(noise()[:, 0], SFREQ, 8.0, 30.0, causal=True)
    with pytest.raises(ValueError, match="at least one edge"):
        band_pass(noise(), SFREQ, None, None, causal=True)

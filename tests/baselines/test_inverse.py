"""Inverse baselines: the textbook's formulas, the theorems of exact localisation, and a search by brute force."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from eegjax.baselines.inverse import (
    LCMV_LAMBDA2,
    METHODS,
    Candidates,
    ForwardModel,
    Setting,
    estimate_sources,
    find_neighbours,
    find_peaks,
    localise,
    tune,
)
from eegjax.data.heads.heads import Head, HeadSpec, make_head
from eegjax.errors import UserError
from eegjax.evaluate.localisation import localisation_error_mm
from eegjax.evaluate.points import area_under_curve, f1_curve

RADII = [0, 5, 10, 20, 30, 40]
LINEAR = METHODS[:-1]
N_TIMES = 200
TIMES = np.arange(N_TIMES) / 100


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Head:
    return make_head(HeadSpec(kind="sphere", n_sources=100, n_chans=32), None, tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="module")
def free(head: Head) -> ForwardModel:
    return ForwardModel(head.lead_field, 1000 * head.sources_m)


@pytest.fixture(scope="module")
def fixed(head: Head) -> ForwardModel:
    radial = np.einsum("cso,so->cs", head.lead_field, head.orientations[:, 0])
    return ForwardModel(radial[..., None], 1000 * head.sources_m)


@pytest.fixture(scope="module")
def samples(free: ForwardModel) -> tuple[np.ndarray, list[np.ndarray]]:
    """12 instants of one to three sources with noise, [12, n_chans] V, and the sources."""
    rng = np.random.default_rng(1)
    centres = [rng.choice(100, 1 + number % 3, replace=False) for number in range(12)]
    moments = [3e-9 * rng.normal(size=(len(places), 3)) for places in centres]
    fields = [free.lead_field[:, places] for places in centres]
    clean = np.stack([np.einsum("cso,so->c", *pair) for pair in zip(fields, moments, strict=True)])
    return clean + 0.1 * clean.std() * rng.normal(size=clean.shape), centres


@pytest.fixture(scope="module")
def series(free: ForwardModel) -> tuple[np.ndarray, np.ndarray]:
    """Two uncorrelated sources with noise, [1, n_times, n_chans] V, and which they are, 98 mm apart or so."""
    rng = np.random.default_rng(2)
    places = np.array(np.unravel_index(cdist(free.sources_mm, free.sources_mm).argmax(), (100, 100)))
    courses = np.stack([np.sin(2 * np.pi * 7 * TIMES), np.sin(2 * np.pi * 11 * TIMES)])
    moments = 3e-9 * np.array([[1, -2, 1], [0, 1, 2]])
    clean = np.einsum("cso,so,st->tc", free.lead_field[:, places], moments, courses)
    return (clean + 0.1 * clean.std() * rng.normal(size=clean.shape))[None], np.sort(places)


# ---- estimates


def white(lead_field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[n_sources * n_orient, n_chans - 1] against the average, in an orthonormal basis of what it leaves; the basis."""
    basis = np.linalg.svd(np.eye(len(lead_field)) - 1 / len(lead_field))[0][:, :-1]
    return np.einsum("cso,cw->sow", lead_field, basis).reshape(-1, basis.shape[1]), basis


def minimum_norm_kernel(lead_field: np.ndarray, lambda2: float) -> np.ndarray:
    """[n_sources, 3, n_chans]: R G' (G R G' + lambda2 I)^-1 with R = I n_white / trace(G G')."""
    flat, basis = white(lead_field)
    variance = flat.shape[1] / (flat**2).sum()
    kernel = variance * flat @ np.linalg.inv(variance * flat.T @ flat + lambda2 * np.eye(flat.shape[1])) @ basis.T
    return kernel.reshape(lead_field.shape[1], -1, len(lead_field))


def test_an_instant_is_the_length_of_the_minimum_norm_vector(free, samples):
    voltages, _ = samples
    vectors = np.einsum("soc,nc->nso", minimum_norm_kernel(free.lead_field, 0.1), voltages)
    found = estimate_sources(free.lead_field, "MNE", 0.1, voltages)
    assert (found.shape, found.dtype) == ((12, 100), np.float32)
    expected = np.linalg.norm(vectors, axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


def test_a_series_is_the_deviation_of_the_vector_over_time(free, series):
    voltages = np.concatenate([series[0], 2 * series[0][:, ::-1]]) + 1e-5 * np.arange(32)  # an offset changes nothing
    vectors = np.einsum("soc,ntc->ntso", minimum_norm_kernel(free.lead_field, 0.1), voltages)
    expected = np.sqrt(vectors.var(axis=1).sum(axis=-1))
    np.testing.assert_allclose(
        estimate_sources(free.lead_field, "MNE", 0.1, voltages), expected, rtol=0, atol=1e-4 * expected.max()
    )


def test_the_beamformers_amplitude_is_pseudo_z(free, series):
    """Van Veen et al. 1997: G'C^-1G against the noise that passes, G'C^-2G, less what the diagonal gained."""
    flat, basis = white(free.lead_field)
    covariance = np.cov((series[0][0] @ basis).T)
    loading = 0.3 * np.trace(covariance) / 32
    inverse = np.linalg.inv(covariance + loading * np.eye(31))
    blocks = flat.reshape(100, 3, -1)
    filters = blocks @ inverse
    signal = np.linalg.solve(filters @ filters.swapaxes(1, 2), filters @ blocks.swapaxes(1, 2))
    expected = np.sqrt((np.trace(signal, axis1=1, axis2=2) - 3 * loading) * (N_TIMES - 1) / N_TIMES)
    found = estimate_sources(free.lead_field, "LCMV", 0.3, series[0])
    assert found.shape == (1, 100)
    np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-5 * expected.max())


@pytest.mark.parametrize("method", METHODS)
def test_fixed_orientations_have_magnitudes(fixed, method):
    course = np.sin(2 * np.pi * 5 * TIMES)[:, None]
    voltages = -1e-8 * fixed.lead_field[:, 7, 0]
    voltages = (course * voltages + 1e-9 * np.random.default_rng(0).normal(size=(N_TIMES, 32)))[None]
    for given_ in (voltages, voltages[:, 5]) if method != "LCMV" else (voltages,):
        found = estimate_sources(fixed.lead_field, method, 0.1, given_)
        assert (found >= 0).all()
        assert found[0, 7] > 0.5 * found.max()


# ---- theorems


@pytest.mark.parametrize("lambda2", [0.01, 1.0])
@pytest.mark.parametrize("method", ["sLORETA", "eLORETA"])
def test_every_single_source_is_found_exactly(fixed, method, lambda2):
    """Pascual-Marqui 2007: no localisation error without noise; the greatest peak alone reaches all of itself."""
    voltages = 1e-8 * fixed.lead_field[..., 0].T
    found = localise(method, Setting(lambda2, 1.0, 15.0), [fixed], np.zeros(100, int), voltages)
    assert [len(one.points_mm) for one in found] == [1] * 100
    errors = [localisation_error_mm(fixed.sources_mm[[k]], one.points_mm)[0] for k, one in enumerate(found)]
    assert max(errors) == 0
    assert all(one.values[0] == one.amplitudes[k] == one.amplitudes.max() for k, one in enumerate(found))


def test_eloreta_finds_every_single_source_of_any_orientation(free, head):
    voltages = 1e-8 * np.einsum("cso,so->sc", free.lead_field, head.orientations.sum(1))
    for method, is_exact in (("eLORETA", True), ("MNE", False)):
        found = localise(method, Setting(0.1, 1.0, 15.0), [free], np.zeros(100, int), voltages)
        exact = [(one.points_mm == free.sources_mm[[k]]).all() for k, one in enumerate(found)]
        assert all(exact) == is_exact


def test_the_beamformer_finds_two_uncorrelated_sources(free, series):
    voltages, places = series
    (found,) = localise("LCMV", Setting(0.1, 0.5, 30.0), [free], [0], voltages)
    np.testing.assert_array_equal(found.points_mm, free.sources_mm[places])
    np.testing.assert_array_equal(found.values, found.amplitudes[places])


# ---- peaks


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 20),
    st.sampled_from([0.0, 1.0, 2.0, 3.0]),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_peaks_are_those_of_the_definition(seed, n_sources, distance, threshold):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 4, (n_sources, 3)).astype(float)  # many at exactly the distance, and several at one point
    values = rng.choice(np.float32([0, 0.25, 0.5, 0.9999, 1]), (3, n_sources))
    near = cdist(points, points) <= distance
    neighbours = find_neighbours(points, distance)
    assert [set(row.tolist()) for row in neighbours] == [set(np.flatnonzero(row).tolist()) for row in near]
    for found, sample in zip(find_peaks(values, neighbours, threshold), values, strict=True):
        expected = [
            value > 0 and value >= threshold * sample.max() and not (sample[row] > value).any()
            for value, row in zip(sample, near, strict=True)
        ]
        assert found.tolist() == expected


# ---- tuning


def line() -> tuple[ForwardModel, np.ndarray, list[np.ndarray]]:
    """30 sources 10 mm apart, one under each of 30 electrodes: the estimate is the voltages themselves, up to a factor.

    True sources of 1 and .5, 90 mm apart, one with a shoulder of .8 beside it, and a false one of .25 far from both.
    """
    sources = np.stack([10.0 * np.arange(30), np.zeros(30), np.zeros(30)], axis=1)
    voltages = np.zeros(30)
    voltages[[5, 6, 14, 25]] = 1, 0.8, 0.5, 0.25
    voltages -= np.where(voltages == 0, voltages.sum() / 26, 0)  # -.1 at all others
    return ForwardModel(np.eye(30)[..., None], sources), 1e-6 * voltages[None], [sources[[5, 14]]]


PLANTED = Candidates(lambda2=(1.0,), threshold=(0.1, 0.4, 0.9), distance_mm=(1.0, 15.0, 200.0))


@pytest.mark.parametrize("method", LINEAR)
def test_the_planted_setting_is_chosen(method):
    head, voltages, true = line()
    setting = tune(method, [head], [0], voltages, true, RADII, PLANTED)
    assert setting == Setting(1.0, 0.4, 15.0)
    (found,) = localise(method, setting, [head], [0], voltages)
    np.testing.assert_array_equal(found.points_mm, true[0])


def test_options_reach_the_metric():
    """With its last cluster dropped a sample wants a third point, and one with a single point is skipped."""
    head, voltages, true = line()
    given_ = ("MNE", [head], [0], voltages, true, RADII)
    slips = {"drop_last": True, "skip_empty": True}
    assert tune(*given_, PLANTED._replace(distance_mm=(15.0,)), **slips).threshold == 0.1
    assert tune(*given_, PLANTED._replace(threshold=(0.9, 0.4), distance_mm=(15.0,)), **slips).threshold == 0.4
    with pytest.raises(ValueError, match="matching"):
        tune(*given_, PLANTED, matching="nearest")


@pytest.mark.parametrize("method", ["MNE", "sLORETA"])
def test_tuning_is_the_search_of_all_candidates(free, samples, method):
    voltages, centres = samples
    true = [free.sources_mm[places] for places in centres]
    candidates = Candidates((0.01, 1.0), (0.3, 0.6, 0.9), (25.0, 50.0))
    areas = {}
    for values in product(*candidates):
        found = localise(method, Setting(*values), [free], np.zeros(12, int), voltages)
        curves = [f1_curve(t, one.points_mm, RADII) for t, one in zip(true, found, strict=True)]
        areas[Setting(*values)] = area_under_curve(RADII, np.mean(curves, axis=0))
    assert len(set(areas.values())) > 6
    best = tune(method, [free], np.zeros(12, int), voltages, true, RADII, candidates)
    assert areas[best] == pytest.approx(max(areas.values()), abs=1e-12)


def test_skipped_samples_are_missing_from_the_mean():
    """At .9 the first sample is skipped, and the second, of two peaks of which one is dropped, is perfect."""
    head, voltages, true = line()
    voltages = np.concatenate([voltages, np.full((1, 30), -1e-6 * 1.95 / 28)])
    voltages[1, [5, 25]] = 1e-6, 0.95e-6
    kept = f1_curve(head.sources_mm[[5]], head.sources_mm[[5, 25]], RADII, drop_last=True).any()
    true = [*true, head.sources_mm[[5 if kept else 25]]]
    candidates = PLANTED._replace(threshold=(0.4, 0.9), distance_mm=(15.0,))
    setting = tune("MNE", [head], [0, 0], voltages, true, RADII, candidates, drop_last=True, skip_empty=True)
    assert setting.threshold == 0.9


def test_of_equally_good_settings_the_first_is_chosen():
    head, voltages, true = line()
    candidates = Candidates((2.0, 1.0), (0.45, 0.4), (16.0, 15.0))
    assert tune("MNE", [head], [0], voltages, true, RADII, candidates) == Setting(2.0, 0.45, 16.0)


def test_the_beamformer_is_tuned_on_series(free, series):
    voltages, places = series
    setting = tune("LCMV", [free], [0], voltages, [free.sources_mm[places]], RADII)
    assert setting.lambda2 in LCMV_LAMBDA2
    (found,) = localise("LCMV", setting, [free], [0], voltages)
    np.testing.assert_array_equal(found.points_mm, free.sources_mm[places])


# ---- samples and heads


def test_order_and_company_change_nothing(free, samples):
    """Two heads, the second with fewer sources; a sample's answer is its own."""
    voltages, centres = samples
    heads = [free, ForwardModel(free.lead_field[:, :80], free.sources_mm[:80] + 1)]
    head_of = np.arange(12) % 2
    true = [heads[head].sources_mm[places[places < 80]] for head, places in zip(head_of, centres, strict=True)]
    setting = Setting(0.1, 0.5, 20.0)
    together = localise("sLORETA", setting, heads, head_of, voltages)
    assert [len(one.amplitudes) for one in together] == [100, 80] * 6
    order = np.random.default_rng(0).permutation(12)
    shuffled = localise("sLORETA", setting, heads, head_of[order], voltages[order])
    for place, one in zip(order, shuffled, strict=True):
        (alone,) = localise("sLORETA", setting, [heads[head_of[place]]], [0], voltages[[place]])
        for other in (together[place], alone):
            np.testing.assert_array_equal(one.points_mm, other.points_mm)
            np.testing.assert_allclose(one.amplitudes, other.amplitudes, rtol=1e-4)
        assert np.isin(one.points_mm, heads[head_of[place]].sources_mm).all()
    candidates = Candidates((0.1, 1.0), (0.3, 0.6, 0.9), (20.0, 40.0))
    tuned = tune("sLORETA", heads, head_of, voltages, true, RADII, candidates)
    again = tune("sLORETA", heads, head_of[order], voltages[order], [true[place] for place in order], RADII, candidates)
    assert tuned == again


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("silence", [0.0, 1.1e-6])
def test_a_series_that_stands_still_has_no_points(free, series, method, silence):
    still = np.zeros_like(series[0]) + silence * np.arange(32)
    voltages = np.concatenate([still, series[0]]).astype(np.float32)
    assert_first_is_silent(free, method, voltages)


@pytest.mark.parametrize("method", LINEAR)
def test_an_instant_of_silence_has_no_points(free, samples, method):
    assert_first_is_silent(free, method, np.concatenate([np.zeros((1, 32)), samples[0][:1]]))


def assert_first_is_silent(free: ForwardModel, method: str, voltages: np.ndarray) -> None:
    found, other = localise(method, Setting(0.1, 0.0, 20.0), [free], [0, 0], voltages)
    assert (found.points_mm.shape, found.values.shape) == ((0, 3), (0,))
    assert found.amplitudes.tolist() == [0] * 100
    assert len(other.points_mm) > 0
    assert localise(method, Setting(0.1, 0.5, 20.0), [free], [], voltages[:0]) == []
    assert estimate_sources(free.lead_field, method, 0.1, voltages[:0]).shape == (0, 100)


def test_training_samples_without_sources_are_left_out(free, samples):
    voltages, centres = samples
    true = [free.sources_mm[places] for places in centres]
    given_ = (RADII, Candidates((0.1,), (0.3, 0.6, 0.9), (20.0, 40.0)))
    expected = tune("MNE", [free], np.zeros(12, int), voltages, true, *given_)
    noise, nothing = np.random.default_rng(5).normal(size=(30, 32)), [np.zeros((0, 3))] * 30
    head_of = [0] * 30 + [1] * 12  # the first head has no other samples
    for numbers in (head_of, [0] * 42):
        more = tune("MNE", [free, free], numbers, np.concatenate([noise, voltages]), nothing + true, *given_)
        assert more == expected


# ---- what is refused


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("eLORET", {}, "Did you mean 'eLORETA'"),
        ("LCMV", {}, "LCMV is n/a: found one instant"),
        ("MNE", {"voltages": np.zeros((2, 31))}, r"found shape \(2, 31\), expected \[n, 32\]"),
        ("MNE", {"voltages": np.full((2, 32), np.nan)}, "voltages: found NaN"),
        ("MNE", {"head_of": [0, 1]}, r"head_of: found 2 numbers for 2 samples, \[1\] of them no head's.*0 to 0"),
        ("MNE", {"head_of": [0, -1]}, r"\[-1\] of them"),
        ("MNE", {"head_of": [0]}, "head_of: found 1 numbers for 2"),
        ("MNE", {"setting": Setting(0.0, 0.5, 20.0)}, "lambda2: found 0"),
        ("MNE", {"setting": Setting(0.1, 50, 20.0)}, "threshold: found 50, expected 0 to 1"),
        ("MNE", {"setting": Setting(0.1, 0.5, -1)}, "distance_mm: found -1"),
    ],
)
def test_impossible_arguments_are_named(free, method, change, message):
    arguments = {"setting": Setting(0.1, 0.5, 20.0), "heads": [free], "head_of": [0, 0], "voltages": np.ones((2, 32))}
    with pytest.raises(UserError, match=message):
        localise(method, **(arguments | change))


def test_tuning_needs_sources_and_candidates(free, samples):
    voltages, true = samples[0][:2], [free.sources_mm[:1]] * 2
    for some, candidates in ((true[:1], None), ([np.zeros((0, 3))] * 2, None), (true, Candidates(threshold=()))):
        with pytest.raises(UserError, match="tuning MNE: found"):
            tune("MNE", [free], [0, 0], voltages, some, RADII, candidates)

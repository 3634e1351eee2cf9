"""Simulated brain states against NumPy: geometry, matrix products, distributions, and the SNR measured."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from eegjax.errors import UserError
from eegjax.signal.sources import Patches, Sample, SourceSpace, Zones, make_source_space, simulate_sources

N_SAMPLES = 600
N_CHANS = 12
PATCHES = Patches(n_patches=(1, 6), p_silent=0.1)
ALPHA = 1e-4  # of the statistical tests: the keys are fixed, so they pass or fail for good


def a_head(seed: int, n_sources: int) -> dict[str, np.ndarray]:
    """A ball of 70 mm, most of its sources shallow, in up to 27 zones; the lead field is any."""
    rng = np.random.default_rng(seed)
    points, directions = rng.normal(size=(n_sources, 3)), rng.normal(size=(n_sources, 2, 3))
    radius_m = 0.07 * rng.uniform(0.1, 1, n_sources) ** (1 / 3)
    sources_m = points / np.linalg.norm(points, axis=1, keepdims=True) * radius_m[:, None]
    boxes = np.clip((sources_m + 0.07) // (0.14 / 3), 0, 2) @ [9, 3, 1]
    lead_field = rng.normal(0, 100, (N_CHANS, n_sources, 3))
    return {
        "sources_m": sources_m,
        "orientations": directions / np.linalg.norm(directions, axis=-1, keepdims=True),
        "depth_m": 0.07 - radius_m,
        "zone": np.unique(boxes, return_inverse=True)[1],
        "lead_field": lead_field - lead_field.mean(0),
    }


HEAD = a_head(0, 300)
SPACE = make_source_space(**HEAD)
N_ZONES = HEAD["zone"].max() + 1
_many = jax.jit(jax.vmap(simulate_sources, (0, None, None, None)), static_argnums=2)


def many(settings: Patches | Zones, n_samples: int = N_SAMPLES, noise_factor: np.ndarray | None = None) -> Sample:
    """Samples of the same keys, as NumPy arrays in double precision where they aren't whole numbers."""
    samples = _many(jax.random.split(jax.random.key(7), n_samples), SPACE, settings, noise_factor)
    assert all(array.dtype in (np.float32, np.int32) for array in samples)
    return Sample(*(np.asarray(a, np.float64 if a.dtype == np.float32 else None) for a in samples))


@pytest.fixture(scope="module")
def samples() -> Sample:
    return many(PATCHES)


@pytest.fixture(scope="module")
def never_silent() -> Sample:
    return many(PATCHES._replace(p_silent=0.0))


def awake(samples: Sample) -> Sample:
    """Those that aren't silent."""
    return Sample(*(array[np.isfinite(samples.snr_db)] for array in samples))


def between(samples: Sample) -> np.ndarray:
    """[n_samples, n_patches, n_sources], m: from each patch's centre to each source."""
    centres = HEAD["sources_m"][samples.centres]
    return np.linalg.norm(centres[:, :, None] - HEAD["sources_m"], axis=-1)


def vectors(samples: Sample) -> np.ndarray:
    """[n_samples, n_sources, 3], A m."""
    return samples.moments[..., None] * HEAD["orientations"][np.arange(300), samples.orientation]


# ---- voltages


def test_voltages_are_lead_field_times_moments(samples):
    expected = np.einsum("csx,nsx->nc", HEAD["lead_field"], vectors(samples))
    np.testing.assert_allclose(samples.clean, expected, atol=2e-6 * np.abs(expected).max())


def test_the_measured_snr_is_the_drawn_one(samples):
    found = awake(samples)
    assert found.clean.shape == (len(found.snr_db), N_CHANS)
    measured = 10 * np.log10((found.clean**2).mean(-1) / ((found.voltages - found.clean) ** 2).mean(-1))
    np.testing.assert_allclose(measured, found.snr_db, atol=2e-3)
    assert stats.kstest(found.snr_db, "uniform", (0, 30)).pvalue > ALPHA


def test_voltages_are_against_their_average(samples):
    for voltages in (samples.voltages, samples.clean):
        assert np.abs(voltages.sum(-1)).max() < 1e-5 * np.abs(voltages).max()


def test_a_silent_sample_is_the_noise_of_one_that_is_not(samples, never_silent):
    silent = ~np.isfinite(samples.snr_db)
    assert stats.binomtest(int(silent.sum()), N_SAMPLES, 0.1).pvalue > ALPHA
    assert (samples.snr_db[silent] == -np.inf).all()
    assert not samples.moments[silent].any()
    assert not samples.clean[silent].any()
    assert (samples.patch[silent] == -1).all()
    assert (samples.centres[silent] == -1).all()
    assert never_silent.moments.any(-1).all()
    noise = never_silent.voltages - never_silent.clean
    scale = np.abs(never_silent.voltages).max()
    np.testing.assert_allclose(samples.voltages[silent], noise[silent], atol=1e-6 * scale)
    assert (np.abs(noise).max(-1) > 0).all()


def assert_covariance(noise: np.ndarray, expected: np.ndarray) -> None:
    """Of [n, n_chans] and up to a factor, both against the average."""
    average = np.eye(N_CHANS) - 1 / N_CHANS
    expected, found = average @ expected @ average, noise.T @ noise
    error = found / np.trace(found) - expected / np.trace(expected)
    assert np.abs(error).max() < 5 / np.sqrt(len(noise)) * np.abs(expected).max() / np.trace(expected)


def test_noise_is_white_or_of_the_given_covariance(never_silent):
    noise = never_silent.voltages - never_silent.clean
    assert_covariance(noise / np.linalg.norm(noise, axis=1, keepdims=True), np.eye(N_CHANS))
    factor = np.random.default_rng(0).normal(size=(N_CHANS, N_CHANS)).astype(np.float32)
    silent = many(Patches(n_patches=(1, 1), p_silent=1.0, n_times=6000), 1, factor)
    assert not silent.moments.any()
    noise = silent.voltages[0]
    assert_covariance(noise, factor @ factor.T)
    neighbours = (noise[1:] * noise[:-1]).mean() / (noise**2).mean()
    assert abs(neighbours) < 0.03  # instants are independent


# ---- patches


def test_moments_are_gaussians_of_the_drawn_width_around_their_centres(samples):
    found = awake(samples)
    distance, width = between(found), found.width_mm[:, :, None] / 1000
    there = found.centres >= 0
    own = there & (np.take_along_axis(found.patch, found.centres, 1) == np.arange(6))  # no stronger patch is over it
    peaks = np.take_along_axis(found.moments, found.centres, 1)
    assert own.mean() > 0.3
    assert (np.abs(peaks[own]) >= 1e-9 * (1 - 1e-6)).all()
    assert (np.abs(peaks[own]) <= 5e-9 * (1 + 1e-6)).all()
    shape = np.where(distance <= 3 * width / np.sqrt(8 * np.log(2)), 2 ** -((2 * distance / width) ** 2), 0)
    gaussians = np.where(own[..., None], peaks[..., None] * shape, 0)  # half at half the width
    belongs = found.patch[:, None] == np.arange(6)[:, None]
    of_own = belongs & own[..., None]
    assert of_own.sum() > 1000
    np.testing.assert_allclose(found.moments[:, None].repeat(6, 1)[of_own], gaussians[of_own], rtol=1e-4)
    # nowhere is a source weaker than what any patch makes of it, and outside all of them it is silent
    assert (np.abs(found.moments) >= np.abs(gaussians).max(1) * (1 - 1e-4)).all()
    outside = ~((distance <= 3.0001 * width / np.sqrt(8 * np.log(2))) & there[..., None])
    assert not found.moments[outside.all(1)].any()
    assert np.array_equal(found.moments == 0, found.patch == -1)
    assert not (belongs & outside).any()


def test_numbers_widths_signs_and_orientations_are_as_likely_as_asked(samples):
    found = awake(samples)
    there = found.centres >= 0
    numbers = there.sum(1)
    assert np.array_equal(there, np.arange(6) < numbers[:, None])
    assert stats.chisquare(np.bincount(numbers, minlength=7)[1:]).pvalue > ALPHA
    assert stats.kstest(found.width_mm.ravel(), "uniform", (5, 35)).pvalue > ALPHA
    at = np.take_along_axis(found.orientation, found.centres, 1)[:, 0]
    first = numbers == 1  # no other patch is over it
    sign = np.sign(found.moments[first, found.centres[first, 0]])
    for coin in (at[first], (sign + 1) / 2):
        assert stats.binomtest(int(coin.sum()), int(first.sum())).pvalue > ALPHA
    for sample in np.flatnonzero(first):  # a patch has one sign and one orientation
        of_patch = found.patch[sample] == 0
        assert len(set(np.sign(found.moments[sample, of_patch]))) == 1
        assert len(set(found.orientation[sample, of_patch])) == 1


def test_every_depth_is_as_likely_and_within_it_every_source(samples):
    depth = HEAD["depth_m"]
    stratum = np.minimum((depth - depth.min()) / np.ptp(depth) * 4, 3).astype(int)
    in_stratum = np.bincount(stratum, minlength=4)
    assert in_stratum.max() > 3 * in_stratum.min() > 0
    drawn = many(PATCHES._replace(n_patches=(1, 1), p_silent=0.0), 3000).centres[:, 0]
    assert stats.chisquare(np.bincount(stratum[drawn], minlength=4)).pvalue > ALPHA
    for number in range(4):
        sources = np.flatnonzero(stratum == number)
        counts = np.bincount(drawn, minlength=300)[sources]
        assert stats.chisquare(counts).pvalue > ALPHA


def test_patches_have_zones_of_their_own_while_there_are_free_ones(samples):
    for centres in samples.centres:
        zones = HEAD["zone"][centres[centres >= 0]]
        assert len(set(zones)) == len(zones)
    settings = PATCHES._replace(n_patches=(N_ZONES + 3, N_ZONES + 3), snr_db=None, p_silent=0.0)
    crowded = many(settings, 10)
    for centres in crowded.centres:
        assert len(set(HEAD["zone"][centres[:N_ZONES]])) == N_ZONES
        assert (centres >= 0).all()
    assert np.array_equal(crowded.voltages, crowded.clean)  # and no noise
    assert (crowded.snr_db == np.inf).all()


# ---- several instants


SERIES = PATCHES._replace(n_times=200, p_silent=0.0, p_correlated=0.0)


@pytest.fixture(scope="module")
def series() -> Sample:
    return many(SERIES, 60)


def test_each_patch_has_a_time_course(series):
    of_patch = (series.patch[:, :, None] == np.arange(6)).astype(float)
    maps = np.einsum("csx,nsx,nsp->npc", HEAD["lead_field"], vectors(series), of_patch)
    expected = np.einsum("npt,npc->ntc", series.time_courses, maps)
    np.testing.assert_allclose(series.clean, expected, atol=1e-5 * np.abs(expected).max())
    measured = 10 * np.log10((series.clean**2).mean((1, 2)) / ((series.voltages - series.clean) ** 2).mean((1, 2)))
    np.testing.assert_allclose(measured, series.snr_db, atol=2e-3)
    assert np.abs(series.voltages.sum(-1)).max() < 1e-5 * np.abs(series.voltages).max()


def test_time_courses_are_sinusoids_of_the_asked_frequencies(series):
    spectrum = np.abs(np.fft.rfft(series.time_courses * np.hanning(200), 4000))
    peak_hz = spectrum.argmax(-1) * 100 / 4000
    assert peak_hz.min() > 3.5
    assert peak_hz.max() < 30.5
    assert stats.kstest(peak_hz.ravel(), "uniform", (4, 26)).pvalue > ALPHA
    np.testing.assert_allclose(series.time_courses.std(-1), np.sqrt(0.5), atol=0.1)


def test_correlated_pairs_have_one_sign_and_one_time_course(series):
    one_source = {"n_patches": (5, 5), "width_mm": (1.0, 1.0)}  # so that every patch shows its sign
    found = many(PATCHES._replace(n_times=50, p_silent=0.0, p_correlated=0.5, **one_source), 300)
    sign = np.sign(np.take_along_axis(found.moments, found.centres, 1))
    same_course, same_sign = (
        (array[:, [0, 2]] == array[:, [1, 3]]).reshape(600, -1).all(-1) for array in (found.time_courses, sign)
    )
    assert stats.binomtest(int(same_course.sum()), 600).pvalue > ALPHA
    assert same_sign[same_course].all()
    assert stats.binomtest(int(same_sign[~same_course].sum()), int((~same_course).sum())).pvalue > ALPHA
    for first, second in ((1, 2), (3, 4)):  # another pair, and the fifth alone
        assert not (found.time_courses[:, first] == found.time_courses[:, second]).all(-1).any()
    assert len(np.unique(series.time_courses.reshape(-1, 200), axis=0)) == 60 * 6


# ---- the paper's states


@pytest.mark.parametrize("n_active", [N_ZONES + 4, 150])
def test_a_patch_in_every_zone(n_active):
    found = many(Zones(N_ZONES, n_active), 200)
    active = found.moments > 0
    assert (active.sum(1) == n_active).all()
    assert (found.moments >= 0).all()
    np.testing.assert_allclose(found.moments.max(1), 20e-9, rtol=1e-6)
    assert not found.orientation.any()
    assert np.array_equal(found.patch, np.where(active, HEAD["zone"], -1))
    assert np.array_equal(HEAD["zone"][found.centres], np.tile(np.arange(N_ZONES), (200, 1)))
    assert np.array_equal(found.voltages, found.clean)
    distance = between(found)[:, HEAD["zone"], np.arange(300)] * 1000  # of each source from its zone's centre
    deviations = distance / found.width_mm[:, HEAD["zone"]]
    for row, chosen in zip(deviations, active, strict=True):
        assert row[chosen].max() <= row[~chosen].min() * (1 + 1e-5)
    peaks = np.take_along_axis(found.moments, found.centres, 1)[:, HEAD["zone"]]
    shape = np.maximum(2 ** -((2 * deviations) ** 2), np.exp(-4.5))
    np.testing.assert_allclose(found.moments[active], (peaks * shape)[active], rtol=1e-4)
    np.testing.assert_allclose(
        found.clean,
        np.einsum("csx,nsx->nc", HEAD["lead_field"], vectors(found)),
        atol=1e-5 * np.abs(found.clean).max(),
    )


def test_every_source_of_a_zone_may_be_its_centre_and_what_has_no_zone_is_silent():
    found = many(Zones(n_zones=20, n_active=60, snr_db=(10, 10)), 400)
    assert not found.moments[:, HEAD["zone"] >= 20].any()
    assert ((found.moments > 0).sum(1) == 60).all()
    np.testing.assert_allclose(found.snr_db, 10)
    in_zone = np.flatnonzero(HEAD["zone"] == 5)
    assert stats.chisquare(np.bincount(found.centres[:, 5], minlength=300)[in_zone]).pvalue > ALPHA
    ratio = (found.clean**2).mean(-1) / ((found.voltages - found.clean) ** 2).mean(-1)
    np.testing.assert_allclose(ratio, 10, rtol=1e-3)


# ---- keys, heads, errors


@pytest.mark.parametrize(
    ("settings", "n_samples"), [(PATCHES, N_SAMPLES), (SERIES, 60), (Zones(N_ZONES, N_ZONES + 4), 200)]
)
def test_the_same_key_is_the_same_sample_alone_or_among_others(settings, n_samples):
    among, again = many(settings, n_samples), many(settings, n_samples)
    alone = jax.jit(partial(simulate_sources, settings=settings))
    for number, key in enumerate(jax.random.split(jax.random.key(7), n_samples)[:5]):
        for name, array in alone(key, SPACE)._asdict().items():
            expected = getattr(among, name)[number]
            assert np.array_equal(expected, getattr(again, name)[number])
            if name in ("moments", "clean", "voltages", "time_courses"):
                np.testing.assert_allclose(array, expected, atol=1e-5 * np.abs(expected).max())
            else:
                assert np.array_equal(array, expected)
    assert not np.array_equal(among.voltages[0], among.voltages[1])


@pytest.mark.slow
def test_heads_of_different_size_in_one_batch():
    small = a_head(1, 200)
    heads = [SPACE, make_source_space(**small, n_sources=300)]
    stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *heads)
    which = jnp.array([0, 1] * 20)

    @jax.jit
    def draw(key, number):
        return simulate_sources(key, jax.tree.map(lambda array: array[number], stacked), PATCHES)

    found = jax.vmap(draw)(jax.random.split(jax.random.key(0), 40), which)
    moments = np.asarray(found.moments)
    assert moments[::2, 200:].any()
    assert not moments[1::2, 200:].any()
    assert np.asarray(found.centres)[1::2].max() < 200
    orientation = small["orientations"][np.arange(200), np.asarray(found.orientation)[1::2, :200]]
    expected = np.einsum("csx,nsx->nc", small["lead_field"], moments[1::2, :200, None] * orientation)
    np.testing.assert_allclose(found.clean[1::2], expected, atol=1e-5 * np.abs(expected).max())
    every = jax.jit(partial(simulate_sources, settings=Zones(N_ZONES, 250)))
    zones = jax.vmap(every, (0, None))(jax.random.split(jax.random.key(0), 5), heads[1])
    assert (np.asarray(zones.moments > 0).sum(1) == 200).all()  # all that there are
    assert not np.asarray(zones.moments)[:, 200:].any()


def test_padding_pads_sources_only():
    square = {**a_head(0, N_CHANS)}  # as many sources as channels
    padded = make_source_space(**square, n_sources=20)
    assert isinstance(padded, SourceSpace)
    assert [array.shape for array in padded] == [(20, 3), (20, 2, 3), (20,), (20,), (N_CHANS, 20, 3), (20,)]
    np.testing.assert_allclose(padded.lead_field[:, :N_CHANS], square["lead_field"], rtol=1e-6)
    assert padded.valid.sum() == N_CHANS


def test_heads_and_settings_that_make_no_sense_are_errors():
    with pytest.raises(UserError, match=r"zone: found an array of shape \(299,\), expected \(300,\)"):
        make_source_space(**{**HEAD, "zone": HEAD["zone"][:-1]})
    with pytest.raises(UserError, match=r"lead_field: found an array of shape \(12, 300, 3\).*finite"):
        make_source_space(**{**HEAD, "lead_field": HEAD["lead_field"] * np.nan})
    with pytest.raises(UserError, match="found 299 for a head of 300 sources"):
        make_source_space(**HEAD, n_sources=299)
    for wrong in ({"n_patches": (3, 2)}, {"n_patches": (0, 2)}, {"width_mm": (0.0, 4.0)}, {"p_silent": 1.5}):
        with pytest.raises(UserError, match=f"{next(iter(wrong))}: found"):
            simulate_sources(jax.random.key(0), SPACE, Patches(**wrong))
    with pytest.raises(UserError, match="n_active: found 0, expected 1 to inf"):
        simulate_sources(jax.random.key(0), SPACE, Zones(n_active=0))

"""Inverse operators against MNE-Python's, and against the theorems that say what each of them does exactly."""

from typing import NamedTuple

import jax
import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegjax.errors import UserError
from eegjax.signal.minimum_norm import METHODS, Operator, amplitudes, apply_operator, make_lcmv, make_operator

N_SOURCES = 200
LAMBDA2 = 1 / 9


class Sphere(NamedTuple):
    """A head of MNE-Python's: four shells, 200 sources of random orientation, 40 electrodes."""

    info: mne.Info
    forward: mne.Forward
    free: np.ndarray  # [n_chans, n_sources, 3] V / (A m), against infinity
    fixed: np.ndarray  # [n_chans, n_sources, 1]
    noise_cov: mne.Covariance
    voltages: np.ndarray  # [n_times, n_chans] V


@pytest.fixture(scope="module")
def sphere() -> Sphere:
    rng = np.random.default_rng(0)
    montage = mne.channels.make_standard_montage("biosemi64", head_size=0.09)
    names = montage.ch_names[::3] + montage.ch_names[1::3][:18]
    info = mne.create_info(names, 250.0, "eeg").set_montage(montage)
    directions = rng.normal(size=(2, N_SOURCES, 3))
    directions[0, :, 2] = np.abs(directions[0, :, 2])  # the upper half, where the electrodes are
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    positions = directions[0] * rng.uniform(0.015, 0.075, (N_SOURCES, 1))
    with mne.use_log_level("error"):
        src = mne.setup_volume_source_space(pos={"rr": positions, "nn": directions[1]})
        shells = mne.make_sphere_model((0.0, 0.0, 0.0), 0.09)
        forward = mne.make_forward_solution(info, None, src, shells, meg=False)
    weaker = np.repeat(np.linspace(5, 50, 10), 3)  # ten sources on both sides of the depth weighting's limit
    forward["sol"]["data"][:, -30:] /= weaker
    forward["_orig_sol"] = forward["sol"]["data"].copy()
    free = forward["sol"]["data"].reshape(len(names), N_SOURCES, 3)
    mixing = np.eye(len(names)) + 0.3 * rng.normal(size=(len(names), len(names)))
    noise = 4e-14 * mixing @ mixing.T
    raw = mne.io.RawArray(np.zeros((len(names), 2)), info, verbose="error").set_eeg_reference(projection=True)
    sources = 2e-8 * rng.normal(size=(300, 5))
    voltages = sources @ free[:, :5, 0].T + rng.multivariate_normal(np.zeros(len(names)), noise, 300)
    return Sphere(
        raw.info,
        forward,
        free,
        np.einsum("cso,so->cs", free, directions[1])[..., None],
        mne.Covariance(noise, names, [], [], 1000),
        voltages,
    )


def of_mne(s: Sphere, method: str, depth: float | None, is_fixed: bool) -> np.ndarray:
    """[n_times, n_sources] of MNE-Python."""
    forward = s.forward.copy()
    if depth is not None:  # MNE-Python weights by what it's given, so it's given the average reference
        forward["sol"]["data"] = forward["sol"]["data"] - forward["sol"]["data"].mean(0)
        forward["_orig_sol"] = forward["sol"]["data"].copy()
    options = {"loose": 0.0, "fixed": True} if is_fixed else {"loose": 1.0, "fixed": False}
    evoked = mne.EvokedArray(s.voltages.T, s.info, nave=1)
    params = {"eps": 1e-9, "max_iter": 200} if method == "eLORETA" else None
    with mne.use_log_level("error"):
        weighting = None if depth is None else {"exp": depth, "allow_fixed_depth": True}
        inverse = mne.minimum_norm.make_inverse_operator(s.info, forward, s.noise_cov, depth=weighting, **options)
        estimate = mne.minimum_norm.apply_inverse(evoked, inverse, LAMBDA2, method, method_params=params)
    return estimate.data.T


def assert_equal(found: np.ndarray, expected: np.ndarray, rtol: float = 1e-6) -> None:
    """Each to its own size, but for values that are differences of larger ones."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("is_fixed", [True, False], ids=["fixed", "free"])
@pytest.mark.parametrize(
    ("method", "depth"),
    [(method, None) for method in METHODS] + [("MNE", 0.8), ("dSPM", 0.8), ("sLORETA", 0.8), ("MNE", 3.0)],
)
def test_equals_mne_python(sphere, method, depth, is_fixed):
    lead_field = sphere.fixed if is_fixed else sphere.free
    operator = make_operator(lead_field, method, lambda2=LAMBDA2, noise_cov=sphere.noise_cov.data, depth=depth)
    expected = of_mne(sphere, method, depth, is_fixed)
    with jax.enable_x64(True):
        assert_equal(np.asarray(apply_operator(operator, sphere.voltages)), expected)
    single = np.asarray(apply_operator(operator, sphere.voltages))
    assert single.dtype == np.float32
    assert_equal(single, expected, rtol=1e-5)


@pytest.mark.parametrize("is_fixed", [True, False], ids=["fixed", "free"])
@pytest.mark.parametrize("unit_noise_gain", [True, False])
def test_the_beamformer_equals_mne_pythons(sphere, is_fixed, unit_noise_gain):
    names = sphere.info.ch_names
    forward = sphere.forward
    norm = "unit-noise-gain-invariant" if unit_noise_gain else None
    covariance = mne.Covariance(np.cov(sphere.voltages.T), names, [], sphere.info["projs"], len(sphere.voltages) - 1)
    with mne.use_log_level("error"):
        if is_fixed:
            forward = mne.convert_forward_solution(forward, force_fixed=True)
        options = {"reg": 0.05, "noise_cov": sphere.noise_cov, "weight_norm": norm, "rank": "info"}
        filters = mne.beamformer.make_lcmv(sphere.info, forward, covariance, **options)
        evoked = mne.EvokedArray(sphere.voltages.T, sphere.info)
        expected = mne.beamformer.apply_lcmv(evoked, filters).data.T
    lead_field = sphere.fixed if is_fixed else sphere.free
    operator = make_lcmv(
        lead_field, sphere.voltages, reg=0.05, noise_cov=sphere.noise_cov.data, unit_noise_gain=unit_noise_gain
    )
    with jax.enable_x64(True):
        assert_equal(np.asarray(apply_operator(operator, sphere.voltages)), expected)
    assert_equal(np.asarray(apply_operator(operator, sphere.voltages)), expected, rtol=1e-5)


def localised(lead_field: np.ndarray, sources: np.ndarray, method: str, lambda2: float) -> np.ndarray:
    """[n_sources] bool: where the largest estimate of source k alone, whose voltages are sources[:, k], is at k."""
    with jax.enable_x64(True):
        estimate = np.abs(apply_operator(make_operator(lead_field, method, lambda2=lambda2), sources.T))
    return estimate.argmax(1) == np.arange(sources.shape[1])


@pytest.mark.parametrize("lambda2", [1.0, LAMBDA2, 1e-6])
@pytest.mark.parametrize("method", ["sLORETA", "eLORETA"])
def test_every_single_source_is_found_exactly(sphere, method, lambda2):
    """Pascual-Marqui 2007: no localisation error without noise, at any depth and any regularisation."""
    assert localised(sphere.fixed, 1e-8 * sphere.fixed[..., 0], method, lambda2).all()


@pytest.mark.parametrize("lambda2", [LAMBDA2, 1e-6])
def test_eloreta_finds_every_single_source_of_any_orientation(sphere, lambda2):
    orientations = np.random.default_rng(3).normal(size=(N_SOURCES, 3))
    sources = np.einsum("cso,so->cs", sphere.free, orientations)
    assert localised(sphere.free, sources, "eLORETA", lambda2).all()


@pytest.mark.parametrize("method", ["MNE", "dSPM"])
def test_plain_and_noise_normalised_minimum_norm_do_not(sphere, method):
    assert localised(sphere.fixed, sphere.fixed[..., 0], method, LAMBDA2).mean() < 0.9


def test_eloretas_weights_solve_their_equation(sphere):
    """r_k = (g_k' N g_k)^(-1/2) with N = (G R G' + lambda2 I)^-1: a source's resolution is 1 / r_k, up to a scale."""
    fields = (sphere.fixed - sphere.fixed.mean(0))[..., 0]
    kernel = make_operator(sphere.fixed, "eLORETA", lambda2=LAMBDA2).kernel[:, 0]
    weights = 1 / np.einsum("sc,cs->s", kernel, fields)
    weights *= (len(fields) - 1) / (weights * (fields**2).sum(0)).sum()
    gram = (fields * weights) @ fields.T + LAMBDA2 * (np.eye(len(fields)) - 1 / len(fields))
    assert_equal(kernel, weights[:, None] * fields.T @ np.linalg.pinv(gram, rcond=1e-9))


def test_weights_that_do_not_come_to_rest_are_an_error(monkeypatch):
    monkeypatch.setattr("eegjax.signal.minimum_norm.ELORETA_ITERATIONS", 3)
    with pytest.raises(UserError, match=r"lambda2: found 0\.1, with which eLORETA's weights don't come to rest in 3"):
        make_operator(simulated(0, 3)[0], "eLORETA", lambda2=0.1)


@pytest.mark.parametrize("is_fixed", [True, False], ids=["fixed", "free"])
def test_what_is_divided_by_the_noise_passes_unit_noise(sphere, is_fixed):
    lead_field, noise_cov = sphere.fixed if is_fixed else sphere.free, sphere.noise_cov.data
    dspm = make_operator(lead_field, "dSPM", noise_cov=noise_cov).kernel
    passed = dspm @ noise_cov @ dspm.swapaxes(1, 2)
    np.testing.assert_allclose(np.trace(passed, axis1=1, axis2=2), 1)
    beamformer = make_lcmv(lead_field, sphere.voltages, noise_cov=noise_cov).kernel
    passed = beamformer @ noise_cov @ beamformer.swapaxes(1, 2)
    np.testing.assert_allclose(passed, np.broadcast_to(np.eye(lead_field.shape[2]), passed.shape), atol=1e-6)


def test_a_beamformer_of_unit_gain_passes_its_source_undistorted(sphere):
    kernel = make_lcmv(sphere.free, sphere.voltages, noise_cov=sphere.noise_cov.data, unit_noise_gain=False).kernel
    gain = np.einsum("soc,csp->sop", kernel, sphere.free)
    np.testing.assert_allclose(gain, np.broadcast_to(np.eye(3), gain.shape), atol=1e-8)


METHODS_AND_LCMV = [*METHODS, "LCMV", "LCMV of unit gain"]


def make(method: str, lead_field: np.ndarray, voltages: np.ndarray, noise_cov: np.ndarray | None = None) -> Operator:
    if method in METHODS:
        return make_operator(lead_field, method, lambda2=LAMBDA2, noise_cov=noise_cov)
    return make_lcmv(lead_field, voltages, noise_cov=noise_cov, unit_noise_gain=method == "LCMV")


def simulated(seed: int, n_orient: int, n_chans: int = 12, n_sources: int = 20) -> tuple[np.ndarray, ...]:
    """A lead field, voltages and a noise covariance, all random."""
    rng = np.random.default_rng(seed)
    lead_field = 100 * rng.normal(size=(n_chans, n_sources, n_orient)) * rng.uniform(0.2, 2, (n_sources, 1))
    mixing = np.eye(n_chans) + 0.3 * rng.normal(size=(n_chans, n_chans))
    return lead_field, 1e-5 * rng.normal(size=(150, n_chans)), 1e-12 * mixing @ mixing.T


@settings(max_examples=30)
@given(st.sampled_from(METHODS_AND_LCMV), st.sampled_from([1, 3]), st.integers(0, 99))
def test_the_order_of_channels_and_the_reference_change_nothing(method, n_orient, seed):
    lead_field, voltages, noise_cov = simulated(seed, n_orient)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lead_field))
    with jax.enable_x64(True):
        expected = apply_operator(make(method, lead_field, voltages, noise_cov), voltages)
        other = make(method, lead_field[order], voltages[:, order], noise_cov[np.ix_(order, order)])
        assert_equal(apply_operator(other, voltages[:, order]), expected)
        referenced = voltages - voltages[:, :1]
        other = make(method, lead_field - lead_field[3], referenced, noise_cov)
        assert_equal(apply_operator(other, referenced), expected)


@pytest.mark.parametrize("method", METHODS_AND_LCMV)
def test_an_offset_of_all_channels_is_nothing_even_where_the_noise_is_nearly_singular(method):
    lead_field, voltages, noise_cov = simulated(6, 1)
    values, vectors = np.linalg.eigh(noise_cov)
    noise_cov = (vectors * np.r_[1e-8 * values[:3], values[3:]]) @ vectors.T
    kernel = make(method, lead_field, voltages, noise_cov).kernel
    assert np.abs(kernel.sum(-1)).max() < 1e-13 * np.abs(kernel).max()


@settings(max_examples=20)
@given(st.sampled_from(METHODS_AND_LCMV), st.integers(0, 99))
def test_turning_the_axes_of_free_orientations_changes_nothing(method, seed):
    lead_field, voltages, noise_cov = simulated(seed, 3)
    turned = np.linalg.qr(np.random.default_rng(seed).normal(size=(lead_field.shape[1], 3, 3)))[0]
    with jax.enable_x64(True):
        expected = apply_operator(make(method, lead_field, voltages, noise_cov), voltages)
        found = apply_operator(
            make(method, np.einsum("cso,sop->csp", lead_field, turned), voltages, noise_cov), voltages
        )
    assert_equal(found, expected)


@settings(max_examples=20)
@given(st.sampled_from(METHODS_AND_LCMV), st.floats(0.01, 50), st.integers(0, 99))
def test_fixed_orientations_are_linear_and_free_ones_scale(method, factor, seed):
    lead_field, voltages, noise_cov = simulated(seed, 1)
    one, two = voltages[:70], voltages[70:140]
    with jax.enable_x64(True):
        operator = make(method, lead_field, voltages, noise_cov)
        assert_equal(
            apply_operator(operator, one + factor * two),
            np.asarray(apply_operator(operator, one) + factor * apply_operator(operator, two)),
        )
        operator = make(method, simulated(seed, 3)[0], voltages, noise_cov)
        assert_equal(apply_operator(operator, -factor * one), factor * np.asarray(apply_operator(operator, one)))


@pytest.mark.parametrize("method", METHODS_AND_LCMV)
def test_the_units_of_lead_field_and_noise(method):
    """Amplitudes know nothing of how loud white noise was; multiples of it know nothing of the lead field's unit."""
    lead_field, voltages, _ = simulated(7, 3)
    plain = make(method, lead_field, voltages).kernel
    per_noise = method in ("dSPM", "sLORETA", "LCMV")
    assert_equal(make(method, lead_field, voltages, 1e-12 * np.eye(12)).kernel, plain * (1e6 if per_noise else 1))
    assert_equal(make(method, 1000 * lead_field, voltages).kernel, plain / (1 if per_noise else 1000))


def test_any_leading_axes_are_one_matrix_product():
    lead_field, voltages, _ = simulated(1, 3)
    operator = make_operator(lead_field, "sLORETA")
    expected = np.asarray(apply_operator(operator, voltages))
    assert_equal(np.asarray(apply_operator(operator, voltages.reshape(3, 5, 10, 12))), expected.reshape(3, 5, 10, 20))
    assert_equal(np.asarray(apply_operator(operator, voltages[4])), expected[4])
    jaxpr = str(jax.make_jaxpr(amplitudes)(operator.kernel, voltages))
    assert jaxpr.count("dot_general") == 1


def test_more_regularisation_gives_smaller_amplitudes():
    lead_field, voltages, _ = simulated(2, 1)
    sizes = [
        np.linalg.norm(apply_operator(make_operator(lead_field, "MNE", lambda2=x), voltages)) for x in (1e-3, 1e-1, 10)
    ]
    assert sizes[0] > sizes[1] > sizes[2]


NAMES = tuple(f"E{k}" for k in range(12))


def test_channels_that_are_not_the_operators_are_refused():
    lead_field, voltages, _ = simulated(4, 1)
    for operator in (
        make_operator(lead_field, "MNE", ch_names=NAMES),
        make_lcmv(lead_field, voltages, ch_names=list(NAMES)),
    ):
        assert operator.ch_names == NAMES
        assert apply_operator(operator, voltages, NAMES).shape == apply_operator(operator, voltages).shape == (150, 20)
        with pytest.raises(UserError, match="found 'E11' as channel 0, expected 'E0'"):
            apply_operator(operator, voltages[:, ::-1], NAMES[::-1])
        with pytest.raises(UserError, match="found 11 channels, expected the inverse operator's 12"):
            apply_operator(operator, voltages[:, :11], NAMES[:11])
        with pytest.raises(UserError, match="found 11 channels, expected the inverse operator's 12"):
            apply_operator(operator, voltages[:, :11])
    with pytest.raises(UserError, match="names with an inverse operator that has none"):
        apply_operator(make_operator(lead_field, "MNE"), voltages, NAMES)
    with pytest.raises(UserError, match="found 11 names, expected 12"):
        make_operator(lead_field, "MNE", ch_names=NAMES[:11])


def spoilt(array: np.ndarray, index: tuple, value: float) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


LEAD_FIELD, VOLTAGES, NOISE_COV = simulated(5, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "sLORETTA"}, "method is 'sLORETTA'; there are MNE, dSPM.*Did you mean 'sLORETA'?"),
        ({"lead_field": spoilt(LEAD_FIELD, (2, 7, 0), np.nan)}, "NaN or infinity for 1 sources, the first is 7"),
        ({"lead_field": spoilt(LEAD_FIELD, (2, 7, 0), np.inf)}, "NaN or infinity for 1 sources, the first is 7"),
        ({"lead_field": LEAD_FIELD[..., 0]}, r"found shape \(12, 20\), expected \[n_chans, n_sources"),
        ({"lead_field": spoilt(LEAD_FIELD, (slice(None), 3), 5.0)}, "1 sources without any voltage.*first is 3"),
        ({"lambda2": 0.0}, "lambda2: found 0, expected more than 0"),
        ({"lambda2": np.nan}, "lambda2: found nan, expected more than 0"),
        ({"depth": -1.0}, "depth: found -1, expected more than 0"),
        ({"depth": 0.8, "method": "eLORETA"}, "found 0.8 with eLORETA, which finds its own weights, expected None"),
        ({"noise_cov": NOISE_COV[:5, :5]}, r"noise_cov: found shape \(5, 5\), expected 12 x 12"),
        ({"noise_cov": spoilt(NOISE_COV, (1, 1), np.nan)}, "noise_cov: found values that aren't finite"),
        ({"noise_cov": np.triu(NOISE_COV)}, "noise_cov: found values that aren't finite or not symmetric"),
        ({"noise_cov": np.cov(VOLTAGES[:6].T)}, "found 5 independent dimensions after.*expected 11"),
    ],
)
def test_what_is_wrong_with_an_operator_is_said(change, message):
    arguments = {"lead_field": LEAD_FIELD, "method": "MNE", "noise_cov": NOISE_COV} | change
    with pytest.raises(UserError, match=message):
        make_operator(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"voltages": VOLTAGES[:99]}, "LCMV is n/a: found 99 time points, expected at least 100, because"),
        ({"voltages": VOLTAGES[0]}, r"found shape \(12,\), expected \[n_times, 12\]"),
        ({"voltages": VOLTAGES[:, :11]}, r"found shape \(150, 11\), expected \[n_times, 12\]"),
        ({"voltages": spoilt(VOLTAGES, (3, 3), np.nan)}, "voltages: found NaN or infinity"),
        ({"voltages": np.tile(VOLTAGES[0], (150, 1))}, "found the same sample at all times"),
        ({"reg": 0.0}, "reg: found 0, expected more than 0"),
        ({"lead_field": spoilt(LEAD_FIELD, (2, 7, 0), np.nan)}, "NaN or infinity for 1 sources"),
    ],
)
def test_what_is_wrong_with_a_beamformer_is_said(change, message):
    assert make_lcmv(LEAD_FIELD, VOLTAGES[:100]).kernel.shape == (20, 3, 12)
    with pytest.raises(UserError, match=message):
        make_lcmv(**({"lead_field": LEAD_FIELD, "voltages": VOLTAGES} | change))

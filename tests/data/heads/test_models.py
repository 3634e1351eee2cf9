"""Electrodes, sources and lead fields: against the series of a layered sphere, MNE's own simulation, and symmetries."""

import logging

import mne
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from scipy.special import eval_legendre

from eegjax.data.heads import models
from eegjax.data.heads.anatomy import Anatomy, find_head_files, make_montage, read_anatomy, warp
from eegjax.data.heads.surfaces import Surface, icosphere, make_surface
from eegjax.errors import UserError

N_SOURCES = 100


def gain(n: int, radii: np.ndarray, sigmas: np.ndarray) -> float:
    """The scalp's potential of degree n where the source has r^-(n+1) in the brain; radii in those of the brain.

    Unknown are A of r^n in the brain, and A and B of r^n and r^-(n+1) in every other shell. Potential and current pass
    each of the inner surfaces, and no current leaves the last.
    """
    n_shells = len(radii)
    matrix = np.zeros((2 * n_shells - 1, 2 * n_shells))
    for k, radius in enumerate(radii):
        potential = np.array([radius**n, radius ** -(n + 1.0)])
        current = np.array([n * radius**n, -(n + 1) * radius ** -(n + 1.0)])
        if k < n_shells - 1:
            matrix[2 * k, 2 * k : 2 * k + 4] = [*potential, *-potential]
            matrix[2 * k + 1, 2 * k : 2 * k + 4] = [*sigmas[k] * current, *-sigmas[k + 1] * current]
        else:
            matrix[2 * k, 2 * k :] = current
    right = -matrix[:, 1]  # the brain's B is the source's: 1
    a, b = np.linalg.solve(np.delete(matrix, 1, axis=1), right)[-2:]
    return a * radii[-1] ** n + b * radii[-1] ** -(n + 1.0)


def series(
    electrodes: np.ndarray, sources: np.ndarray, radii: np.ndarray, sigmas: np.ndarray, n_terms: int = 80
) -> np.ndarray:
    """[n_chans, n_sources, 3] V / (A m): a dipole in concentric shells, from the conditions at their surfaces.

    A dipole's potential is the gradient, with its place, of a pole's.

    Args:
        electrodes: [n_chans, 3], on the outermost surface about the origin, m.
        sources: [n_sources, 3], m.
        radii: [n_shells], m.
        sigmas: [n_shells], S/m.
        n_terms: degrees.
    """
    degrees = np.arange(1, n_terms + 1)
    gains = np.array([gain(n, radii / radii[0], sigmas) for n in degrees])

    def pole(places: np.ndarray) -> np.ndarray:
        far = np.linalg.norm(places, axis=1)
        cosines = electrodes @ places.T / (np.linalg.norm(electrodes, axis=1)[:, None] * far)
        weights = gains[:, None] * (far / radii[0]) ** degrees[:, None] / (4 * np.pi * sigmas[0] * radii[0])
        return np.einsum("ns,ncs->cs", weights, eval_legendre(degrees[:, None, None], cosines))

    step = 1e-6
    gradient = [(pole(sources + step * axis) - pole(sources - step * axis)) / (2 * step) for axis in np.eye(3)]
    return np.stack(gradient, axis=-1)


def relative_difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of the topographies [n_chans, ...], whatever their size."""
    one, other = (field / np.linalg.norm(field, axis=0) for field in (one, other))
    return np.linalg.norm(one - other, axis=0)


class Ball:
    """The sphere, as it is made."""

    def __init__(self, n_chans: int = 32) -> None:
        self.anatomy = read_anatomy("sphere", {})
        self.scalp = models.make_scalp(self.anatomy)
        self.inner_skull = make_surface(self.anatomy.inner_skull, self.scalp.centre)
        self.electrodes = models.place_electrodes(n_chans, self.scalp)
        self.sources, self.normals, self.depths, _ = models.place_sources(self.anatomy, self.inner_skull, N_SOURCES)

    def lead_field(self, conductor: object, turn: np.ndarray | None = None) -> np.ndarray:
        turn = np.eye(3) if turn is None else turn
        centre = self.scalp.centre
        electrodes, sources = ((p - centre) @ turn.T + centre for p in (self.electrodes.positions_m, self.sources))
        return models.compute_lead_field(conductor, self.scalp, self.electrodes.ch_names, electrodes, sources)


@pytest.fixture(scope="module")
def ball() -> Ball:
    return Ball()


@pytest.fixture(scope="module")
def conductor(ball: Ball) -> object:
    return models.make_sphere_conductor(ball.scalp, 0.006)


@pytest.fixture(scope="module")
def field(ball: Ball, conductor: object) -> np.ndarray:
    return ball.lead_field(conductor)


# ---- lead fields of spheres


def test_the_sphere_is_that_of_the_series(ball, field):
    electrodes, sources = ball.electrodes.positions_m - ball.scalp.centre, ball.sources - ball.scalp.centre
    sigmas = np.array([0.33, 1.0, 0.006, 0.33])
    truth = series(electrodes, sources, 0.095 * np.array([0.9, 0.92, 0.97, 1]), sigmas)
    truth -= truth.mean(axis=0)
    assert np.median(relative_difference(field, truth)) < 0.01  # Berg and Scherg fit three dipoles to the shells
    assert relative_difference(field, truth).max() < 0.05
    sizes = np.linalg.norm(field, axis=0) / np.linalg.norm(truth, axis=0)
    np.testing.assert_allclose(sizes, 1, atol=0.05)


def test_the_series_of_one_shell_is_its_closed_form():
    """Yao 2000: the potential on a homogeneous sphere of a dipole at its centre is 3 q cos / (4 pi sigma R²)."""
    electrodes = 0.09 * icosphere(1)[0]
    radii, sigmas = np.array([0.05, 0.09]), np.array([0.33, 0.33])
    field = series(electrodes, np.full((1, 3), 1e-9), radii, sigmas, 20)[:, 0]
    np.testing.assert_allclose(field, 3 * electrodes / 0.09 / (4 * np.pi * 0.33 * 0.09**2), rtol=1e-5, atol=1e-6)


def test_it_is_mnes_own_simulation(ball, conductor, field):
    """Dipoles with moments of their own, simulated as evoked responses."""
    rng = np.random.default_rng(0)
    which = np.arange(0, N_SOURCES, 10)
    moments = rng.normal(size=(len(which), 3)) * 1e-8
    sizes = np.linalg.norm(moments, axis=1)
    directions = moments / sizes[:, None]
    dipoles = mne.Dipole(np.arange(len(which)) / 100.0, ball.sources[which], sizes, directions, np.full(len(which), 90))
    info = mne.create_info(list(ball.electrodes.ch_names), 100.0, "eeg")
    positions = dict(zip(ball.electrodes.ch_names, ball.electrodes.positions_m, strict=True))
    info.set_montage(mne.channels.make_dig_montage(positions, coord_frame="head"))
    forward, estimate = mne.make_forward_dipole(dipoles, conductor, info, verbose="error")
    forwards = forward if isinstance(forward, list) else [forward]
    estimates = estimate if isinstance(estimate, list) else [estimate]
    columns = np.concatenate(
        [one["sol"]["data"] @ stc.data for one, stc in zip(forwards, estimates, strict=True)], axis=1
    )
    expected = np.einsum("csk,sk->cs", field[:, which], moments)
    np.testing.assert_allclose(columns - columns.mean(axis=0), expected, rtol=1e-5, atol=1e-12)


def test_the_reference_is_the_average(field):
    np.testing.assert_allclose(field.mean(axis=0), 0, atol=1e-12 * np.abs(field).max())
    assert field.shape == (32, N_SOURCES, 3)
    assert field.dtype == np.float64
    assert (np.linalg.norm(field, axis=0) > 0).all()


def test_a_radial_dipole_is_seen_alike_all_around(ball, conductor):
    ring = np.exp(2j * np.pi * np.arange(12) / 12)
    height = 0.05
    width = np.sqrt(0.095**2 - height**2)
    electrodes = ball.scalp.centre + np.stack([width * ring.real, width * ring.imag, np.full(12, height)], axis=1)
    electrodes = np.concatenate([electrodes, ball.scalp.centre + np.array([[0, 0, 0.095]])])
    names = [f"E{number}" for number in range(13)]
    source = ball.scalp.centre + np.array([[0, 0, 0.06]])
    field = models.compute_lead_field(conductor, ball.scalp, names, electrodes, source)[:, 0]
    np.testing.assert_allclose(field[:12, 2], field[0, 2], rtol=1e-5)
    assert field[12, 2] > field[0, 2]
    np.testing.assert_allclose(field[:12, 0], field[0, 0] * ring.real, atol=1e-5 * np.abs(field).max())
    np.testing.assert_allclose(field[12, :2], 0, atol=1e-5 * np.abs(field).max())


@pytest.mark.parametrize("seed", [0, 1])
def test_turning_all_together_changes_nothing(ball, conductor, field, seed):
    turn = Rotation.random(random_state=seed).as_matrix()
    turned = ball.lead_field(conductor, turn) @ turn  # dipoles are turned too
    np.testing.assert_allclose(turned, field, atol=2e-6 * np.abs(field).max())


def test_a_skull_that_conducts_less_lets_less_through(ball, field):
    sizes = [
        np.linalg.norm(ball.lead_field(models.make_sphere_conductor(ball.scalp, sigma)), axis=(0, 2))
        for sigma in (0.002, 0.004, 0.012)
    ]
    sizes.insert(2, np.linalg.norm(field, axis=(0, 2)))
    assert (np.diff(sizes, axis=0) > 0).all()


# ---- boundary elements


@pytest.fixture(scope="module")
def three_shells(ball: Ball) -> np.ndarray:
    electrodes, sources = ball.electrodes.positions_m - ball.scalp.centre, ball.sources - ball.scalp.centre
    truth = series(electrodes, sources, 0.095 * np.array([0.92, 0.97, 1]), np.array([0.3, 0.006, 0.3]))
    return truth - truth.mean(axis=0)


@pytest.mark.parametrize(
    ("subdivisions", "deep", "shallow", "weak"),
    [(2, 0.1, 0.45, 0.75), pytest.param(3, 0.045, 0.15, 0.85, marks=pytest.mark.slow)],
)
def test_boundary_elements_come_near_the_series(ball, three_shells, subdivisions, deep, shallow, weak):
    truth = three_shells
    field = ball.lead_field(models.make_boundary_element_conductor(ball.anatomy, 0.006, subdivisions))
    difference = relative_difference(field, truth)
    assert np.median(difference[ball.depths > 0.03]) < deep
    assert np.median(difference[ball.depths < 0.008]) < shallow
    sizes = np.linalg.norm(field, axis=(0, 2)) / np.linalg.norm(truth, axis=(0, 2))
    assert weak < np.median(sizes) < 1
    np.testing.assert_allclose(field.mean(axis=0), 0, atol=1e-12 * np.abs(field).max())


def test_boundary_elements_with_another_skull(ball):
    conductors = [models.make_boundary_element_conductor(ball.anatomy, sigma, 2) for sigma in (0.003, 0.006, 0.02)]
    sizes = [np.linalg.norm(ball.lead_field(conductor), axis=(0, 2)) for conductor in conductors]
    assert (np.diff(sizes, axis=0)[:, ball.depths > 0.02] > 0).all()


def test_the_outer_skull_lies_half_way_where_nobody_knows_it(ball):
    given = ball.anatomy._replace(outer_skull=ball.scalp.centre + 0.095 * 0.96 * icosphere(4)[0])
    one, other = (
        models.make_boundary_element_conductor(anatomy, 0.006, 1)
        for anatomy in (given, ball.anatomy._replace(outer_skull=None))
    )
    np.testing.assert_allclose(one["solution"], other["solution"], atol=1e-9)


def test_surfaces_that_touch(ball):
    crossing = ball.anatomy._replace(outer_skull=ball.anatomy.inner_skull * [1, 1, 0.99])
    with pytest.raises(UserError, match=r"sphere: the skull is -\d.\d mm thick near x, y, z = .*, expected 2 mm"):
        models.make_boundary_element_conductor(crossing, 0.006, 1)
    thin = ball.anatomy._replace(outer_skull=ball.scalp.centre + 0.0935 * icosphere(3)[0])
    with pytest.raises(UserError, match=r"sphere: the scalp is 1.5 mm thick"):
        models.make_boundary_element_conductor(thin, 0.006, 1)


# ---- electrodes


@pytest.mark.parametrize("n_chans", [16, 128])
def test_on_the_sphere_the_montage_fits(ball, n_chans):
    electrodes = models.place_electrodes(n_chans, ball.scalp)
    ch_names, positions, _ = make_montage(n_chans)
    assert electrodes.ch_names == ch_names
    np.testing.assert_allclose(electrodes.positions_m, positions, atol=1e-6)
    assert electrodes.fit_mm.max() < 1e-3


def test_a_montage_is_scaled_to_the_head(ball):
    """To an ellipsoid, exactly: nothing is left to project."""
    scale = np.array([0.9, 1.1, 0.95])
    scalp = models.make_scalp(warp(ball.anatomy, np.diag(scale)))
    electrodes = models.place_electrodes(32, scalp)
    np.testing.assert_allclose(electrodes.positions_m, ball.electrodes.positions_m * scale, atol=3e-4)
    assert electrodes.fit_mm.max() < 0.3


def test_electrodes_are_on_the_template():
    anatomy = read_anatomy("template", find_head_files("template", None))
    scalp = models.make_scalp(anatomy)
    electrodes = models.place_electrodes(128, scalp)
    assert np.linalg.norm(anatomy.scalp[:, None] - electrodes.positions_m, axis=2).min(axis=0).max() < 0.01
    assert np.median(electrodes.fit_mm) < 3
    assert electrodes.fit_mm.max() < 8
    assert electrodes.ch_names[electrodes.positions_m[:, 2].argmax()] == "A1"  # the vertex, by BioSemi's map
    assert electrodes.positions_m[:, 0].min() < -0.07
    assert electrodes.positions_m[:, 1].max() > 0.1


def test_a_cap_that_was_turned(ball):
    """On a sphere a turn is a turn: distances stay, and the farthest moved by its whole angle."""
    electrodes = make_montage(128)[1]
    moved = models.misplace(electrodes, ball.scalp, 0.0, 5.0, np.random.default_rng(3))
    np.testing.assert_allclose(pdist(moved), pdist(electrodes), atol=1e-5)
    chord = 2 * 0.095 * np.sin(np.radians(5) / 2)
    distances = np.linalg.norm(moved - electrodes, axis=1)
    assert distances.max() <= chord * 1.001
    assert distances.max() > 0.98 * chord


def test_a_cap_that_was_shifted(ball):
    moved = models.misplace(ball.electrodes.positions_m, ball.scalp, 8.0, 0.0, np.random.default_rng(3))
    np.testing.assert_allclose(np.linalg.norm(moved - ball.scalp.centre, axis=1), 0.095, rtol=1e-12)
    distances = np.linalg.norm(moved - ball.electrodes.positions_m, axis=1)
    assert 0.006 < distances.max() < 0.0085
    same = models.misplace(ball.electrodes.positions_m, ball.scalp, 0.0, 0.0, np.random.default_rng(3))
    np.testing.assert_allclose(same, ball.electrodes.positions_m, atol=1e-6)


def lead_field_of(ball: Ball, conductor: object, **changes: object) -> np.ndarray:
    arguments = {
        "ch_names": ball.electrodes.ch_names,
        "electrodes_m": ball.electrodes.positions_m,
        "sources_m": ball.sources[:3],
        **changes,
    }
    return models.compute_lead_field(conductor, ball.scalp, **arguments)


def test_electrodes_that_cant_be(ball, conductor):
    positions = ball.electrodes.positions_m
    for nothing in (np.nan, 0.0):
        unplaced = positions.copy()
        unplaced[[2, 5]] = nothing
        with pytest.raises(UserError, match=r"electrode\(s\) F7, FC5: no position"):
            lead_field_of(ball, conductor, electrodes_m=unplaced)
    sunk = positions.copy()
    sunk[4] = ball.scalp.centre + 0.88 * (sunk[4] - ball.scalp.centre)
    with pytest.raises(UserError, match=r"off the scalp: FC1 \(11 mm inside\); expected 5 mm inside"):
        lead_field_of(ball, conductor, electrodes_m=sunk)
    with pytest.raises(UserError, match=r"off the scalp: Fp1 \(\d+ mm outside\), .*metres"):
        lead_field_of(ball, conductor, electrodes_m=1000 * positions)
    with pytest.raises(UserError, match="a name stands twice"):
        lead_field_of(ball, conductor, ch_names=["Fp1", *ball.electrodes.ch_names[:-1]])


def test_sources_outside_the_brain(ball, conductor):
    places = ball.scalp.centre + 0.095 * np.array([[0, 0, 0.5], [0, 0, 0.95]])
    with pytest.raises(UserError, match="1 of 2 sources lie outside the brain"):
        lead_field_of(ball, conductor, sources_m=places)


def test_channels_in_another_order(ball, conductor, monkeypatch):
    def reordered(*arguments: object, **settings: object) -> mne.Forward:
        forward = make(*arguments, **settings)
        forward["sol"]["row_names"] = forward["sol"]["row_names"][::-1]
        return forward

    make = mne.make_forward_solution
    monkeypatch.setattr(mne, "make_forward_solution", reordered)
    with pytest.raises(UserError, match=r"channels are Cz, Fz, .*, the montage has Fp1, AF3, .*same order"):
        lead_field_of(ball, conductor)


# ---- sources


def test_sources_fill_the_sphere(ball):
    distances = np.linalg.norm(ball.sources - ball.scalp.centre, axis=1)
    assert len(ball.sources) == N_SOURCES
    assert distances.max() <= 0.0874 - 0.005 + 2e-4
    np.testing.assert_allclose(ball.depths, 0.0874 - distances, atol=2.1e-4)
    assert ball.sources[:, 2].min() > 0
    np.testing.assert_allclose(ball.normals, (ball.sources - ball.scalp.centre) / distances[:, None])
    assert pdist(ball.sources).min() > 0.6 * (4 / 3 * np.pi * 0.082**3 * 0.8 / N_SOURCES) ** (1 / 3)


def test_a_shell_where_the_cortex_is_unknown():
    anatomy = read_anatomy("template", find_head_files("template", None))
    inner_skull = make_surface(anatomy.inner_skull, anatomy.inner_skull.mean(axis=0))
    sources, normals, depths, n_dropped = models.place_sources(anatomy, inner_skull, 150)
    assert n_dropped == 0
    to_skull = np.linalg.norm(anatomy.inner_skull[:, None] - sources, axis=2).min(axis=0)
    assert (depths.min() >= 0.005, depths.max() <= 0.025) == (True, True)
    np.testing.assert_allclose(depths, to_skull, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert ((normals * (sources - inner_skull.centre)).sum(axis=1) > 0).all()


def test_cortex_that_lies_too_high_is_left_out_and_counted(caplog):
    directions, centre = icosphere(4)[0], np.array([0, 0, 0.05])
    inner_skull = Surface(centre, directions, np.full(len(directions), 0.08))
    shells = [centre + radius_m * icosphere(2)[0] for radius_m in (0.082, 0.078, 0.07)]
    normals = np.roll(np.concatenate([icosphere(2)[0]] * 3), 1, axis=1)
    skull = inner_skull.vertices
    anatomy = Anatomy("ball", skull, None, skull, np.concatenate(shells), normals)
    with caplog.at_level(logging.WARNING, "eegjax"):
        sources, kept, depths, n_dropped = models.place_sources(anatomy, inner_skull, 162)
    assert n_dropped == 324
    assert caplog.messages == [
        "ball: 324 of 486 points of cortex are left out, 162 outside the inner skull and the others less than 5 mm "
        "below it"
    ]
    np.testing.assert_array_equal(sources, shells[2])
    np.testing.assert_array_equal(kept, normals[324:])
    np.testing.assert_allclose(depths, 0.01, atol=2e-4)
    with pytest.raises(UserError, match="ball: 162 places for sources, expected 163"):
        models.place_sources(anatomy, inner_skull, 163)


# ---- a real head


def test_the_sample_head_is_as_its_own_solution_has_it(data_root):
    """The solution that MNE's C programs made of 162 vertices per surface; 10 nA m make 0.9 µV at most places."""
    files = find_head_files("sample", data_root / "inverse")
    anatomy = read_anatomy("sample", files)
    assert anatomy.cortex is not None
    scalp = models.make_scalp(anatomy)
    inner_skull = make_surface(anatomy.inner_skull, anatomy.inner_skull.mean(axis=0))
    electrodes = models.place_electrodes(128, scalp)
    assert np.median(electrodes.fit_mm) < 3
    assert electrodes.fit_mm.max() < 20
    sources, _, depths, _ = models.place_sources(anatomy, inner_skull, 200)
    coarse = models.make_boundary_element_conductor(anatomy, 0.006, 2)
    field = models.compute_lead_field(coarse, scalp, electrodes.ch_names, electrodes.positions_m, sources)
    truth = solved_in_c(data_root, electrodes, sources)
    sizes = np.linalg.norm(field, axis=(0, 2)) / np.linalg.norm(truth, axis=(0, 2))
    deep = depths > 0.015
    assert np.median(relative_difference(field, truth)[deep]) < 0.04
    np.testing.assert_allclose(sizes[deep], 1, atol=0.07)
    for one in (field, truth):
        assert 0.8e-6 < 1e-8 * np.median(np.abs(one).max(axis=0)) < 1.05e-6


def solved_in_c(data_root, electrodes: models.Electrodes, sources: np.ndarray) -> np.ndarray:
    folder = data_root / "inverse" / "subjects" / "sample"
    to_mri = mne.read_trans(folder / "sample-trans.fif")
    info = mne.create_info(list(electrodes.ch_names), 1.0, "eeg")
    positions = dict(zip(electrodes.ch_names, electrodes.positions_m, strict=True))
    info.set_montage(mne.channels.make_dig_montage(positions, coord_frame="head"))
    places = {"rr": mne.transforms.apply_trans(to_mri, sources), "nn": np.ones_like(sources)}
    source_space = mne.setup_volume_source_space(pos=places, verbose="error")
    solution = mne.read_bem_solution(folder / "bem" / "sample-320-320-320-bem-sol.fif", verbose="error")
    forward = mne.make_forward_solution(info, to_mri, source_space, solution, meg=False, verbose="error")
    field = forward["sol"]["data"].reshape(len(electrodes.ch_names), -1, 3)
    return field - field.mean(axis=0)

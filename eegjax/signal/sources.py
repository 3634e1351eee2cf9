"""Simulated states of a brain and the voltages they cause, as pure JAX functions of a key and a head.

All shapes are fixed, so that samples are made by `jax.vmap(simulate, ...)` inside a compiled step, or beforehand. The
same key gives the same sample: what is drawn (centres, signs, widths, SNR) doesn't change a bit under `vmap`; moments
and voltages, exponentials and sums that a compiler does in its own way, change by about 1e-6 of their size.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eegjax.errors import UserError
from eegjax.signal.reference import reference_to_average

FWHM = 2 * np.sqrt(2 * np.log(2))  # full width at half maximum of a Gaussian, in standard deviations
EDGE = 3.0  # standard deviations from a patch's centre beyond which its sources are silent
HIGHEST = lax.Precision.HIGHEST  # accelerators otherwise round the lead field to 10 bits


class SourceSpace(NamedTuple):
    """A head as the simulation sees it; of several, stacked, the first axis is the head's."""

    sources_m: jax.Array  # [n_sources, 3] float32, m
    orientations: jax.Array  # [n_sources, 2, 3] float32, unit vectors: the normal and a tangent
    depth_m: jax.Array  # [n_sources] float32, m, distance to the inner skull
    zone: jax.Array  # [n_sources] int32, 0 and up
    lead_field: jax.Array  # [n_chans, n_sources, 3] float32, V / (A m), average reference
    valid: jax.Array  # [n_sources] bool, False for padding


class Patches(NamedTuple):
    """A few Gaussian patches of cortex; what has two ends is drawn uniformly between them."""

    n_patches: tuple[int, int] = (1, 20)
    width_mm: tuple[float, float] = (5.0, 40.0)  # full width at half maximum
    peak_am: tuple[float, float] = (1e-9, 5e-9)  # A m, magnitude at the centre: 30 mm² of cortex at 30-170 pA m / mm²
    n_strata: int = 4  # of depth, equally thick, equally likely to hold a centre
    p_correlated: float = 0.25  # that the patches of a pair (0 and 1, 2 and 3, ...) have one sign and one time course
    p_silent: float = 0.05  # that no source is active
    snr_db: tuple[float, float] | None = (0.0, 30.0)  # None: no noise
    n_times: int = 1  # 1: the instant at which all patches peak
    sfreq: float = 100.0  # Hz, of several instants
    freqs_hz: tuple[float, float] = (4.0, 30.0)  # of the patches' sinusoids


class Zones(NamedTuple):
    """The inverse paper's brain states: a patch in every zone at once, all moments along the normal and positive."""

    n_zones: int = 64  # numbered from 0; what lies in others stays silent
    n_active: int = 66  # points in all; the paper's text says about 1000
    width_mm: tuple[float, float] = (5.0, 40.0)  # full width at half maximum
    peak_am: float = 20e-9  # A m, of the strongest source: dividing by it gives the paper's values, 0..1
    p_silent: float = 0.0  # that no source is active
    snr_db: tuple[float, float] | None = None  # None: no noise


class Sample(NamedTuple):
    """A brain state and its voltages; n_patches is the greatest number that the settings allow."""

    moments: jax.Array  # [n_sources] float32, A m, signed, at the source's peak; exactly 0 where silent
    orientation: jax.Array  # [n_sources] int32, which of its two orientations a source has: that of its patch
    patch: jax.Array  # [n_sources] int32, which patch a source belongs to; -1 where silent
    centres: jax.Array  # [n_patches] int32, the source at the centre of each patch; -1 where there is none
    width_mm: jax.Array  # [n_patches] float32, full width at half maximum
    time_courses: jax.Array  # [n_patches, n_times] float32, -1..1; 1 if there is one instant
    snr_db: jax.Array  # [] float32, dB; infinite without noise, and -infinite where all is silent
    clean: jax.Array  # [n_chans], or [n_times, n_chans] if there are several instants: float32, V, without noise
    voltages: jax.Array  # [n_chans], or [n_times, n_chans]: float32, V, with noise; average reference


class _State(NamedTuple):
    """What is drawn of a sample before its voltages, all active; the fields are a sample's."""

    moments: jax.Array
    orientation: jax.Array
    patch: jax.Array
    centres: jax.Array
    width_mm: jax.Array
    time_courses: jax.Array


def make_source_space(
    sources_m: np.ndarray,
    orientations: np.ndarray,
    depth_m: np.ndarray,
    zone: np.ndarray,
    lead_field: np.ndarray,
    n_sources: int | None = None,
) -> SourceSpace:
    """Put a head's arrays into single precision, padded to a number of sources so that heads can be stacked.

    Args:
        sources_m: [n_found, 3] float, m.
        orientations: [n_found, 2, 3] float, unit vectors without a unit: the normal and a tangent.
        depth_m: [n_found] float, m, distance to the inner skull.
        zone: [n_found] int, 0 and up.
        lead_field: [n_chans, n_found, 3] float, V / (A m), average reference.
        n_sources: of the result; None for as many as there are.

    Raises:
        UserError: the arrays don't belong together, hold NaN, or have more sources than `n_sources`.
    """
    found = len(sources_m)
    n_chans = len(lead_field)
    n_sources = found if n_sources is None else n_sources
    if not 0 < found <= n_sources:
        raise UserError(f"n_sources: found {n_sources} for a head of {found} sources, expected at least as many")

    def padded(name: str, array: np.ndarray, shape: tuple[int, ...], axis: int = 0) -> jax.Array:
        if array.shape != shape or not np.isfinite(array).all():
            raise UserError(
                f"{name}: found an array of shape {array.shape}, expected {shape} as of {found} sources, every number "
                "finite"
            )
        widths = [(0, n_sources - found if at == axis else 0) for at in range(len(shape))]
        return jnp.asarray(np.pad(array, widths), jnp.int32 if name == "zone" else jnp.float32)

    return SourceSpace(
        padded("sources_m", sources_m, (found, 3)),
        padded("orientations", orientations, (found, 2, 3)),
        padded("depth_m", depth_m, (found,)),
        padded("zone", zone, (found,)),
        padded("lead_field", lead_field, (n_chans, found, 3), axis=1),
        jnp.arange(n_sources) < found,
    )


def simulate_sources(
    key: jax.Array, head: SourceSpace, settings: Patches | Zones, noise_factor: jax.Array | None = None
) -> Sample:
    """Draw a brain state and the voltages that it causes.

    The SNR is 10 log10(mean square of `clean` / mean square of the noise) over electrodes (and instants), both against
    their average, and the noise is scaled to have exactly the drawn one. A silent sample is the noise alone of a
    sample that would have had sources: its noise is no stronger or weaker than that of others.

    Args:
        key: [] key of JAX's, of any dtype that a key has.
        head: one head (not stacked), in arrays of JAX or NumPy.
        settings: `Patches` or `Zones`; static.
        noise_factor: [n_chans, n_chans] float32, F with F F' the noise's covariance up to a factor, before the average
            is taken out; None for white noise. Instants are independent of each other.

    Raises:
        UserError: a range of `settings` is upside down, or one of its numbers is below the least that makes sense.
    """
    _check(settings)
    head = SourceSpace(*map(jnp.asarray, head))
    state_key, silent_key, snr_key, noise_key = jax.random.split(key, 4)
    if isinstance(settings, Patches):
        state = _draw_patches(state_key, head, settings)
    else:
        state = _draw_zones(state_key, head, settings)
    clean = _referenced(_project(head, state))
    noise = jnp.zeros_like(clean)
    snr_db = jnp.float32(jnp.inf)
    if settings.snr_db is not None:
        snr_db = _uniform(snr_key, settings.snr_db)
        noise = _noise(noise_key, clean, snr_db, noise_factor)
    silent = jax.random.bernoulli(silent_key, settings.p_silent)
    state = state._replace(
        moments=jnp.where(silent, 0, state.moments),
        patch=jnp.where(silent, -1, state.patch),
        centres=jnp.where(silent, -1, state.centres),
    )
    clean = jnp.where(silent, 0, clean)
    snr_db = jnp.where(silent, -jnp.inf, snr_db)
    return Sample(*state, snr_db=snr_db, clean=clean, voltages=clean + noise)


def _check(settings: Patches | Zones) -> None:
    for name, value in settings._asdict().items():
        low, high = value if isinstance(value, tuple) else (value, value)
        least = 1 if name.startswith("n_") else {"width_mm": 0.1, "snr_db": -np.inf}.get(name, 0)
        most = 1 if name.startswith("p_") else np.inf
        if value is not None and not least <= low <= high <= most:
            raise UserError(f"{name}: found {value}, expected {least} to {most}, the lower end of a range first")


def _uniform(key: jax.Array, ends: tuple[float, float], shape: tuple[int, ...] = ()) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.float32, *ends)


def _draw_patches(key: jax.Array, head: SourceSpace, settings: Patches) -> _State:
    """Draw patches with centres in zones of their own; a source in several belongs to the one that drives it most."""
    keys = jax.random.split(key, 8)
    low, high = settings.n_patches
    pairs = -(-high // 2)

    def of_pairs(drawn: jax.Array) -> jax.Array:
        """The second of a correlated pair gets what the first has."""
        together = jax.random.bernoulli(keys[7], settings.p_correlated, (pairs,))
        first = jnp.repeat(drawn[::2], 2, axis=0)[:high]
        together_of_each = jnp.repeat(together, 2)[:high].reshape(-1, *[1] * (drawn.ndim - 1))
        return jnp.where(together_of_each, first, drawn)

    active = jnp.arange(high) < jax.random.randint(keys[0], (), low, high + 1)
    centres = _draw_centres(keys[1], head, high, settings.n_strata)
    width_mm = _uniform(keys[2], settings.width_mm, (high,))
    sign = of_pairs(jax.random.rademacher(keys[3], (high,), jnp.float32))
    peaks = sign * _uniform(keys[4], settings.peak_am, (high,))
    tangent = jax.random.bernoulli(keys[5], 0.5, (high,)).astype(jnp.int32)
    sources_m = head.sources_m
    deviations = _squared_deviations(sources_m[:, None], sources_m[centres], width_mm)  # [n_sources, n_patches]
    within = active & (deviations <= EDGE**2) & head.valid[:, None]
    moments = jnp.where(within, peaks * jnp.exp(-deviations / 2), 0)
    patch = jnp.argmax(jnp.abs(moments), -1)
    moments = jnp.take_along_axis(moments, patch[:, None], -1)[:, 0]
    return _State(
        moments=moments,
        orientation=tangent[patch],
        patch=jnp.where(moments != 0, patch, -1).astype(jnp.int32),
        centres=jnp.where(active, centres, -1),
        width_mm=width_mm,
        time_courses=of_pairs(_sinusoids(keys[6], high, settings)),
    )


def _draw_centres(key: jax.Array, head: SourceSpace, n_patches: int, n_strata: int) -> jax.Array:
    """Draw a depth, then a source there, of a zone not yet taken while there is one: [n_patches] int32."""
    valid = head.valid
    zone = head.zone
    deepest = jnp.max(head.depth_m, where=valid, initial=-jnp.inf)
    shallowest = jnp.min(head.depth_m, where=valid, initial=jnp.inf)
    share = (head.depth_m - shallowest) / jnp.maximum(deepest - shallowest, 1e-9)
    stratum = jnp.clip((share * n_strata).astype(jnp.int32), 0, n_strata - 1)

    def draw(free: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        free = jnp.where(free.any(), free, valid)
        n_free = jnp.zeros(n_strata).at[stratum].add(free.astype(jnp.float32))
        weight = 1 / jnp.maximum(n_free, 1)[stratum]  # each depth weighs the same, shared by its free sources
        centre = jax.random.categorical(key, jnp.where(free, jnp.log(weight), -jnp.inf))
        return free & (zone != zone[centre]), centre.astype(jnp.int32)

    return lax.scan(draw, valid, jax.random.split(key, n_patches))[1]


def _squared_deviations(points_m: jax.Array, centres_m: jax.Array, width_mm: jax.Array) -> jax.Array:
    """How many standard deviations of patches of these widths lie between points and centres, squared."""
    return jnp.square((points_m - centres_m) / (width_mm / 1000 / FWHM)[..., None]).sum(-1)


def _sinusoids(key: jax.Array, n_patches: int, settings: Patches) -> jax.Array:
    """[n_patches, n_times] float32: of a frequency and phase each; 1 if there is one instant."""
    if settings.n_times == 1:
        return jnp.ones((n_patches, 1))
    freq_key, phase_key = jax.random.split(key)
    cycles = _uniform(freq_key, settings.freqs_hz, (n_patches, 1)) * jnp.arange(settings.n_times) / settings.sfreq
    return jnp.sin(2 * jnp.pi * (cycles + _uniform(phase_key, (0, 1), (n_patches, 1))))


def _draw_zones(key: jax.Array, head: SourceSpace, settings: Zones) -> _State:
    """Draw a centre, width and peak for each zone; of all sources the nearest to their centres are active.

    Near is meant in standard deviations, and nothing is weaker than at three. The centres themselves come first, so
    that every zone has a point if `n_active` allows.
    """
    centre_key, width_key, peak_key = jax.random.split(key, 3)
    zone = head.zone
    sources_m = head.sources_m
    valid = head.valid & (zone < settings.n_zones)
    n_sources = len(zone)
    order = jnp.where(valid, jax.random.permutation(centre_key, n_sources), -1)
    first = jax.ops.segment_max(order, zone, settings.n_zones)  # of a zone's sources the highest number is its centre
    at = jnp.where(valid & (order == first[zone]), jnp.arange(n_sources, dtype=jnp.int32), -1)
    centres = jax.ops.segment_max(at, zone, settings.n_zones)  # negative where the head has no such zone
    width_mm = _uniform(width_key, settings.width_mm, (settings.n_zones,))
    peaks = _uniform(peak_key, (0.1, 1.0), (settings.n_zones,))
    deviations = _squared_deviations(sources_m, sources_m[centres[zone]], width_mm[zone])
    nearest = lax.top_k(jnp.where(valid, -deviations, -jnp.inf), min(settings.n_active, n_sources))[1]
    active = jnp.zeros(n_sources, bool).at[nearest].set(True) & valid
    values = jnp.where(active, peaks[zone] * jnp.exp(-jnp.minimum(deviations, EDGE**2) / 2), 0)
    return _State(
        moments=values / values.max() * settings.peak_am,
        orientation=jnp.zeros(n_sources, jnp.int32),
        patch=jnp.where(active, zone, -1),
        centres=jnp.where((centres >= 0) & active[centres], centres, -1),
        width_mm=width_mm,
        time_courses=jnp.ones((settings.n_zones, 1)),
    )


def _project(head: SourceSpace, state: _State) -> jax.Array:
    """The voltages of a state: [n_chans], or [n_times, n_chans] of several instants."""
    orientation = jnp.take_along_axis(head.orientations, state.orientation[:, None, None], 1)[:, 0]
    vectors = state.moments[:, None] * orientation  # [n_sources, 3], A m
    n_patches, n_times = state.time_courses.shape
    if n_times == 1:
        return jnp.einsum("csx,sx->c", head.lead_field, vectors, precision=HIGHEST)
    of_patch = state.patch[:, None] == jnp.arange(n_patches)
    maps = jnp.einsum("csx,sx,sp->pc", head.lead_field, vectors, of_patch.astype(jnp.float32), precision=HIGHEST)
    return jnp.einsum("pt,pc->tc", state.time_courses, maps, precision=HIGHEST)


def _referenced(voltages: jax.Array) -> jax.Array:
    return jnp.asarray(reference_to_average(voltages))


def _noise(key: jax.Array, clean: jax.Array, snr_db: jax.Array, factor: jax.Array | None) -> jax.Array:
    """Noise against its average, `snr_db` below the clean voltages: of their shape."""
    noise = jax.random.normal(key, clean.shape, jnp.float32)
    if factor is not None:
        noise = jnp.einsum("cd,...d->...c", factor, noise, precision=HIGHEST)
    noise = _referenced(noise)
    noise = noise / jnp.sqrt(jnp.square(noise).mean())
    return noise * jnp.sqrt(jnp.square(clean).mean()) * 10 ** (-snr_db / 20)

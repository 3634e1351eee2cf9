"""Linear inverses of the forward problem: from voltages at the electrodes to the amplitudes of sources.

Minimum norm (Hämäläinen & Ilmoniemi 1994), its noise-normalised forms dSPM (Dale et al. 2000) and sLORETA
(Pascual-Marqui 2002), eLORETA (Pascual-Marqui 2007, 2011) and the LCMV beamformer (Van Veen et al. 1997). An operator
is made once, on the host in float64; its application to any number of samples is one matrix product on the device.

With the lead field G, whitened by the noise covariance, and a source covariance R, scaled until trace(G R G') is the
number of whitened channels, so that each has unit power on average, all but the beamformer start from

    K = R G' (G R G' + lambda2 I)^-1,    lambda2 = 1 / SNR²  (of amplitudes),

MNE-Python's convention and, to rounding, its numbers. Voltages are differences, so one dimension of the n_chans says
nothing: everything is measured against the average of the electrodes, whatever the reference of what is given, and
whitening leaves n_chans - 1 dimensions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eegjax.errors import UserError, check_choice

METHODS = ("MNE", "dSPM", "sLORETA", "eLORETA")
DEPTH_LIMIT = 10.0  # fields weaker than the strongest by more than this are weighted alike, as in MNE-Python
ELORETA_TOLERANCE = 1e-8  # of the weights' norm: the change from one iteration to the next
ELORETA_ITERATIONS = 100  # at most; the change at least about halves each time, so 10 to 25 are usual
LCMV_TIMES = 100  # the fewest time points that a data covariance is estimated from
SMALLEST_EIGENVALUE = 1e-10  # of the largest: below it a noise covariance holds rounding only
SMALLEST_BLOCK_EIGENVALUE = 1e-7  # the same within a source's orientations, as in MNE-Python


class Operator(NamedTuple):
    """A linear inverse.

    Attributes:
        kernel: [n_sources, n_orient, n_chans] float64. From volts it makes A m (MNE, eLORETA, the beamformer of unit
            gain), or numbers without unit, multiples of the noise (dSPM, sLORETA, the beamformer of unit noise gain).
        ch_names: names of the electrodes in the kernel's order; None where none were given.
    """

    kernel: np.ndarray
    ch_names: tuple[str, ...] | None = None


def make_operator(
    lead_field: np.ndarray,
    method: str,
    *,
    lambda2: float = 1 / 9,
    noise_cov: np.ndarray | None = None,
    depth: float | None = None,
    ch_names: Sequence[str] | None = None,
) -> Operator:
    """Make the inverse operator of a head.

    With 128 electrodes and 1000 sources of 3 orientations it takes less than a second. eLORETA iterates until its
    weights stand still to 1e-8, which rounding allows for `lambda2` down to about 1e-7; then it finds a single
    noiseless source exactly, of fixed orientation or free. sLORETA does that for fixed orientations. (With free ones
    dSPM and sLORETA divide by one number per source, as MNE-Python does, not by Pascual-Marqui's 3 x 3 block.)

    Args:
        lead_field: [n_chans, n_sources, n_orient] float, V / (A m), against any reference; n_orient is 1 where the
            orientation is fixed, 3 where it is free (2 where it lies in a plane).
        method: "MNE", "dSPM", "sLORETA" or "eLORETA".
        lambda2: regularisation, 1 / SNR² where SNR is the ratio of amplitudes; 1 / 9 is an SNR of 3.
        noise_cov: [n_chans, n_chans] float, V²; None is the identity. Its scale changes the size of dSPM and sLORETA
            (and of a beamformer of unit noise gain) only: for multiples of the noise give white noise as
            `variance * np.eye(n_chans)`.
        depth: exponent of the depth weighting (Lin et al. 2006), 0.8 is MNE-Python's; None weights all alike, and
            eLORETA, which finds the weights itself, takes nothing else. A fixed orientation is weighted by its own
            field (MNE-Python's `allow_fixed_depth`).
        ch_names: names of the electrodes, for `apply_operator` to compare.

    Returns:
        The operator, for `apply_operator`.

    Raises:
        UserError: `method` is none of `METHODS`; an argument isn't finite, lies outside its range, or doesn't fit the
            lead field's channels; a source has no field; eLORETA's weights don't come to rest.
    """
    check_choice("method", method, METHODS)
    _check_positive("lambda2", lambda2)
    if depth is not None:
        _check_positive("depth", depth)
        if method == "eLORETA":
            raise UserError(f"depth: found {depth:g} with eLORETA, which finds its own weights, expected None")
    fields = _average_referenced(lead_field)
    whitener = _whitener(noise_cov, len(fields))
    white = np.tensordot(whitener, fields, 1)
    if method == "eLORETA":
        kernel = _eloreta(white, lambda2)
    else:
        prior = np.ones(white.shape[1]) if depth is None else _depth_prior(fields, depth)
        kernel = _minimum_norm(white, prior, lambda2, method)
    return Operator(kernel @ whitener, _names(ch_names, len(fields)))


def make_lcmv(
    lead_field: np.ndarray,
    voltages: np.ndarray,
    *,
    reg: float = 0.05,
    noise_cov: np.ndarray | None = None,
    unit_noise_gain: bool = True,
    ch_names: Sequence[str] | None = None,
) -> Operator:
    """Make a linearly constrained minimum variance beamformer for one time series: each has its own.

    Args:
        lead_field: [n_chans, n_sources, n_orient] float, V / (A m), as in `make_operator`.
        voltages: [n_times, n_chans] float, V: at least 100 time points, whose covariance is taken.
        reg: what is added to the diagonal of the whitened covariance, as a share of its mean.
        noise_cov: [n_chans, n_chans] float, V², as in `make_operator`.
        unit_noise_gain: divide by the noise that passes (its 3 x 3 block where the orientation is free, MNE-Python's
            "unit-noise-gain-invariant"), so that deep sources don't win by their noise; False passes
            amplitudes as they are.
        ch_names: names of the electrodes of the lead field, for `apply_operator` to compare.

    Returns:
        The operator, for `apply_operator`.

    Raises:
        UserError: `voltages` have fewer than 100 time points, or an argument isn't finite or doesn't fit the others.
    """
    _check_positive("reg", reg)
    fields = _average_referenced(lead_field)
    n_chans = len(fields)
    whitener = _whitener(noise_cov, n_chans)
    covariance = whitener @ _covariance(voltages, n_chans) @ whitener.T
    loading = reg * np.trace(covariance) / n_chans
    sources = np.tensordot(whitener, fields, 1).transpose(1, 2, 0)  # [n_sources, n_orient, n_chans - 1]
    filters = sources @ np.linalg.inv(covariance + loading * np.eye(n_chans - 1))
    if unit_noise_gain:
        kernel = _power(filters @ filters.swapaxes(1, 2), -0.5) @ filters
    else:
        kernel = _power(filters @ sources.swapaxes(1, 2), -1) @ filters  # the constraint: K G = I
    return Operator(kernel @ whitener, _names(ch_names, n_chans))


def apply_operator(
    operator: Operator, voltages: jax.Array | np.ndarray, ch_names: Sequence[str] | None = None
) -> jax.Array:
    """Estimate all sources of any number of samples in one matrix product.

    Args:
        operator: of `make_operator` or `make_lcmv`.
        voltages: [..., n_chans] float, V, against any reference.
        ch_names: names of the voltages' channels: where they are given they must be the operator's, in its order.

    Returns:
        [..., n_sources] float32 (float64 where JAX has that switched on), in the kernel's unit: signed where the
        orientation is fixed, else the length of the vector.

    Raises:
        UserError: `voltages` have another number of channels than the operator was made for, or `ch_names` are others.
    """
    if ch_names is not None:
        _check_same_channels(ch_names, operator.ch_names)
    n_chans = operator.kernel.shape[-1]
    if voltages.shape[-1] != n_chans:
        raise UserError(f"voltages: found {voltages.shape[-1]} channels, expected the inverse operator's {n_chans}")
    return amplitudes(jnp.asarray(operator.kernel, float), jnp.asarray(voltages, float))


@jax.jit
def amplitudes(kernel: jax.Array, voltages: jax.Array) -> jax.Array:
    """`apply_operator` without its checks: [n_sources, n_orient, n_chans] and [..., n_chans] give [..., n_sources]."""
    n_sources, n_orient, n_chans = kernel.shape
    # HIGHEST: accelerators otherwise round the factors, and neighbouring sources differ by less than that.
    flat = jnp.matmul(voltages, kernel.reshape(-1, n_chans).T, precision=jax.lax.Precision.HIGHEST)
    components = flat.reshape(*flat.shape[:-1], n_sources, n_orient)
    return components[..., 0] if n_orient == 1 else jnp.linalg.norm(components, axis=-1)


def _minimum_norm(white: np.ndarray, prior: np.ndarray, lambda2: float, method: str) -> np.ndarray:
    """[n_white, n_sources, n_orient] and the sources' prior variances give [n_sources, n_orient, n_white]."""
    n_white, n_sources, n_orient = white.shape
    variance = prior * n_white / (prior * (white**2).sum((0, 2))).sum()  # trace(G R G') = n_white
    weighted = (white * np.sqrt(variance)[:, None]).reshape(n_white, -1)
    u, s, vt = np.linalg.svd(weighted, full_matrices=False)
    kernel = ((vt.T * (s / (s**2 + lambda2))) @ u.T).reshape(n_sources, n_orient, n_white)
    kernel *= np.sqrt(variance)[:, None, None]
    if method == "dSPM":  # the noise that passes: K K'
        kernel /= np.sqrt((kernel**2).sum((1, 2)))[:, None, None]
    elif method == "sLORETA":  # the resolution: K G, in units of the noise by R / lambda2
        resolution = np.einsum("sow,wso->s", kernel, white) * variance / lambda2
        kernel /= np.sqrt(resolution)[:, None, None]
    return kernel


def _eloreta(white: np.ndarray, lambda2: float) -> np.ndarray:
    """[n_white, n_sources, n_orient] gives [n_sources, n_orient, n_white]: Pascual-Marqui 2007.

    R is sought whose block of each source k is (G_k' (G R G' + lambda2 I)^-1 G_k)^(-1/2).
    """
    n_white, n_sources, n_orient = white.shape
    sources = white.transpose(1, 2, 0)
    flat = np.ascontiguousarray(sources).reshape(-1, n_white)
    blocks = np.tile(np.eye(n_orient), (n_sources, 1, 1))
    last = np.zeros((n_sources, n_orient, n_orient))
    for _ in range(ELORETA_ITERATIONS):
        gram = flat.T @ (blocks @ sources).reshape(-1, n_white)
        scale = n_white / np.trace(gram)
        blocks = scale * blocks
        inverse = np.linalg.inv(scale * gram + lambda2 * np.eye(n_white))
        if np.linalg.norm(blocks - last) <= ELORETA_TOLERANCE * np.linalg.norm(blocks):
            return blocks @ sources @ inverse
        last = blocks
        blocks = _power((flat @ inverse).reshape(sources.shape) @ sources.swapaxes(1, 2), -0.5)
    raise UserError(
        f"lambda2: found {lambda2:g}, with which eLORETA's weights don't come to rest in {ELORETA_ITERATIONS} "
        "iterations, expected a larger one"
    )


def _power(blocks: np.ndarray, exponent: float) -> np.ndarray:
    """A negative power of symmetric matrices [..., n, n], of what isn't rounding in them."""
    values, vectors = np.linalg.eigh(blocks)
    kept = values > SMALLEST_BLOCK_EIGENVALUE * values[..., -1:]
    powers = np.where(kept, np.where(kept, values, 1.0) ** exponent, 0.0)
    return (vectors * powers[..., None, :]) @ vectors.swapaxes(-1, -2)


def _depth_prior(fields: np.ndarray, exponent: float) -> np.ndarray:
    """[n_sources]: the power of each source's strongest field, inverted, limited and raised, as MNE-Python does it."""
    weight = 1 / np.linalg.norm(fields.transpose(1, 0, 2), ord=2, axis=(1, 2)) ** 2
    weight /= weight.min()
    beyond = weight[weight > DEPTH_LIMIT**2]
    limit = beyond.min() if beyond.size else weight.max()
    return np.minimum(weight, limit) ** exponent


def _whitener(noise_cov: np.ndarray | None, n_chans: int) -> np.ndarray:
    """[n_chans - 1, n_chans]: takes the average out, and makes the noise white."""
    noise_cov = np.eye(n_chans) if noise_cov is None else np.asarray(noise_cov, np.float64)
    if noise_cov.shape != (n_chans, n_chans):
        raise UserError(f"noise_cov: found shape {noise_cov.shape}, expected {n_chans} x {n_chans}, the lead field's")
    rounding = 1e-8 * np.abs(noise_cov).max()
    if not np.isfinite(noise_cov).all() or not np.allclose(noise_cov, noise_cov.T, rtol=0, atol=rounding):
        raise UserError("noise_cov: found values that aren't finite or not symmetric, expected a covariance in V²")
    centring = np.eye(n_chans) - 1 / n_chans
    values, vectors = np.linalg.eigh(centring @ noise_cov @ centring)
    n_free = int((values > SMALLEST_EIGENVALUE * values[-1]).sum())
    if n_free < n_chans - 1:
        raise UserError(
            f"noise_cov: found {n_free} independent dimensions after the average reference, expected {n_chans - 1}: "
            "estimate it from more samples, or add a little to its diagonal"
        )
    return (vectors[:, 1:] / np.sqrt(values[1:])).T @ centring


def _average_referenced(lead_field: np.ndarray) -> np.ndarray:
    """The lead field against the average of its electrodes, or an error if it can't be one."""
    fields = np.asarray(lead_field, np.float64)
    if fields.ndim != 3 or fields.shape[2] not in (1, 2, 3) or len(fields) < 2:
        raise UserError(f"lead field: found shape {fields.shape}, expected [n_chans, n_sources, 1 to 3 orientations]")
    if not np.isfinite(fields).all():
        bad = np.flatnonzero(~np.isfinite(fields).all((0, 2)))
        raise UserError(
            f"lead field: found NaN or infinity for {len(bad)} sources, the first is {bad[0]}: leave them out"
        )
    fields = fields - fields.mean(0)
    power = (fields**2).sum((0, 2))
    silent = np.flatnonzero(power <= 1e-24 * power.max())
    if silent.size:
        raise UserError(
            f"lead field: found {silent.size} sources without any voltage between the electrodes, the first is "
            f"{silent[0]}: leave them out"
        )
    return fields


def _covariance(voltages: np.ndarray, n_chans: int) -> np.ndarray:
    """[n_chans, n_chans] float64, V², of a time series long enough for a beamformer."""
    voltages = np.asarray(voltages, np.float64)
    if voltages.ndim != 2 or voltages.shape[1] != n_chans:
        raise UserError(f"voltages: found shape {voltages.shape}, expected [n_times, {n_chans}], the lead field's")
    if len(voltages) < LCMV_TIMES:
        raise UserError(
            f"LCMV is n/a: found {len(voltages)} time points, expected at least {LCMV_TIMES}, because a beamformer is "
            "made from the covariance of the samples over time: give a longer series, or take eLORETA"
        )
    if not np.isfinite(voltages).all():
        raise UserError("voltages: found NaN or infinity, expected finite samples: cut or interpolate them first")
    if np.ptp(voltages - voltages.mean(1, keepdims=True), axis=0).max() == 0:
        raise UserError("voltages: found the same sample at all times, expected a series that changes")
    return np.cov(voltages.T)


def _names(ch_names: Sequence[str] | None, n_chans: int) -> tuple[str, ...] | None:
    if ch_names is not None and len(ch_names) != n_chans:
        raise UserError(f"ch_names: found {len(ch_names)} names, expected {n_chans}, one per channel of the lead field")
    return None if ch_names is None else tuple(ch_names)


def _check_same_channels(found: Sequence[str], expected: Sequence[str] | None) -> None:
    if expected is None:
        raise UserError("ch_names: found names with an inverse operator that has none: give them when it is made")
    if len(found) != len(expected):
        raise UserError(f"ch_names: found {len(found)} channels, expected the inverse operator's {len(expected)}")
    for position, (name, wanted) in enumerate(zip(found, expected, strict=True)):
        if name != wanted:
            raise UserError(
                f"ch_names: found '{name}' as channel {position}, expected '{wanted}', as in the inverse operator: "
                "bring the channels into its order"
            )


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < np.inf:
        raise UserError(f"{name}: found {value:g}, expected more than 0")

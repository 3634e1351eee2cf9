"""What an inverse network has to beat: linear inverses and a beamformer, tuned on the network's training samples.

As a user would run them: the head as an experimenter knows it, sources of free orientation, noise taken for white. An
estimate's local maxima that reach a share of its greatest amplitude are the points. As it is a share and no multiple
of the noise, a sample of noise alone has points too; none come only where all is exactly zero.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.spatial import KDTree

from eegjax.errors import UserError, check_choice
from eegjax.evaluate.points import area_under_curve, f1_curve
from eegjax.signal import minimum_norm

METHODS = (*minimum_norm.METHODS, "LCMV")
LCMV_LAMBDA2 = (0.1, 1.0)  # candidates: fewer, since each costs an operator per sample


class ForwardModel(NamedTuple):
    """A head as the inverses see it.

    Attributes:
        lead_field: [n_chans, n_sources, n_orient] float, V / (A m); n_orient is 3 where the orientation is free.
        sources_mm: [n_sources, 3] float, mm.
    """

    lead_field: np.ndarray
    sources_mm: np.ndarray


class Setting(NamedTuple):
    """What a method is tuned in.

    Attributes:
        lambda2: regularisation, 1 / SNR² of amplitudes; of LCMV, the share of its mean that the covariance's
            diagonal gains.
        threshold: 0 to 1, the share of a sample's greatest amplitude that a peak has to reach.
        distance_mm: a source is a peak if none within this distance is larger.
    """

    lambda2: float
    threshold: float
    distance_mm: float


class Candidates(NamedTuple):
    """Values of each field of `Setting`: `tune` tries all combinations.

    With 128 electrodes, 1000 sources, 1 to 10 patches and 0 to 30 dB the best lambda2 is 0.1 to 1 for MNE, 1 for
    sLORETA, eLORETA and LCMV, and 10 for dSPM; less noise wants less.
    """

    lambda2: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)
    threshold: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)
    distance_mm: tuple[float, ...] = (15.0, 20.0, 30.0)


class Localised(NamedTuple):
    """A method's answer to one sample.

    Attributes:
        points_mm: [m, 3] float64, mm, the peaks in the order of the head's sources; m may be 0.
        values: [m] float32, the amplitudes there.
        amplitudes: [n_sources] float32, those of all sources, in the unit of `estimate_sources`.
    """

    points_mm: np.ndarray
    values: np.ndarray
    amplitudes: np.ndarray


def estimate_sources(lead_field: np.ndarray, method: str, lambda2: float, voltages: np.ndarray) -> np.ndarray:
    """Estimate the amplitudes of all sources in all samples of a head.

    At an instant that is the length of a source's vector, all samples in one product. Of a series it is the vector's
    standard deviation over time, the root of its components' summed variances (not the deviation of its length, which
    hardly changes where a vector oscillates about zero). LCMV makes an operator of unit noise gain for each series,
    so its amplitude squared is the pseudo-Z of Van Veen et al. 1997, summed over orientations.

    Args:
        lead_field: [n_chans, n_sources, n_orient] float, V / (A m).
        method: one of `METHODS`.
        lambda2: see `Setting`.
        voltages: [n, n_chans] float, V, an instant per sample, or [n, n_times, n_chans], a series per sample: LCMV
            needs one, of 100 instants or more.

    Returns:
        [n, n_sources] float32, 0 or more: A m (MNE, eLORETA), or multiples of the noise (dSPM, sLORETA, LCMV) up to a
        factor. All 0 for voltages of 0, and for a series that stands still.

    Raises:
        UserError: `method` is none of `METHODS`; `voltages` aren't finite or don't fit `lead_field`; and what
            `minimum_norm.make_operator` and `minimum_norm.make_lcmv` raise.
    """
    voltages = np.asarray(voltages)
    _check(method, voltages, len(lead_field))
    if method == "LCMV":
        found = [_beamformed(lead_field, lambda2, series) for series in voltages]
        return np.reshape(found, (len(voltages), lead_field.shape[1]))
    operator = minimum_norm.make_operator(lead_field, method, lambda2=lambda2)
    if voltages.ndim == 3:
        return _deviations(operator.kernel, voltages)
    return np.abs(np.asarray(minimum_norm.apply_operator(operator, voltages)))


def _check(method: str, voltages: np.ndarray, n_chans: int) -> None:
    check_choice("method", method, METHODS)
    if voltages.ndim not in (2, 3) or voltages.shape[-1] != n_chans:
        raise UserError(
            f"voltages: found shape {voltages.shape}, expected [n, {n_chans}] or [n, n_times, {n_chans}] for a lead "
            f"field of {n_chans} channels"
        )
    if method == "LCMV" and voltages.ndim == 2:
        raise UserError("LCMV is n/a: found one instant per sample, expected a series: give one, or take eLORETA")
    if not np.isfinite(voltages).all():
        raise UserError("voltages: found NaN or infinity, expected finite samples: leave the others out")


def _beamformed(lead_field: np.ndarray, reg: float, series: np.ndarray) -> np.ndarray:
    """[n_times, n_chans] gives [n_sources]."""
    series = np.asarray(series, np.float64)
    if not np.ptp(series - series.mean(1, keepdims=True), axis=0).any():
        return np.zeros(lead_field.shape[1], np.float32)
    return _deviations(minimum_norm.make_lcmv(lead_field, series, reg=reg).kernel, series[None])[0]


def _deviations(kernel: np.ndarray, series: np.ndarray) -> np.ndarray:
    """[n_sources, n_orient, n_chans] and [n, n_times, n_chans] give [n, n_sources]: standard deviations over time."""
    return np.asarray(_spread(jnp.asarray(kernel, float), jnp.asarray(series, float)))


@jax.jit
def _spread(kernel: jax.Array, series: jax.Array) -> jax.Array:
    def of_one(voltages: jax.Array) -> jax.Array:
        voltages = voltages - voltages[0]  # exactly 0 where the series stands still
        lengths = minimum_norm.amplitudes(kernel, voltages - voltages.mean(0))
        return jnp.sqrt(jnp.square(lengths).mean(0))

    return lax.map(of_one, series)  # one after another: estimates at all times of all samples would fill the memory


def find_neighbours(sources_mm: np.ndarray, distance_mm: float) -> np.ndarray:
    """List each source's neighbours, itself among them.

    Args:
        sources_mm: [n_sources, 3] float, mm.
        distance_mm: 0 or more, the border included.

    Returns:
        [n_sources, most] int32; shorter lists are filled up with the source itself.

    Raises:
        UserError: `distance_mm` is negative or not finite.
    """
    if not 0 <= distance_mm < math.inf:
        raise UserError(f"distance_mm: found {distance_mm:g}, expected 0 mm or more")
    lists = KDTree(sources_mm).query_ball_point(sources_mm, distance_mm)
    table = np.repeat(np.arange(len(lists), dtype=np.int32)[:, None], max(map(len, lists)), axis=1)
    for row, near in zip(table, lists, strict=True):
        row[: len(near)] = near
    return table


def find_peaks(values: np.ndarray, neighbours: np.ndarray, threshold: float) -> np.ndarray:
    """Find the sources that no neighbour exceeds and that reach a share of their sample's greatest amplitude.

    Args:
        values: [n, n_sources] float, amplitudes, 0 or more.
        neighbours: [n_sources, most] int32, from `find_neighbours`.
        threshold: 0 to 1, the share.

    Returns:
        [n, n_sources] bool. Of equal neighbours all are peaks; a source of amplitude 0 is none.

    Raises:
        UserError: `threshold` is below 0 or above 1.
    """
    return _are_largest(values, neighbours) & _are_loud(values, threshold)


def _are_largest(values: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    by_source = np.ascontiguousarray(values.T)  # sources are gathered, whole rows fastest
    greatest = by_source.copy()
    for column in neighbours.T:
        np.maximum(greatest, by_source[column], out=greatest)
    return (by_source == greatest).T


def _are_loud(values: np.ndarray, threshold: float) -> np.ndarray:
    if not 0 <= threshold <= 1:
        raise UserError(f"threshold: found {threshold:g}, expected 0 to 1, a share of the greatest amplitude")
    return (values > 0) & (values >= threshold * values.max(-1, keepdims=True))


def tune(
    method: str,
    heads: Sequence[ForwardModel],
    head_of: Sequence[int] | np.ndarray,
    voltages: np.ndarray,
    true_mm: Sequence[np.ndarray],
    radii_mm: Sequence[float] | np.ndarray,
    candidates: Candidates | None = None,
    **options: str | bool,
) -> Setting:
    """Choose the setting with the largest mean area under F1 against radius; give it training samples.

    There is one choice for all heads, and it doesn't depend on the samples' order.

    Args:
        method: one of `METHODS`.
        heads: the heads, all of the same channels.
        head_of: [n] int, the number of each sample's head.
        voltages: [n, n_chans] or [n, n_times, n_chans] float, V, as in `estimate_sources`.
        true_mm: [k, 3] float, mm, of each sample; samples without true points are left out.
        radii_mm: [n_radii] float, mm, ascending, two or more.
        candidates: None for `Candidates()`, of LCMV with `LCMV_LAMBDA2`.
        options: of `evaluate.points.f1_curve`. Samples that it skips are missing from a setting's mean; a setting at
            which it skips all of them has an area of 0.

    Returns:
        The setting; of equally good ones the first, the last field of `Candidates` changing fastest.

    Raises:
        UserError: no sample has a true point, `candidates` are empty, arrays have different lengths, `head_of` names a
            head that isn't in `heads`, and what `estimate_sources`, `find_neighbours` and `find_peaks` raise.
    """
    if candidates is None:
        candidates = Candidates(lambda2=LCMV_LAMBDA2) if method == "LCMV" else Candidates()
    voltages = np.asarray(voltages)
    located = np.flatnonzero([len(true) > 0 for true in true_mm])
    areas: dict[Setting, list[float]] = {Setting(*values): [] for values in product(*candidates)}
    if len(true_mm) != len(voltages) or not len(located) or not areas:
        raise UserError(
            f"tuning {method}: found {len(true_mm)} lists of true points, {len(located)} of them not empty, for "
            f"{len(voltages)} samples, and {len(areas)} candidates; expected a list per sample, and one or more of each"
        )
    known: dict[tuple[int, bytes], float] = {}  # many settings find the same points

    def area_of(sample: int, points_mm: np.ndarray) -> float:
        key = int(sample), points_mm.tobytes()
        if key not in known:
            curve = f1_curve(true_mm[sample], points_mm, radii_mm, **options)  # type: ignore[arg-type]
            known[key] = float(area_under_curve(radii_mm, curve))
        return known[key]

    for head, all_samples in _by_head(heads, head_of, len(voltages)):
        samples = np.intersect1d(all_samples, located)
        for setting, found in _all_peaks(method, head, voltages[samples], candidates):
            areas[setting] += [
                area_of(sample, head.sources_mm[mask]) for sample, mask in zip(samples, found, strict=True)
            ]
    return max(areas, key=lambda setting: _mean(areas[setting]))


def _by_head(
    heads: Sequence[ForwardModel], head_of: Sequence[int] | np.ndarray, n_samples: int
) -> Iterator[tuple[ForwardModel, np.ndarray]]:
    """Each head that has samples, and their indices."""
    head_of = np.asarray(head_of, int)
    strange = np.setdiff1d(head_of, range(len(heads)))
    if len(head_of) != n_samples or len(strange):
        raise UserError(
            f"head_of: found {len(head_of)} numbers for {n_samples} samples, {strange.tolist()} of them no head's, "
            f"expected one per sample, 0 to {len(heads) - 1}"
        )
    for number in np.unique(head_of):
        yield heads[number], np.flatnonzero(head_of == number)


def _all_peaks(
    method: str, head: ForwardModel, voltages: np.ndarray, candidates: Candidates
) -> Iterator[tuple[Setting, np.ndarray]]:
    """Each candidate and its [n, n_sources] bool peaks; what candidates share is computed once."""
    near = {distance: find_neighbours(head.sources_mm, distance) for distance in candidates.distance_mm}
    for lambda2 in candidates.lambda2:
        values = estimate_sources(head.lead_field, method, lambda2, voltages)
        largest = {distance: _are_largest(values, neighbours) for distance, neighbours in near.items()}
        for threshold in candidates.threshold:
            loud = _are_loud(values, threshold)
            for distance in near:
                yield Setting(lambda2, threshold, distance), largest[distance] & loud


def _mean(areas: Sequence[float]) -> float:
    """The mean of those that aren't `nan`, exact so that their order doesn't matter; 0 of none."""
    kept = [value for value in areas if not math.isnan(value)]
    return math.fsum(kept) / len(kept) if kept else 0.0


def localise(
    method: str,
    setting: Setting,
    heads: Sequence[ForwardModel],
    head_of: Sequence[int] | np.ndarray,
    voltages: np.ndarray,
) -> list[Localised]:
    """Predict the points of samples.

    Args:
        method: one of `METHODS`.
        setting: of `tune`.
        heads: the heads, all of the same channels.
        head_of: [n] int, the number of each sample's head.
        voltages: [n, n_chans] or [n, n_times, n_chans] float, V, as in `estimate_sources`.

    Returns:
        [n], one per sample, in their order.

    Raises:
        UserError: `head_of` and `voltages` have different lengths, `head_of` names a head that isn't in `heads`, and
            what `estimate_sources`, `find_neighbours` and `find_peaks` raise.
    """
    voltages = np.asarray(voltages)
    answers: dict[int, Localised] = {}
    for head, samples in _by_head(heads, head_of, len(voltages)):
        values = estimate_sources(head.lead_field, method, setting.lambda2, voltages[samples])
        found = find_peaks(values, find_neighbours(head.sources_mm, setting.distance_mm), setting.threshold)
        for sample, mask, amplitudes in zip(samples.tolist(), found, values, strict=True):
            answers[sample] = Localised(np.asarray(head.sources_mm, float)[mask], amplitudes[mask], amplitudes)
    return [answers[sample] for sample in range(len(voltages))]

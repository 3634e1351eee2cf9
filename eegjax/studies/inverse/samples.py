"""The inverse study's samples: drawn on the host or read, and what of them a network sees and is to find."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.errors import check_choice
from eegjax.signal.sources import Patches, Sample, Zones, simulate_sources
from eegjax.studies.inverse import heads
from eegjax.studies.inverse.heads import Recorded

CHUNK = 100  # samples that are simulated at once


def settings(config: ConfigDict) -> Patches | Zones:
    """What happens in the heads.

    Raises:
        UserError: `config.data.sources` is neither patches nor zones.
    """
    data = config.data
    check_choice("config.data.sources", data.sources, ("patches", "zones"))
    if data.sources == "patches":
        values = {name: _ends(value) for name, value in data.patches.to_dict().items()}
        return Patches(**values, n_times=data.n_times)
    return Zones(**{name: _ends(value) for name, value in data.zones.to_dict().items()})


def _ends(value: Any) -> Any:
    """Both ends of a range; None for an empty one."""
    return (tuple(value) or None) if isinstance(value, tuple | list) else value


class Drawn(NamedTuple):
    """Samples on the host; the first axis is the sample's.

    voltages: [n, n_chans], or [n, n_times, n_chans], float32, V, average reference.
    moments: [n, n_sources] float32, A m, signed; 0 where silent, and where there is no source.
    centres: [n, n_patches] int32, the source at the centre of each patch; -1 where there is none.
    snr_db: [n] float32; -inf where all is silent, inf without noise.
    """

    voltages: np.ndarray
    moments: np.ndarray
    centres: np.ndarray
    snr_db: np.ndarray


def simulated(config: ConfigDict, one: Recorded, n_sources: int, seeds: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of `Drawn` of one recording."""
    real = heads.make(config, one.real)
    space = heads.source_space(real, n_sources)
    factor = jnp.asarray(heads.noise_factor(real, one.coloured))
    make = _simulator(settings(config))
    state = jax.random.PRNGKey(config.data.seed)
    chunks = []
    for begin in range(0, len(seeds), CHUNK):
        some = np.resize(seeds[begin : begin + CHUNK], CHUNK)  # one shape, compiled once
        sample = make(state, jnp.asarray(some, jnp.int32), space, factor)
        left = min(CHUNK, len(seeds) - begin)
        chunks.append([np.asarray(getattr(sample, name))[:left] for name in Drawn._fields])
    return dict(zip(Drawn._fields, (np.concatenate(columns) for columns in zip(*chunks, strict=True)), strict=True))


_simulators: dict[Any, Callable[..., Sample]] = {}


def _simulator(state: Patches | Zones) -> Callable[..., Sample]:
    """Compiled once per kind of state: (key, seeds [n], head, noise factor) -> samples."""
    if state not in _simulators:

        def many(key: jax.Array, seeds: jax.Array, space: Any, factor: jax.Array) -> Sample:
            return jax.vmap(lambda seed: simulate_sources(jax.random.fold_in(key, seed), space, state, factor))(seeds)

        _simulators[state] = jax.jit(many)
    return _simulators[state]


def drawn(config: ConfigDict, dataset: Dataset, rows: np.ndarray) -> Drawn:
    """The samples of some rows, read or made again of their seeds."""
    if "voltages" in dataset.arrays:
        at = dataset.index["start"].to_numpy()[rows]
        return Drawn(*(np.asarray(dataset.arrays[name][at]) for name in Drawn._fields))
    recordings = heads.recorded(config)
    number = heads.number_of_recording(dataset)[rows]
    seeds = dataset.index["seed"].to_numpy()[rows]
    n_sources = max(one.real.n_sources for one in recordings)
    found: dict[str, np.ndarray] = {}
    for one in np.unique(number):
        own = np.flatnonzero(number == one)
        for name, values in simulated(config, recordings[one], n_sources, seeds[own]).items():
            found.setdefault(name, np.zeros((len(rows), *values.shape[1:]), values.dtype))[own] = values
    return Drawn(**found)


def truth(config: ConfigDict, moments: Any, centres: Any, xp: Any) -> Any:
    """What a network is to find: [..., n_sources] magnitudes, of the centres of patches or of every active source.

    Args:
        config: of the study.
        moments: [..., n_sources] float32, A m.
        centres: [..., n_patches] int32.
        xp: numpy or jax.numpy.
    """
    magnitude = xp.abs(moments)
    if config.data.target == "sources":
        return magnitude
    is_centre = (centres[..., None, :] == xp.arange(moments.shape[-1])[:, None]).any(-1)
    return xp.where(is_centre, magnitude, 0)


def snapshot(config: ConfigDict, voltages: Any, xp: Any) -> Any:
    """What a network sees of voltages: of time series the instant of the strongest field.

    Args:
        config: of the study.
        voltages: [..., n_chans], or [..., n_times, n_chans] where there are several instants.
        xp: numpy or jax.numpy.

    Returns:
        [..., n_chans].
    """
    if config.data.n_times == 1:
        return voltages
    instant = xp.argmax(xp.square(voltages).sum(-1), -1)
    return xp.take_along_axis(voltages, instant[..., None, None], -2)[..., 0, :]

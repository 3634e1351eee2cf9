"""Simulated brain states become the inverse study's dataset, and what a network reads per sample.

A sample is a row with a seed. Its voltages and moments lie beside it in the dataset, or (`config.data.on_the_fly`) are
made of it where they are needed: the same ones.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from eegjax.baselines.inverse import METHODS
from eegjax.data.dataset import Dataset, Part
from eegjax.data.feed import Source
from eegjax.data.heads.anatomy import describe_cortex, find_head_files
from eegjax.data.heads.heads import describe_origin
from eegjax.errors import UserError, check_choice, did_you_mean, note
from eegjax.run import datasets
from eegjax.signal.minimum_norm import amplitudes, make_operator
from eegjax.signal.voxels import count_pairs_in_one_voxel, describe_coarseness
from eegjax.studies.inverse import heads
from eegjax.studies.inverse.heads import Recorded
from eegjax.studies.inverse.numbers import SLIPS, headline
from eegjax.studies.inverse.samples import drawn, settings, simulated, snapshot, truth

VERSION = 2  # raised where the same settings would make another dataset
LAMBDA2 = 1 / 9  # of the eLORETA that a network may be fed with: an SNR of 3, as is usual


def prepare(config: ConfigDict) -> Dataset:
    """Make the heads, and simulate samples of each.

    Raises:
        UserError: anything wrong with the heads or the settings.
    """
    _check(config)
    if config.protocol == "demo":
        datasets.refuse_root(config)
    recordings = heads.recorded(config)
    n_sources = max(one.real.n_sources for one in recordings)
    dataset = datasets.prepare(
        config,
        "inverse",
        lambda root: list(enumerate(recordings)),
        lambda item, hash_of_file: _key(config, *item),
        lambda item: _part(config, n_sources, *item),
        _card(config),
    )
    for row in dataset.card["recordings"]:
        if row["coarse"]:
            note(f"{row['recording']}: {row['coarse']}")
    return dataset


def _check(config: ConfigDict) -> None:
    check_choice("config.splits.kind", config.splits.kind, ("random", "head", "search"))
    data = config.data
    lengths = {len(value) for name, value in data.left_out.items() if isinstance(value, tuple)}
    if len(lengths) != 1:
        raise UserError(
            "config.data.left_out: its lists are of different lengths, expected one entry for each way; correct them"
        )
    if data.n_times > 1 and data.sources == "zones":
        raise UserError(
            "config.data.n_times is more than 1, but zones have no time courses; set it to 1, or sources=patches"
        )
    for name in config.test.classical:
        if name not in METHODS:
            known = f"{', '.join(METHODS)}.{did_you_mean(name, METHODS)}"
            raise UserError(f"config.test.classical holds '{name}'; there are {known}")
    for slip in map(str, config.test.slips):
        if slip not in SLIPS:
            known = f"{', '.join(SLIPS)}.{did_you_mean(slip, SLIPS)}"
            raise UserError(f"config.test.slips holds '{slip}'; there are {known}")
    settings(config)
    headline(config)


def _key(config: ConfigDict, number: int, one: Recorded) -> list[Any]:
    """All that a recording depends on beside the card."""
    return [
        [*one],
        number,
        describe_origin(one.real, heads.root_of(config)),
    ]  # assumed and real head are of the same files


def _card(config: ConfigDict) -> dict[str, Any]:
    data = config.data
    return {
        "source": "simulated by eegjax.signal.sources on heads of eegjax.data.heads (MNE-Python)",
        "licence": "none needed; heads of a root are their owners'",
        "citation": "none",
        "simulated": True,
        "array": "seed",
        "unit": {"voltages": "V", "moments": "A m"},
        "reference": "average",
        "state": [type(settings(config)).__name__, settings(config)._asdict()],
        "seed": data.seed,
        "stored": not data.on_the_fly,
        "grid": [data.n_voxels, data.scaling],
        "preparation": VERSION,
    }


def _part(config: ConfigDict, n_sources: int, number: int, one: Recorded) -> Part:
    """One head's samples."""
    nominal = heads.make(config, one.nominal)
    real = heads.make(config, one.real)
    grid = heads.grids(config, nominal)[1]
    seeds = np.arange(one.n_samples) + number * 10_000_000
    arrays = {"seed": seeds.astype(np.int32)}
    if not config.data.on_the_fly:
        arrays |= simulated(config, one, n_sources, seeds)
    times = np.arange(one.n_samples)
    return Part(
        arrays=arrays,
        examples={"onset_s": times.astype(float), "start": times, "stop": times + 1, "seed": seeds},
        card={
            "recording": one.name,
            "subject": one.head,
            "session": "",
            "head": one.head,
            "real": one.real._asdict(),
            "nominal": one.nominal._asdict(),
            "coloured": one.coloured,
            "tested": one.left_out or config.splits.kind != "head",
            "trained": not one.left_out and not one.validates,
            "validates": one.validates,
            "voxel_mm": grid.voxel_mm.tolist(),
            "electrode_fit_mm": float(nominal.electrode_fit_mm.mean()),
            "electrode_fit_max_mm": float(nominal.electrode_fit_mm.max()),
            "cortex": describe_cortex(one.nominal.kind, find_head_files(one.nominal.kind, heads.root_of(config))),
            "depth_mm": [float(end) for end in (real.depth_m.min() * 1e3, real.depth_m.max() * 1e3)],
            "n_dropped": real.n_dropped,
            "n_sources": len(nominal.sources_m),
            "n_sources_real": len(real.sources_m),
            "pairs_in_one_voxel": count_pairs_in_one_voxel(grid.to_voxel(nominal.sources_m * 1e3)),
            "coarse": describe_coarseness(grid, nominal.sources_m * 1e3) or "",
        },
    )


def source(config: ConfigDict, dataset: Dataset) -> Source:
    """Each sample's voltages and truth, or its seed; and its head's arrays, which lie there once per recording."""
    number = heads.number_of_recording(dataset)
    arrays = _of_heads(config, dataset)
    rows_of = dict.fromkeys(arrays, number.astype(np.int64))
    if "voltages" in dataset.arrays:
        whole = drawn(config, dataset, np.arange(len(dataset.index)))
        own = {"voltages": whole.voltages, "truth": truth(config, whole.moments, whole.centres, np)}
        if config.inputs.kind == "eloreta":
            # once for all epochs: a step would copy an inverse operator of some MB for each of its samples
            own["estimate"] = _estimates(arrays.pop("kernel"), number, snapshot(config, own.pop("voltages"), np))
        arrays |= own
        rows_of |= dict.fromkeys(own, np.arange(len(dataset.index)))
    table = {"seed": dataset.index["seed"].to_numpy(np.int32)}
    for name in arrays:
        at = rows_of[name]
        table |= {f"{name}_start": at, f"{name}_low": at, f"{name}_high": at + 1}
    return Source(arrays, dict.fromkeys(arrays, 1), table)


def _estimates(kernels: np.ndarray, number: np.ndarray, voltages: np.ndarray) -> np.ndarray:
    """[n, n_sources] float32: each sample's amplitudes by the operator of its head."""
    found = np.empty((len(voltages), kernels.shape[1]), np.float32)
    for head, kernel in enumerate(kernels):
        own = number == head
        found[own] = amplitudes(jnp.asarray(kernel), jnp.asarray(voltages[own]))
    return found


def _of_heads(config: ConfigDict, dataset: Dataset) -> dict[str, np.ndarray]:
    """name -> [n_recordings, ...]: what `inputs` needs of a head."""
    pairs = heads.of_dataset(config, dataset)
    n_real = max(len(real.sources_m) for _, real in pairs)
    columns: dict[str, list[np.ndarray]] = {}
    for row, (nominal, real) in zip(dataset.card["recordings"], pairs, strict=True):
        electrode_grid, grid = heads.grids(config, nominal)
        voxels = grid.to_voxel(nominal.sources_m * 1e3)
        # the grid is that of the assumed sources: real ones may lie just outside
        one = {"source_voxels": _padded(grid.to_nearest_voxel(real.sources_m * 1e3), n_real, -1)}
        if config.model.grid_mask:
            one["grid"] = heads.mask(config, nominal)
        if config.inputs.kind == "eloreta":
            one["kernel"] = make_operator(nominal.lead_field, "eLORETA", lambda2=LAMBDA2).kernel.astype(np.float32)
            one["nominal_voxels"] = voxels
        else:
            one["electrode_voxels"] = electrode_grid.to_voxel(nominal.electrodes_m * 1e3)
        if config.data.on_the_fly:
            one |= heads.source_space(real, n_real)._asdict() | {"noise": heads.noise_factor(real, row["coloured"])}
        for name, value in one.items():
            columns.setdefault(name, []).append(np.asarray(value))
    return {name: np.stack(values) for name, values in columns.items()}


def _padded(values: np.ndarray, n: int, filler: int) -> np.ndarray:
    """Filled up to n rows."""
    return np.concatenate([values, np.full((n - len(values), *values.shape[1:]), filler, values.dtype)])

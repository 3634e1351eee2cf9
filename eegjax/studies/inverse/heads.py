"""The inverse study's heads: which are trained on, which is left out, how each is and how it is taken to be."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.heads.heads import Head, HeadSpec, list_heads, make_head
from eegjax.errors import UserError, did_you_mean
from eegjax.signal.sources import SourceSpace, make_source_space
from eegjax.signal.voxels import Grid, make_grid_mask, make_grids


class Recorded(NamedTuple):
    """Samples of one head.

    name: of the recording; as the head's, and how it really is where that is another.
    head: the head's name.
    real: the head that the voltages come from.
    nominal: what an experimenter takes it for: voxels, grids and classical inverses are made with this one.
    coloured: whether the noise is that of a brain beside that of electrodes.
    left_out: whether the head is tested only.
    n_samples: samples.
    validates: whether thresholds are chosen on it, and nothing is trained.
    """

    name: str
    head: str
    real: HeadSpec
    nominal: HeadSpec
    coloured: bool
    left_out: bool
    n_samples: int
    validates: bool = False


def recorded(config: ConfigDict) -> list[Recorded]:
    """List what is simulated, by the configuration alone.

    Raises:
        UserError: the root holds no heads, or none of the name that is to be left out.
    """
    data = config.data
    left_out = config.data.left_out
    like = HeadSpec(kind=data.head, n_sources=data.n_sources, n_chans=data.n_chans)
    specs = {name_of(spec): spec for spec in list_heads(root_of(config), like, data.n_heads)}
    tested = _left_out(config, list(specs)) if config.splits.kind == "head" else ""
    trained = [name for name in specs if name != tested]
    shares = np.diff(np.linspace(0, data.n_samples, len(trained) + 1).round().astype(int))
    found = []
    for number, (name, n_samples) in enumerate(zip(trained, shares, strict=True)):
        conductivity = data.skull_s_per_m[number % len(data.skull_s_per_m)]
        real = specs[name]._replace(skull_conductivity=float(conductivity))
        last = bool(tested) and number == len(trained) - 1
        found.append(Recorded(name, name, real, specs[name], False, False, int(n_samples), last))
    if not tested:
        return found
    ways = list(zip(left_out.skull_s_per_m, left_out.coregistration_mm, left_out.coregistration_deg, strict=True))
    shares = np.diff(np.linspace(0, left_out.n_samples, len(ways) + 1).round().astype(int))
    for (conductivity, mm, deg), n_samples in zip(ways, shares, strict=True):
        real = specs[tested]._replace(
            n_sources=left_out.n_sources,
            skull_conductivity=float(conductivity),
            coregistration_mm=float(mm),
            coregistration_deg=float(deg),
        )
        name = f"{tested}, skull {conductivity:g} S/m"
        found.append(Recorded(name, tested, real, specs[tested], left_out.coloured_noise, True, int(n_samples)))
    return found


def _left_out(config: ConfigDict, names: list[str]) -> str:
    tested = config.splits.left_out or names[0]
    if tested not in names:
        raise UserError(
            f"config.splits.left_out is '{tested}'; there are the heads {', '.join(names)}."
            + did_you_mean(tested, names)
        )
    if len(names) < 3:
        raise UserError(
            f"config.data.n_heads is {len(names)}, expected 3 or more where one is left out: another chooses thresholds"
        )
    return tested


def name_of(spec: HeadSpec) -> str:
    """What a head is called."""
    return f"{spec.kind} warped {spec.warp}" if spec.warp else spec.kind


def root_of(config: ConfigDict) -> Path | None:
    """The folder of heads, or None where MNE's template is all."""
    return Path(config.data.root) if config.data.root else None


def make(config: ConfigDict, spec: HeadSpec) -> Head:
    """A head, made once for all runs under a root."""
    root = root_of(config)
    return _made(spec, root if spec.kind not in ("template", "sphere") or root else None, _cache(config))


def _cache(config: ConfigDict) -> Path:
    return Path(config.run.root) / "datasets" / "heads"


@lru_cache(maxsize=16)  # of a run, which asks again and again
def _made(spec: HeadSpec, root: Path | None, cache: Path) -> Head:
    return make_head(spec, root, cache)


def of_dataset(config: ConfigDict, dataset: Dataset) -> list[tuple[Head, Head]]:
    """(nominal, real) of each recording, in the order of the dataset's card."""
    return [
        tuple(make(config, HeadSpec(**row[kind])) for kind in ("nominal", "real"))  # type: ignore[misc]
        for row in dataset.card["recordings"]
    ]


def number_of_recording(dataset: Dataset) -> np.ndarray:
    """[n] int32, the number in the card of each row's recording."""
    numbers = {row["recording"]: number for number, row in enumerate(dataset.card["recordings"])}
    return dataset.index["recording"].map(numbers).to_numpy(np.int32)


def grids(config: ConfigDict, nominal: Head) -> tuple[Grid, Grid]:
    """The grid of a head's electrodes and that of its sources."""
    return make_grids(nominal.electrodes_m * 1e3, nominal.sources_m * 1e3, config.data.n_voxels, config.data.scaling)


def mask(config: ConfigDict, nominal: Head) -> np.ndarray:
    """[n, n, n] bool: the voxels where a source is looked for; all, where nothing is masked."""
    grid = grids(config, nominal)[1]
    if not config.model.grid_mask:
        return np.ones((grid.n,) * 3, bool)
    return make_grid_mask(grid, nominal.sources_m * 1e3, config.data.dilation)


def source_space(head: Head, n_sources: int) -> SourceSpace:
    """A head as the simulation sees it, padded."""
    parts = head.sources_m, head.orientations, head.depth_m, head.zone, head.lead_field
    return make_source_space(*parts, n_sources)


def noise_factor(head: Head, coloured: bool) -> np.ndarray:
    """[n_chans, n_chans] float32, F with F F' the noise's covariance, up to a factor.

    White noise is that of the electrodes. Coloured noise adds that of a brain in which every source hums by itself in
    its normal's direction, nine times as strong: what most of the noise of a recorded EEG is.
    """
    n_chans = len(head.lead_field)
    if not coloured:
        return np.eye(n_chans, dtype=np.float32)
    fields = np.einsum("csx,sx->cs", head.lead_field, head.orientations[:, 0])
    covariance = fields @ fields.T
    covariance = 0.9 * covariance / np.trace(covariance) + 0.1 * np.eye(n_chans) / n_chans
    return np.linalg.cholesky(covariance).astype(np.float32)

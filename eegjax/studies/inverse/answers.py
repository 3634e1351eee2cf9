"""Volumes become points: kept beside the run, cut at thresholds from training samples, and measured against the truth.

Frames of points have a row per sample (`kind` is "sample"), per true and per predicted point, for every model: what a
model is compared with stands beside what it said.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.splits import Fold, choose_evenly
from eegjax.evaluate import points
from eegjax.evaluate.localisation import (
    MAX_PAIRS,
    earth_movers_distance_mm,
    localisation_error_mm,
    roc_auc,
    spatial_dispersion_mm,
)
from eegjax.files import write_aside
from eegjax.run.answers import INDEX_COLUMNS
from eegjax.signal.voxels import find_cube_centres
from eegjax.studies.inverse import heads
from eegjax.studies.inverse.numbers import metric
from eegjax.studies.inverse.samples import drawn, truth

NAMES = ["model", "member", "fold", "seed"]
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)  # candidate thresholds, of the greatest value
CUBES = 0  # peak-finding by cubes, which undoes the dilation; 1: every voxel above the threshold; 3: local maxima
PEAKS = {CUBES: "centres of cubes", 1: "all voxels above", 3: "local maxima above"}


class True_(NamedTuple):
    """What is to be found in a sample: positions [n, 3] in mm and in voxels, magnitudes [n] in A m."""

    mm: np.ndarray
    voxels: np.ndarray
    value: np.ndarray


class Scene:
    """The tested and tuned samples of a dataset with their heads, grids and truths, read once."""

    def __init__(self, config: ConfigDict, dataset: Dataset) -> None:
        """Set up; nothing is simulated yet."""
        self.config = config
        self.dataset = dataset
        self.pairs = heads.of_dataset(config, dataset)
        self.grids = [heads.grids(config, nominal)[1] for nominal, _ in self.pairs]
        self.number = heads.number_of_recording(dataset)
        self.masks = [heads.mask(config, nominal) for nominal, _ in self.pairs]

    def truths(self, rows: np.ndarray) -> tuple[list[True_], np.ndarray]:
        """The true points of some rows, and their SNR [n] in dB."""
        samples = drawn(self.config, self.dataset, rows)
        values = truth(self.config, samples.moments, samples.centres, np)
        found = []
        for row, value in zip(rows, values, strict=True):
            _, real = self.pairs[self.number[row]]
            at = np.flatnonzero(value)
            mm = real.sources_m[at] * 1e3
            found.append(True_(mm, self.to_voxels(row, mm), value[at]))
        return found, samples.snr_db

    def to_voxels(self, row: int, mm: np.ndarray) -> np.ndarray:
        """Positions in voxels of a row's grid, as whole numbers: the paper's unit. Outside, those of its border."""
        grid = self.grids[self.number[row]]
        return grid.to_nearest_voxel(mm).astype(float) if len(mm) else np.zeros((0, 3))

    def to_mm(self, row: int, voxels: np.ndarray) -> np.ndarray:
        """The centres of voxels of a row's grid, in mm."""
        return self.grids[self.number[row]].to_mm(voxels) if len(voxels) else np.zeros((0, 3))

    def chosen(self, mm: np.ndarray, voxels: np.ndarray) -> np.ndarray:
        """Positions in the unit that distances are measured in."""
        return mm if self.config.test.unit == "mm" else voxels


# ---- what a network said


def record(config: ConfigDict, dataset: Dataset, frame: pd.DataFrame, values: np.ndarray, folder: Path) -> pd.DataFrame:
    """Write a network's volumes [n, d, h, w] beside the run, 0 where no source can be; the frame says which is which.

    Not in half precision: in it probabilities near 1 are equal, and peaks among them can't be told from plateaus.
    """
    masks = [heads.mask(config, nominal) for nominal, _ in heads.of_dataset(config, dataset)]
    number = heads.number_of_recording(dataset)[frame["example"]]
    kept = np.stack([np.where(masks[at], volume, 0) for at, volume in zip(number, values, strict=True)])
    path = volume_file(folder, frame)
    if jax.process_index() == 0:
        write_aside(path, partial(_save, kept.astype(np.float32)))
    return frame.assign(volume=np.arange(len(frame)))


def _save(array: np.ndarray, path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)


def volume_file(folder: Path, frame: pd.DataFrame) -> Path:
    """Where the volumes of one member's rows of one split are: [n, d, h, w] float32."""
    first = frame.iloc[0]
    return folder / "volumes" / f"{first['model']}-{first['member']:03d}-{first['split']}.npy"


def decode(
    config: ConfigDict, dataset: Dataset, folds: Sequence[Fold], predictions: pd.DataFrame, folder: Path
) -> pd.DataFrame:
    """The points of every tested sample: each member's threshold and peak-finding are tuned on training samples."""
    scene = Scene(config, dataset)
    frames = []
    for _, part in predictions.groupby(NAMES, sort=False):
        tuning = part[part["split"] == ("validation" if (part["split"] == "validation").any() else "train")]
        tuning = tuning.iloc[choose_evenly(np.arange(len(tuning)), config.test.n_tuning)]
        threshold, neighbourhood = _tuned(scene, tuning, folder)
        test = part[part["split"] == "test"]
        find = partial(_peaks, config, threshold=threshold, neighbourhood=neighbourhood)
        rows = test["example"].to_numpy()
        volumes = _volumes(test, folder)
        found = (scene_points(scene, row, volume, find) for row, volume in zip(rows, volumes, strict=True))
        names = {**test[NAMES].iloc[0].to_dict(), "tuned": PEAKS[neighbourhood]}
        frames.append(frame_of(scene, rows, found, threshold, names))
    return pd.concat(frames, ignore_index=True)


def _volumes(part: pd.DataFrame, folder: Path) -> np.ndarray:
    """[n, d, h, w] float32 of a member's rows of one split."""
    kept = np.load(volume_file(folder, part), mmap_mode="r", allow_pickle=False)
    return np.asarray(kept[part["volume"].to_numpy()])


def _tuned(scene: Scene, tuning: pd.DataFrame, folder: Path) -> tuple[float, int]:
    """The threshold and neighbourhood with the greatest area under F1 against radius; silent samples have no F1."""
    rows = tuning["example"].to_numpy()
    volumes = _volumes(tuning, folder)
    config = scene.config
    truths = scene.truths(rows)[0]
    some = [at for at, true in enumerate(truths) if len(true.mm)]
    true = [scene.chosen(truths[at].mm, truths[at].voxels) for at in some]
    candidates = np.array(SHARES) * volumes.max()  # probabilities, or what a regression reaches
    best: tuple[float, float, int] | None = None
    plainest = CUBES if config.data.dilation > 1 else 1  # as published
    for neighbourhood in (plainest,) if config.test.slips else (plainest, 3):

        def make_points(at: int, threshold: float, neighbourhood: int = neighbourhood) -> np.ndarray:
            find = partial(_peaks, config, threshold=threshold, neighbourhood=neighbourhood)
            mm, voxels, _ = scene_points(scene, rows[at], volumes[at], find)[:3]
            return scene.chosen(mm, voxels)

        radii = config.test.radii
        found, areas = points.choose_threshold(some, make_points, true, radii, candidates, **metric(config))  # type: ignore[arg-type]
        if best is None or areas.max() > best[0]:
            best = float(areas.max()), found, neighbourhood
    assert best is not None
    return best[1:]


def _peaks(config: ConfigDict, volume: np.ndarray, threshold: float, neighbourhood: int) -> np.ndarray:
    """[m, 3] voxels that are taken for sources; of cubes their centres."""
    if neighbourhood == CUBES:
        return points.find_points(np.asarray(find_cube_centres(volume, config.data.dilation, threshold)), 0)
    return points.find_points(volume, threshold, neighbourhood)


class Found(NamedTuple):
    """What a model says of a sample.

    mm, voxels: [m, 3], the points.
    value: [m], their values.
    estimate: [k] values at [k, 3] `positions_mm`, all that it says; None where it is points alone.
    """

    mm: np.ndarray
    voxels: np.ndarray
    value: np.ndarray
    estimate: np.ndarray | None = None
    positions_mm: np.ndarray | None = None


def scene_points(scene: Scene, row: int, volume: np.ndarray, find: Callable[[np.ndarray], np.ndarray]) -> Found:
    """A volume's points, and the volume itself where a source can be."""
    voxels = find(volume)
    at = voxels.astype(int)
    inside = np.argwhere(scene.masks[scene.number[row]])
    return Found(
        scene.to_mm(row, voxels), voxels, volume[tuple(at.T)], volume[tuple(inside.T)], scene.to_mm(row, inside)
    )


# ---- frames


def frame_of(
    scene: Scene, rows: np.ndarray, found: Iterable[Found], threshold: float, names: dict[str, Any]
) -> pd.DataFrame:
    """The frame of points of one model on some rows; `names` are columns of all of it."""
    truths, snr_db = scene.truths(rows)
    kinds: list[str] = []
    values = []
    mm = []
    voxels = []
    numbers = []
    counts = []
    nowhere = np.full((1, 3), np.nan)
    for true, said, snr in zip(truths, found, snr_db, strict=True):
        counts.append(1 + len(true.mm) + len(said.mm))
        kinds += ["sample", *["true"] * len(true.mm), *["predicted"] * len(said.mm)]
        values += [np.array([threshold]), true.value, said.value]
        mm += [nowhere, true.mm, said.mm]
        voxels += [nowhere, true.voxels, said.voxels]
        numbers.append({"snr_db": snr, "n_true": len(true.mm), **_numbers(true, said)})
    frame = pd.DataFrame({"kind": kinds, "value": np.concatenate(values)})
    frame[[*"xyz"]] = np.concatenate(voxels)
    frame[["x_mm", "y_mm", "z_mm"]] = np.concatenate(mm)
    of_samples = pd.DataFrame(numbers, frame.index[frame["kind"] == "sample"])
    whose = scene.dataset.index[list(INDEX_COLUMNS)].iloc[np.repeat(rows, counts)].reset_index(drop=True)
    return pd.concat([frame, of_samples, whose], axis=1).assign(**names, split="test")


def _numbers(true: True_, said: Found) -> dict[str, float]:
    """How far, how spread, how well ranked; `nan` of silent samples, and where nothing was said."""
    numbers = dict.fromkeys(("error_mm", "dispersion_mm", "auc", "emd_mm"), float("nan"))
    if not len(true.mm):
        return numbers
    numbers["error_mm"] = float(np.mean(localisation_error_mm(true.mm, said.mm)))
    if len(said.mm) and said.value.max() > 0:
        strongest = np.argsort(said.value)[::-1][: MAX_PAIRS // len(true.mm)]
        numbers["emd_mm"] = earth_movers_distance_mm(true.mm, said.mm[strongest], true.value, said.value[strongest])
    if said.estimate is not None and said.positions_mm is not None and said.estimate.any():
        numbers["dispersion_mm"] = spatial_dispersion_mm(said.estimate, said.positions_mm, true.mm)
        numbers["auc"] = roc_auc(said.estimate, _is_true(said.positions_mm, true.mm))
    return numbers


def _is_true(positions_mm: np.ndarray, true_mm: np.ndarray) -> np.ndarray:
    """[n] bool: the position nearest to some true point."""
    from scipy.spatial import KDTree

    flags = np.zeros(len(positions_mm), bool)
    flags[KDTree(positions_mm).query(true_mm)[1]] = True
    return flags

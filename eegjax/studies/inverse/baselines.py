"""What the inverse study's networks are held against, on the same samples: classical inverses, guesses, the ceiling."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.baselines import inverse as classical
from eegjax.data.dataset import Dataset
from eegjax.data.splits import Fold, choose_evenly
from eegjax.evaluate.points import draw_random_points, jitter_points
from eegjax.signal.minimum_norm import LCMV_TIMES
from eegjax.studies.inverse.answers import Found, Scene, True_, frame_of
from eegjax.studies.inverse.numbers import metric
from eegjax.studies.inverse.samples import drawn

BASELINE_FIELDS = (  # of the configuration, which they depend on
    "seed",
    "data",
    "splits.kind",
    "splits.left_out",
    "model.grid_mask",
    *(f"test.{name}" for name in ("unit", "radii", "matching", "slips", "n_tuning", "n_train_part", "classical")),
)
N_RANDOM = (100, 10)  # points, as in the paper
JITTER = 1.0  # standard deviation of near-perfect predictions, in voxels


def baselines(config: ConfigDict, dataset: Dataset, folds: Sequence[Fold]) -> pd.DataFrame:
    """Frames of points of every fold's test part.

    Classical inverses know the head as an experimenter does, and take noise for white; their regularisation, threshold
    and peak-finding are tuned on the samples that the networks' thresholds are chosen on. The voxelised truth is what
    a network could reach at best. LCMV needs time series.
    """
    scene, frames = Scene(config, dataset), []
    for fold in folds:
        for name, threshold, tuned, found in _rows(config, scene, fold):
            names = {"model": name, "member": 0, "fold": fold.name, "seed": 0, "tuned": tuned}
            frames.append(frame_of(scene, fold.test, found, threshold, names))
    return pd.concat(frames, ignore_index=True)


def _rows(config: ConfigDict, scene: Scene, fold: Fold) -> Iterator[tuple[str, float, str, list[Found]]]:
    """A baseline's name, threshold, whatever else was tuned, and what it says of the test part."""
    truths, _ = scene.truths(fold.test)
    for method in config.test.classical:
        if method != "LCMV" or config.data.n_times >= LCMV_TIMES:
            setting, found = _classical(config, scene, fold, method)
            apart = f"peaks {setting.distance_mm:g} {config.test.unit} apart"  # distances are in the radii's unit
            yield method, setting.threshold, f"lambda2 {setting.lambda2:g}, {apart}", found
    nothing = float("nan"), ""
    yield "voxelised truth", *nothing, [_voxelised(scene, *pair) for pair in zip(fold.test, truths, strict=True)]
    rng = np.random.default_rng(config.seed)
    for n in N_RANDOM:
        yield f"random {n}", *nothing, [_random(scene, row, n, rng) for row in fold.test]
    yield "jittered truth", *nothing, [_jittered(scene, *pair, rng) for pair in zip(fold.test, truths, strict=True)]


def _classical(config: ConfigDict, scene: Scene, fold: Fold, method: str) -> tuple[classical.Setting, list[Found]]:
    """What a method is tuned to, and its answers."""
    of_voxels = config.test.unit == "voxels"
    voxel_mm = [float(np.mean(grid.voxel_mm)) if of_voxels else 1.0 for grid in scene.grids]
    models = []
    for (nominal, _), grid in zip(scene.pairs, scene.grids, strict=True):
        sources_mm = nominal.sources_m * 1e3
        models.append(
            classical.ForwardModel(
                nominal.lead_field, grid.to_voxel(sources_mm).astype(float) if of_voxels else sources_mm
            )
        )
    tuning = tuning_rows(config, fold)
    true = [scene.chosen(one.mm, one.voxels) for one in scene.truths(tuning)[0]]
    whole = classical.Candidates()
    candidates = whole._replace(distance_mm=tuple(float(mm / np.mean(voxel_mm)) for mm in whole.distance_mm))
    if method == "LCMV":  # makes an operator for every series: a few values have to do
        candidates = candidates._replace(lambda2=classical.LCMV_LAMBDA2)
    setting = classical.tune(
        method,
        models,
        scene.number[tuning],
        drawn(config, scene.dataset, tuning).voltages,
        true,
        config.test.radii,
        candidates,
        **metric(config),
    )
    voltages = drawn(config, scene.dataset, fold.test).voltages
    answers = classical.localise(method, setting, models, scene.number[fold.test], voltages)
    found = []
    for row, answer in zip(fold.test, answers, strict=True):
        sources_mm = scene.pairs[scene.number[row]][0].sources_m * 1e3
        mm = scene.to_mm(row, answer.points_mm) if of_voxels else answer.points_mm
        found.append(Found(mm, scene.to_voxels(row, mm), answer.values, answer.amplitudes, sources_mm))
    return setting, found


def tuning_rows(config: ConfigDict, fold: Fold) -> np.ndarray:
    """[n] rows on which whatever has to be chosen is chosen: of the validation part, or, without one, of training."""
    n_train = config.test.n_train_part or len(fold.train)  # as many as networks predict
    rows = fold.validation if len(fold.validation) else choose_evenly(fold.train, n_train)
    return choose_evenly(rows, config.test.n_tuning)


def _voxelised(scene: Scene, row: int, true: True_) -> Found:
    voxels = np.unique(true.voxels, axis=0)
    return Found(scene.to_mm(row, voxels), voxels, np.ones(len(voxels)))


def _random(scene: Scene, row: int, n: int, rng: np.random.Generator) -> Found:
    """Points anywhere in the box of voxels that can hold a source."""
    inside = np.argwhere(scene.masks[scene.number[row]])
    voxels = draw_random_points(n, inside.min(0) - 0.5, inside.max(0) + 0.5, rng)
    return Found(scene.to_mm(row, voxels), voxels, np.ones(n))


def _jittered(scene: Scene, row: int, true: True_, rng: np.random.Generator) -> Found:
    voxels = jitter_points(true.voxels, JITTER, rng)
    return Found(scene.to_mm(row, voxels), voxels, np.ones(len(voxels)))

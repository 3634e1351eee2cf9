"""Thresholds, peak-finding and regularisation are chosen without the tested samples, and do depend on the others."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict
from scipy import ndimage

from eegjax import cli
from eegjax.baselines import inverse as classical
from eegjax.data.dataset import Dataset
from eegjax.data.splits import Fold
from eegjax.evaluate.points import find_points
from eegjax.run.answers import INDEX_COLUMNS
from eegjax.studies.inverse import answers as inverse_points
from eegjax.studies.inverse import baselines as inverse_baselines
from eegjax.studies.inverse import data as inverse_data
from eegjax.studies.inverse.folds import folds as folds_of

ROOT = Path(__file__).parents[3]
NAMES = {"model": "v_net", "member": 0, "fold": "random", "seed": 0}
METHODS = ("MNE", "eLORETA")


@pytest.fixture(scope="module", params=[0.3, 0.0], ids=["of validation", "of training"])
def config(run_root: Path, request: pytest.FixtureRequest) -> ConfigDict:
    """Where the choice is made: on the validation part, or without one on the training part."""
    config = cli.configure(f"{ROOT}/configs/inverse.py:demo,size=tiny", ["", f"--config.run.root={run_root}"])
    config.splits.validation_share = request.param
    config.test.update({"train_part": True, "classical": METHODS})
    return config


@pytest.fixture(scope="module")
def dataset(config: ConfigDict) -> Dataset:
    return inverse_data.prepare(config)


@pytest.fixture(scope="module")
def fold(config: ConfigDict, dataset: Dataset) -> Fold:
    (fold,) = folds_of(config, dataset)
    return fold


@pytest.fixture(scope="module")
def volumes(config: ConfigDict, dataset: Dataset, fold: Fold) -> np.ndarray:
    """[n_samples, 16, 16, 16]: bumps around most of the true points, and noise."""
    rng, scene = np.random.default_rng(0), inverse_points.Scene(config, dataset)
    volumes = rng.uniform(0, 0.2, (len(dataset.index), 16, 16, 16))
    for volume, true in zip(volumes, scene.truths(np.arange(len(volumes)))[0], strict=True):
        for voxel in true.voxels.astype(int):
            there = np.zeros_like(volume)
            there[tuple(voxel)] = 8 * rng.uniform(0.3, 1)
            volume += ndimage.gaussian_filter(there, 0.8)
    return volumes.astype(np.float32)


def scrambled(dataset: Dataset, rows: np.ndarray, seed: int, *names: str) -> Dataset:
    """The data set with other values in some rows of some arrays."""
    rng, arrays = np.random.default_rng(seed), dict(dataset.arrays)
    at = dataset.index["start"].to_numpy()[rows]
    for name in names:
        array = np.array(arrays[name])
        array[at] = (
            rng.permuted(array[at], axis=-1) if array.dtype.kind == "f" else rng.integers(0, 100, array[at].shape)
        )
        arrays[name] = array
    return replace(dataset, arrays=arrays)


def chosen(config: ConfigDict, dataset: Dataset, fold: Fold, volumes: np.ndarray, folder: Path) -> tuple[float, int]:
    """The threshold and the neighbourhood, read from the points that calibrating gives."""
    frames = []
    for split in ("validation", "test", "train"):
        rows = getattr(fold, split)
        if len(rows):
            index = dataset.index[list(INDEX_COLUMNS)].iloc[rows].reset_index(drop=True)
            frame = index.assign(**NAMES, split=split, target=0)
            frames.append(inverse_points.record(config, dataset, frame, volumes[rows], folder))
    found = inverse_points.decode(config, dataset, [fold], pd.concat(frames, ignore_index=True), folder)
    (threshold,) = found.loc[found["kind"] == "sample", "value"].unique()
    predicted = found[found["kind"] == "predicted"]
    said = predicted.groupby("example")[["x", "y", "z"]].apply(lambda part: set(map(tuple, part.to_numpy())))
    scene = inverse_points.Scene(config, dataset)
    inside = {row: np.where(scene.masks[scene.number[row]], volumes[row], 0) for row in fold.test.tolist()}
    fitting = []
    for neighbourhood in (1, 3):
        points = {row: find_points(volume, threshold, neighbourhood) for row, volume in inside.items()}
        if all(said.get(row, set()) == set(map(tuple, some)) for row, some in points.items()):
            fitting.append(neighbourhood)
    (neighbourhood,) = fitting
    return float(threshold), neighbourhood


def test_a_network_s_threshold_and_peaks_know_nothing_of_the_tested(
    config: ConfigDict, dataset: Dataset, fold: Fold, volumes: np.ndarray, tmp_path: Path
) -> None:
    """Other answers and other truths there leave them bit for bit; other answers where they are chosen don't."""
    expected = chosen(config, dataset, fold, volumes, tmp_path / "as it is")
    rng = np.random.default_rng(3)
    other = volumes.copy()
    other[fold.test] = 40 * rng.uniform(size=other[fold.test].shape) ** 3
    elsewhere = scrambled(dataset, fold.test, 4, "moments", "centres")
    assert chosen(config, elsewhere, fold, other, tmp_path / "others tested") == expected
    rows = inverse_baselines.tuning_rows(config, fold)
    other = volumes.copy()
    other[rows] *= 3
    assert chosen(config, dataset, fold, other, tmp_path / "others tuned")[0] == pytest.approx(
        3 * expected[0], rel=1e-6
    )


def settings(config: ConfigDict, fold: Fold, monkeypatch, dataset: Dataset) -> dict[str, classical.Setting]:
    """What each classical inverse is tuned to."""
    found, plain = {}, classical.tune

    def tune(method: str, *given: Any, **options: Any) -> classical.Setting:
        found[method] = plain(method, *given, **options)
        return found[method]

    with monkeypatch.context() as patch:
        patch.setattr(classical, "tune", tune)
        frame = inverse_baselines.baselines(config, dataset, [fold])
    samples = frame[(frame["kind"] == "sample") & frame["model"].isin(METHODS)]
    assert set(samples["example"]) == set(fold.test)
    for method, part in samples.groupby("model"):
        assert (part["value"] == found[method].threshold).all()
    return found


@pytest.mark.slow
def test_classical_inverses_are_tuned_without_the_tested(
    config: ConfigDict, dataset: Dataset, fold: Fold, monkeypatch
) -> None:
    tune = partial(settings, config, fold, monkeypatch)
    expected = tune(dataset)
    assert set(expected) == set(METHODS)
    everything = ("voltages", "moments", "centres")
    assert tune(scrambled(dataset, fold.test, 5, *everything)) == expected
    tuned = inverse_baselines.tuning_rows(config, fold)
    assert tune(scrambled(dataset, tuned, 6, *everything)) != expected

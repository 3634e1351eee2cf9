"""What a study is: functions, one file, no base class."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Source
from eegjax.data.splits import Fold
from eegjax.run.rows import Rows
from eegjax.train.step import Inputs, Loss


class Study(NamedTuple):
    """A paper's study. Rows are rows of the dataset's index.

    prepare: (config) -> the dataset, made once.
    folds: (config, dataset) -> the splits.
    classes: (config) -> class names, in the order of the targets.
    labels: (config, index) -> [n] int8, the target of each row.
    source: (config, dataset) -> what the feed reads per row.
    units: (config, dataset, rows, train) -> the units [n] or [n, sequence] that cover rows, and where each row is
        scored (the units' shape, bool; every row exactly once).
    fit: (config, dataset, fold) -> arrays learnt from the training part only.
    model: (config, dataset) -> the network, whole.
    inputs: (config) -> f(stats, batch, key, train) -> batch with `inputs`.
    loss: (config) -> f(stats, outputs, batch) -> (per example, metrics).
    predict: (config) -> f(outputs) -> probabilities [..., n_classes].
    baselines: (config, dataset, folds) -> their predictions, in the columns of the networks'.
    baseline_fields: fields and sections of the configuration that those read; None is all of it.
    evaluate: (config, predictions, baselines) -> flat `name: number`.
    tables: (run folder) -> what to print; writes `tables/`.
    figures: (run folder) -> writes `figures/`.
    backbone: (config) -> the module whose parameters stand under `features`, if those are frozen: its outputs are then
        computed once, and the network is trained on them with `on_maps=True`; None otherwise.
    frozen: (config) -> the pattern of further parameters that are not trained; empty for none.
    pretrained: (config, params) -> the parameters with those of a file in their places.
    columns: (config, dataset, frame, values, run folder) -> the frame, a row per example, with what a network said of
        them: [n, n_classes] probabilities in columns of their own, or a file beside.
    calibrate: (config, dataset, folds, predictions, run folder) -> the predictions, and rows made of them with what the
        training parts know (prior correction, smoothing, thresholds); never sees the tested labels.
    explain: (config, dataset, run folder) -> writes `explanations/`, with the run's trained networks.
    rows: (config) -> the runs that the paper's tables need, and which tables are the same in all of them. Fields that
        the user set stay as they are, but for those that make a row what it is called.
    gathered: ({row: its run folder}, folder) -> what to print of the runs beside one another; writes `tables/` and
        `figures/` there.
    apply: (run folder, file, channel, out) -> what a trained run says of a user's own recording; writes it to `out`.
    """

    prepare: Callable[[ConfigDict], Dataset]
    folds: Callable[[ConfigDict, Dataset], list[Fold]]
    classes: Callable[[ConfigDict], tuple[str, ...]]
    labels: Callable[[ConfigDict, pd.DataFrame], np.ndarray]
    source: Callable[[ConfigDict, Dataset], Source]
    units: Callable[[ConfigDict, Dataset, np.ndarray, bool], tuple[np.ndarray, np.ndarray]]
    fit: Callable[[ConfigDict, Dataset, Fold], Any]
    model: Callable[[ConfigDict, Dataset], nn.Module]
    inputs: Callable[[ConfigDict], Inputs]
    loss: Callable[[ConfigDict], Loss]
    predict: Callable[[ConfigDict], Callable[[Any], Any]]
    baselines: Callable[[ConfigDict, Dataset, Sequence[Fold]], pd.DataFrame]
    evaluate: Callable[[ConfigDict, pd.DataFrame, pd.DataFrame], dict[str, Any]]
    tables: Callable[[Path], str]
    figures: Callable[[Path], list[Path]]
    backbone: Callable[[ConfigDict], nn.Module | None] = lambda config: None
    frozen: Callable[[ConfigDict], str] = lambda config: ""
    pretrained: Callable[[ConfigDict, Any], Any] = lambda config, params: params
    columns: Callable[[ConfigDict, Dataset, pd.DataFrame, np.ndarray, Path], pd.DataFrame] | None = None
    calibrate: Callable[[ConfigDict, Dataset, Sequence[Fold], pd.DataFrame, Path], pd.DataFrame] = (
        lambda config, dataset, folds, predictions, folder: predictions
    )
    baseline_fields: Sequence[str] | None = None
    explain: Callable[[ConfigDict, Dataset, Path], None] = lambda config, dataset, folder: None
    rows: Callable[[ConfigDict], Rows] = lambda config: Rows({"": {}})
    gathered: Callable[[Mapping[str, Path], Path], str] = lambda folders, place: ""
    apply: Callable[[Path, Path, str | None, Path], str] | None = None

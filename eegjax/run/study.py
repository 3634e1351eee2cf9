"""What a study is: functions under agreed names, in two values.

`Task` is what a network learns and all that training, applying and explaining one takes. `Study` is what a run does
with it. Rows are rows of the dataset's index, and units what a network sees at once: single rows, or sequences of them.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Source
from eegjax.data.splits import Fold
from eegjax.run.rows import Rows
from eegjax.train.step import Inputs, Loss

# ---- what a task is made of


class ReadSource(Protocol):
    """What the feed reads per row: arrays, the length of a row's window in each, and a table of columns."""

    def __call__(self, config: ConfigDict, dataset: Dataset) -> Source: ...


class MakeModel(Protocol):
    """The network that `config.model.name` names, whole.

    Raises:
        UserError: there is no such network, or its settings exclude one another or don't fit the data.
    """

    def __call__(self, config: ConfigDict, dataset: Dataset) -> nn.Module: ...


class MakeInputs(Protocol):
    """Makes a function of (stats, batch, key, train) that adds `inputs` to a batch, on the device; no key at test."""

    def __call__(self, config: ConfigDict) -> Inputs: ...


class MakeLoss(Protocol):
    """A function of (stats, outputs, batch) that gives each example's loss and metrics, of the mask's shape."""

    def __call__(self, config: ConfigDict) -> Loss: ...


class MakePredict(Protocol):
    """A function of the outputs: class probabilities [..., n_classes], or whatever `record` takes."""

    def __call__(self, config: ConfigDict) -> Callable[[Any], Any]: ...


class Fit(Protocol):
    """Arrays learnt from the fold's training part alone: scalers, class weights, alignment."""

    def __call__(self, config: ConfigDict, dataset: Dataset, fold: Fold) -> Any: ...


class ListClasses(Protocol):
    """Names of the classes, in the order of the targets."""

    def __call__(self, config: ConfigDict) -> tuple[str, ...]: ...


class ReadLabels(Protocol):
    """[n] int8, the class of each row of an index."""

    def __call__(self, config: ConfigDict, index: pd.DataFrame) -> np.ndarray: ...


class MakeUnits(Protocol):
    """Units that cover rows: [n] or [n, sequence] int64, -1 is padding; and where each row is scored, bool.

    The second has the units' shape; every row is scored exactly once.
    """

    def __call__(
        self, config: ConfigDict, dataset: Dataset, rows: np.ndarray, train: bool
    ) -> tuple[np.ndarray, np.ndarray]: ...


class FindBackbone(Protocol):
    """The module whose parameters stand under `features`, where those are frozen; None where all is trained.

    Its outputs are then computed once, and the network is trained on them with `on_maps=True`.
    """

    def __call__(self, config: ConfigDict) -> nn.Module | None: ...


class ListFrozen(Protocol):
    """The pattern of further parameters that are not trained; empty for none."""

    def __call__(self, config: ConfigDict) -> str: ...


class LoadPretrained(Protocol):
    """The parameters with those of a file in their places, as NumPy arrays; the others as they were given."""

    def __call__(self, config: ConfigDict, params: Any) -> Any: ...


class Record(Protocol):
    """A frame, a row per example, with what a network said of them: in columns of its own, or in files beside.

    Args:
        config: of the network.
        dataset: with the examples.
        frame: index columns, the member's names, `split`, and `target` where there are labels.
        values: [n, ...], what `predict` kept.
        folder: the run folder.
    """

    def __call__(
        self, config: ConfigDict, dataset: Dataset, frame: pd.DataFrame, values: np.ndarray, folder: Path
    ) -> pd.DataFrame: ...


class Shrink(Protocol):
    """The study's own fields that make a step take less memory: `--config.FIELD=VALUE` -> what that does.

    Args:
        config: of the network.
        training: whether of a training step; one that predicts has no gradient.
    """

    def __call__(self, config: ConfigDict, training: bool) -> dict[str, str]: ...


class MeasureDepth(Protocol):
    """Voxels along the depth of the volumes that a network sees, which devices may share; 0 where it sees none."""

    def __call__(self, config: ConfigDict) -> int: ...


def single_rows(config: ConfigDict, dataset: Dataset, rows: np.ndarray, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Every row is a unit by itself."""
    return rows, np.ones(rows.shape, bool)


def softmax(config: ConfigDict) -> Callable[[Any], Any]:
    """Logits become probabilities."""
    return jax.nn.softmax


def train_everything(config: ConfigDict) -> None:
    """There is no frozen backbone."""
    return


def freeze_nothing(config: ConfigDict) -> str:
    """All parameters are trained."""
    return ""


def shrink_nothing(config: ConfigDict, training: bool) -> dict[str, str]:
    """The study has no field of its own that makes a step smaller."""
    return {}


def see_no_volumes(config: ConfigDict) -> int:
    """The network sees no volumes."""
    return 0


class Task(NamedTuple):
    """What a network learns. A study of points has no classes, no labels, and a `record` of its own."""

    source: ReadSource
    model: MakeModel
    inputs: MakeInputs
    loss: MakeLoss
    fit: Fit
    predict: MakePredict = softmax
    classes: ListClasses | None = None
    labels: ReadLabels | None = None
    units: MakeUnits = single_rows
    backbone: FindBackbone = train_everything
    frozen: ListFrozen = freeze_nothing
    pretrained: LoadPretrained | None = None
    record: Record | None = None
    shrink: Shrink = shrink_nothing
    depth: MeasureDepth = see_no_volumes


# ---- what a study is made of


class Prepare(Protocol):
    """The dataset, made once and found again.

    Raises:
        UserError: anything wrong with files, folders or settings.
    """

    def __call__(self, config: ConfigDict) -> Dataset: ...


class Split(Protocol):
    """The folds."""

    def __call__(self, config: ConfigDict, dataset: Dataset) -> list[Fold]: ...


class ComputeBaselines(Protocol):
    """What the networks are held against, on the same folds: predictions in the columns of the networks'.

    They are kept for all runs with the same dataset, folds and `baseline_fields`.
    """

    def __call__(self, config: ConfigDict, dataset: Dataset, folds: Sequence[Fold]) -> pd.DataFrame: ...


class Evaluate(Protocol):
    """Flat `name: number` of the tested rows, for `metrics.json`."""

    def __call__(self, config: ConfigDict, predictions: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, Any]: ...


class WriteTables(Protocol):
    """Write `tables/` of a finished run, from what lies in its folder alone; what to print."""

    def __call__(self, folder: Path) -> str: ...


class DrawFigures(Protocol):
    """Draw `figures/` of a finished run, from what lies in its folder alone; their paths."""

    def __call__(self, folder: Path) -> list[Path]: ...


class Decode(Protocol):
    """The predictions, and rows made of them with what the training parts know; never with the tested labels.

    Prior correction, smoothing along a night, thresholds.
    """

    def __call__(
        self,
        config: ConfigDict,
        dataset: Dataset,
        folds: Sequence[Fold],
        predictions: pd.DataFrame,
        folder: Path,
    ) -> pd.DataFrame: ...


class Explain(Protocol):
    """Write `explanations/` of a run folder, with the run's trained networks."""

    def __call__(self, config: ConfigDict, dataset: Dataset, folder: Path) -> None: ...


class ListRows(Protocol):
    """The runs that the paper's tables need, and which tables are the same in all of them.

    Fields that the user set stay as they are, but for those that make a row what it is called.
    """

    def __call__(self, config: ConfigDict) -> Rows: ...


class Compare(Protocol):
    """What to print of finished runs beside one another; writes `tables/` and `figures/` of a folder.

    Args:
        folders: row of `rows` -> its run folder.
        out: the folder.
    """

    def __call__(self, folders: Mapping[str, Path], out: Path) -> str: ...


class Apply(Protocol):
    """What a trained run says of a user's own recording, to print; writes it to a folder.

    Args:
        folder: the run folder.
        recording: the file.
        channel: to read; None is the one that the run was trained on.
        out: the folder for the results.

    Raises:
        UserError: the run isn't finished, or the recording can't be read.
    """

    def __call__(self, folder: Path, recording: Path, channel: str | None, out: Path) -> str: ...


def keep_predictions(
    config: ConfigDict, dataset: Dataset, folds: Sequence[Fold], predictions: pd.DataFrame, folder: Path
) -> pd.DataFrame:
    """Nothing is made of the predictions."""
    return predictions


def explain_nothing(config: ConfigDict, dataset: Dataset, folder: Path) -> None:
    """There is nothing to explain."""


def draw_nothing(folder: Path) -> list[Path]:
    """There is nothing to draw."""
    return []


def list_one_row(config: ConfigDict) -> Rows:
    """One run, as it is configured."""
    return Rows({"": {}})


def compare_nothing(folders: Mapping[str, Path], out: Path) -> str:
    """There is nothing to say beside the runs' own tables."""
    return ""


class Study(NamedTuple):
    """A paper's study: its task, and what a run does with it.

    baseline_fields: fields and sections of the configuration that the baselines read; None is all of it.
    bounds, choices: what the study's own fields may be; see `run.bounds`.
    """

    task: Task
    prepare: Prepare
    folds: Split
    baselines: ComputeBaselines
    evaluate: Evaluate
    tables: WriteTables
    figures: DrawFigures = draw_nothing
    decode: Decode = keep_predictions
    explain: Explain = explain_nothing
    rows: ListRows = list_one_row
    compare: Compare = compare_nothing
    apply: Apply | None = None
    baseline_fields: Sequence[str] | None = None
    bounds: Mapping[str, tuple[float, float]] = {}
    choices: Mapping[str, tuple[str, ...]] = {}

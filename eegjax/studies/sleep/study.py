"""The sleep study."""

from pathlib import Path

from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.run.study import Study
from eegjax.studies.sleep import apply as applying
from eegjax.studies.sleep import explain as explaining
from eegjax.studies.sleep.answers import calibrate
from eegjax.studies.sleep.baselines import BASELINE_FIELDS, baselines
from eegjax.studies.sleep.compare import rows
from eegjax.studies.sleep.data import classes, labels, prepare, source, units
from eegjax.studies.sleep.figures import figures
from eegjax.studies.sleep.folds import folds
from eegjax.studies.sleep.network import backbone, fit, frozen, inputs, loss, model, predict, pretrained
from eegjax.studies.sleep.numbers import evaluate
from eegjax.studies.sleep.tables import tables


def explain(config: ConfigDict, dataset: Dataset, folder: Path) -> None:
    """Write `explanations/`: sensitivity maps, activation maps, totally wrong epochs."""
    explaining.explain(config, dataset, folder, STUDY)


def apply(folder: Path, recording: Path, channel: str | None, out: Path) -> str:
    """Stage a user's own recording by a finished run."""
    return applying.apply(folder, recording, channel, out, STUDY)


STUDY = Study(
    prepare=prepare,
    folds=folds,
    classes=classes,
    labels=labels,
    source=source,
    units=units,
    fit=fit,
    model=model,
    backbone=backbone,
    frozen=frozen,
    pretrained=pretrained,
    inputs=inputs,
    loss=loss,
    predict=predict,
    calibrate=calibrate,
    baselines=baselines,
    baseline_fields=BASELINE_FIELDS,
    evaluate=evaluate,
    explain=explain,
    tables=tables,
    figures=figures,
    rows=rows,
    apply=apply,
)

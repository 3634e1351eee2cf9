"""The motor-imagery study: which movement a person imagines, from 22 EEG channels.

Shi, Shi, Liu & Li, "Recurrent neural networks and hybrid of variational autoencoder and CNN approaches on
classification of electroencephalography data", on BCI Competition IV 2a; the same models on PhysioNet's EEGMMIDB.
"""

from pathlib import Path

from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.run.study import Study
from eegjax.studies.motor_imagery import compare as motor_imagery_compare
from eegjax.studies.motor_imagery import explain as motor_imagery_explain
from eegjax.studies.motor_imagery import figures as motor_imagery_figures
from eegjax.studies.motor_imagery import numbers as motor_imagery_numbers
from eegjax.studies.motor_imagery import tables as motor_imagery_report
from eegjax.studies.motor_imagery.answers import calibrate
from eegjax.studies.motor_imagery.baselines import BASELINE_FIELDS, baselines
from eegjax.studies.motor_imagery.data import classes, labels, prepare, source, units
from eegjax.studies.motor_imagery.folds import folds
from eegjax.studies.motor_imagery.network import fit, inputs, loss, model, predict


def explain(config: ConfigDict, dataset: Dataset, folder: Path) -> None:
    """Write `explanations/`: each network's channels, and what a VAE leaves of a trial."""
    motor_imagery_explain.explain(config, dataset, folder, STUDY)


STUDY = Study(
    prepare=prepare,
    folds=folds,
    classes=classes,
    labels=labels,
    source=source,
    units=units,
    fit=fit,
    model=model,
    inputs=inputs,
    loss=loss,
    predict=predict,
    calibrate=calibrate,
    baselines=baselines,
    baseline_fields=BASELINE_FIELDS,
    evaluate=motor_imagery_numbers.evaluate,
    explain=explain,
    tables=motor_imagery_report.tables,
    figures=motor_imagery_figures.figures,
    rows=motor_imagery_compare.rows,
    gathered=motor_imagery_compare.compare,
)

"""The inverse study: where in the head a scalp voltage comes from, as points in a volume.

Kalinichenko, Kozhevnikov & Tikhonov, "3D CNNs as the solution for inverse EEG problem" (2023): V-Net and 3D U-Net on
voxels, here on heads and brain states simulated with MNE's forward models, beside the classical inverses.
"""

from eegjax.run.study import Study
from eegjax.studies.inverse import explain as inverse_explain
from eegjax.studies.inverse import figures as inverse_figures
from eegjax.studies.inverse import numbers as inverse_numbers
from eegjax.studies.inverse import tables as inverse_report
from eegjax.studies.inverse.answers import calibrate, columns
from eegjax.studies.inverse.baselines import BASELINE_FIELDS, baselines
from eegjax.studies.inverse.compare import compare, rows
from eegjax.studies.inverse.data import classes, labels, prepare, source, units
from eegjax.studies.inverse.folds import folds
from eegjax.studies.inverse.network import fit, inputs, loss, model, predict

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
    columns=columns,
    calibrate=calibrate,
    baselines=baselines,
    baseline_fields=BASELINE_FIELDS,
    evaluate=inverse_numbers.evaluate,
    explain=inverse_explain.explain,
    tables=inverse_report.tables,
    figures=inverse_figures.figures,
    rows=rows,
    gathered=compare,
)

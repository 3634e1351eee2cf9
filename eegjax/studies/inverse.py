"""The inverse study: where in the head a scalp voltage comes from, as points in a volume.

Kalinichenko, Kozhevnikov & Tikhonov, "3D CNNs as the solution for inverse EEG problem" (2023): V-Net and 3D U-Net on
voxels, here on heads and brain states simulated with MNE's forward models, beside the classical inverses.
"""

from eegjax.studies import inverse_explain, inverse_figures, inverse_numbers, inverse_report
from eegjax.studies.inverse_baselines import baselines
from eegjax.studies.inverse_compare import gathered, rows
from eegjax.studies.inverse_data import classes, folds, labels, prepare, source, units
from eegjax.studies.inverse_network import fit, inputs, loss, model, predict
from eegjax.studies.inverse_points import calibrate, columns
from eegjax.studies.study import Study

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
    evaluate=inverse_numbers.evaluate,
    explain=inverse_explain.explain,
    tables=inverse_report.tables,
    figures=inverse_figures.figures,
    rows=rows,
    gathered=gathered,
)

"""The motor-imagery study."""

from eegjax.run.study import Study
from eegjax.studies.motor_imagery.answers import decode
from eegjax.studies.motor_imagery.baselines import BASELINE_FIELDS, baselines
from eegjax.studies.motor_imagery.compare import compare, rows
from eegjax.studies.motor_imagery.config import BOUNDS, CHOICES
from eegjax.studies.motor_imagery.data import prepare
from eegjax.studies.motor_imagery.explain import explain
from eegjax.studies.motor_imagery.figures import figures
from eegjax.studies.motor_imagery.folds import folds
from eegjax.studies.motor_imagery.network import TASK
from eegjax.studies.motor_imagery.numbers import evaluate
from eegjax.studies.motor_imagery.tables import tables

STUDY = Study(
    task=TASK,
    prepare=prepare,
    folds=folds,
    decode=decode,
    baselines=baselines,
    baseline_fields=BASELINE_FIELDS,
    evaluate=evaluate,
    explain=explain,
    tables=tables,
    figures=figures,
    rows=rows,
    compare=compare,
    bounds=BOUNDS,
    choices=CHOICES,
)

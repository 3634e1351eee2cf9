"""The inverse study."""

from eegjax.run.study import Study
from eegjax.studies.inverse.answers import decode
from eegjax.studies.inverse.baselines import BASELINE_FIELDS, baselines
from eegjax.studies.inverse.compare import compare, rows
from eegjax.studies.inverse.config import BOUNDS, CHOICES
from eegjax.studies.inverse.data import prepare
from eegjax.studies.inverse.explain import explain
from eegjax.studies.inverse.figures import figures
from eegjax.studies.inverse.folds import folds
from eegjax.studies.inverse.network import TASK
from eegjax.studies.inverse.numbers import evaluate
from eegjax.studies.inverse.tables import tables

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

"""The sleep study."""

from eegjax.run.study import Study
from eegjax.studies.sleep.answers import decode
from eegjax.studies.sleep.apply import apply
from eegjax.studies.sleep.baselines import BASELINE_FIELDS, baselines
from eegjax.studies.sleep.compare import rows
from eegjax.studies.sleep.config import BOUNDS, CHOICES
from eegjax.studies.sleep.data import prepare
from eegjax.studies.sleep.explain import explain
from eegjax.studies.sleep.figures import figures
from eegjax.studies.sleep.folds import folds
from eegjax.studies.sleep.network import TASK
from eegjax.studies.sleep.numbers import evaluate
from eegjax.studies.sleep.tables import tables

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
    apply=apply,
    bounds=BOUNDS,
    choices=CHOICES,
)

"""What the motor-imagery networks have to beat, on the same folds, and a control."""

import importlib.util
from collections.abc import Sequence

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.baselines.motor_imagery import csp_lda, predict_majority, tangent_space
from eegjax.data.bci_iv_2a import simulator
from eegjax.data.dataset import Dataset
from eegjax.data.splits import Fold
from eegjax.errors import note
from eegjax.run.answers import baseline_tables
from eegjax.studies.motor_imagery.answers import among_task
from eegjax.studies.motor_imagery.data import classes, labels, trials_uv

BASELINE_FIELDS = ("data",)  # of the configuration, which they depend on
BAND_HZ = (8.0, 30.0)  # mu and beta, which imagery suppresses


def baselines(config: ConfigDict, dataset: Dataset, folds: Sequence[Fold]) -> pd.DataFrame:
    """What the networks have to beat, on the same folds; a control; in the demo also the simulator's ceiling.

    The control is CSP + LDA on what precedes the cue. Nothing there tells the class: above chance it shows a leak.
    """
    index, names, targets = dataset.index, classes(config), labels(config, dataset.index)
    eeg, before = trials_uv(config, dataset, BAND_HZ)
    there = index["control"].to_numpy() < 0
    simulated, cut = dataset.card["simulated"], dataset.card["dropped"]["cut"]
    oracle = _oracle(config, index) if simulated and not cut else None
    if simulated and cut:
        note(f"{cut} trials are cut off, and those left aren't numbered as the simulator's: no row of its ceiling")
    geometric = importlib.util.find_spec("pyriemann") is not None
    if not geometric:
        note("pyriemann isn't installed: no row of the tangent space (pip install 'eegjax[baselines]')")
    tables = []
    for fold in folds:
        train, test = fold.train, fold.test
        rows = {"csp_lda": csp_lda(eeg[train], targets[train], eeg[test], len(names))}
        if geometric:
            rows["tangent_space"] = tangent_space(eeg[train], targets[train], eeg[test], len(names))
        if there.any():
            rows["control"] = _control(before, there, targets, fold, len(names))
        if oracle is not None:
            rows["oracle"] = oracle[test]
        rows["majority"] = predict_majority(targets[train], len(test), len(names))
        tables += baseline_tables(index, fold, targets, names, rows)
    return among_task(pd.concat(tables, ignore_index=True), names)


def _control(before: np.ndarray, there: np.ndarray, targets: np.ndarray, fold: Fold, n_classes: int) -> np.ndarray:
    """[n_test, n_classes]: CSP + LDA before the cue; the classes' shares for trials with samples missing there."""
    train, test = fold.train[there[fold.train]], fold.test[there[fold.test]]
    found = predict_majority(targets[fold.train], len(fold.test), n_classes)
    if len(train) and len(test):
        found[there[fold.test]] = csp_lda(before[train], targets[train], before[test], n_classes)
    return found


def _oracle(config: ConfigDict, index: pd.DataFrame) -> np.ndarray:
    """[n, n_classes]: what one who knows the simulator says of each trial."""
    simulation, found = config.data.simulation, np.empty((len(index), len(classes(config))))
    for (subject, session), own in index.groupby(["subject", "session"]):
        counts = simulation.n_runs, simulation.n_trials_per_run
        told = simulator.oracle(simulation.seed, int(str(subject)[1:]), str(session), *counts)
        run = own["run"].astype(int).to_numpy() - 2  # the first run has no trials
        found[own.index] = told[run * simulation.n_trials_per_run + own["trial"].to_numpy()]
    return found

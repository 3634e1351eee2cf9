"""What the sleep networks have to beat, on the same folds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.baselines import sleep as baselines_sleep
from eegjax.data.dataset import Dataset
from eegjax.data.sleep_edf import simulator
from eegjax.data.splits import Fold
from eegjax.run.answers import baseline_tables
from eegjax.studies.sleep.data import SPECTROGRAM, classes, epochs_uv, labels, positions

BASELINE_FIELDS = ("data.n_classes", "data.simulation")  # of the configuration, which they depend on


def baselines(config: ConfigDict, dataset: Dataset, folds: Sequence[Fold]) -> pd.DataFrame:
    """What the network has to beat, on the same folds; in the demo also the simulator's ceiling."""
    index, names = dataset.index, classes(config)
    targets = labels(config, index)
    position = positions(index)
    recording = index["recording"].to_numpy()
    features = baselines_sleep.band_powers(epochs_uv(dataset), SPECTROGRAM.sfreq)
    tables = []
    for fold in folds:
        train, test = fold.train, fold.test
        rows = {
            "band_powers": baselines_sleep.band_power_regression(
                features[train], targets[train], features[test], len(names), balanced=False
            ),
            "majority": baselines_sleep.predict_majority(targets[train], len(test), len(names)),
        }
        if set(recording[test]) <= set(recording[train]):
            rows["nearest_label"] = baselines_sleep.predict_nearest(
                recording[train], position[train], targets[train], recording[test], position[test], len(names)
            )
        if dataset.card["simulated"]:
            rows["ceiling"] = np.eye(len(names))[_true_stages(config, index.iloc[test])]
        tables += baseline_tables(index, fold, targets, names, rows)
    return pd.concat(tables, ignore_index=True)


def _true_stages(config: ConfigDict, index: pd.DataFrame) -> np.ndarray:
    """[n] int8: what the simulated sleeper was really in; the best that anyone could say of the scorer's labels."""
    simulation = config.data.simulation
    true = np.empty(len(index), np.int8)
    for (subject, session), rows in index.groupby(["subject", "session"]).indices.items():
        number, night = int(subject.removeprefix("SC4")), int(session)
        stages = simulator.true_stages(simulation.seed, number, night, simulation.n_epochs)
        true[rows] = stages[positions(index.iloc[rows])]
    return labels(config, pd.DataFrame({"label": true}))

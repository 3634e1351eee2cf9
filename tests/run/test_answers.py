"""The tables of baselines, by hand."""

import numpy as np
import pandas as pd

from eegjax.data.splits import Fold
from eegjax.run.answers import INDEX_COLUMNS, baseline_tables, class_names


def test_a_table_per_baseline_holds_its_answers_on_the_test_part() -> None:
    index = pd.DataFrame({name: [f"{name}_{row}" for row in range(4)] for name in INDEX_COLUMNS}).assign(label=7)
    fold = Fold("f", np.array([0, 2]), np.zeros(0, int), np.array([3, 1]), np.zeros(4))
    answers = {"one": np.array([[0.9, 0.1], [0.2, 0.8]]), "other": np.array([[0.5, 0.5], [0.3, 0.7]])}
    one, other = baseline_tables(index, fold, np.array([5, 6, 7, 8]), ("right", "left"), answers)
    for table, name in ((one, "one"), (other, "other")):
        assert table[list(INDEX_COLUMNS)].equals(index[list(INDEX_COLUMNS)].iloc[[3, 1]])
        assert table.drop(columns=list(INDEX_COLUMNS)).to_dict("list") == {
            "model": [name] * 2,
            "fold": ["f"] * 2,
            "split": ["test"] * 2,
            "target": [8, 6],
            "p_right": answers[name][:, 0].tolist(),
            "p_left": answers[name][:, 1].tolist(),
        }
        assert class_names(table) == ("right", "left")

"""Every number the sleep paper derives, out of its own counts; and the tables that set ours beside it."""

import json

import numpy as np
import pytest

from eegjax.data.sleep_edf.reader import STAGES
from eegjax.evaluate.classification import balanced_one_vs_all, mean_of_defined, per_class, summarise
from eegjax.evaluate.paper_interval import compute_paper_interval
from eegjax.report.tables import write_table
from eegjax.studies.sleep.paper import (
    CONFUSIONS,
    METRICS,
    MODELS,
    SHARES,
    TABLE_3,
    TABLE_3_NIGHTS,
    TABLE_4,
    class_balanced,
    merge_stages,
    table_1,
    table_3,
    table_4,
)

OVERALL = {  # accuracy, Cohen's kappa and macro F1 of six stages and of five, computed elsewhere from the same counts
    "vgg16": ((0.7704, 0.694, 0.688), (0.802, 0.734, 0.764)),
    "vgg16_conv_lstm": ((0.7662, 0.685, 0.642), (0.808, 0.739, 0.746)),
}
BALANCED = {  # precision, sensitivity, F1, accuracy of five stages, computed elsewhere
    "vgg16": (0.935, 0.788, 0.852, 0.867),
    "vgg16_conv_lstm": (0.926, 0.760, 0.812, 0.850),
}
# scored epochs that the reference article counts, and 61 unscored ones that the paper's code makes W; N3 with N4
IMAGES = np.array([4509 + 61, 2762, 17577, 5591, 7711])


@pytest.mark.parametrize("model", MODELS)
def test_table_3_follows_from_its_counts(model):
    confusion, printed = CONFUSIONS[model], TABLE_3[model]
    classes = per_class(confusion)
    assert np.array_equal(np.round(100 * confusion / classes[["support"]].to_numpy()), printed[:, 6:12])
    assert np.array_equal(np.round(100 * classes[list(METRICS)]), printed[:, 12:])
    for counts, expected in zip((confusion, merge_stages(confusion)), OVERALL[model], strict=True):
        numbers = summarise(counts)
        found = [float(numbers[name]) for name in ("accuracy", "kappa", "macro_f1")]
        assert np.round(found, 3).tolist() == np.round(expected, 3).tolist()
    assert np.round(summarise(confusion)["accuracy"], 4) == OVERALL[model][0][0]


def test_both_models_saw_the_same_epochs():
    """The ConvLSTM's fixed batch of 32 drops the last seven epochs, all W."""
    cnn, rnn = (confusion.sum(1) for confusion in CONFUSIONS.values())
    assert (cnn - rnn).tolist() == [7, 0, 0, 0, 0, 0]
    assert cnn.sum() == 3719
    assert rnn.sum() == 3719 // 32 * 32


def test_table_3_counts_these_nights(data_root):
    """The scored stages of these three nights are those of Table 3's rows (W depends on where a night is cut)."""
    nights = json.loads((data_root / "sleep/sleep_edf_20_hypnograms/hypnograms_39_nights.json").read_text())["nights"]
    counts = [sum(nights[night].count(letter) for night in TABLE_3_NIGHTS) for letter in "1234R"]
    assert counts == CONFUSIONS["vgg16"].sum(1)[1:].tolist()


@pytest.mark.parametrize("model", MODELS)
def test_balanced_numbers(model):
    scores = balanced_one_vs_all(merge_stages(CONFUSIONS[model]))
    assert tuple(np.round([mean_of_defined(values) for values in scores.values()], 3)) == BALANCED[model]


def test_table_4_follows_from_table_3():
    """All 24 cells within what 100,000 unseeded draws leave open, and all but one to the printed digit."""
    differences = []
    for model, confusion in CONFUSIONS.items():
        classes = per_class(confusion)
        for metric, printed in zip(METRICS, TABLE_4[model], strict=True):
            published = np.array(printed.split("-"), float)
            assert 100 * np.array(compute_paper_interval(classes[metric].to_numpy())) == pytest.approx(
                published, abs=0.06
            )
            differences += (
                np.round(100 * np.array(compute_paper_interval(classes[metric].to_numpy())), 1) - published
            ).tolist()
    assert sum(abs(difference) > 0.01 for difference in differences) == 1


def test_paper_accuracy_is_one_vs_rest():
    means = [float(summarise(confusion)["mean_one_vs_rest_accuracy"]) for confusion in CONFUSIONS.values()]
    assert np.round(100 * np.array(means), 1).tolist() == [92.3, 92.2]


def test_merging_keeps_what_is_not_merged():
    merged = merge_stages(np.arange(36).reshape(6, 6))
    assert merged.shape == (5, 5)
    assert merged[0].tolist() == [0, 1, 2, 3 + 4, 5]
    assert merged[:, 0].tolist() == [0, 6, 12, 18 + 24, 30]
    assert merged[3, 3] == 21 + 22 + 27 + 28


def test_table_1():
    """The published shares are those of the reference article's counts; ours stand beside them."""
    frame, notes = table_1(IMAGES)
    assert frame["stage"].tolist() == ["W", "N1", "N2", "N3", "R"]
    assert frame["paper %"].tolist() == ["12", "7", "46", "15", "20"]
    assert np.abs(frame["paper %"].astype(int) - frame["ours %"].astype(float)).max() < 0.5
    assert "merged" in notes[-1]
    assert IMAGES.sum() == 38211
    frame, notes = table_1(SHARES)
    assert frame["ours %"].tolist() == [f"{share}.0" for share in SHARES]
    assert not any("merged" in note for note in notes)


def test_table_3_prints_the_paper_above_ours(tmp_path):
    ours = np.diag([3, 1, 1, 0, 1, 1]) + np.eye(6, k=1, dtype=int) * [[1], [0], [0], [0], [0], [0]]
    frame, notes = table_3({"vgg16_conv_lstm": CONFUSIONS["vgg16_conv_lstm"], "vgg16": ours, "lstm": ours})
    assert frame["source"].tolist() == ["paper", "ours"] * 12 + ["ours"] * 6
    assert frame["true stage"].tolist() == [stage for stage in STAGES for _ in range(2)] * 2 + list(STAGES)
    assert frame["model"].tolist() == ["RNN"] * 12 + ["CNN"] * 12 + ["lstm"] * 6
    for first in (0, 1):  # the paper's matrix given as ours prints what the paper prints
        printed = frame.iloc[first:12:2, 3:].to_numpy().astype(int)
        assert np.array_equal(printed, TABLE_3["vgg16_conv_lstm"])
    wake, nothing = frame.iloc[13], frame.iloc[19]
    assert wake[["W", "N1", "W %", "N1 %"]].tolist() == ["3", "1", "75", "25"]
    assert wake[["Pre.", "Sen.", "F1", "Acc."]].tolist() == ["100", "75", "86", "88"]
    assert nothing[["N3", "N3 %", "Pre.", "Sen."]].tolist() == ["0", "–", "–", "–"]
    assert not any("merged" in note for note in notes)
    assert "SC4182E0" in write_table(tmp_path, "table_3", frame, "Table 3", notes)


def test_table_3_merges_for_five_stages():
    frame, notes = table_3({"vgg16": np.eye(5, dtype=int)})
    assert frame["true stage"].tolist() == ["W", "W", "N1", "N1", "N2", "N2", "N3", "N3", "R", "R"]
    assert frame.iloc[6][["N3", "N3 %"]].tolist() == [str(164 + 64 + 54 + 91), "97"]
    assert "merged" in notes[-1]


def test_table_4(tmp_path):
    intervals = {"vgg16": {"f1": (0.6, 0.6543, 0.7)}}
    frame, notes = table_4({**CONFUSIONS, "lstm": np.eye(6, dtype=int)}, intervals)
    assert frame["source"].tolist() == ["paper", "paper, recomputed", "ours"] * 2 + ["ours"]
    assert frame.iloc[3, 2:6].tolist() == list(TABLE_4["vgg16_conv_lstm"]) == frame.iloc[4, 2:6].tolist()
    assert frame.iloc[1, 2:6].tolist() == frame.iloc[2, 2:6].tolist()
    assert frame["F1-score, bootstrap"].tolist() == ["", "", "60.0-65.4-70.0", "", "", "", ""]
    assert frame.iloc[6, 2] == "100.0-100.0-100.0"
    assert "65.4-67.9-70.4" in write_table(tmp_path, "table_4", frame, "Table 4", notes)
    five, notes = table_4({"vgg16": merge_stages(CONFUSIONS["vgg16"])})
    assert five["source"].tolist() == ["paper, six stages", "paper, recomputed", "ours"]
    assert five.iloc[1, 2:].tolist() == five.iloc[2, 2:].tolist() != five.iloc[0, 2:].tolist()
    assert "merged" in notes[-1]
    assert not any("Bootstrap:" in note for note in notes)


def test_class_balanced(tmp_path):
    """The article's numbers above, then the paper's matrices and ours, all in five stages."""
    ours = np.diag([10, 10, 10, 5, 5, 10])
    ours[1] = [5, 0, 5, 0, 0, 0]  # never found, and taken for W and N2
    frame, notes = class_balanced({"vgg16": CONFUSIONS["vgg16"], "vgg16_conv_lstm": ours, "lstm": merge_stages(ours)})
    cells = frame.set_index(["model", "source"])
    assert list(cells.index) == [
        ("reference article", "printed"),
        *[(model, source) for model in ("CNN", "RNN") for source in ("paper, recomputed", "ours")],
        ("lstm", "ours"),
    ]
    assert cells.loc[("reference article", "printed")].tolist() == ["0.910", "0.730", "0.810", "0.830"]
    for model, name in (("vgg16", "CNN"), ("vgg16_conv_lstm", "RNN")):
        printed = [f"{number:.3f}" for number in BALANCED[model]]
        assert cells.loc[(name, "paper, recomputed")].tolist() == printed
    assert cells.loc[("CNN", "ours")].tolist() == cells.loc[("CNN", "paper, recomputed")].tolist()
    # W and N2: found all, an eighth of the rest (half of one of four stages) falsely; N1: none found, none falsely
    precision, f1, accuracy = [8 / 9, 1, 8 / 9, 1], [16 / 17, 0, 16 / 17, 1, 1], [15 / 16, 1 / 2, 15 / 16, 1, 1]
    expected = [np.mean([*precision]), 4 / 5, np.mean(f1), np.mean(accuracy)]
    assert cells.loc[("RNN", "ours")].tolist() == [f"{number:.3f}" for number in expected]
    assert cells.loc[("lstm", "ours")].tolist() == cells.loc[("RNN", "ours")].tolist()
    assert "Vilamala" in write_table(tmp_path, "class_balanced", frame, "Class-balanced", notes)


def test_class_balanced_without_a_stage():
    """What doesn't occur is in no mean; without any stage there is nothing to say."""
    two = np.zeros((5, 5), int)
    two[0, 0], two[2, 2] = 7, 9
    frame, _ = class_balanced({"lstm": two, "none": np.zeros((5, 5), int)})
    assert frame.iloc[1, 2:].tolist() == ["1.000"] * 4
    assert frame.iloc[2, 2:].tolist() == ["–"] * 4


@pytest.mark.parametrize("table", [lambda n: table_1(np.ones(n)), lambda n: table_3({"vgg16": np.ones((n, n), int)})])
def test_refuses_other_stages(table):
    with pytest.raises(ValueError, match="4 classes; the paper has 6 stages"):
        table(4)

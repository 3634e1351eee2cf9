"""Every number of the sleep study's tables from answers made by hand, and a footnote for every quirk of the paper."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from eegjax.files import read_json, write_json
from eegjax.report.page import write_page
from eegjax.studies.sleep import tables as sleep_report
from eegjax.studies.sleep.numbers import evaluate
from eegjax.studies.sleep.paper import CONFUSIONS, quirks

SIX = ("W", "N1", "N2", "N3", "N4", "R")
FIVE = ("W", "N1", "N2", "N3", "R")
DIFFERENCE = "accuracy minus that of VGG16"
EPOCHS = {"W": 100, "N1": 50, "N2": 200, "N3": 80, "N4": 20, "R": 50}  # of the two recordings together


def answers(model: str, confusion: np.ndarray, names: tuple[str, ...], sure: float = 0.9, seed: int = 0):
    """Rows with this confusion matrix, in one night; the answer has the probability `sure`."""
    target, predicted = np.repeat(np.argwhere(confusion >= 0), confusion.ravel(), axis=0).T
    n = len(target)
    probabilities = np.full((n, len(names)), (1 - sure) / (len(names) - 1))
    probabilities[np.arange(n), predicted] = sure
    columns = {"example": np.arange(n), "onset_s": 30.0 * np.arange(n), "target": target, "seed": seed, "model": model}
    frame = pd.DataFrame({**columns, "subject": "SC400", "recording": "SC4001", "split": "test"})
    return frame.assign(**{f"p_{name}": probabilities[:, k] for k, name in enumerate(names)})


def finish(folder: Path, config, frames: list[pd.DataFrame], baselines: list[pd.DataFrame]) -> Path:
    """A run folder as far as tables need it."""
    folder.mkdir(exist_ok=True)
    predictions, others = pd.concat(frames), pd.concat(baselines)
    predictions.to_parquet(folder / "predictions.parquet")
    others.to_parquet(folder / "baselines.parquet")
    numbers = evaluate(config, predictions, others)
    about = {"simulated": False, "n_examples": int(predictions["example"].nunique()), "n_subjects": 1}
    write_json(folder / "metrics.json", numbers | about)
    halves = [{name: count // 2 for name, count in EPOCHS.items()}] * 2
    write_json(
        folder / "card.json",
        {"recordings": [{"recording": "", "subject": "SC400", "epochs": counts} for counts in halves]},
    )
    write_json(folder / "config.json", {"config": config.to_dict()})
    write_json(folder / "environment.json", {"starts": []})
    return folder


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / "tables" / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def config(configure: Callable):
    return configure("paper", "somewhere", data__n_classes=6)


@pytest.fixture(scope="module")
def published(config, tmp_path_factory) -> Path:
    """A run whose networks answer as the paper's did; one baseline is always right, one says N2."""
    truth = CONFUSIONS["vgg16"].sum(1)
    frames = [answers("vgg16", CONFUSIONS["vgg16"], SIX), answers("vgg16_conv_lstm", CONFUSIONS["vgg16"].T, SIX)]
    always = np.zeros((6, 6), int)
    always[:, 2] = truth
    baselines = [answers("ceiling", np.diag(truth), SIX, 1.0), answers("majority", always, SIX, 1.0)]
    folder = finish(tmp_path_factory.mktemp("published"), config, frames, baselines)
    (folder / "printed").write_text(sleep_report.tables(folder), encoding="utf-8")
    return folder


# ---- numbers


def test_results_are_those_of_the_answers(published: Path) -> None:
    found = {row["model"]: row for row in rows(published, "results")}
    assert list(found) == [
        *("VGG16", "VGG16 + ConvLSTM"),
        *("ceiling: the true stages against the scorer", "majority class (no EEG)"),
    ]
    first = [found["VGG16"][name].split(" ")[0] for name in ("accuracy", "Cohen's kappa", "macro F1")]
    assert first == ["0.770", "0.694", "0.688"]  # of the paper's CNN, computed elsewhere from the same counts
    assert found["VGG16"]["mean one-vs-rest accuracy"].split(" ")[0] == "0.923"
    assert found["VGG16"][DIFFERENCE] == ""
    ceiling, chance = list(found.values())[2:]
    assert ceiling["accuracy"] == "1.000 [1.000, 1.000]"
    share = CONFUSIONS["vgg16"].sum(1)[2] / CONFUSIONS["vgg16"].sum()
    assert chance["accuracy"].startswith(f"{share:.3f} [")
    assert chance["Cohen's kappa"].startswith("0.000 [")
    right = np.trace(CONFUSIONS["vgg16"]) / CONFUSIONS["vgg16"].sum()
    assert ceiling[DIFFERENCE].startswith(f"{1 - right:+.3f} [+")
    assert ceiling[DIFFERENCE].endswith("] significantly better")
    assert chance[DIFFERENCE].startswith(f"{share - right:+.3f} [-")
    assert chance[DIFFERENCE].endswith("] significantly worse")
    for row in found.values():
        value, low, high = (float(text.strip("[],")) for text in row["accuracy"].split(" "))
        assert low <= value <= high


def test_a_difference_that_is_none_is_none(published: Path) -> None:
    """The transposed matrix has the same accuracy."""
    row = rows(published, "results")[1]
    assert row["accuracy"].startswith("0.770")
    assert row[DIFFERENCE].startswith("+0.000 [-")
    assert row[DIFFERENCE].endswith("] no significant difference")


def test_classes_are_rows_of_the_confusion_matrix(published: Path) -> None:
    confusion = CONFUSIONS["vgg16"]
    frame = answers("vgg16", confusion, SIX)
    predicted = frame[[f"p_{name}" for name in SIX]].to_numpy().argmax(1)
    scores = sk.precision_recall_fscore_support(frame["target"], predicted)
    for k, row in enumerate(rows(published, "classes_vgg16")):
        assert [row["true stage"], row["epochs"]] == [SIX[k], str(confusion[k].sum())]
        assert [int(row[f"as {name}"]) for name in SIX] == confusion[k].tolist()
        assert [row[name] for name in ("precision", "sensitivity", "F1")] == [f"{score[k]:.3f}" for score in scores[:3]]
        agree = ((frame["target"] == k) == (predicted == k)).mean()
        assert row["one-vs-rest accuracy"] == f"{agree:.3f}"
    assert [row["epochs"] for row in rows(published, "classes_vgg16_conv_lstm")] == [*map(str, confusion.sum(0))]


def test_paper_s_numbers_given_as_ours_print_what_the_paper_prints(published: Path) -> None:
    for name, source in (("paper_table_3", "paper"), ("paper_table_4", "paper, recomputed")):
        pairs = [[row for row in rows(published, name) if row["source"] == one] for one in (source, "ours")]
        assert len(pairs[0]) == len(pairs[1])
        for printed, ours in zip(*pairs, strict=True):
            if printed["model"] == "CNN":
                names = set(printed) - {"source"} - {column for column in printed if "bootstrap" in column}
                assert {column: ours[column] for column in names} == {column: printed[column] for column in names}
    balanced = {(row["model"], row["source"]): row for row in rows(published, "class_balanced")}
    ours = balanced["CNN", "ours"]
    shares = [ours[name] for name in ("precision", "sensitivity", "F1", "accuracy")]
    assert shares == ["0.935", "0.788", "0.852", "0.867"]  # computed elsewhere
    assert balanced["CNN", "paper, recomputed"] | {"source": "ours"} == ours


def test_table_4_has_the_bootstrap_of_the_run(published: Path) -> None:
    numbers = read_json(published / "metrics.json")
    by_model = {row["model"]: row for row in rows(published, "paper_table_4") if row["source"] == "ours"}
    for model, prefix in (("CNN", ""), ("RNN", "vgg16_conv_lstm_")):
        for column, metric in (
            ("Precision", "macro_precision"),
            ("Sensitivity", "balanced_accuracy"),
            ("F1-score", "macro_f1"),
            ("Accuracy", "mean_one_vs_rest_accuracy"),
        ):
            ends = [f"{100 * numbers[f'{prefix}{metric}{end}']:.1f}" for end in ("_low", "", "_high")]
            assert by_model[model][f"{column}, bootstrap"] == "-".join(ends)


def test_table_1_counts_all_epochs_of_the_recordings(published: Path) -> None:
    found = {row["stage"]: row["ours %"] for row in rows(published, "paper_table_1")}
    assert found == {name: f"{100 * count / sum(EPOCHS.values()):.1f}" for name, count in EPOCHS.items()}


def test_probabilities_are_scored_where_there_are_any(published: Path, config) -> None:
    numbers = read_json(published / "metrics.json")
    frame = answers("vgg16", CONFUSIONS["vgg16"], SIX)
    probabilities = frame[[f"p_{name}" for name in SIX]].to_numpy()
    right = np.trace(CONFUSIONS["vgg16"]) / len(frame)
    assert numbers["log_loss"] == pytest.approx(sk.log_loss(frame["target"], probabilities))
    wrong = 0.9**2 + (1 - 0.02) ** 2 + 4 * 0.02**2  # of a wrong answer; a right one: .1² and five of .02²
    assert numbers["brier"] == pytest.approx(right * (0.1**2 + 5 * 0.02**2) + (1 - right) * wrong)
    assert numbers["calibration_error"] == pytest.approx(0.9 - right)  # all in one bin
    assert not {"ceiling_log_loss", "majority_brier", "majority_calibration_error"} & set(numbers)  # certain of all
    assert {f"sensitivity_{name}" for name in SIX} <= set(numbers)
    assert numbers["sensitivity_N4"] == pytest.approx(91 / 145)


def test_seeds_are_averaged_in_numbers_and_summed_in_classes(config, tmp_path: Path) -> None:
    right, wrong = np.diag([20] * 6), np.roll(np.diag([20] * 6), 1, 1)
    frames = [answers("vgg16", matrix, SIX, seed=seed) for seed, matrix in enumerate((right, right, wrong))]
    folder = finish(tmp_path / "run", config, frames, [answers("majority", right, SIX, 1.0)])
    sleep_report.tables(folder)
    assert read_json(folder / "metrics.json")["accuracy"] == pytest.approx(2 / 3)
    row = rows(folder, "classes_vgg16")[0]
    assert [row["epochs"], row["as W"], row["as N1"], row["sensitivity"]] == ["60", "40", "20", "0.667"]


# ---- what isn't there


def test_a_stage_that_does_not_occur_has_no_numbers(config, tmp_path: Path) -> None:
    confusion = np.diag([30, 12, 40, 5, 0, 20])
    folder = finish(tmp_path / "run", config, [answers("vgg16", confusion, SIX)], [answers("majority", confusion, SIX)])
    text = sleep_report.tables(folder)
    found = {row["true stage"]: row for row in rows(folder, "classes_vgg16")}
    for stage in ("N3", "N4"):  # 5 and none
        assert {found[stage][name] for name in ("precision", "sensitivity", "F1")} == {"too few"}
    assert found["N1"]["precision"] == "1.000"
    assert "'too few': under 10 test epochs, numbers left out." in text
    assert "nan" not in text.lower()
    numbers = read_json(folder / "metrics.json")
    assert numbers["sensitivity_N4"] is None
    assert numbers["accuracy"] == numbers["kappa"] == numbers["macro_f1"] == 1
    last = [row for row in rows(folder, "paper_table_3") if row["source"] == "ours"][4]
    assert [last[name] for name in ("true stage", "N4", "N4 %", "Sen.")] == ["N4", "0", "–", "–"]


def test_a_number_that_is_undefined_is_a_dash(config, tmp_path: Path) -> None:
    """One stage only: chance agrees always, and kappa is nothing; the page shows it, too."""
    confusion = np.diag([30, 0, 0, 0, 0, 0])
    folder = finish(tmp_path / "run", config, [answers("vgg16", confusion, SIX)], [answers("majority", confusion, SIX)])
    sleep_report.tables(folder)
    assert read_json(folder / "metrics.json")["kappa"] is None
    row = rows(folder, "results")[0]
    assert (row["accuracy"], row["Cohen's kappa"]) == ("1.000 [1.000, 1.000]", "– [–, –]")
    assert "<dt>kappa</dt><dd><b>–</b> [–, –]</dd>" in write_page(folder, "Run").read_text(encoding="utf-8")


def test_five_stages_stand_beside_the_paper_s_merged(configure, tmp_path: Path) -> None:
    config = configure("standard", "somewhere")
    confusion = np.diag([30, 12, 40, 15, 20])
    folder = finish(
        tmp_path / "run", config, [answers("vgg16", confusion, FIVE)], [answers("majority", confusion, FIVE)]
    )
    text = sleep_report.tables(folder)
    assert "The paper's N3 and N4 are merged into N3" in text
    table = rows(folder, "paper_table_3")
    assert [row["true stage"] for row in table] == [name for name in FIVE for _ in range(2)]
    assert [row["N3"] for row in table if row["true stage"] == "N3"] == [str(164 + 64 + 54 + 91), "15"]
    assert [row["true stage"] for row in rows(folder, "classes_vgg16")] == list(FIVE)
    assert "Ours: standard protocol." in text


def test_a_network_that_the_paper_has_not(configure, tmp_path: Path) -> None:
    config = configure("standard", "somewhere", model__name="lstm", model__beside=())
    confusion = np.diag([30, 12, 40, 15, 20])
    folder = finish(
        tmp_path / "run", config, [answers("lstm", confusion, FIVE)], [answers("majority", confusion, FIVE)]
    )
    assert "LSTM on the raw signal" in sleep_report.tables(folder)
    assert {path.stem for path in (folder / "tables").iterdir()} == {"results", "classes_lstm", "paper_table_1"}


def test_what_was_made_of_answers_has_a_row_and_no_table_of_its_own(config, tmp_path: Path) -> None:
    confusion = np.diag([30, 12, 40, 15, 12, 20])
    names = ("vgg16", "vgg16_prior", "vgg16_viterbi")
    frames = [answers(name, confusion, SIX, 1.0 if name == "vgg16_viterbi" else 0.9) for name in names]
    folder = finish(tmp_path / "run", config, frames, [answers("majority", confusion, SIX, 1.0)])
    sleep_report.tables(folder)
    titles = [row["model"] for row in rows(folder, "results")]
    assert titles[:3] == ["VGG16", "VGG16, prior-corrected", "VGG16, Viterbi-smoothed"]
    assert [path.stem for path in (folder / "tables").glob("classes_*.md")] == ["classes_vgg16"]
    assert {row["model"] for row in rows(folder, "paper_table_3")} == {"CNN"}


def test_answers_without_the_last_batch_are_compared_on_the_others(config, tmp_path: Path) -> None:
    """The paper's code drops it; the baselines have it."""
    confusion = np.diag([30, 12, 40, 15, 12, 20])
    whole = answers("vgg16", confusion, SIX)
    always = whole.assign(model="majority", target=whole["target"])
    always.loc[always["example"] < 120, [f"p_{name}" for name in SIX]] = np.eye(6)[2]
    folder = finish(tmp_path / "run", config, [whole[whole["example"] < 120]], [always])
    numbers = read_json(folder / "metrics.json")
    assert numbers["majority_accuracy"] == pytest.approx(40 / 120)
    assert numbers["difference_to_majority"] == pytest.approx(80 / 120)
    assert math.isclose(numbers["accuracy"], 1)


# ---- quirks


QUIRKS = [  # section 2 of the notes, column P: words of its footnote, and the field without it
    ("undersampling", {"train.balance": "none"}),
    ("150 s", {"data.context_epochs": 0}),
    ("lights off", {"data.crop": "sleep"}),
    ("Unscored epochs and movement count as W", {"data.unscored": "drop"}),
    ("saturate", {"data.saturate": False}),
    ("0..255", {"inputs.scale": "standard"}),
    ("All layers are trained", {"model.trainable": "fc"}),
    ("nothing recurs", {"model.sequence_epochs": 8}),
    ("Dropout stays on at test", {"test.dropout": False}),
    ("partial batch", {"test.whole_batches": False}),
    ("L2 penalty", {"train.weight_decay": 5e-4}),
    ("first fold", {"splits.n_first": 0}),
    ("lowest validation loss", {"splits.n_validation_subjects": 0}),
    ("Six stages", {"data.n_classes": 5}),
]


@pytest.mark.parametrize(("words", "without"), QUIRKS)
def test_each_quirk_of_the_paper_has_a_footnote(configure, words: str, without: dict) -> None:
    config = configure("paper", "somewhere")
    assert sum(words in note for note in quirks(config)) == 1
    config.unlock()
    config.update_from_flattened_dict(without)
    assert not any(words in note for note in quirks(config))


def test_no_footnote_without_its_quirk(configure) -> None:
    assert len(quirks(configure("paper", "somewhere"))) == len(QUIRKS)
    with_weights = quirks(configure("paper", "somewhere", model__weights="vgg16.pth"))
    assert len(with_weights) == len(QUIRKS) + 1  # its first kernel is rescaled
    for fields in ({}, {"data__context_epochs": 2}, {"data__n_classes": 6}):
        assert quirks(configure("standard", "somewhere", **fields)) == []
    assert quirks(configure("demo")) == []
    (causal,) = quirks(configure("standard", "somewhere", data__context_epochs=2, data__causal=True))
    assert "before the current epoch only" in causal


def test_footnotes_stand_below_the_results_and_the_paper_s_tables(published: Path, config) -> None:
    for name in ("results", "paper_table_1", "paper_table_3", "paper_table_4", "class_balanced"):
        text = (published / "tables" / f"{name}.md").read_text(encoding="utf-8")
        assert text in (published / "printed").read_text(encoding="utf-8")
        for note in quirks(config):
            assert f"- {note}" in text
    assert "what the paper calls accuracy" in (published / "tables" / "results.md").read_text(encoding="utf-8")

"""The motor-imagery study's numbers and tables, of answers made by hand, against scikit-learn, SciPy, the report."""

import csv
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict
from scipy import stats
from sklearn import metrics as sk

from eegjax import cli
from eegjax.data.dataset import Dataset
from eegjax.files import read_json, write_json
from eegjax.run import bounds
from eegjax.studies.motor_imagery import compare as motor_imagery_compare
from eegjax.studies.motor_imagery import network as motor_imagery_network
from eegjax.studies.motor_imagery import tables as motor_imagery_report
from eegjax.studies.motor_imagery.compare import COMPARISONS, compare, rows
from eegjax.studies.motor_imagery.config import BOUNDS, CHOICES
from eegjax.studies.motor_imagery.folds import TASKS
from eegjax.studies.motor_imagery.numbers import evaluate, paired
from eegjax.studies.motor_imagery.paper import architectures, quirks
from eegjax.studies.motor_imagery.tables import verdict

ROOT = Path(__file__).parents[3]
FOUR = ("left_hand", "right_hand", "feet", "tongue")
FISTS = ("left_fist", "right_fist", "both_fists", "both_feet")
PROTOCOLS = ("demo", "standard", "paper")


def configure(argument: str, **fields: Any) -> ConfigDict:
    """A configuration; `a__b` stands for `a.b`."""
    config = cli.configure(f"{ROOT}/configs/motor_imagery.py:{argument}", ["main.py"])
    with config.unlocked():
        config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return config


def answers(
    model: str,
    right: dict[str, str],
    task: str = "four",
    fold: str = "T-E",
    seed: int = 0,
    split: str = "test",
    classes: tuple[str, ...] = FOUR,
) -> pd.DataFrame:
    """Rows of one model: of each subject its trials in turn, classes in turn, "1" where it is right.

    Where it is wrong it says the next class of the task. Examples, starts and classes are the same in all calls.
    """
    inside, frames = TASKS[task], []
    for number, (subject, hits) in enumerate(right.items()):
        place = np.arange(len(hits))
        target = np.array(inside)[place % len(inside)]
        wrong = np.array(inside)[(place + 1) % len(inside)]
        said = np.where(np.array(list(hits)) == "1", target, wrong)
        columns = {"example": 1000 * number + place, "start": 5000 * number + 100 * place, "target": target}
        columns |= {f"p_{name}": np.where(said == k, 0.7, 0.3 / (len(inside) - 1)) for k, name in enumerate(classes)}
        named = {"subject": subject, "session": "E", "recording": f"{subject}E", "onset_s": 8.0 * place}
        frames.append(pd.DataFrame({**columns, **named, "fold": f"{task} {subject} {fold}"}))
    frame = pd.concat(frames, ignore_index=True)
    outside = [f"p_{name}" for k, name in enumerate(classes) if k not in inside]
    frame = frame.assign(model=model, split=split, seed=seed, member=0, stop=frame["start"] + 50)
    return frame.assign(**dict.fromkeys(outside, 0.0))


def finish(folder: Path, config: ConfigDict, frames: list[pd.DataFrame], baselines: list[pd.DataFrame] = ()) -> Path:
    """A run folder as far as tables need it; without baselines one that answers as the first network."""
    folder.mkdir(exist_ok=True)
    predictions = pd.concat(frames, ignore_index=True)
    first = predictions[(predictions["model"] == frames[0]["model"].iloc[0]) & (predictions["split"] == "test")]
    baselines = baselines or [first.drop_duplicates(["example", "fold"]).assign(model="majority")]
    others = pd.concat(baselines, ignore_index=True).drop(columns=["seed", "member"])
    predictions.to_parquet(folder / "predictions.parquet")
    others.to_parquet(folder / "baselines.parquet")
    about = {"simulated": config.protocol == "demo", "n_examples": 0, "n_subjects": 0}
    write_json(folder / "metrics.json", evaluate(config, predictions, others) | about)
    write_json(folder / "card.json", {"dropped": {"artifact": 12, "nan": 0, "cut": 1}})
    write_json(folder / "config.json", {"config": config.to_dict()})
    return folder


def table(folder: Path, name: str) -> list[dict[str, str]]:
    lines = (folder / "tables" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("# SIMULATED")))


def by_model(folder: Path, name: str = "results_four") -> dict[str, dict[str, str]]:
    return {row["model"]: row for row in table(folder, name)}


def notes(folder: Path, name: str) -> list[str]:
    text = (folder / "tables" / f"{name}.md").read_text(encoding="utf-8")
    return re.findall("(?m)^- (.*)$", text)


def share(hits: str) -> float:
    return hits.count("1") / len(hits)


def kappa(frame: pd.DataFrame, classes: tuple[str, ...] = FOUR) -> dict[str, float]:
    said = frame[[f"p_{name}" for name in classes]].to_numpy().argmax(1)
    frame = frame.assign(said=said)
    return {subject: sk.cohen_kappa_score(own["target"], own["said"]) for subject, own in frame.groupby("subject")}


def random_hits(subjects: int, n_trials: int, chance: float, seed: int) -> dict[str, str]:
    rng = np.random.default_rng(seed)
    return {f"A{k + 1:02d}": "".join(str(int(hit)) for hit in rng.random(n_trials) < chance) for k in range(subjects)}


# ---- results of a run

SEVEN = random_hits(7, 24, 0.7, 0)
WORSE = {subject: hits[:-6] + "010000" for subject, hits in SEVEN.items()}
OTHER = random_hits(7, 24, 0.68, 1)


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven subjects, three networks, two baselines."""
    frames = [answers("eegnet", SEVEN), answers("conv_net", WORSE), answers("shallow", OTHER)]
    some = dict.fromkeys(SEVEN, "01" * 12)
    baselines = [answers("csp_lda", OTHER), answers("majority", some)]
    folder = finish(tmp_path_factory.mktemp("seven"), configure("standard"), frames, baselines)
    (folder / "printed").write_text(motor_imagery_report.tables(folder), encoding="utf-8")
    return folder


def test_accuracy_per_subject_and_over_subjects(seven: Path) -> None:
    found = by_model(seven)
    titles = ["EEGNet", "ConvNet", "ShallowConvNet", "CSP + LDA", "commonest class"]
    assert list(found) == [*titles, "guessing, and what it reaches"]
    for title, hits in zip(titles[:3], (SEVEN, WORSE, OTHER), strict=True):
        shares = {subject: share(text) for subject, text in hits.items()}
        assert {subject: found[title][subject] for subject in hits} == {s: f"{x:.3f}" for s, x in shares.items()}
        mean, sd = np.mean([*shares.values()]), np.std([*shares.values()], ddof=1)
        assert found[title]["accuracy, mean ± sd"] == f"{mean:.3f} ± {sd:.3f}"
        of_all = np.mean([hit == "1" for text in hits.values() for hit in text])
        value, low, high = (float(text.strip("[],")) for text in found[title]["accuracy of all trials"].split(" "))
        assert value == pytest.approx(of_all, abs=5e-4)
        assert low < value < high


def test_kappa_is_scikit_learn_s(seven: Path) -> None:
    for title, hits in (("EEGNet", SEVEN), ("ConvNet", WORSE), ("CSP + LDA", OTHER)):
        values = [*kappa(answers("x", hits)).values()]
        expected = f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
        assert by_model(seven)[title]["kappa, mean ± sd"] == expected


def test_guessing_is_binomial(seven: Path) -> None:
    row = by_model(seven)["guessing, and what it reaches"]
    reach = [stats.binom.ppf(0.95, n, 0.25) / n for n in (24, 7 * 24)]
    assert {row[subject] for subject in SEVEN} == {f"{reach[0]:.3f}"}
    assert row["accuracy of all trials"] == f"0.250 (reaches {reach[1]:.3f})"
    assert (row["accuracy, mean ± sd"], row["kappa, mean ± sd"], row["p"]) == ("0.250", "0.000", "")


def flipped(differences: np.ndarray) -> float:
    """SciPy's p of all flips of signs; zeros have none."""
    differences = differences[differences != 0]
    assert len(differences) <= 16  # of more, flips are drawn
    if len(differences) < 2:  # which SciPy refuses
        return 1.0
    test = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    return float(test.pvalue)


def test_p_is_that_of_all_flips_over_subjects(seven: Path) -> None:
    found = by_model(seven)
    assert found["EEGNet"]["p"] == ""
    for title, hits in (("ConvNet", WORSE), ("ShallowConvNet", OTHER)):
        p = flipped(np.array([share(SEVEN[name]) - share(hits[name]) for name in SEVEN]))
        assert found[title]["p"].split(" ")[0] == f"{p:.3f}"
    assert found["ConvNet"]["p"].endswith(" worse")
    assert found["ShallowConvNet"]["p"] == found["CSP + LDA"]["p"]
    assert float(found["ShallowConvNet"]["p"]) > 0.05
    assert any(note.startswith("p: of the accuracies' differences to EEGNet, paired by subject") for note in
               notes(seven, "results_four"))  # fmt: skip


def test_p_of_few_subjects_is_over_trials(tmp_path: Path) -> None:
    """Of those that are answered differently; averaged over seeds."""
    first, other = {"A01": "111100", "A02": "111011"}, {"A01": "100100", "A02": "010101"}
    again = {"A01": "011100", "A02": "111010"}
    frames = [answers("eegnet", first), answers("eegnet", again, seed=1)]
    frames += [answers("conv_net", other, seed=seed) for seed in (0, 1)]
    folder = finish(tmp_path, configure("standard"), frames)
    hits = [np.array(list("".join(text.values())), float) for text in (first, again, other)]
    difference = (hits[0] + hits[1]) / 2 - hits[2]
    metrics = read_json(folder / "metrics.json")
    assert metrics["difference_to_conv_net_paired"] == pytest.approx(difference.mean())
    assert metrics["difference_to_conv_net_p"] == pytest.approx(flipped(difference))
    motor_imagery_report.tables(folder)
    assert by_model(folder)["ConvNet"]["p"] == f"{flipped(difference):.3f}"
    assert any("paired by trial" in note for note in notes(folder, "results_four"))


@pytest.mark.parametrize(
    ("difference", "p", "text"),
    [
        *((0.1, 0.049, "0.049 worse"), (-0.1, 0.049, "0.049 better"), (0.1, 0.05, "0.050"), (-0.1, 0.7, "0.700")),
        *((0.2, 1e-4, "<0.001 worse"), (0.0, 1.0, "1.000"), (np.nan, np.nan, "–")),
    ],
)
def test_better_or_worse_only_below_one_in_twenty(difference: float, p: float, text: str) -> None:
    assert verdict(difference, p) == text


def test_trials_that_only_one_was_tested_on_don_t_count() -> None:
    first, other = answers("a", {"A01": "1111"}), answers("b", {"A01": "00"})
    assert paired(first, other) == pytest.approx((1.0, flipped(np.ones(2))))
    assert paired(first, other.assign(recording="A01T")) == pytest.approx((np.nan, np.nan), nan_ok=True)


def test_all_are_scored_on_what_all_were_tested_on(tmp_path: Path) -> None:
    """A network may leave out its last batch."""
    frames = [answers("eegnet", {"A01": "11000011"}), answers("conv_net", {"A01": "110000"})]
    folder = finish(tmp_path, configure("standard"), frames)
    motor_imagery_report.tables(folder)
    assert {row["A01"] for row in table(folder, "results_four")[:2]} == {"0.333"}
    assert "tested on 6 trials of 1 subject(s)" in (folder / "tables" / "results_four.md").read_text(encoding="utf-8")


def test_several_seeds_have_a_deviation(seven: Path, tmp_path: Path) -> None:
    runs = [random_hits(3, 12, chance, seed) for seed, chance in enumerate((0.5, 0.7, 0.9))]
    frames = [answers("eegnet", hits, seed=seed) for seed, hits in enumerate(runs)]
    folder = finish(tmp_path, configure("standard"), [*frames, answers("conv_net", runs[0])])
    motor_imagery_report.tables(folder)
    found, shares = by_model(folder), np.array([[share(text) for text in hits.values()] for hits in runs])
    assert found["EEGNet"]["A02"] == f"{shares.mean(0)[1]:.3f}"
    assert found["EEGNet"]["sd over seeds"] == f"{np.std(shares.mean(1), ddof=1):.3f}"
    assert found["ConvNet"]["sd over seeds"] == found["commonest class"]["sd over seeds"] == "–"
    assert "sd over seeds" not in table(seven, "results_four")[0]


def test_trials_that_are_tested_in_every_fold_are_no_seeds(tmp_path: Path) -> None:
    """Fresh networks of pooled folds share one test part."""
    config = configure("paper", train__reuse_params_across_folds=False)
    runs = [random_hits(2, 12, 0.6, seed) for seed in range(3)]
    frames = [answers("conv_net", hits, fold=f"pooled {k}") for k, hits in enumerate(runs)]
    folder = finish(tmp_path, config, frames)
    motor_imagery_report.tables(folder)
    assert by_model(folder)["ConvNet"]["A01"] == f"{np.mean([share(hits['A01']) for hits in runs]):.3f}"
    assert "sd over seeds" not in by_model(folder)["ConvNet"]


def test_a_network_through_all_folds_has_its_last_fold_s_numbers(tmp_path: Path) -> None:
    runs = [random_hits(2, 12, 0.6, seed) for seed in range(4)]
    assert configure("paper").train.reuse_params_across_folds
    frames = [
        answers("conv_net", runs[number], split=split).assign(fold=f"four pooled {k}")
        for k in range(2)
        for split, number in (("validation", k), ("train", 2 - k), ("test", 3 - k))
    ]
    folder = finish(tmp_path, configure("paper"), frames)
    motor_imagery_report.tables(folder)
    (row,) = (row for row in table(folder, "paper_performance") if row["source"] == "ours")
    expected = [100 * share("".join(runs[k].values())) for k in (1, 1, 2)]
    found = [row[f"{part} %"] for part in ("training", "validation", "testing")]
    assert found == [f"{percent:.2f}" for percent in expected]


def test_subjects_stand_in_a_file_of_their_own(seven: Path) -> None:
    found = pd.read_csv(seven / "tables" / "subjects_four.csv")
    assert list(found["model"].unique()) == ["eegnet", "conv_net", "shallow", "csp_lda", "majority"]
    for model, hits in (("eegnet", SEVEN), ("conv_net", WORSE)):
        own = found[found["model"] == model].set_index("subject")
        assert own["accuracy"].to_dict() == pytest.approx({subject: share(text) for subject, text in hits.items()})
        assert own["kappa"].to_dict() == pytest.approx(kappa(answers(model, hits)))
        assert set(own["n_trials"]) == {24}


def test_many_subjects_have_no_columns(tmp_path: Path) -> None:
    folder = finish(tmp_path, configure("standard"), [answers("eegnet", random_hits(10, 8, 0.5, 0))])
    motor_imagery_report.tables(folder)
    assert not [column for column in table(folder, "results_four")[0] if column.startswith("A0")]
    assert "The 10 subjects stand in subjects_four.csv." in notes(folder, "results_four")


def test_a_single_subject_has_no_deviation(tmp_path: Path) -> None:
    folder = finish(tmp_path, configure("standard"), [answers("eegnet", {"A01": "11110000"})])
    motor_imagery_report.tables(folder)
    assert by_model(folder)["EEGNet"]["accuracy, mean ± sd"] == "0.500"


def test_trials_left_out_are_said(seven: Path) -> None:
    assert "Trials left out: 12 marked as artifacts, 1 cut off by a recording's end." in notes(seven, "results_four")


@pytest.mark.parametrize("simulated", [False, True])
def test_simulated_tables_are_stamped(tmp_path: Path, simulated: bool) -> None:
    config = configure("demo" if simulated else "standard")
    folder = finish(tmp_path, config, [answers("eegnet", {"A01": "1100"}), answers("conv_net", {"A01": "1100"})])
    printed = motor_imagery_report.tables(folder)
    files = [path for path in (folder / "tables").iterdir() if path.suffix != ".tex"]
    assert len(files) > 6
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert ("SIMULATED DATA" in text) == simulated
        assert path.suffix != ".md" or text in printed


# ---- tasks


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, str]]]:
    """EEGMMIDB: four classes and both binary tasks."""
    hits = {task: random_hits(2, 16, 0.8, seed) for seed, task in enumerate(TASKS)}
    frames = [answers("eegnet", right, task, "run", classes=FISTS) for task, right in hits.items()]
    baselines = [answers("majority", dict.fromkeys(hits[task], "10" * 8), task, classes=FISTS) for task in TASKS]
    folder = finish(tmp_path_factory.mktemp("tasks"), configure("standard,dataset=eegmmidb"), frames, baselines)
    (folder / "printed").write_text(motor_imagery_report.tables(folder), encoding="utf-8")
    return folder, hits


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_scored_among_its_classes(tasks, task: str) -> None:
    folder, hits = tasks
    found, n_classes = by_model(folder, f"results_{task}"), len(TASKS[task])
    mean = np.mean([share(text) for text in hits[task].values()])
    assert found["EEGNet"]["accuracy, mean ± sd"].startswith(f"{mean:.3f} ± ")
    values = [*kappa(answers("x", hits[task], task, classes=FISTS), FISTS).values()]
    assert found["EEGNet"]["kappa, mean ± sd"] == f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert found["guessing, and what it reaches"]["accuracy, mean ± sd"] == f"{1 / n_classes:.3f}"
    metrics, prefix = read_json(folder / "metrics.json"), "" if task == "four" else f"{task}_"
    assert metrics[f"{prefix}accuracy_mean"] == pytest.approx(mean)
    assert metrics[f"{prefix}chance"] == 1 / n_classes
    ours = [text for text in notes(folder, f"results_{task}") if "pair of classes" in text]
    assert len(ours) == (task == "four")


def test_confusion_counts_a_task_s_classes(tasks) -> None:
    folder, hits = tasks
    run = motor_imagery_report.Finished(folder)
    for task in TASKS:
        frame = answers("x", hits[task], task, classes=FISTS)
        names = [f"p_{FISTS[number]}" for number in TASKS[task]]
        said = frame[names].to_numpy().argmax(1)
        expected = sk.confusion_matrix(frame["target"] - TASKS[task][0], said)
        assert run.confusion(task, "eegnet").tolist() == expected.tolist()


# ---- the control


@pytest.mark.parametrize(("hits", "warned"), [("1000" * 5, False), ("1110" * 5, True)])
def test_a_control_above_chance_is_a_warning(tmp_path: Path, hits: str, warned: bool) -> None:
    right = {"A01": "1" * 20, "A02": "1" * 20}
    control = answers("control", {"A01": hits, "A02": "1000" * 5})
    folder = finish(tmp_path, configure("standard"), [answers("eegnet", right)], [control])
    motor_imagery_report.tables(folder)
    found = [note for note in notes(folder, "results_four") if note.startswith("WARNING")]
    assert len(found) == warned
    if warned:
        assert "with an accuracy of 0.500" in found[0]
        assert f"guessing reaches {stats.binom.ppf(0.95, 40, 0.25) / 40:.3f}" in found[0]
        assert "in 1 of 2 subject(s)" in found[0]


# ---- the report's tables


def test_performance_stands_below_the_report_s(tmp_path: Path) -> None:
    config = configure("paper", model__beside=("cnn_lstm",), train__reuse_params_across_folds=False)
    hits = {"A01": "1110", "A02": "1010"}
    frames = [answers(name, hits) for name in ("conv_net", "cnn_lstm")]
    frames.append(answers("cnn_lstm", {"A01": "1111", "A02": "1110"}, split="train"))
    folder = finish(tmp_path, config, frames)
    motor_imagery_report.tables(folder)
    cells = [tuple(row.values()) for row in table(folder, "paper_performance")]
    assert cells == [
        ("CNN", "paper", "89.70", "91.40", "65.00"),
        ("CNN", "ours", "–", "–", "62.50"),
        ("CNN+LSTM", "paper", "81.85", "81.56", "61.40"),
        ("CNN+LSTM", "ours", "87.50", "–", "62.50"),
    ]
    text = " ".join(notes(folder, "paper_performance"))
    assert "63 % and 60 %" in text
    assert "2115" in text
    assert "443" in text
    assert "tested on 8 trials of 2 subject(s)" in text
    assert "CNN+LSTM: Weights decay" not in text  # the configuration is the ConvNet's: no decay


def test_a_network_that_the_report_lacks_has_no_performance(tmp_path: Path) -> None:
    folder = finish(tmp_path, configure("standard,model=eegnet"), [answers("eegnet", {"A01": "1100"})])
    motor_imagery_report.tables(folder)
    assert not list((folder / "tables").glob("paper_*"))


SHAPES = {  # by the notes on the report: valid convolutions, pools of 6 every 3 samples
    "paper_table_1": [
        *["981 x 22 x 25"] * 3,
        *["981 x 25"] * 3,
        *["326 x 25"] * 2,
        *(text for size in (("307 x 50", "101 x 50"), ("82 x 100", "26 x 100"), ("7 x 200", "1 x 200"))
          for text in [size[0]] * 3 + [size[1]] * 2),
        "4",
    ],
    "paper_table_2": ["2000", "2000", "20", "20", "20", "2000", "2000", "22000"],
    "paper_table_3": [*["246 x 40"] * 4, "61 x 40", *["61 x 128"] * 4, "64", "4"],
}  # fmt: skip
TOTALS = {
    "paper_table_1": {"parameters": 541_254},
    "paper_table_2": {"parameters": 88_146_040},
    "paper_table_3": {"parameters, LSTM": 770_940, "parameters, GRU": 707_708, "parameters, RNN": 581_244},
}


@pytest.mark.parametrize("name", TOTALS)
def test_layers_have_the_report_s_shapes_and_counts(name: str) -> None:
    _, frame, footnotes = architectures(["vae_conv_net", "cnn_lstm"])[name]
    assert frame["output"].tolist() == [*SHAPES[name], ""]
    for column, total in TOTALS[name].items():
        counts = [int(text.replace(",", "")) for text in frame[column] if text]
        assert counts[-1] == total == sum(counts[:-1])
    assert footnotes
    assert all(isinstance(cell, str) for cell in frame.to_numpy().ravel())


def test_layers_read_as_the_report_prints_them() -> None:
    """Every layer of its tables in its order, with what its notes say."""
    text = (Path("/nowhere"), architectures(["vae_conv_net", "cnn_lstm"]))[1]
    frame = text["paper_table_1"][1]
    assert [f"{row.layer} {row.note}" for row in frame.itertuples()][:10] == [
        "Conv2d in_chan=1, out_chan=25, kernel=(1, 20)",
        "BatchNorm2d n_features=25",
        "Activation ELU",
        "Conv2d in_chan=25, out_chan=25, kernel=(22, 1)",
        "BatchNorm2d n_features=25",
        "Activation ELU",
        "MaxPool2d kernel=(1, 6), stride=3",
        "Dropout 0.25",
        "Conv2d in_chan=25, out_chan=50, kernel=(1, 20)",
        "BatchNorm2d n_features=50",
    ]
    assert [frame["layer"].tolist().count(name) for name in ("Conv2d", "BatchNorm2d", "MaxPool2d", "Dropout")] == [
        *(5, 5, 4, 4)
    ]
    assert frame["note"].tolist()[-2] == "in=200, out=4"
    second, third = text["paper_table_2"][1], text["paper_table_3"][1]
    assert [note for note in second["note"] if "dimension" in note] == [
        "dimension (22000, 2000)",
        "dimension (2000, 20) as mu",
        "dimension (2000, 20) as logvar",
        "dimension (20, 2000) decode",
        "dimension (2000, 22000) decode",
    ]
    assert third["note"].tolist()[:5] == [
        *("in_chan=22, out_chan=40, kernel=20, stride=4", "ReLU", "0.5", "40", "pool=4, stride=4")
    ]


@pytest.mark.parametrize(
    ("networks", "tables"),
    [
        (["eegnet", "deep4"], set()),
        (["conv_net"], {"paper_table_1"}),
        (["cnn_gru"], {"paper_table_3"}),
        (["vae_cnn_rnn"], {"paper_table_2", "paper_table_3"}),
        (["eegnet", "conv_net_vae_samples"], {"paper_table_1", "paper_table_2"}),
    ],
)
def test_a_run_has_the_layers_of_its_networks(networks: list[str], tables: set[str]) -> None:
    assert set(architectures(networks)) == tables


# ---- quirks

QUIRKS = {  # how a footnote begins
    "carried": "One network runs through all folds without a restart: each fold's validation",
    "leaks": "One network runs through all folds without a restart: what one fold tests",
    "pooled": "Trials of all subjects and runs are split at random",
    "best": "Of each fold the weights with the lowest validation loss",
    "time": "Each time sample has its own mean",
    "vae_loss": "The VAE minimises the cross-entropy of z-scores",
    "vae_sizes": "The VAE's latent size is 20, its decoder has 2000 units",
    "vae_rate": "The VAE learns beside the network behind it",
    "vae_all": "The VAE filters all trials",
    "dropout": "ConvNet's dropout is 0.25",
    "resnet_text": "ResNet-1D's convolutions are three samples wide",
    "resnet_code": "ResNet-1D's convolutions are one sample wide",
    "decay": "Weights decay apart from the gradient",
    "test": "Dropout stays on at test",
    "transductive": "Aligned by the tested subject's own trials",
}
PUBLISHED = {"carried", "pooled", "best", "time"}
OF_VAE = {"vae_loss", "vae_sizes", "vae_rate"}


@pytest.mark.parametrize(
    ("argument", "fields", "expected"),
    [
        ("demo", {}, set()),
        ("standard", {}, set()),
        ("standard,model=vae_resnet", {}, set()),
        ("standard,dataset=eegmmidb", {"inputs.align": "euclidean"}, set()),
        ("standard,splits=loso", {"inputs.align": "euclidean"}, {"transductive"}),
        ("standard", {"inputs.scale": "time", "test.dropout": True}, {"time", "test"}),
        ("standard,model=vae_conv_net", {"model.vae.published": True}, {"vae_loss"}),
        ("standard,model=resnet", {"model.variant": "code"}, {"resnet_code"}),
        ("paper", {}, PUBLISHED | {"dropout"}),
        ("paper", {"train.reuse_params_across_folds": False}, PUBLISHED - {"carried"} | {"dropout"}),
        ("paper,splits=within", {}, {"leaks", "time", "dropout"}),
        ("paper,model=cnn_lstm", {}, PUBLISHED | {"decay"}),
        ("paper,model=cnn_rnn", {"train.weight_decay": 0.0}, PUBLISHED),
        ("paper,model=cnn_gru", {"train.optimizer": "rmsprop"}, PUBLISHED),
        ("paper,model=vae_cnn_lstm", {}, PUBLISHED | OF_VAE | {"vae_all", "decay"}),
        ("paper,model=vae_conv_net", {}, PUBLISHED | OF_VAE | {"vae_all", "dropout"}),
        ("paper,model=conv_net_vae_samples", {}, PUBLISHED | OF_VAE | {"dropout"}),
        (
            *("paper,model=conv_net_vae_samples", {"model.beside": ("vae_deep4",)}),
            PUBLISHED | OF_VAE | {"dropout", "vae_all"},
        ),
        ("paper,model=vae_resnet", {}, PUBLISHED | OF_VAE | {"vae_all", "resnet_text"}),
        ("paper,model=resnet", {"model.variant": "code"}, PUBLISHED | {"resnet_code"}),
    ],
)
def test_a_footnote_for_each_quirk_that_holds(argument: str, fields: dict[str, Any], expected: set[str]) -> None:
    found = quirks(configure(argument, **fields))
    assert len(found) == len(expected)
    for name in expected:
        assert [text for text in found if text.startswith(QUIRKS[name])], name


def test_footnotes_name_the_numbers_of_the_run() -> None:
    fields = {"model.vae.n_latent": 7, "model.vae.n_decoder": 11, "model.dropout": 0.5}
    text = " ".join(quirks(configure("paper,model=vae_conv_net", **fields)))
    assert "latent size is 7, its decoder has 11 units: 20 and 2000 in the report's table, 2000 and 5000 in" in text
    assert "ConvNet's dropout is 0.5: the report's table says 0.25, its code 0.5" in text


def test_footnotes_stand_below_the_results(tmp_path: Path) -> None:
    folder = finish(tmp_path, configure("paper"), [answers("conv_net", {"A01": "1100"})])
    motor_imagery_report.tables(folder)
    for name in ("results_four", "paper_performance"):
        assert set(quirks(configure("paper"))) <= set(notes(folder, name))


# ---- the runs that the paper's tables need


def fields_of(protocol: str) -> dict[str, dict[str, Any]]:
    return {f"{protocol}: {row}": fields for row, fields in rows(protocol).items()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", ["", ",size=tiny"])
def test_every_run_is_a_configuration_that_can_be(protocol: str, size: str) -> None:
    """Fields exist, numbers are within bounds, and every network takes the windows that it would be given."""
    trials = Dataset(Path(), pd.DataFrame(), {}, {"eeg": np.zeros((1, 22), np.float32)})
    seen = set()
    for row, fields in rows(protocol).items():
        config = configure(protocol + size)
        known = {name for name, _ in flat(config)}
        assert set(fields) <= known, row
        with config.unlocked():
            config.update_from_flattened_dict(fields)
        bounds.check(config, BOUNDS, CHOICES)
        motor_imagery_network.inputs(config)
        shape = (tuple(config.data.window_s), config.inputs.upsample)
        for name in (config.model.name, *config.model.beside):
            # tiny windows are too short for some of what only real data is given
            if (protocol == "demo" or not size) and (name, shape) not in seen:
                config.model.name = name
                motor_imagery_network.model(config, trials)
                seen.add((name, shape))


def flat(config: ConfigDict, prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in config.items():
        found += flat(value, f"{prefix}{name}.") if isinstance(value, ConfigDict) else [(prefix + name, value)]
    return found


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_compared_is_run_and_the_other_way_round(protocol: str) -> None:
    found = rows(protocol)
    assert next(iter(found)) == ""
    compared = {row for comparison in COMPARISONS.values() for row, _ in comparison.rows}
    assert set(found) <= compared
    for name, comparison in COMPARISONS.items():
        there = [row for row, _ in comparison.rows if row in found]
        large = name in ("vae_resnet", "vae_deep4", "latent_sizes")
        assert (len(there) > 1) == (protocol != "demo" or not large), name
        for row, network in comparison.rows:
            if row and row in found and network:
                fields = found[row]
                trained = network in (fields["model.name"], *fields["model.beside"])
                assert trained == (protocol != "demo" or network != "conv_net_vae_samples")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rows_of_a_comparison_differ_in_what_it_names(protocol: str) -> None:
    """In nothing else: the same run but for the fields of its title."""
    said = {
        "cells": {"model.name"},
        "weight_decay": {"train.weight_decay"},
        "optimizers": {"train.optimizer", "train.weight_decay", "train.clip_norm", "train.n_epochs"},
        "upsampling": {"inputs.upsample"},
        "vae_cnn_lstm": {"model.name", "model.vae.n_hidden", "model.vae.n_decoder"},
        "latent_sizes": {"model.name", "model.beside", "model.vae.n_latent", "model.vae.n_decoder"},
        "windows": {"data.window_s"},
    }
    found = rows(protocol)
    for name, allowed in said.items():
        there = [found[row] for row, _ in COMPARISONS[name].rows if row in found]
        for one, other in pairwise(there):
            differs = {field for field in one | other if one.get(field) != other.get(field)}
            assert differs <= allowed, name


def test_the_published_hybrids_are_trained_as_the_report_did() -> None:
    """As the configuration of a hybrid named by the user is."""
    config = configure("paper")
    with config.unlocked():
        config.update_from_flattened_dict(rows("paper")["CNN + LSTM"])
    assert config.to_dict() == configure("paper,model=cnn_lstm").to_dict()


def test_a_demo_has_no_large_network() -> None:
    def names(protocol: str) -> set[str]:
        found = rows(protocol).values()
        return {fields.get("model.name", "") for fields in found} | {
            n for f in found for n in f.get("model.beside", ())
        }

    assert not [name for name in names("demo") if "resnet" in name or "deep4" in name]
    assert {"resnet", "vae_resnet", "deep4", "vae_deep4"} <= names("standard") & names("paper")
    assert set(rows("standard")) - set(rows("demo")) >= {"window of 3 s"}


# ---- several runs beside one another

HITS = {  # of the networks of some runs
    "": {"shallow": "11110000", "eegnet": "11111000"},
    "CNN + LSTM": {"cnn_lstm": "11111100"},
    "CNN + GRU": {"cnn_gru": "11011000"},
    "CNN + RNN": {"cnn_rnn": "11000000"},
    "CNN + RNN without weight decay": {"cnn_rnn": "10000000"},
    "CNN + LSTM, RMSprop": {"cnn_lstm": "01111100"},
    "CNN + LSTM, L-BFGS": {"cnn_lstm": "00111100"},
    "CNN + LSTM, upsampled": {"cnn_lstm": "11111110"},
    "CNN + LSTM and the VAE": {"vae_cnn_lstm": "00001111"},
    "ConvNet and the VAE": {"conv_net": "11111000", "vae_conv_net": "00000111"},
    "window of 1 s": {"shallow": "00000001"},
    "window of 2 s": {"shallow": "00000011"},
    "window of 4 s": {"shallow": "00000111"},
    "one network per subject": {"shallow": "0111000011110000"},
    "leave one subject out": {"shallow": "1100000010101010"},
}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of the demo, each of two subjects with answers of its own."""
    folders, place = {}, tmp_path_factory.mktemp("several")
    for number, (row, networks) in enumerate(HITS.items()):
        config = configure("demo", **rows("demo").get(row, {}))
        frames = [answers(name, {"A01": hits, "A02": hits[::-1]}) for name, hits in networks.items()]
        folders[row] = finish(place / str(number), config, frames)
    return folders


@pytest.fixture(scope="module")
def compared(several: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    place = tmp_path_factory.mktemp("compared")
    return place, compare(several, place)


def difference(one: str, other: str) -> float:
    hits = [np.array(list(text + text[::-1]), float) for text in (one, other)]
    return flipped(hits[0] - hits[1])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cells", ["CNN + LSTM/cnn_lstm", "CNN + GRU/cnn_gru", "CNN + RNN/cnn_rnn"]),
        ("weight_decay", ["CNN + RNN/cnn_rnn", "CNN + RNN without weight decay/cnn_rnn"]),
        ("optimizers", ["CNN + LSTM/cnn_lstm", "CNN + LSTM, RMSprop/cnn_lstm", "CNN + LSTM, L-BFGS/cnn_lstm"]),
        ("upsampling", ["CNN + LSTM/cnn_lstm", "CNN + LSTM, upsampled/cnn_lstm"]),
        ("vae_cnn_lstm", ["CNN + LSTM/cnn_lstm", "CNN + LSTM and the VAE/vae_cnn_lstm"]),
        ("vae_conv_net", ["ConvNet and the VAE/conv_net", "ConvNet and the VAE/vae_conv_net"]),
        ("windows", ["window of 4 s/shallow", "window of 2 s/shallow", "window of 1 s/shallow"]),
    ],
)  # fmt: skip
def test_the_right_networks_are_compared(compared, name: str, expected: list[str]) -> None:
    place, printed = compared
    found, pairs = table(place, f"comparison_{name}"), [text.split("/") for text in expected]
    assert [row["run"] for row in found] == [row for row, _ in pairs]
    assert [row["model"] for row in found] == [motor_imagery_report.title_of(model) for _, model in pairs]
    first = HITS[pairs[0][0]][pairs[0][1]]
    for line, (row, model) in zip(found, pairs, strict=True):
        hits = HITS[row][model]
        assert line["testing"].startswith(f"{share(hits):.3f} [")
        assert line["accuracy, mean ± sd"] == f"{share(hits):.3f} ± 0.000"  # both subjects are as good
        assert line["test trials"] == "16"
        assert line["task"] == "four classes"
        assert line["p"].split(" ")[0] == (f"{difference(first, hits):.3f}" if line is not found[0] else "")
        better = share(hits) > share(first)
        assert line["p"].endswith("better" if better else "worse") == bool(line["p"] and float(line["p"][:5]) < 0.05)
    assert (place / "tables" / f"comparison_{name}.md").read_text(encoding="utf-8") in printed


def test_networks_of_one_and_of_several_subjects_are_compared_on_shared_trials(compared) -> None:
    place, _ = compared
    found = table(place, "comparison_own_or_all")
    assert [row["run"] for row in found] == ["as configured", "one network per subject", "leave one subject out"]
    assert [row["folds"] for row in found] == ["official", "within", "loso"]
    said = notes(place, "comparison_own_or_all")
    assert "leave one subject out: Each subject tested by a network of all the others." in said
    assert not [note for note in notes(place, "comparison_cells") if "session T" in note]
    assert [row["test trials"] for row in found] == ["16", "32", "32"]
    first = np.array(list("1111000000001111"), float)
    for line, hits in zip(found[1:], ("0111000011110000", "1100000010101010"), strict=True):
        other = np.array(list(hits[:8] + hits[::-1][:8]), float)
        assert line["p"] == f"{flipped(first - other):.3f}"


def test_settings_that_differ_are_columns(compared) -> None:
    place, _ = compared
    epochs = [row["epochs"] for row in table(place, "comparison_optimizers")]
    assert epochs[2] == "10"
    assert epochs[0] == epochs[1] == str(configure("demo").train.n_epochs)
    assert not {"epochs", "folds", "training", "validation"} & set(table(place, "comparison_cells")[0])


def test_a_quirk_of_some_rows_says_whose_it_is(several: dict[str, Path], tmp_path: Path) -> None:
    folders = {}
    for row in ("CNN + LSTM", "CNN + LSTM and the VAE"):
        (name,) = HITS[row]
        config = configure("paper", **rows("paper")[row])
        folders[row] = finish(tmp_path / name, config, [answers(name, {"A01": "1100"})])
    compare(folders, tmp_path)
    found = notes(tmp_path, "comparison_vae_cnn_lstm")
    assert [note for note in found if note.startswith("Trials of all subjects and runs")]
    (note,) = (note for note in found if "The VAE filters" in note)
    assert note.startswith("CNN + LSTM and the VAE, VAE + CNN + LSTM: The VAE filters")


def test_quirks_are_those_of_the_row_s_network(tmp_path: Path) -> None:
    """Of two networks of one run, one classifies what its VAE leaves."""
    config = configure("paper", model__name="conv_net_vae_samples", model__beside=("vae_conv_net",))
    frames = [answers(name, {"A01": "1100"}) for name in ("conv_net_vae_samples", "vae_conv_net")]
    compare({"ConvNet and the VAE": finish(tmp_path / "run", config, frames)}, tmp_path)
    (note,) = (note for note in notes(tmp_path, "comparison_vae_conv_net") if "The VAE filters" in note)
    assert note.startswith("ConvNet and the VAE, VAE + ConvNet: The VAE filters")


def test_what_is_missing_is_left_out(several: dict[str, Path], tmp_path: Path) -> None:
    for number, some in enumerate(([], [""], ["CNN + GRU", "window of 1 s"], ["CNN + LSTM", "CNN + RNN", "CNN + GRU"])):
        place = tmp_path / str(number)
        printed = compare({row: several[row] for row in some}, place)
        made = {path.stem for path in place.glob("tables/*.md")}
        third = {"paper_table_3"}
        expected = [set(), set(), third, third | {"paper_performance", "comparison_cells"}][number]
        assert made == expected
        assert bool(printed) == (number == 3)  # the layers were printed with the runs
        assert not (place / "figures").exists()
    found = [row["run"] for row in table(tmp_path / "3", "comparison_cells")]
    assert found == ["CNN + LSTM", "CNN + GRU", "CNN + RNN"]  # in the order of the table


def test_the_report_s_own_tables_are_kept_once(several: dict[str, Path], tmp_path: Path) -> None:
    """Not once per run."""
    copies = (
        "paper_table_3.md",
        "CNN_LSTM_paper_table_3.md",
        "CNN_LSTM_paper_performance.csv",
        "CNN_LSTM_results_four.md",
    )
    (tmp_path / "tables").mkdir()
    for name in copies:
        (tmp_path / "tables" / name).write_text("copied")
    compare({row: several[row] for row in ("CNN + LSTM", "ConvNet and the VAE")}, tmp_path)
    left = {path.name for path in (tmp_path / "tables").iterdir()}
    assert left >= {"CNN_LSTM_results_four.md", *(f"paper_table_{number}.md" for number in (1, 2, 3))}
    assert not left & set(copies[1:3])
    assert "SIMULATED DATA: Table 3" in (tmp_path / "tables" / "paper_table_3.md").read_text(encoding="utf-8")


def test_a_network_that_the_run_lacks_is_no_row(several: dict[str, Path], tmp_path: Path) -> None:
    """The demo's run has no VAE samples among the trials."""
    compare({"ConvNet and the VAE": several["ConvNet and the VAE"]}, tmp_path)
    assert [row["model"] for row in table(tmp_path, "comparison_vae_conv_net")] == ["ConvNet", "VAE + ConvNet"]


def test_the_protocol_s_own_run_comes_first_in_the_report_s_table(several: dict[str, Path], tmp_path: Path) -> None:
    both = [answers(name, {"A01": "1000"}) for name in ("eegnet", "cnn_lstm")]
    own = finish(tmp_path / "own", configure("demo"), both)
    compare({"": own, "CNN + LSTM": several["CNN + LSTM"]}, tmp_path)
    assert [row["testing %"] for row in table(tmp_path, "paper_performance")] == ["61.40", "25.00"]


def test_a_run_under_two_names_is_one_row(several: dict[str, Path], tmp_path: Path) -> None:
    """Of EEGMMIDB the protocol's own folds are those of one network per subject."""
    same = {"": several[""], "one network per subject": several[""]}
    compare(same, tmp_path)
    assert not (tmp_path / "tables" / "comparison_own_or_all.csv").exists()
    compare({**same, "leave one subject out": several["leave one subject out"]}, tmp_path)
    assert len(table(tmp_path, "comparison_own_or_all")) == 2


def test_both_published_networks_stand_in_one_table(compared) -> None:
    place, printed = compared
    found = table(place, "paper_performance")
    assert [row["algorithm"] for row in found] == ["CNN", "CNN", "CNN+LSTM", "CNN+LSTM"]
    assert [row["testing %"] for row in found] == ["65.00", "62.50", "61.40", "75.00"]
    assert printed.startswith("**SIMULATED DATA: Performance")


def test_every_task_is_compared(tasks, tmp_path: Path) -> None:
    folder, hits = tasks
    other = {task: {name: "0110" + text[4:] for name, text in right.items()} for task, right in hits.items()}
    frames = [answers("eegnet", right, task, "loso", classes=FISTS) for task, right in other.items()]
    baselines = [answers("majority", dict.fromkeys(hits[task], "10" * 8), task, classes=FISTS) for task in TASKS]
    loso = finish(tmp_path / "loso", configure("standard,dataset=eegmmidb,splits=loso"), frames, baselines)
    compare({"": folder, "leave one subject out": loso}, tmp_path)
    found = table(tmp_path, "comparison_own_or_all")
    assert [row["task"] for row in found] == [
        motor_imagery_report.TASK_TITLES[task] for task in TASKS for _ in range(2)
    ]
    for row, task in zip(found[1::2], TASKS, strict=True):
        before, after = (np.array(list("".join(right[task].values())), float) for right in (hits, other))
        assert row["p"].split(" ")[0] == f"{flipped(before - after):.3f}"


def test_figures_of_several_runs(several: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, tuple] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda path, *given: drawn.update({path.name: given})

    monkeypatch.setattr(motor_imagery_compare, "draw_by_subject", keep("subjects"))
    monkeypatch.setattr(motor_imagery_compare, "draw_by_window", keep("windows"))
    compare(several, tmp_path)
    assert set(drawn) == {"own_or_all_four.png", "windows_four.png"}
    models, title, simulated = drawn["own_or_all_four.png"]
    names = ["as configured (official)", "one network per subject (within)", "leave one subject out (loso)"]
    assert list(models) == names
    assert models[names[1]]["accuracy"].tolist() == [share("0111000011110000")] * 2
    assert simulated
    assert "ShallowConvNet" in title
    windows, chance, high, title, simulated = drawn["windows_four.png"]
    ((name, (window_s, accuracy)),) = windows.items()
    assert name == "ShallowConvNet"
    assert window_s.tolist() == [1, 2, 4]  # ascending
    assert accuracy.tolist() == [[1 / 8] * 2, [2 / 8] * 2, [3 / 8] * 2]
    assert (chance, high) == (0.25, stats.binom.ppf(0.95, 8, 0.25) / 8)
    assert simulated

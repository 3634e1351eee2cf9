"""The sleep study's numbers and tables: pure functions of what lies in the run folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.sleep_edf.reader import STAGES
from eegjax.evaluate.classification import per_class
from eegjax.evaluate.comparison import Answers
from eegjax.files import read_json
from eegjax.report.tables import format_interval, write_table
from eegjax.run.answers import class_names
from eegjax.studies.sleep import paper
from eegjax.studies.sleep.numbers import by_model
from eegjax.studies.sleep.paper import quirks

FEW = 10  # epochs below which a class's numbers say nothing
TITLES = {
    "vgg16": "VGG16",
    "vgg16_conv_lstm": "VGG16 + ConvLSTM",
    "lstm": "LSTM on the raw signal",
    "ceiling": "ceiling: the true stages against the scorer",
    "band_powers": "band powers, logistic regression",
    "nearest_label": "label of the nearest training epoch (no EEG)",
    "majority": "commonest stage (chance)",
}
DECODED = {"_viterbi": ", Viterbi-smoothed", "_prior": ", prior corrected"}
PAPER_NETWORKS = ("vgg16", "vgg16_conv_lstm")


def title_of(model: str) -> str:
    """What a model is called in tables and figures."""
    for suffix, words in DECODED.items():
        if model.endswith(suffix):
            return TITLES[model.removesuffix(suffix)] + words
    return TITLES[model]


class Finished:
    """What a finished run says, read once: everything below is made of it."""

    def __init__(self, folder: Path) -> None:
        """Read a run folder."""
        predictions = pd.read_parquet(folder / "predictions.parquet")
        self.models = by_model(predictions, pd.read_parquet(folder / "baselines.parquet"))
        self.names = class_names(predictions)
        self.metrics = read_json(folder / "metrics.json")
        self.card = read_json(folder / "card.json")
        self.config = ConfigDict(read_json(folder / "config.json")["config"])
        self.simulated = bool(self.metrics["simulated"])
        self.answered = list(predictions["model"].unique())  # networks, and what was made of their answers
        self.networks = [name for name in self.answered if name in TITLES]

    def confusion(self, model: str) -> np.ndarray:
        """[n_classes, n_classes] int64, summed over seeds."""
        return Answers(self.models[model], self.names).confusion().sum(0)


def tables(folder: Path) -> str:
    """Write `tables/`: the results, each network's classes, and the paper's tables; return all as Markdown."""
    run = Finished(folder)
    scored = f"{run.metrics['n_examples']} epochs of {run.metrics['n_subjects']} subject(s)"
    notes = [
        f"Intervals: 95 %, {run.metrics['interval']}.",
        f"Difference: accuracy of {title_of(run.answered[0])} minus the row's, paired on the same draws; 'better' or "
        "'worse' only where its interval excludes 0.",
        "Mean one-vs-rest accuracy is what the paper calls accuracy.",
        "Images are equalised over the whole night, test epochs included (their EEG, not their labels).",
        *quirks(run.config),
    ]
    title = f"Sleep staging, {run.config.protocol}: {scored}, none trained on"
    parts = [write_table(folder / "tables", "results", _results(run), title, notes, run.simulated)]
    for name in run.networks:
        frame = _classes(run.confusion(name), run.names)
        few = [f"'too few': under {FEW} test epochs, numbers left out."] if "too few" in frame.to_numpy() else []
        title = f"{title_of(name)}, per stage"
        parts.append(write_table(folder / "tables", f"classes_{name}", frame, title, few, run.simulated))
    return "\n".join([*parts, *paper_tables(folder, run)])


def paper_tables(folder: Path, run: Finished) -> list[str]:
    """Tables 1, 3 and 4 of the paper with ours beside them, and the reference article's class-balanced metric."""
    confusions = {name: run.confusion(name) for name in run.networks if name in PAPER_NETWORKS}
    notes = [f"Ours: {run.config.protocol} protocol.", *quirks(run.config)]
    counts = np.array([[row["epochs"][stage] for stage in STAGES] for row in run.card["recordings"]]).sum(0)
    made = {
        "paper_table_1": ("Table 1: stages of all epochs", paper.table_1(counts)),
        "paper_table_3": ("Table 3: confusion and per-class metrics", paper.table_3(confusions)),
        "paper_table_4": (
            "Table 4: means over the classes",
            paper.table_4(confusions, _bootstrapped(run, confusions)),
        ),
        "class_balanced": ("Class-balanced one-vs-all", paper.class_balanced(confusions)),
    }
    if not confusions:  # a network that the paper hasn't
        made = {name: made[name] for name in ("paper_table_1",)}
    return [
        write_table(folder / "tables", name, frame, title, [*footnotes, *notes], run.simulated)
        for name, (title, (frame, footnotes)) in made.items()
    ]


def _bootstrapped(run: Finished, models: Iterable[str]) -> dict[str, dict[str, tuple[float, float, float]]]:
    """The intervals of those of Table 4's means that `metrics.json` has: low, value, high."""
    means = {
        "precision": "macro_precision",
        "sensitivity": "balanced_accuracy",
        "f1": "macro_f1",
        "one_vs_rest_accuracy": "mean_one_vs_rest_accuracy",
    }
    found = {}
    for model in models:
        prefix = "" if model == run.answered[0] else f"{model}_"
        ends = {
            key: [run.metrics[f"{prefix}{name}{end}"] for end in ("_low", "", "_high")] for key, name in means.items()
        }
        found[model] = {key: tuple(np.array(numbers, float)) for key, numbers in ends.items()}  # null becomes nan
    return found


def _results(run: Finished) -> pd.DataFrame:
    metrics, rows = run.metrics, []
    for place, name in enumerate(run.models):
        prefix = f"{name}_" if place else ""
        row = {"model": title_of(name)}
        for metric, title in (
            ("accuracy", "accuracy"),
            ("kappa", "Cohen's kappa"),
            ("macro_f1", "macro F1"),
            ("mean_one_vs_rest_accuracy", "mean one-vs-rest accuracy"),
        ):
            row[title] = format_interval(*(metrics[f"{prefix}{metric}{end}"] for end in ("", "_low", "_high")))
        row["difference"] = _difference(metrics, name) if place else ""
        rows.append(row)
    return pd.DataFrame(rows)


def _difference(metrics: dict[str, Any], name: str) -> str:
    value, low, high = (metrics[f"difference_to_{name}{end}"] for end in ("", "_low", "_high"))
    verdict = {1: "better", -1: "worse", 0: "no difference shown"}[metrics[f"difference_to_{name}_better"]]
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}] {verdict}"


def _classes(confusion: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    """A class's row of the confusion matrix, and its scores."""
    rows = []
    for number, scores in per_class(confusion).iterrows():
        name = names[int(str(number))]
        row = {"true stage": name, "epochs": f"{scores['support']:.0f}"}
        row |= {f"as {other}": str(count) for other, count in zip(names, confusion[names.index(name)], strict=True)}
        for column in ("precision", "sensitivity", "f1", "one_vs_rest_accuracy"):
            text = "–" if np.isnan(scores[column]) else f"{scores[column]:.3f}"
            row[column.replace("_", " ")] = "too few" if scores["support"] < FEW else text
        rows.append(row)
    return pd.DataFrame(rows)

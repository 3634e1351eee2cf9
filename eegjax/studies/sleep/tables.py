"""The sleep study's tables: pure functions of what lies in the run folder."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from eegjax.data.sleep_edf.reader import STAGES
from eegjax.evaluate.classification import per_class
from eegjax.evaluate.comparison import confusion
from eegjax.report.cells import BY_INTERVAL, format_count, format_difference, format_interval, format_number
from eegjax.report.tables import write_table
from eegjax.run.answers import class_names
from eegjax.run.finished import Finished, read
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
    "majority": "majority class (no EEG)",
}
DECODED = {"_viterbi": ", Viterbi-smoothed", "_prior": ", prior-corrected"}
PAPER_NETWORKS = ("vgg16", "vgg16_conv_lstm")
HEADLINES = {
    "accuracy": "accuracy",
    "kappa": "Cohen's kappa",
    "macro_f1": "macro F1",
    "mean_one_vs_rest_accuracy": "mean one-vs-rest accuracy",
}
OF_CLASS = {  # columns of `per_class`
    "precision": "precision",
    "sensitivity": "sensitivity",
    "f1": "F1",
    "one_vs_rest_accuracy": "one-vs-rest accuracy",
}


def title_of(model: str) -> str:
    """What a model is called in tables and figures."""
    for suffix, words in DECODED.items():
        if model.endswith(suffix):
            return TITLES[model.removesuffix(suffix)] + words
    return TITLES[model]


def confusions(run: Finished, models: Iterable[str]) -> dict[str, np.ndarray]:
    """Model -> [n_classes, n_classes] int64, true stages in rows, summed over seeds."""
    rows, names = by_model(run.predictions, run.baselines), class_names(run.predictions)
    return {model: confusion(rows[model], names) for model in models}


def tables(folder: Path) -> str:
    """Write `tables/`: the results, each network's classes, and the paper's tables; return all as Markdown."""
    run = read(folder)
    first = title_of(run.answered[0])
    notes = [
        f"In brackets: 95 % confidence intervals, {run.metrics['interval']}.",
        f"Difference: the row's accuracy minus that of {first}, paired on the same draws; {BY_INTERVAL}",
        "Mean one-vs-rest accuracy is what the paper calls accuracy.",
        "Images are equalised over the whole night, test epochs included (their EEG, not their labels).",
        *quirks(run.config),
    ]
    title = f"Sleep staging, {run.config.protocol}: {_tested(run)}"
    parts = [write_table(folder / "tables", "results", _results(run), title, notes, run.simulated)]
    for name, matrix in confusions(run, run.networks).items():
        frame = _classes(matrix, class_names(run.predictions))
        few = [f"'too few': under {FEW} test epochs, numbers left out."] if "too few" in frame.to_numpy() else []
        title = f"{title_of(name)}, per stage"
        parts.append(write_table(folder / "tables", f"classes_{name}", frame, title, few, run.simulated))
    return "\n".join([*parts, *paper_tables(folder, run)])


def _tested(run: Finished) -> str:
    """How many epochs of how many subjects, and whether these were trained on: of a single one other nights were."""
    alone = len({row["subject"] for row in run.card["recordings"]}) == 1
    n_epochs, n_subjects = run.metrics["n_examples"], run.metrics["n_subjects"]
    if alone:
        return f"{n_epochs} held-out epochs of 1 subject"
    return f"{n_epochs} epochs of {format_count(n_subjects, 'held-out subject')}"


def paper_tables(folder: Path, run: Finished) -> list[str]:
    """Tables 1, 3 and 4 of the paper with ours beside them, and the reference article's class-balanced metric."""
    found = confusions(run, [name for name in run.networks if name in PAPER_NETWORKS])
    notes = [f"Ours: {run.config.protocol} protocol.", *quirks(run.config)]
    counts = np.array([[row["epochs"][stage] for stage in STAGES] for row in run.card["recordings"]]).sum(0)
    made = {
        "paper_table_1": ("Table 1: stages of all epochs", paper.table_1(counts)),
        "paper_table_3": ("Table 3: confusion and per-class metrics", paper.table_3(found)),
        "paper_table_4": ("Table 4: means over the classes", paper.table_4(found, _bootstrapped(run, found))),
        "class_balanced": ("Class-balanced one-vs-all", paper.class_balanced(found)),
    }
    if not found:  # a network that the paper hasn't
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
    return {model: {key: _in_order(*run.interval(model, name)) for key, name in means.items()} for model in models}


def _in_order(value: float, low: float, high: float) -> tuple[float, float, float]:
    return low, value, high


def _results(run: Finished) -> pd.DataFrame:
    first, rows = run.answered[0], []
    for name in by_model(run.predictions, run.baselines):
        row = {"model": title_of(name)}
        row |= {title: format_interval(*run.interval(name, metric)) for metric, title in HEADLINES.items()}
        row[f"accuracy minus that of {title_of(first)}"] = (
            format_difference(*run.difference(name)) if name != first else ""
        )
        rows.append(row)
    return pd.DataFrame(rows)


def _classes(matrix: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    """A class's row of the confusion matrix, and its scores."""
    rows = []
    for number, scores in per_class(matrix).iterrows():
        name = names[int(str(number))]
        row = {"true stage": name, "epochs": f"{scores['support']:.0f}"}
        row |= {f"as {other}": str(count) for other, count in zip(names, matrix[names.index(name)], strict=True)}
        for column, title in OF_CLASS.items():
            row[title] = "too few" if scores["support"] < FEW else format_number(scores[column])
        rows.append(row)
    return pd.DataFrame(rows)

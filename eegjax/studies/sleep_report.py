"""The sleep study's numbers and tables: pure functions of what lies in the run folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.sleep_edf.reader import EPOCH_S, STAGES
from eegjax.evaluate.calibration import brier_score, expected_calibration_error
from eegjax.evaluate.classification import log_loss, per_class
from eegjax.evaluate.comparison import Answers, compare
from eegjax.files import read_json
from eegjax.report.tables import format_interval, write_table
from eegjax.studies import sleep_paper
from eegjax.studies.predictions import class_names

BLOCK_EPOCHS = 20  # ten minutes: longer than most stages last
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
STANDARD_ROWS: dict[str, dict[str, Any]] = {
    "current epoch": {},
    "current epoch, six stages": {"data.n_classes": 6},
    "two epochs before and after": {"data.context_epochs": 2},
    "two epochs before (causal)": {"data.context_epochs": 2, "data.causal": True},
}
PAPER_NETWORKS = ("vgg16", "vgg16_conv_lstm")


def rows(protocol: str) -> dict[str, dict[str, Any]]:
    """The runs that the paper's tables need: one, or in `standard` one for each context and set of stages."""
    return STANDARD_ROWS if protocol == "standard" else {"": {}}


def title_of(model: str) -> str:
    """What a model is called in tables and figures."""
    for suffix, words in DECODED.items():
        if model.endswith(suffix):
            return TITLES[model.removesuffix(suffix)] + words
    return TITLES[model]


def by_model(predictions: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Networks, the one named beforehand first, then baselines: name -> rows."""
    frames = [predictions, baselines]
    return {str(name): part for frame in frames for name, part in frame.groupby("model", sort=False)}


def evaluate(config: ConfigDict, predictions: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, Any]:
    """All metrics with intervals, and paired differences; per class `sensitivity_N1` and so on of the first network."""
    models = by_model(predictions, baselines)
    names = class_names(predictions)
    numbers = compare(models, names, EPOCH_S, BLOCK_EPOCHS)
    scores = per_class(Answers(models[config.model.name], names).confusion().sum(0))
    for column in scores.columns:
        numbers |= {f"{column}_{name}": float(value) for name, value in zip(names, scores[column], strict=True)}
    for place, (name, frame) in enumerate(models.items()):
        numbers |= {f"{name}_{key}" if place else key: value for key, value in _probabilistic(frame, names).items()}
    return numbers


def _probabilistic(frame: pd.DataFrame, names: tuple[str, ...]) -> dict[str, float]:
    """How good the probabilities are; answers without any (one-hot rows) have no such numbers."""
    answers = Answers(frame, names)
    if np.isin(answers.probabilities, (0, 1)).all():
        return {}
    runs = [(answers.target, run) for run in answers.probabilities]
    scores = {"log_loss": log_loss, "brier": brier_score, "calibration_error": expected_calibration_error}
    return {name: float(np.mean([score(*run) for run in runs])) for name, score in scores.items()}


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
        "paper_table_1": ("Table 1: stages of all epochs", sleep_paper.table_1(counts)),
        "paper_table_3": ("Table 3: confusion and per-class metrics", sleep_paper.table_3(confusions)),
        "paper_table_4": (
            "Table 4: means over the classes",
            sleep_paper.table_4(confusions, _bootstrapped(run, confusions)),
        ),
        "class_balanced": ("Class-balanced one-vs-all", sleep_paper.class_balanced(confusions)),
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


def quirks(config: ConfigDict) -> list[str]:
    """What was done as in the paper although the field holds it to be wrong: one footnote each."""
    data, train, model, test = config.data, config.train, config.model, config.test
    recurrent = "vgg16_conv_lstm" in (model.name, *model.beside)
    found = {
        "Training epochs are drawn anew every epoch until all stages are as many as the rarest (undersampling), which "
        "over-calls rare stages such as N1 and N4.": train.balance == "under",
        "The image shows two epochs before and two after the current one (150 s), as the paper's code does; its text "
        "says the current epoch only.": config.protocol == "paper" and data.context_epochs == 2,
        f"Nights are cut from lights off to {data.margin_s / 60:g} min after the last sleep (as much before the first "
        "where the time of lights off is unknown).": data.crop == "lights",
        "Unscored epochs and movement count as W.": data.unscored == "wake",
        "Image values above 1 saturate before equalisation.": data.saturate,
        "Images enter as 0..255, no mean subtracted.": config.inputs.scale == "raw",
        "Torchvision's first kernel is rescaled to images of 0..255, as the paper's own weights were made for them.": (
            config.inputs.scale == "raw" and model.weights != "none"
        ),
        "All layers are trained, the fully connected ones from new weights (the paper's text says only the last layer; "
        "its code does this).": config.protocol == "paper" and model.trainable == "all",
        "The ConvLSTM takes a single step from a zero state: nothing recurs.": recurrent and model.sequence_epochs == 1,
        "Dropout stays on at test.": test.dropout,
        "The last, partial batch of test epochs is left out.": test.whole_batches,
        "The declared L2 penalty of 0.0005 isn't in the loss.": config.protocol == "paper" and train.weight_decay == 0,
        "Only the first fold is run: of leave-one-subject-out the first subject tested, the last two for validation.": (
            config.splits.n_first == 1
        ),
        "The weights with the lowest validation loss are kept, dropout on there too.": (
            config.protocol == "paper" and config.splits.n_validation_subjects > 0
        ),
        "Six stages of Rechtschaffen & Kales, where the AASM has five.": (
            config.protocol == "paper" and data.n_classes == 6
        ),
        "Context comes before the current epoch only, as in real time, but for 2 s of the last spectral window; the "
        "equalisation still knows the whole night.": data.causal,
    }
    return [text for text, holds in found.items() if holds]


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

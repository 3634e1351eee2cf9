"""The motor-imagery study's tables of a run: pure functions of what lies in the run folder."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.evaluate.by_subject import accuracy_by_subject
from eegjax.evaluate.comparison import Answers
from eegjax.files import read_json, write_aside
from eegjax.report.tables import format_interval, write_table
from eegjax.run.answers import class_names
from eegjax.studies.motor_imagery import paper
from eegjax.studies.motor_imagery.numbers import FEW_SUBJECTS, Models, by_task, tested

TASK_TITLES = {"four": "four classes", "left_right": "left or right", "fists_feet": "both fists or both feet"}
SPLIT_TITLES = {
    "official": "Trained on each subject's session T, tested on its session E.",
    "loso": "Each subject tested by a network of all the others.",
    "within": "A network of each subject by itself, cross-validated.",
    "run": "A network of each subject by itself, tested on runs that it wasn't trained on.",
    "pooled": "One network of all subjects, trials split at random.",
}
TITLES = {
    "conv_net": "ConvNet",
    "resnet": "ResNet-1D",
    "cnn_lstm": "CNN + LSTM",
    "cnn_gru": "CNN + GRU",
    "cnn_rnn": "CNN + RNN",
    "deep4": "Deep4Net",
    "shallow": "ShallowConvNet",
    "eegnet": "EEGNet",
    "csp_lda": "CSP + LDA",
    "tangent_space": "tangent space, logistic regression",
    "oracle": "ceiling: the simulator's own likelihood",
    "majority": "commonest class",
    "control": "control: CSP + LDA on the EEG before the cue",
}
DROPPED = {"artifact": "marked as artifacts", "nan": "with samples missing", "cut": "cut off by a recording's end"}
MOST_COLUMNS = 9  # subjects with a column of their own
SIGNIFICANT = 0.05


def title_of(model: str) -> str:
    """What a model is called in tables and figures."""
    if model.startswith("vae_"):
        return f"VAE + {TITLES[model.removeprefix('vae_')]}"
    if model.endswith("_vae_samples"):
        return f"{TITLES[model.removesuffix('_vae_samples')]} + VAE samples"
    return TITLES[model]


class Finished:
    """What a finished run says, read once: everything below is made of it."""

    def __init__(self, folder: Path) -> None:
        """Read a run folder."""
        self.folder = folder
        predictions = pd.read_parquet(folder / "predictions.parquet")
        self.metrics = read_json(folder / "metrics.json")
        self.card = read_json(folder / "card.json")
        self.config = ConfigDict(read_json(folder / "config.json")["config"])
        self.tasks = by_task(self.config, predictions, pd.read_parquet(folder / "baselines.parquet"))
        self.networks = [str(name) for name in predictions["model"].unique()]
        self.simulated = bool(self.metrics["simulated"])

    def number(self, task: str, model: str, name: str) -> float:
        """One of `metrics.json`; `nan` where it is undefined or missing."""
        first_task, first_model = next(iter(self.tasks)), next(iter(self.tasks[task]))
        start = (f"{task}_" if task != first_task else "") + (f"{model}_" if model != first_model else "")
        value = self.metrics.get(start + name)
        return float("nan") if value is None else float(value)

    def confusion(self, task: str, model: str) -> np.ndarray:
        """[n_classes, n_classes] int64, summed over seeds."""
        frame = self.tasks[task][model]
        return Answers(frame, class_names(frame)).confusion().sum(0)


# ---- its tables


def tables(folder: Path) -> str:
    """Write `tables/`: each task's results, its subjects as CSV, and the paper's tables; return all as Markdown."""
    run, parts = Finished(folder), []
    for task, models in run.tasks.items():
        subjects = {name: accuracy_by_subject(tested(frame)) for name, frame in models.items()}
        frame, notes = _results(run, task, subjects), _notes(run, task, subjects)
        title = f"Motor imagery, {TASK_TITLES[task]}, {run.config.protocol}: tested on {_scored(models)}"
        parts.append(write_table(folder / "tables", f"results_{task}", frame, title, notes, run.simulated))
        _write_subjects(folder / "tables" / f"subjects_{task}.csv", subjects, run.simulated)
    return "\n".join([*parts, *paper_tables(folder, run)])


def _scored(models: Models) -> str:
    test = tested(next(iter(models.values())))
    return f"{test['example'].nunique()} trials of {test['subject'].nunique()} subject(s)"


def _results(run: Finished, task: str, subjects: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row per model, and what guessing reaches."""
    first, found = next(iter(subjects)), []
    seeds = any(not np.isnan(run.number(task, name, "accuracy_sd_over_seeds")) for name in subjects)
    for name, scores in subjects.items():
        number = partial(run.number, task, name)
        row = {"model": title_of(name), **_columns(scores, "accuracy")}
        row["accuracy, mean ± sd"] = plus_minus(number("accuracy_mean"), number("accuracy_sd"))
        if seeds:
            row["sd over seeds"] = text_of(number("accuracy_sd_over_seeds"))
        row["kappa, mean ± sd"] = plus_minus(number("kappa_mean"), number("kappa_sd"))
        row["accuracy of all trials"] = interval_of(number)
        ends = [run.number(task, first, f"difference_to_{name}_{end}") for end in ("paired", "p")]
        found.append(row | {"p": verdict(*ends) if name != first else ""})
    chance, high = (run.number(task, first, name) for name in ("chance", "chance_high"))
    row = {"model": "guessing, and what it reaches", **_columns(subjects[first], "chance_high")}
    row |= {"accuracy, mean ± sd": f"{chance:.3f}", "kappa, mean ± sd": "0.000"}
    row["accuracy of all trials"] = f"{chance:.3f} (reaches {high:.3f})"
    return pd.DataFrame([*found, row]).fillna("")


def interval_of(number: Callable[[str], float]) -> str:
    """An accuracy and its interval."""
    return format_interval(number("accuracy"), number("accuracy_low"), number("accuracy_high"))


def _columns(scores: pd.DataFrame, name: str) -> dict[str, str]:
    """A cell per subject, unless there are too many."""
    if len(scores) > MOST_COLUMNS:
        return {}
    return {str(subject): text_of(value) for subject, value in zip(scores["subject"], scores[name], strict=True)}


def text_of(value: float) -> str:
    """Three decimals, or `–` for what is undefined or missing."""
    return "–" if np.isnan(value) else f"{value:z.3f}"


def plus_minus(mean: float, sd: float) -> str:
    """`0.712 ± 0.103`; without the second of a single subject."""
    return text_of(mean) if np.isnan(sd) else f"{text_of(mean)} ± {text_of(sd)}"


def verdict(difference: float, p: float) -> str:
    """What a difference (first minus this) says of this; `–` where there is none."""
    if np.isnan(p):
        return "–"
    text = f"{p:.3f}" if p >= 0.0005 else "<0.001"
    return f"{text} {'worse' if difference > 0 else 'better'}" if p < SIGNIFICANT else text


def _notes(run: Finished, task: str, subjects: dict[str, pd.DataFrame]) -> list[str]:
    first = next(iter(subjects))
    n_subjects = len(subjects[first])
    dropped = [f"{n} {DROPPED[why]}" for why, n in run.card.get("dropped", {}).items() if n]
    notes = [
        SPLIT_TITLES[run.config.splits.kind],
        "Means and standard deviations are over subjects.",
        f"All trials: with its 95 % interval, {run.metrics['interval']}.",
        _about_p(title_of(first), n_subjects),
        "Guessing reaches more in less than one case of twenty (binomial), on all trials or on a subject's.",
        f"Trials left out: {', '.join(dropped)}." if dropped else "",
        f"The {n_subjects} subjects stand in subjects_{task}.csv." if n_subjects > MOST_COLUMNS else "",
        _control(run, task, subjects),
        "A run holds one pair of classes only, so that what tells the run tells half of the label; no run is on both "
        "sides of a fold."
        if task == "four" and run.config.data.dataset == "eegmmidb" and run.config.splits.kind == "run"
        else "",
    ]
    return [note for note in notes if note] + paper.quirks(run.config)


def _about_p(reference: str, n_subjects: int) -> str:
    over = "subject" if n_subjects >= FEW_SUBJECTS else "trial"
    return (
        f"p: of the accuracies' differences to {reference}, paired by {over}, two-sided, by flipping their signs; "
        f"'better' or 'worse' than it only where p < {SIGNIFICANT:g}. Not corrected for the number of rows."
    )


def _control(run: Finished, task: str, subjects: dict[str, pd.DataFrame]) -> str:
    """A warning where the EEG before the cue tells the class."""
    if "control" not in subjects:
        return ""
    accuracy_before = run.number(task, "control", "accuracy")
    high = run.number(task, next(iter(subjects)), "chance_high")
    if accuracy_before <= high:
        return ""
    above = (subjects["control"]["accuracy"] > subjects["control"]["chance_high"]).sum()
    return (
        f"WARNING: the EEG before the cue tells the classes with an accuracy of {accuracy_before:.3f}, where guessing "
        f"reaches {high:.3f}; so it does in {above} of {len(subjects['control'])} subject(s). Something other than "
        "imagery may give the classes away to every row."
    )


def _write_subjects(path: Path, subjects: dict[str, pd.DataFrame], simulated: bool) -> None:
    """Every model's subjects, a row each, to compute with."""
    frame = pd.concat([scores.assign(model=name) for name, scores in subjects.items()])
    text = frame[["model", *(column for column in frame if column != "model")]].to_csv(index=False, lineterminator="\n")
    stamp = "# SIMULATED DATA\n" if simulated else ""
    write_aside(path, partial(Path.write_text, data=stamp + text, encoding="utf-8", newline="\n"))


def paper_tables(folder: Path, run: Finished) -> list[str]:
    """The report's performance with ours below, and its tables of layers, as far as the run has their networks."""
    parts = performance(folder / "tables", {name: run for name in run.networks if name in paper.MODELS})
    for table, (title, frame, notes) in paper.architectures(run.networks).items():
        parts.append(write_table(folder / "tables", table, frame, title, notes, run.simulated))
    return parts


def performance(place: Path, runs: Mapping[str, Finished]) -> list[str]:
    """The report's table of performance with ours below, as Markdown; empty without its networks or four classes.

    Args:
        place: folder that it is written to.
        runs: network of the report's -> the run that has it.
    """
    runs = {name: run for name, run in runs.items() if "four" in run.tasks}
    if not runs:
        return []
    ours = {
        name: {split: run.number("four", name, f"{split}_accuracy") for split in ("train", "validation")}
        | {"test": run.number("four", name, "accuracy")}
        for name, run in runs.items()
    }
    frame, notes = paper.performance(ours)
    run = next(iter(runs.values()))
    notes.append(f"Ours: {run.config.protocol} protocol, tested on {_scored(run.tasks['four'])}.")
    notes += shared_quirks({paper.MODELS[name]: (name, run) for name, run in runs.items()})
    title = "Performance: accuracies across all subjects"
    return [write_table(place, "paper_performance", frame, title, notes, run.simulated)]


def shared_quirks(rows: Mapping[str, tuple[str, Finished]]) -> list[str]:
    """Footnotes of a table: row -> its network and run; a quirk that not all of the rows have says whose it is."""
    owners: dict[str, list[str]] = {}
    for row, (network, run) in rows.items():
        config = run.config.copy_and_resolve_references()
        config.model.update({"name": network, "beside": ()})
        for quirk in paper.quirks(config):
            owners.setdefault(quirk, []).append(row)
    return [quirk if len(named) == len(rows) else f"{'; '.join(named)}: {quirk}" for quirk, named in owners.items()]

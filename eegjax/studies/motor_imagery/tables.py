"""The motor-imagery study's tables of a run: pure functions of what lies in the run folder."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.evaluate.by_subject import accuracy_by_subject
from eegjax.evaluate.names import difference_name
from eegjax.files import write_aside
from eegjax.report.cells import BY_P, format_count, format_interval, format_mean_sd, format_number, format_p
from eegjax.report.footnotes import name_owners
from eegjax.report.tables import write_table
from eegjax.run import finished
from eegjax.run.finished import Finished
from eegjax.studies.motor_imagery import paper
from eegjax.studies.motor_imagery.numbers import FEW_SUBJECTS, Models, by_task, tested, with_task

TASK_TITLES = {"four": "four classes", "left_right": "left or right", "fists_feet": "both fists or both feet"}
SPLIT_TITLES = {
    "official": "Trained on each subject's session T, tested on its session E.",
    "loso": "Each subject tested by a network trained on all the others.",
    "within": "A network for each subject by itself, cross-validated.",
    "run": "A network for each subject by itself, tested on held-out runs.",
    "pooled": "One network for all subjects, trials split at random.",
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
    "majority": "majority class (no EEG)",
    "control": "control: CSP + LDA on the EEG before the cue",
}
DROPPED = {"artifact": "marked as artifacts", "nan": "with samples missing", "cut": "cut off by a recording's end"}
CHANCE = "chance level, and its 95 % bound"
MOST_COLUMNS = 9  # subjects with a column of their own


def title_of(model: str) -> str:
    """What a model is called in tables and figures."""
    if model.startswith("vae_"):
        return f"VAE + {TITLES[model.removeprefix('vae_')]}"
    if model.endswith("_vae_samples"):
        return f"{TITLES[model.removesuffix('_vae_samples')]} + VAE samples"
    return TITLES[model]


class Tested(NamedTuple):
    """A finished run with its answers parted by task."""

    run: Finished
    tasks: dict[str, Models]


def read(folder: Path) -> Tested:
    """Read a finished run, an earlier one too, whose tables have no column `task`.

    Raises:
        UserError: the folder holds no whole finished run.
    """
    run = finished.read(folder)
    predictions, baselines = (with_task(table) for table in (run.predictions, run.baselines))
    run = run._replace(predictions=predictions, baselines=baselines, tasks=finished.tasks_of(predictions))
    return Tested(run, by_task(run.config, predictions, baselines))


# ---- its tables


def tables(folder: Path) -> str:
    """Write `tables/`: each task's results, its subjects as CSV, and the paper's tables; return all as Markdown."""
    run, tasks = read(folder)
    parts = []
    for task, models in tasks.items():
        subjects = {name: accuracy_by_subject(tested(frame)) for name, frame in models.items()}
        frame = _results(run, task, subjects)
        notes = _notes(run, task, subjects)
        title = f"Motor imagery, {TASK_TITLES[task]}, {run.config.protocol}: {_scored(models)}"
        parts.append(write_table(folder / "tables", f"results_{task}", frame, title, notes, run.simulated))
        _write_subjects(folder / "tables" / f"subjects_{task}.csv", subjects, run.simulated)
    return "\n".join([*parts, *paper_tables(folder, Tested(run, tasks))])


def _scored(models: Models) -> str:
    test = tested(next(iter(models.values())))
    n_trials, n_subjects = (test[column].nunique() for column in ("example", "subject"))
    return f"{format_count(n_trials, 'test trial')} of {format_count(n_subjects, 'subject')}"


def _results(run: Finished, task: str, subjects: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row per model, and what guessing reaches."""
    first = next(iter(subjects))
    found = []
    seeds = any(not np.isnan(run.number(name, "accuracy_sd_over_seeds", task)) for name in subjects)
    for name, scores in subjects.items():
        row = {"model": title_of(name), **_columns(scores, "accuracy")}
        row["accuracy, mean ± sd"] = mean_sd_of(run, name, "accuracy", task)
        if seeds:
            row["sd over seeds"] = format_number(run.number(name, "accuracy_sd_over_seeds", task))
        row["kappa, mean ± sd"] = mean_sd_of(run, name, "kappa", task)
        row["accuracy of all trials"] = format_interval(*run.interval(name, "accuracy", task))
        found.append(row | {"p": _p(run, first, name, task) if name != first else ""})
    chance, high = (run.number(first, name, task) for name in ("chance", "chance_high"))
    row = {"model": CHANCE, **_columns(subjects[first], "chance_high")}
    row |= {"accuracy, mean ± sd": f"{chance:.3f}", "kappa, mean ± sd": "0.000"}
    row["accuracy of all trials"] = f"{chance:.3f} (up to {high:.3f})"
    return pd.DataFrame([*found, row]).fillna("")


def mean_sd_of(run: Finished, model: str, metric: str, task: str) -> str:
    """A metric's mean and standard deviation over subjects."""
    return format_mean_sd(*(run.number(model, f"{metric}_{end}", task) for end in ("mean", "sd")))


def _p(run: Finished, first: str, model: str, task: str) -> str:
    """The p of a model's difference to the first, which `metrics.json` has as first minus other."""
    difference, p = (run.number(first, f"{difference_name(model)}_{end}", task) for end in ("paired", "p"))
    return format_p(p, -difference)


def _columns(scores: pd.DataFrame, name: str) -> dict[str, str]:
    """A cell per subject, unless there are too many."""
    if len(scores) > MOST_COLUMNS:
        return {}
    return {str(subject): format_number(value) for subject, value in zip(scores["subject"], scores[name], strict=True)}


def _notes(run: Finished, task: str, subjects: dict[str, pd.DataFrame]) -> list[str]:
    first = next(iter(subjects))
    n_subjects = len(subjects[first])
    dropped = [f"{n} {DROPPED[why]}" for why, n in run.card.get("dropped", {}).items() if n]
    notes = [
        SPLIT_TITLES[run.config.splits.kind],
        "Means and standard deviations are over subjects.",
        f"Accuracy of all trials: with its 95 % confidence interval, {run.metrics['interval']}.",
        _about_p(title_of(first), n_subjects),
        "Guessing exceeds the bound of the chance level in less than 5 % of cases (binomial), of all trials or of a "
        "subject's.",
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
        f"p: of the row's difference in accuracy to {reference}, two-sided sign-flip permutation test, paired by "
        f"{over}; {BY_P}"
    )


def _control(run: Finished, task: str, subjects: dict[str, pd.DataFrame]) -> str:
    """A warning where the EEG before the cue tells the class."""
    if "control" not in subjects:
        return ""
    accuracy_before = run.number("control", "accuracy", task)
    high = run.number(next(iter(subjects)), "chance_high", task)
    if accuracy_before <= high:
        return ""
    above = int((subjects["control"]["accuracy"] > subjects["control"]["chance_high"]).sum())
    return (
        f"WARNING: the EEG before the cue tells the classes with an accuracy of {accuracy_before:.3f}, above the bound "
        f"of the chance level, {high:.3f}; so it does in {above} of {format_count(len(subjects['control']), 'subject')}"
        ". Something other than imagery may give the classes away to every row."
    )


def _write_subjects(path: Path, subjects: dict[str, pd.DataFrame], simulated: bool) -> None:
    """Every model's subjects, a row each, to compute with."""
    frame = pd.concat([scores.assign(model=name) for name, scores in subjects.items()])
    text = frame[["model", *(column for column in frame if column != "model")]].to_csv(index=False, lineterminator="\n")
    stamp = "# SIMULATED DATA\n" if simulated else ""
    write_aside(path, partial(Path.write_text, data=stamp + text, encoding="utf-8", newline="\n"))


def paper_tables(folder: Path, found: Tested) -> list[str]:
    """The report's performance with ours below, and its tables of layers, as far as the run has their networks."""
    run = found.run
    parts = performance(folder / "tables", {name: found for name in run.networks if name in paper.MODELS})
    for table, (title, frame, notes) in paper.architectures(run.networks).items():
        parts.append(write_table(folder / "tables", table, frame, title, notes, run.simulated))
    return parts


def performance(out: Path, runs: Mapping[str, Tested]) -> list[str]:
    """The report's table of performance with ours below, as Markdown; empty without its networks or four classes.

    Args:
        out: folder that it is written to.
        runs: network of the report's -> the run that has it.
    """
    runs = {name: found for name, found in runs.items() if "four" in found.tasks}
    if not runs:
        return []
    ours = {
        name: {split: run.number(name, f"{split}_accuracy", "four") for split in ("train", "validation")}
        | {"test": run.number(name, "accuracy", "four")}
        for name, (run, _) in runs.items()
    }
    frame, notes = paper.performance(ours)
    run, tasks = next(iter(runs.values()))
    notes.append(f"Ours: {run.config.protocol} protocol, {_scored(tasks['four'])}.")
    notes += shared_quirks({paper.MODELS[name]: (name, found.run) for name, found in runs.items()})
    title = "Performance: accuracies across all subjects"
    return [write_table(out, "paper_performance", frame, title, notes, run.simulated)]


def shared_quirks(rows: Mapping[str, tuple[str, Finished]]) -> list[str]:
    """Footnotes of a table: row -> its network and run; a quirk that not all of the rows have says whose it is."""
    return name_owners({row: _quirks(run.config, network) for row, (network, run) in rows.items()})


def _quirks(config: ConfigDict, network: str) -> list[str]:
    """Of one network of a run."""
    one = config.copy_and_resolve_references()
    one.model.update({"name": network, "beside": ()})
    return paper.quirks(one)

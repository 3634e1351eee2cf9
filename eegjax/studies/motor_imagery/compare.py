"""What the motor-imagery report compares: the runs that it takes, and tables and figures of several of them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.evaluate.by_subject import accuracy_by_subject
from eegjax.report.accuracy import accuracy_by_subject as draw_by_subject
from eegjax.report.accuracy import accuracy_by_window as draw_by_window
from eegjax.report.cells import BY_P, NOTHING, format_interval, format_number, format_p
from eegjax.report.tables import write_table
from eegjax.run.answers import class_names
from eegjax.run.finished import Finished
from eegjax.run.rows import Rows, Run, arguments, fields_of, set_by_user
from eegjax.studies.motor_imagery import paper
from eegjax.studies.motor_imagery.config import SIZES, get_config
from eegjax.studies.motor_imagery.numbers import FEW_SUBJECTS, Models, paired, tested
from eegjax.studies.motor_imagery.tables import (
    SPLIT_TITLES,
    TASK_TITLES,
    Tested,
    mean_sd_of,
    performance,
    read,
    shared_quirks,
    title_of,
)

ONCE = ("paper_*",)  # tables that are made of all runs together
ALONE: dict[str, Any] = {"model.beside": ()}  # no network beside the one that a row is of
UNCHANGED = "as configured"  # what the run without changes, '' of `rows`, is called
RECURRENT: dict[str, Any] = {  # how the report trained its hybrids; its configuration is that of the ConvNet
    "train.learning_rate": 2e-3,
    "train.schedule": "exponential",
    "train.decay_per_epoch": 0.95,
    "train.weight_decay": 1e-2,
    "train.batch_size": 100,
    "train.n_epochs": 20,
}
LATENT: dict[str, dict[str, Any]] = {  # of the VAE
    "latent size 5": {"model.vae.n_latent": 5},
    "latent size 100": {"model.vae.n_latent": 100},
    "latent size 2000, decoder 5000": {"model.vae.n_latent": 2000, "model.vae.n_decoder": 5000},
}
WINDOWS_S = {f"window of {n_s} s": (0.0, float(n_s)) for n_s in (1, 2, 3, 4)}
LEFT_OUT = ("window of 3 s",)  # of the demo
WINDOWED = "shallow"  # takes even a second
WITH_VAE = ("vae_conv_net", "conv_net_vae_samples")
SMALL_VAE: dict[str, Any] = {"model.vae.n_hidden": 200, "model.vae.n_decoder": 200}
PUBLISHED = {"conv_net": ("", "ConvNet and the VAE"), "cnn_lstm": ("", "CNN + LSTM")}  # runs that may have them
OWN_OR_ALL = ("", "one network per subject", "one network of all subjects", "leave one subject out")
SETTINGS = {"folds": "splits.kind", "epochs": "train.n_epochs"}  # columns of their own where rows differ in them


def rows(config: ConfigDict) -> Rows:
    """The runs that the tables need, named in plain words. The demo does without the largest."""
    named = {"dataset": config.data.dataset, "splits": config.splits.kind, "model": config.model.name}
    keys = {key: [value] for key, value in named.items()} | {"size": list(SIZES)}
    given = set_by_user(config, map(get_config, arguments(config.protocol, keys)))
    return Rows(fields_of(_runs(config.protocol), given), ONCE)


def _runs(protocol: str) -> dict[str, Run]:
    demo = protocol == "demo"
    recipe = RECURRENT if protocol == "paper" else {}
    lstm, gru, rnn = ({**ALONE, "model.name": f"cnn_{cell}"} for cell in ("lstm", "gru", "rnn"))
    lbfgs = {"train.optimizer": "lbfgs", "train.weight_decay": 0.0, "train.clip_norm": 0.0}
    vae = SMALL_VAE if demo else {}
    return {
        "": Run({}),
        "CNN + LSTM": Run(lstm, recipe),
        "CNN + GRU": Run(gru, recipe),
        "CNN + RNN": Run(rnn, recipe),
        "CNN + RNN without weight decay": Run({**rnn, "train.weight_decay": 0.0}, recipe),
        "CNN + LSTM, RMSprop": Run({**lstm, "train.optimizer": "rmsprop"}, recipe),
        "CNN + LSTM, L-BFGS": Run({**lstm, **lbfgs}, {**recipe, **({"train.n_epochs": 10} if demo else {})}),
        "CNN + LSTM, upsampled": Run({**lstm, "inputs.upsample": 2}, recipe),
        "CNN + LSTM and the VAE": Run({**lstm, "model.name": "vae_cnn_lstm"}, {**recipe, **vae}),
        "ConvNet and the VAE": Run({"model.name": "conv_net", "model.beside": WITH_VAE[: 1 if demo else 2]}, vae),
        **({} if demo else _large()),
        **{
            row: Run({**ALONE, "model.name": WINDOWED, "data.window_s": window_s})
            for row, window_s in WINDOWS_S.items()
            if not (demo and row in LEFT_OUT)
        },
        **_splits(protocol),
    }


def _large() -> dict[str, Run]:
    """Networks too slow for a demo, and the sizes of the VAE."""
    return {
        "ResNet-1D and the VAE": Run({"model.name": "resnet", "model.beside": ("vae_resnet",)}),
        "Deep4Net and the VAE": Run({"model.name": "deep4", "model.beside": ("vae_deep4",)}),
        **{row: Run({**ALONE, "model.name": "vae_conv_net", **fields}) for row, fields in LATENT.items()},
    }


def _splits(protocol: str) -> dict[str, Run]:
    """A subject's own network against one of several subjects."""
    own, everyone, others = OWN_OR_ALL[1:]
    if protocol == "paper":
        fresh = {"train.reuse_params_across_folds": False}
        return {own: Run({"splits.kind": "within", **fresh}), everyone: Run({"splits.kind": "pooled", **fresh})}
    if protocol == "demo":  # of the others' six times as many trials in fewer epochs
        within = Run({**ALONE, "splits.kind": "within"}, {"splits.n_folds": 2})
        return {own: within, others: Run({**ALONE, "splits.kind": "loso"}, {"train.n_epochs": 4})}
    return {own: Run({"splits.kind": "run"}), others: Run({"splits.kind": "loso"})}


class Comparison(NamedTuple):
    """A table over several runs.

    rows: (run, network) each, the one that the others are compared with first; no network: the one named beforehand.
    """

    title: str
    rows: tuple[tuple[str, str], ...]
    note: str = ""


COMPARISONS = {
    "cells": Comparison(
        "Recurrent cells", (("CNN + LSTM", "cnn_lstm"), ("CNN + GRU", "cnn_gru"), ("CNN + RNN", "cnn_rnn"))
    ),
    "weight_decay": Comparison(
        "Plain RNN with and without weight decay",
        (("CNN + RNN", "cnn_rnn"), ("CNN + RNN without weight decay", "cnn_rnn")),
    ),
    "optimizers": Comparison(
        "Optimisers",
        (("CNN + LSTM", "cnn_lstm"), ("CNN + LSTM, RMSprop", "cnn_lstm"), ("CNN + LSTM, L-BFGS", "cnn_lstm")),
        "The first row is Adam's. A step of L-BFGS sees the whole training part, so that an epoch is one step; it goes "
        "without weight decay and clipping.",
    ),
    "upsampling": Comparison("Upsampling by 2", (("CNN + LSTM", "cnn_lstm"), ("CNN + LSTM, upsampled", "cnn_lstm"))),
    "vae_cnn_lstm": Comparison(
        "CNN + LSTM with and without the VAE", (("CNN + LSTM", "cnn_lstm"), ("CNN + LSTM and the VAE", "vae_cnn_lstm"))
    ),
    "vae_conv_net": Comparison(
        "ConvNet with and without the VAE",
        tuple(("ConvNet and the VAE", name) for name in ("conv_net", *WITH_VAE)),
    ),
    "vae_resnet": Comparison(
        "ResNet-1D with and without the VAE",
        tuple(("ResNet-1D and the VAE", name) for name in ("resnet", "vae_resnet")),
    ),
    "vae_deep4": Comparison(
        "Deep4Net with and without the VAE", tuple(("Deep4Net and the VAE", name) for name in ("deep4", "vae_deep4"))
    ),
    "latent_sizes": Comparison(
        "VAE + ConvNet: latent sizes",
        (("ConvNet and the VAE", "vae_conv_net"), *((row, "vae_conv_net") for row in LATENT)),
        "The first row's latent size is 20, its decoder has 2000 units.",
    ),
    "own_or_all": Comparison(
        "One network per subject, or one of several subjects",
        tuple((row, "") for row in OWN_OR_ALL),
    ),
    "windows": Comparison("Length of the window", tuple((row, WINDOWED) for row in reversed(WINDOWS_S))),
}


class Row(NamedTuple):
    """A row of a comparison that there is: what it is called, its network, its run, and that one's answers by task."""

    name: str
    model: str
    run: Finished
    tasks: dict[str, Models]


def compare(folders: Mapping[str, Path], out: Path) -> str:
    """Compare finished runs: cells, optimisers, upsampling, VAE, networks per subject or of all, lengths of the window.

    Args:
        folders: row of `rows` -> its run folder; a comparison is made of those that are there, if at least two are.
        out: folder whose `tables` and `figures` are written.

    Returns:
        The tables as Markdown.
    """
    runs = {row: read(folder) for row, folder in folders.items()}
    _write_architectures(out / "tables", [found.run for found in runs.values()])
    having = {name: [runs[row] for row in some if row in runs] for name, some in PUBLISHED.items()}
    having = {name: [found for found in some if name in found.run.networks] for name, some in having.items()}
    parts = performance(out / "tables", {name: some[0] for name, some in having.items() if some})
    for name, comparison in COMPARISONS.items():
        there = _there(runs, comparison)
        if len(there) < 2:
            continue
        parts.append(_compared(out / "tables", name, comparison, there))
        if name == "own_or_all":
            _draw_subjects(out / "figures", there)
        if name == "windows":
            _draw_windows(out / "figures", there)
    return "\n".join(parts)


def _write_architectures(out: Path, runs: Iterable[Finished]) -> None:
    """The report's tables of layers, once for all runs; they were printed with these."""
    networks = {name: run.simulated for run in runs for name in run.networks}
    for table, (title, frame, notes) in paper.architectures(networks).items():
        write_table(out, table, frame, title, notes, any(networks.values()))


def _there(runs: Mapping[str, Tested], comparison: Comparison) -> list[Row]:
    """The rows that can be had; a run that two of them share, as a protocol's own folds may be, is shown once."""
    found: dict[tuple[Path, str], Row] = {}
    for name, network in comparison.rows:
        if name in runs:
            run, tasks = runs[name]
            model = network or run.networks[0]
            if model in run.networks:
                found.setdefault((run.folder, model), Row(name or UNCHANGED, model, run, tasks))
    return list(found.values())


def _compared(out: Path, name: str, comparison: Comparison, there: Sequence[Row]) -> str:
    first = there[0].run
    kinds = {row.name: row.run.config.splits.kind for row in there}
    notes = [
        "p: of the row's difference in accuracy to the first row, two-sided sign-flip permutation test, paired on the "
        f"trials that both were tested on (by subject from {FEW_SUBJECTS} subjects on); {BY_P}",
        *([comparison.note] if comparison.note else []),
        *(f"{name}: {SPLIT_TITLES[kind]}" for name, kind in kinds.items() if len(set(kinds.values())) > 1),
        *shared_quirks({f"{row.name}, {title_of(row.model)}": (row.model, row.run) for row in there}),
    ]
    title = f"{comparison.title}, {first.config.protocol}"
    return write_table(out, f"comparison_{name}", _comparison(there), title, notes, first.simulated)


def _comparison(there: Sequence[Row]) -> pd.DataFrame:
    """A row per task and run, of one network each; columns that would be empty are left out."""
    found = []
    settings = {title: [_setting(row.run, field) for row in there] for title, field in SETTINGS.items()}
    settings = {title: values for title, values in settings.items() if len(set(values)) > 1}
    for task, models in there[0].tasks.items():
        for number, (name, model, run, tasks) in enumerate(there):
            if model not in tasks.get(task, {}):  # other folds may have other tasks
                continue
            frame = tasks[task][model]
            cells = {"run": name, "model": title_of(model), "task": TASK_TITLES[task]}
            cells |= {title: values[number] for title, values in settings.items()}
            cells["training"] = format_number(run.number(model, "train_accuracy", task))
            cells["validation"] = format_number(run.number(model, "validation_accuracy", task))
            cells["test trials"] = str(tested(frame)["example"].nunique())
            cells["testing"] = format_interval(*run.interval(model, "accuracy", task))
            cells["accuracy, mean ± sd"] = mean_sd_of(run, model, "accuracy", task)
            cells["kappa, mean ± sd"] = mean_sd_of(run, model, "kappa", task)
            found.append(cells | {"p": _p(models[there[0].model], frame) if number else ""})
    frame = pd.DataFrame(found)
    return frame.loc[:, (frame != NOTHING).any()]


def _p(first: pd.DataFrame, rows: pd.DataFrame) -> str:
    difference, p = paired(first, rows)  # first minus these rows
    return format_p(p, -difference)


def _setting(run: Finished, field: str) -> str:
    section, name = field.split(".")
    return str(run.config[section][name])


def _draw_subjects(out: Path, there: Sequence[Row]) -> None:
    """A point per subject and run."""
    for task in there[0].tasks:
        scores = {
            f"{name} ({run.config.splits.kind})": accuracy_by_subject(tested(tasks[task][model]))
            for name, model, run, tasks in there
            if model in tasks.get(task, {})
        }
        title = f"Accuracy per subject, {TASK_TITLES[task]}: {title_of(there[0].model)}"
        draw_by_subject(out / f"own_or_all_{task}.png", scores, title, there[0].run.simulated)


def _draw_windows(out: Path, there: Sequence[Row]) -> None:
    """Accuracy against the length of the window, of the subjects that all runs tested."""
    first = there[0]
    there = sorted(there, key=lambda row: row.run.config.data.window_s[1])
    window_s = np.array([np.diff(row.run.config.data.window_s)[0] for row in there])
    for task, models in first.tasks.items():
        scores = [accuracy_by_subject(tested(row.tasks[task][row.model])).set_index("subject") for row in there]
        accuracy = pd.concat([one["accuracy"] for one in scores], axis=1, join="inner").to_numpy().T
        chance = 1 / len(class_names(models[first.model]))
        high = max(one["chance_high"].max() for one in scores)
        title = f"Accuracy and length of the window, {TASK_TITLES[task]}"
        windows = {title_of(first.model): (window_s, accuracy)}
        draw_by_window(out / f"windows_{task}.png", windows, chance, high, title, first.run.simulated)

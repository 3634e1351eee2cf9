"""The motor-imagery study's numbers: predictions parted by task, their metrics, and models compared trial by trial."""

from typing import Any

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.evaluate.by_subject import accuracy_by_subject, chance_bound, mean_sd
from eegjax.evaluate.comparison import compare, sign_flip
from eegjax.evaluate.names import difference_name, number_name
from eegjax.run.answers import class_names
from eegjax.studies.motor_imagery.folds import TASKS
from eegjax.studies.motor_imagery.paper import carried_over

TRIAL = ["subject", "recording", "start"]  # onsets count from the beginning of a run, starts from that of the data
BLOCK_TRIALS = 5  # about 40 s
FEW_SUBJECTS = 6  # of fewer, no flipping of signs gives p < .05

Models = dict[str, pd.DataFrame]  # name -> rows; the network named beforehand first, baselines last


def with_task(frame: pd.DataFrame) -> pd.DataFrame:
    """A table with a column `task`; in those of earlier runs it is the first word of the fold's name."""
    return frame if "task" in frame else frame.assign(task=frame["fold"].str.split(" ").str[0])


def tested(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the test part."""
    return frame[frame["split"] == "test"]


def right(frame: pd.DataFrame) -> pd.Series:
    """[n_rows] bool: whether the likeliest class is the true one."""
    probabilities = frame[[f"p_{name}" for name in class_names(frame)]].to_numpy()
    return pd.Series(probabilities.argmax(1) == frame["target"].to_numpy(), frame.index)


def by_task(config: ConfigDict, predictions: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, Models]:
    """Part predictions by task, the tasks in the order of the folds.

    Rows have the columns of their task's classes alone, and `target` counts among these. Of a network that runs through
    all folds, the last fold's rows are kept. `seed` numbers the times that a trial was tested, by seeds and by folds,
    `given_seed` the seeds alone. Trials that a model wasn't tested on are left out of the others' tests.
    """
    tables = [with_task(table) for table in (predictions, baselines)]
    frames = [part for table in tables for _, part in table.groupby("model", sort=False)]
    return {task: _of_task(frames, task, carried_over(config)) for task in tested(tables[0])["task"].unique()}


def _of_task(frames: list[pd.DataFrame], task: str, last_fold: bool) -> Models:
    found = {}
    for frame in frames:
        own = frame[frame["task"] == task]
        if len(own):
            own = own[own["fold"] == own["fold"].iloc[-1]] if last_fold else own
            found[str(own["model"].iloc[0])] = _with_classes(own, TASKS[task])
    shared = set.intersection(*(set(tested(own)["example"]) for own in found.values()))
    return {name: own[(own["split"] != "test") | own["example"].isin(shared)] for name, own in found.items()}


def _with_classes(rows: pd.DataFrame, numbers: tuple[int, ...]) -> pd.DataFrame:
    others = [f"p_{name}" for number, name in enumerate(class_names(rows)) if number not in numbers]
    return rows.drop(columns=others).assign(
        target=rows["target"] - numbers[0],
        given_seed=rows.get("seed", 0),
        seed=rows.groupby(["split", "example"]).cumcount(),
    )


def evaluate(config: ConfigDict, predictions: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, Any]:
    """All metrics with intervals: of the first task plain, of others behind the task's name; see `compare`.

    Beside those, of every model `accuracy_mean` and `_sd`, `kappa_mean` and `_sd` over subjects,
    `accuracy_sd_over_seeds`, and `train_accuracy` and `validation_accuracy` where there are such rows;
    `difference_to_<name>_paired` and `_p` (`paired`); `chance`, and what guessing of all trials reaches, `chance_high`.
    """
    numbers: dict[str, Any] = {}
    tasks = by_task(config, predictions, baselines)
    first = next(iter(tasks))
    for task, models in tasks.items():
        named = "" if task == first else task
        numbers |= {number_name(name, task=named): value for name, value in _numbers(models).items()}
    return numbers


def _numbers(models: Models) -> dict[str, Any]:
    first, rows = next(iter(models.items()))
    names = class_names(rows)
    numbered = {name: _numbered(frame) for name, frame in models.items()}
    numbers = compare(numbered, names, 1.0, BLOCK_TRIALS, "trials")
    numbers["chance"] = 1 / len(names)
    numbers["chance_high"] = chance_bound(tested(rows)["example"].nunique(), len(names))
    for name, frame in models.items():
        named = "" if name == first else name
        numbers |= {number_name(key, named): value for key, value in _of_model(frame).items()}
        if named:
            difference, p = paired(rows, frame)
            numbers |= {f"{difference_name(name)}_paired": difference, f"{difference_name(name)}_p": p}
    return numbers


def _numbered(frame: pd.DataFrame) -> pd.DataFrame:
    """Trials that follow one another a second apart, for blocks of neighbours."""
    return frame.assign(onset_s=frame.groupby(["split", "recording"])["start"].rank("dense"))


def _of_model(frame: pd.DataFrame) -> dict[str, float]:
    test, numbers = tested(frame), dict[str, float]()
    subjects = accuracy_by_subject(test)
    for metric in ("accuracy", "kappa"):
        mean, sd = mean_sd(subjects[metric].to_numpy())
        numbers |= {f"{metric}_mean": mean, f"{metric}_sd": sd}
    seeds = [accuracy_by_subject(part)["accuracy"].mean() for _, part in test.groupby("given_seed")]
    if len(seeds) > 1:
        numbers["accuracy_sd_over_seeds"] = mean_sd(np.array(seeds))[1]
    shares = right(frame).groupby(frame["split"]).mean()
    return numbers | {f"{split}_accuracy": float(share) for split, share in shares.items() if split != "test"}


def paired(first: pd.DataFrame, other: pd.DataFrame) -> tuple[float, float]:
    """Compare two models on the trials that both were tested on.

    Returns:
        The mean difference of their accuracies, first minus other, and the p of its `sign_flip`: over subjects where
        there are at least six, over trials otherwise; several answers to a trial are averaged first. `nan` twice where
        the two share no trial.
    """
    shares = [right(test).groupby([test[name] for name in TRIAL]).mean() for test in (tested(first), tested(other))]
    both = pd.concat(shares, axis=1, join="inner")
    if both.empty:
        return float("nan"), float("nan")
    difference = both[0].astype(float) - both[1].astype(float)
    by_subject = difference.groupby(level="subject").mean()
    chosen = by_subject if len(by_subject) >= FEW_SUBJECTS else difference
    return float(chosen.mean()), sign_flip(chosen.to_numpy())

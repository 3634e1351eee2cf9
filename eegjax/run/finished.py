"""A finished run: what lies in its folder, read once."""

import shlex
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.errors import UserError
from eegjax.evaluate.names import difference_name, number_name
from eegjax.files import read_json


class Finished(NamedTuple):
    """What a finished run says; tables and figures are made of it alone.

    config, environment, card, metrics: of `config.json`, `environment.json`, `card.json`, `metrics.json`.
    predictions, baselines: the tables of that name, with a row per answer.
    answered: models of `predictions`, the network named beforehand first: networks, and what was made of their answers.
    tasks: values of the column `task` of the tested predictions, in their order; empty without that column.
    """

    folder: Path
    config: ConfigDict
    environment: dict[str, Any]
    card: dict[str, Any]
    metrics: dict[str, Any]
    predictions: pd.DataFrame
    baselines: pd.DataFrame
    answered: tuple[str, ...]
    tasks: tuple[str, ...]

    @property
    def simulated(self) -> bool:
        """Whether its data was."""
        return bool(self.metrics["simulated"])

    @property
    def networks(self) -> tuple[str, ...]:
        """Models that were trained, the one named beforehand first."""
        trained = (self.config.model.name, *self.config.model.beside)
        return tuple(name for name in self.answered if name in trained)

    def number(self, model: str, name: str, task: str = "") -> float:
        """One of `metrics.json`.

        Args:
            model: of `predictions` or `baselines`.
            name: what was measured, such as `accuracy` or `accuracy_low`.
            task: one of `tasks`; empty means the first.

        Returns:
            The number; `nan` where it is undefined or missing.
        """
        value = self.metrics.get(self._name(model, name, task))
        return float("nan") if value is None else float(value)

    def has(self, model: str, name: str, task: str = "") -> bool:
        """Whether `metrics.json` has such a number (see `number`), be it undefined."""
        return self._name(model, name, task) in self.metrics

    def _name(self, model: str, name: str, task: str) -> str:
        return number_name(name, "" if model == self.answered[0] else model, "" if task in self.tasks[:1] else task)

    def interval(self, model: str, name: str, task: str = "") -> tuple[float, float, float]:
        """A number of `metrics.json` (see `number`), and the ends of its 95 % interval."""
        value, low, high = (self.number(model, name + end, task) for end in ("", "_low", "_high"))
        return value, low, high

    def difference(self, model: str, task: str = "") -> tuple[float, float, float]:
        """A model's headline number minus the first network's, and the ends of its 95 % interval.

        `metrics.json` has it the other way round, first minus other: here it is turned.
        """
        value, low, high = self.interval(self.answered[0], difference_name(model), task)
        return -value, -high, -low

    def explanation(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of `explanations/<name>.npz`."""
        with np.load(self.folder / "explanations" / f"{name}.npz", allow_pickle=False) as file:
            return dict(file)

    def explanations(self, pattern: str) -> list[dict[str, np.ndarray]]:
        """The arrays of all files of `explanations/` whose names fit a pattern such as `head_*`, in their order."""
        paths = sorted((self.folder / "explanations").glob(f"{pattern}.npz"))
        return [self.explanation(path.stem) for path in paths]

    def log(self) -> pd.DataFrame:
        """`metrics.jsonl`, a row per logged step."""
        return pd.read_json(self.folder / "metrics.jsonl", lines=True)


def read(folder: Path) -> Finished:
    """Read a finished run.

    Raises:
        UserError: the folder is none of a run, its run isn't finished, or files of it are missing or broken.
    """
    folder = Path(folder)
    config = finished(folder)
    predictions, baselines = (_table(folder / f"{name}.parquet") for name in ("predictions", "baselines"))
    return Finished(
        folder=folder,
        config=config,
        environment=read_json(folder / "environment.json"),
        card=read_json(folder / "card.json"),
        metrics=read_json(folder / "metrics.json"),
        predictions=predictions,
        baselines=baselines,
        answered=tuple(map(str, predictions["model"].unique())),
        tasks=tasks_of(predictions),
    )


def tasks_of(predictions: pd.DataFrame) -> tuple[str, ...]:
    """The tasks that were tested, in the order of the rows; none where the table has no column of them."""
    tested = predictions[predictions["split"] == "test"]
    return tuple(map(str, tested["task"].unique())) if "task" in tested else ()


def finished(folder: Path) -> ConfigDict:
    """The configuration of a finished run.

    Raises:
        UserError: the folder is none of a run, its run isn't finished, or files of it are missing.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: no run folder (it has no config.json); give one that eegjax run has made")
    missing = [name for name in ("environment.json", "card.json", "metrics.json") if not (folder / name).exists()]
    if "metrics.json" in missing and "environment.json" not in missing:
        command = read_json(folder / "environment.json")["starts"][-1]["command"]
        raise UserError(
            f"{folder}: this run isn't finished; finish it by the command that began it: python {shlex.join(command)}"
        )
    if missing:
        raise _not_whole(folder, missing)
    return ConfigDict(read_json(folder / "config.json")["config"])


def _table(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise _not_whole(path.parent, [path.name])
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{path}: broken ({said}); copy the run folder again, or run anew in a new folder") from error


def _not_whole(folder: Path, missing: list[str]) -> UserError:
    return UserError(f"{folder}: no whole run folder ({', '.join(missing)} missing); copy all of it")

"""Trained networks as files, `weights/<model>-<member>.safetensors` in a run folder, and what they say of a dataset."""

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Batch, gather, in_order
from eegjax.errors import UserError
from eegjax.files import read_json, write_aside
from eegjax.studies.study import Study


class Trained(NamedTuple):
    """One member: `names` are its model, member, fold and seed; `variables` the model's; `stats` what was fitted."""

    names: dict[str, Any]
    variables: dict[str, Any]
    stats: dict[str, Any]


def write(folder: Path, names: dict[str, Any], variables: Any, stats: Any) -> Path:
    """Keep a trained member."""
    from safetensors.numpy import save

    tree = flatten_dict({"variables": variables, "stats": stats}, sep="/")
    arrays = {path: np.ascontiguousarray(leaf) for path, leaf in tree.items()}
    content = save(arrays, metadata={"names": json.dumps(names)})  # its own writer makes files only the owner can read
    return write_aside(
        folder / f"{names['model']}-{names['member']:03d}.safetensors", lambda aside: aside.write_bytes(content)
    )


def finished(folder: Path) -> ConfigDict:
    """The configuration of a finished run.

    Raises:
        UserError: the folder is none, or its run isn't finished.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: no run folder (it has no config.json); give one that launch/main.py has made")
    if not (folder / "metrics.json").exists():
        command = read_json(folder / "environment.json")["starts"][-1]["command"]
        raise UserError(
            f"{folder}: this run isn't finished; finish it by the command that began it: python {shlex.join(command)}"
        )
    return ConfigDict(read_json(folder / "config.json")["config"])


def load(folder: Path, model: str) -> list[Trained]:
    """All members of one of a run's networks, in their order.

    Raises:
        UserError: there are none, or a file is broken.
    """
    paths = sorted((Path(folder) / "weights").glob(f"{model}-[0-9]*.safetensors"))
    if not paths:
        raise UserError(f"{folder}: no weights/{model}-*.safetensors; the run must be trained again, in a new folder")
    return [_read(path) for path in paths]


def _read(path: Path) -> Trained:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            tree = unflatten_dict({name: file.get_tensor(name) for name in file.keys()}, sep="/")  # noqa: SIM118
            return Trained(json.loads(file.metadata()["names"]), tree["variables"], tree["stats"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: broken weights ({error}); copy the run folder again, or train anew") from error


def batches(
    config: ConfigDict, study: Study, dataset: Dataset, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, Batch]]:
    """Examples in order, in the units that the network sees.

    Args:
        config: of the network.
        study: its study.
        dataset: with the examples.
        rows: [n] int64 of the index.

    Yields:
        The rows, where each is scored (both of the units' shape, padded to the batch), and the batch.
    """
    source = study.source(config, dataset)
    units, scored = study.units(config, dataset, rows, False)
    size = max(1, config.train.batch_size // units[0].size)
    for number, (part, mask) in enumerate(in_order(units, size)):
        some = np.zeros(part.shape, bool)
        some[: len(units) - number * size] = scored[number * size : (number + 1) * size]
        yield part, some, gather(np, source, part, mask)


def predict(
    config: ConfigDict, study: Study, dataset: Dataset, networks: list[Trained], rows: np.ndarray
) -> np.ndarray:
    """What trained networks say of examples.

    Args:
        config: of the run, `model.name` being the networks'.
        study: its study.
        dataset: with the examples.
        networks: members of one model.
        rows: [n] int64 of the index, ascending within each recording.

    Returns:
        [n_networks, n, n_classes] float32 probabilities.
    """
    step, place = applied(config, study, dataset), {row: number for number, row in enumerate(rows.tolist())}
    found = np.empty((len(networks), len(rows), len(study.classes(config))), np.float32)
    weights = [jax.device_put((one.variables, one.stats)) for one in networks]
    for part, scored, batch in batches(config, study, dataset, rows):
        where = [place[row] for row in part[scored].tolist()]
        for number, (variables, stats) in enumerate(weights):
            found[number, where] = np.asarray(step(variables, stats, batch))[scored]
    return found


def applied(config: ConfigDict, study: Study, dataset: Dataset) -> Callable[[Any, Any, Batch], jax.Array]:
    """Compiled: (variables, stats, batch) -> probabilities."""
    model: nn.Module = study.model(config, dataset)
    inputs, decide = study.inputs(config), study.predict(config)

    def step(variables: Any, stats: Any, batch: Batch) -> jax.Array:
        images = inputs(stats, jax.tree.map(jnp.asarray, batch), None, False)["inputs"]
        return decide(model.apply(variables, images, train=False, mask=batch["mask"]))

    return jax.jit(step)

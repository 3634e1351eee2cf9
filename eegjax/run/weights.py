"""Trained networks as files, `weights/<model>-<member>.safetensors` in a run folder, and what they say of a dataset."""

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Batch, gather, in_order
from eegjax.errors import UserError
from eegjax.files import read_json, write_aside
from eegjax.run.study import Study

NOTHING = "nothing"  # said in files of studies that fit nothing: those of others miss what isn't there


class Trained(NamedTuple):
    """One member: `names` are its model, member, fold and seed; `variables` the model's; `stats` what was fitted."""

    names: dict[str, Any]
    variables: dict[str, Any]
    stats: dict[str, Any]


def write(folder: Path, names: dict[str, Any], variables: Any, stats: Any) -> Path:
    """Keep a trained member."""
    from safetensors.numpy import save

    tree = flatten_dict({"variables": variables, "stats": stats}, sep="/")
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in tree.items()}
    said = {"names": json.dumps(names)} | ({} if stats else {"fitted": NOTHING})
    content = save(arrays, metadata=said)  # its own writer makes files only the owner can read
    return write_aside(file_of(folder, names), lambda aside: aside.write_bytes(content))


def file_of(folder: Path, names: dict[str, Any]) -> Path:
    """Where a member's file lies."""
    return folder / f"{names['model']}-{names['member']:03d}.safetensors"


def finished(folder: Path) -> ConfigDict:
    """The configuration of a finished run.

    Raises:
        UserError: the folder is none, its run isn't finished, or files of it are missing.
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
        raise UserError(f"{folder}: no whole run folder ({', '.join(missing)} missing); copy all of it")
    return ConfigDict(read_json(folder / "config.json")["config"])


def load(folder: Path, model: str, at_most: int | None = None) -> list[Trained]:
    """All members of one of a run's networks (or the first of them), in their order.

    Raises:
        UserError: there are none, or a file is broken.
    """
    paths = sorted((Path(folder) / "weights").glob(f"{model}-[0-9]*.safetensors"))
    if not paths:
        raise UserError(f"{folder}: no weights/{model}-*.safetensors; the run must be trained again, in a new folder")
    return [read(path) for path in paths[:at_most]]


def read(path: Path) -> Trained:
    """One member.

    Raises:
        UserError: its file is missing or broken.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise UserError(f"{path}: missing weights; copy the run folder again, or train anew")
    try:
        with safe_open(path, "np") as file:
            tree = unflatten_dict({name: file.get_tensor(name) for name in file.keys()}, sep="/")  # noqa: SIM118
            said = file.metadata()
            names = json.loads(said["names"])
            return Trained(names, tree["variables"], {} if said.get("fitted") == NOTHING else tree["stats"])
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
        [n_networks, n, n_classes] float32 probabilities, without dropout (`config.test.dropout` is for papers' tables).

    Raises:
        UserError: the networks' weights are not those of the configuration's model.
    """
    from tqdm import tqdm

    place = {row: number for number, row in enumerate(rows.tolist())}
    found = np.empty((len(networks), len(rows), len(study.classes(config))), np.float32)
    apply = applied(config, study, dataset, networks)
    seen = batches(config, study, dataset, rows)
    for part, scored, batch in tqdm(seen, desc="predicting", unit="batch", disable=None):
        where = [place[row] for row in part[scored].tolist()]
        for number, probabilities in enumerate(apply(batch)):
            found[number, where] = np.asarray(probabilities)[scored]
    return found


def applied(
    config: ConfigDict, study: Study, dataset: Dataset, networks: Sequence[Trained]
) -> Callable[[Batch], Iterator[jax.Array]]:
    """Compiled: batch -> probabilities of each network; a frozen backbone, the same in all, is gone through once."""
    model, inputs, decide = study.model(config, dataset), study.inputs(config), study.predict(config)
    backbone = study.backbone(config)
    features = jax.device_put(networks[0].variables["params"]["features"]) if backbone else None
    weights = [jax.device_put((_above(one.variables) if backbone else one.variables, one.stats)) for one in networks]
    model = model.clone(on_maps=True) if backbone else model

    @jax.jit
    def see(features: Any, stats: Any, batch: Batch) -> jax.Array:
        images = inputs(stats, jax.tree.map(jnp.asarray, batch), None, False)["inputs"]
        if backbone is None:
            return images
        maps: Any = backbone.apply({"params": features}, images.reshape(-1, *images.shape[-3:]))
        return maps.reshape(*images.shape[:-3], *maps.shape[1:])

    @jax.jit
    def answer(variables: Any, seen: jax.Array, mask: jax.Array) -> jax.Array:
        return decide(model.apply(variables, seen, train=False, mask=mask))

    def apply(batch: Batch) -> Iterator[jax.Array]:
        seen = None
        for one, (variables, stats) in zip(networks, weights, strict=True):
            try:
                seen = see(features, stats, batch) if seen is None or backbone is None else seen
                yield answer(variables, seen, batch["mask"])
            except FlaxError as error:
                text = " ".join(str(error).split())
                raise UserError(f"weights {one.names} don't fit {config.model.name}: {text}") from error

    return apply


def _above(variables: dict[str, Any]) -> dict[str, Any]:
    """A network's variables without its backbone's."""
    params = {name: tree for name, tree in variables["params"].items() if name != "features"}
    return {**variables, "params": params}

"""Trained networks applied to examples: what they say of a dataset, without training."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Batch, gather, iterate_in_order
from eegjax.errors import UserError
from eegjax.run.frozen import FEATURES, drop_backbone, halve
from eegjax.run.study import Task
from eegjax.run.weights import Trained


def batches(
    config: ConfigDict, task: Task, dataset: Dataset, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, Batch]]:
    """Examples in order, in the units that the network sees.

    Args:
        config: of the network.
        task: what it learns.
        dataset: with the examples.
        rows: [n] int64 of the index, at least one.

    Yields:
        The rows, where each is scored (both of the units' shape, padded to the batch), and the batch.
    """
    source = task.source(config, dataset)
    units, scored = task.units(config, dataset, rows, False)
    size = max(1, config.train.batch_size // units[0].size)
    for number, (part, mask) in enumerate(iterate_in_order(units, size)):
        some = np.zeros(part.shape, bool)
        some[: len(units) - number * size] = scored[number * size : (number + 1) * size]
        yield part, some, gather(np, source, part, mask)


def predict(config: ConfigDict, task: Task, dataset: Dataset, networks: list[Trained], rows: np.ndarray) -> np.ndarray:
    """What trained networks say of examples.

    Args:
        config: of the run, `model.name` being the networks'.
        task: what it learns.
        dataset: with the examples.
        networks: members of one model.
        rows: [n] int64 of the index, ascending within each recording.

    Returns:
        [n_networks, n, ...] float32, what the task's `predict` keeps (class probabilities, mostly), without dropout:
        `config.test.dropout` is for papers' tables.

    Raises:
        UserError: the networks' weights are not those of the configuration's model.
    """
    from tqdm import tqdm

    at = {row: number for number, row in enumerate(rows.tolist())}
    answer = make_answers(config, task, dataset, networks)
    found = np.empty(0)
    seen = batches(config, task, dataset, rows)
    for part, scored, batch in tqdm(seen, desc="predicting", unit="batch", disable=None):
        where = [at[row] for row in part[scored].tolist()]
        for number, values in enumerate(answer(batch)):
            if not found.size:
                found = np.empty((len(networks), len(rows), *values.shape[part.ndim :]), np.float32)
            found[number, where] = np.asarray(values)[scored]
    return found


def make_answers(
    config: ConfigDict, task: Task, dataset: Dataset, networks: Sequence[Trained]
) -> Callable[[Batch], Iterator[jax.Array]]:
    """Compiled: batch -> probabilities of each network; a frozen backbone, the same in all, is gone through once."""
    inputs = task.inputs(config)
    decide = task.predict(config)
    backbone = task.backbone(config)
    whole = task.model(config, dataset)
    features = {"params": {FEATURES: networks[0].variables["params"][FEATURES]}} if backbone else None
    first = jax.device_put(features)
    kept = [drop_backbone(one.variables) if backbone else one.variables for one in networks]
    placed = [jax.device_put((variables, one.stats)) for variables, one in zip(kept, networks, strict=True)]

    @jax.jit
    def see(variables: Any, stats: Any, batch: Batch) -> jax.Array:
        seen = inputs(stats, jax.tree.map(jnp.asarray, batch), None, False)["inputs"]
        return seen if backbone is None else halve(backbone, whole)[0](variables, seen)

    @jax.jit
    def answer(variables: Any, seen: jax.Array, mask: jax.Array) -> jax.Array:
        network = whole.apply if backbone is None else halve(backbone, whole)[1]
        return decide(network(variables, seen, train=False, mask=mask))

    def apply(batch: Batch) -> Iterator[jax.Array]:
        seen = None
        for one, (variables, stats) in zip(networks, placed, strict=True):
            try:
                seen = see(first, stats, batch) if seen is None or backbone is None else seen
                yield answer(variables, seen, batch["mask"])
            except FlaxError as error:
                text = " ".join(str(error).split())
                raise UserError(f"weights {one.names} don't fit {config.model.name}: {text}") from error

    return apply

"""A frozen backbone: a task becomes one on what the backbone makes of every example, computed once and kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Batch, Source, gather
from eegjax.files import hash_of
from eegjax.run.study import Task
from eegjax.train.features import hash_of_arrays, load_or_compute
from eegjax.train.step import Inputs

EXAMPLES_PER_DEVICE = 16
UNSEEN = ("root", "simulation", "n_classes")  # of `config.data`: the dataset's hash stands for it, or labels are meant
FEATURES = "features"  # where the backbone's parameters stand in the whole network's


def on_kept_features(
    config: ConfigDict, task: Task, dataset: Dataset, source: Source, params: Any
) -> tuple[Task, Source]:
    """The task above a frozen backbone, and the backbone's outputs as its data.

    Args:
        config: of the network.
        task: of the whole network; without a backbone it and the source come back as they are.
        dataset: whose examples are meant.
        source: of single examples.
        params: the backbone's parameters.

    Raises:
        UserError: the disk is full; what is computed is kept, and the next start goes on from there.
    """
    backbone = task.backbone(config)
    if backbone is None:
        return task, source
    maps = kept_features(config, dataset, source, task.inputs(config), backbone, params)
    rows = np.arange(len(maps))
    edges = {"maps_start": rows, "maps_low": rows, "maps_high": rows + 1}
    windows = {f"{array}_{edge}" for array in source.arrays for edge in ("start", "low", "high")}
    others = {name: column for name, column in source.table.items() if name not in windows}
    above = task._replace(model=lambda config, dataset: _above(task, config, dataset), inputs=_read_maps)
    return above, Source({"maps": maps}, {"maps": 1}, {**edges, **others})


def _above(task: Task, config: ConfigDict, dataset: Dataset) -> nn.Module:
    return task.model(config, dataset).clone(on_maps=True)


def _read_maps(config: ConfigDict) -> Inputs:
    return lambda stats, batch, key, train: {**batch, "inputs": batch["maps"].squeeze(batch["mask"].ndim)}


def halve(backbone: nn.Module, model: nn.Module) -> tuple[Callable[[Any, jax.Array], jax.Array], Callable[..., Any]]:
    """A network that has a backbone as two functions, one after the other.

    Args:
        backbone: the module whose parameters stand under `features`.
        model: the whole network.

    Returns:
        (variables, images [..., height, width, n_channels]) -> maps with the same leading axes; and
        (variables, maps, ...) -> outputs, as `model.apply` takes the rest. Both take the whole network's variables, the
        second also those without the backbone's.
    """

    def features(variables: Any, images: jax.Array) -> jax.Array:
        own = {kind: tree[FEATURES] for kind, tree in variables.items() if FEATURES in tree}
        maps: Any = backbone.apply(own, images.reshape(-1, *images.shape[-3:]))
        return maps.reshape(*images.shape[:-3], *maps.shape[1:])

    return features, model.clone(on_maps=True).apply


def drop_backbone(variables: dict[str, Any]) -> dict[str, Any]:
    """A network's variables without its backbone's parameters."""
    params = {name: tree for name, tree in variables["params"].items() if name != FEATURES}
    return {**variables, "params": params}


def add_backbone(variables: dict[str, Any], params: Any) -> dict[str, Any]:
    """A network's variables with its backbone's parameters."""
    return {**variables, "params": {**variables["params"], FEATURES: params}}


def kept_features(
    config: ConfigDict, dataset: Dataset, source: Source, inputs: Inputs, backbone: nn.Module, params: Any
) -> np.ndarray:
    """[n_examples, *features] float32, memory-mapped, at `<config.run.root>/features/<hash>.npy`.

    The hash is of all that decides them: the backbone with its weights, the dataset, what a network sees of it.

    Args:
        config: of the network.
        dataset: whose examples are meant.
        source: of single examples.
        inputs: the study's; it may use nothing learnt from a fold.
        backbone: the module.
        params: its parameters.

    Raises:
        UserError: the disk is full; what is computed is kept, and the next start goes on from there.
    """
    # Of this process's devices only: the other processes of a run wait for the file, not inside a common program.
    devices = Mesh(np.array(jax.local_devices()), ("data",))
    sharding = NamedSharding(devices, PartitionSpec("data"))
    everywhere = NamedSharding(devices, PartitionSpec())
    placed = jax.device_put(params, everywhere)

    @jax.jit
    def run(params: Any, batch: Batch) -> Any:
        return backbone.apply({"params": params}, inputs({}, batch, None, False)["inputs"])

    def batch_of(rows: np.ndarray) -> Batch:
        batch = gather(np, source, rows, np.ones(rows.shape, bool))
        return {name: jax.device_put(value, sharding) for name, value in batch.items()}

    chunk = EXAMPLES_PER_DEVICE * devices.size
    shape = jax.eval_shape(run, placed, batch_of(np.zeros(chunk, np.int64))).shape[1:]
    key = {
        "version": 1,  # raised when the code makes other features of the same
        "backbone": repr(backbone),
        "weights": hash_of_arrays(params),
        "dataset": dataset.card["hash"],
        "inputs": config.inputs.to_dict(),
        "data": {name: value for name, value in config.data.to_dict().items() if name not in UNSEEN},
    }
    path = Path(config.run.root) / "features" / f"{hash_of(key)}.npy"
    return load_or_compute(path, len(dataset.index), shape, lambda rows: run(placed, batch_of(rows)), chunk, "features")

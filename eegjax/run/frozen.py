"""What a frozen backbone makes of every example, computed once and kept beside the datasets."""

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
from eegjax.train.features import hash_of_arrays, load_or_compute
from eegjax.train.step import Inputs

EXAMPLES_PER_DEVICE = 16
UNSEEN = ("root", "simulation", "n_classes")  # of `config.data`: the dataset's hash stands for it, or labels are meant


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

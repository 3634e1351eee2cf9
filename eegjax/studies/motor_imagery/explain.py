"""Which channels the motor-imagery networks look at, and what a VAE leaves of a trial.

In the run folder, of each network's first member and some of its tested trials:

    explanations/importance_<model>.npz       importance [n_chans] float32: the mean size of the gradient of a trial's
                                              cross-entropy by the network's input; behind a VAE that is what this gives
    explanations/reconstruction_<model>.npz   original, reconstruction [n_trials, n_times, n_chans] float32, z-scores
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.explain.sensitivity import compute_gradients
from eegjax.models.vae_classifier import VAEClassifier
from eegjax.run import explanations
from eegjax.run.apply import batches
from eegjax.run.weights import load
from eegjax.studies.motor_imagery.network import TASK, inputs, model
from eegjax.train.losses import cross_entropy

N_TRIALS = 64
N_SHOWN = 4


def explain(config: ConfigDict, dataset: Dataset, folder: Path) -> None:
    """Explain every network of a finished run."""

    def explained(one: ConfigDict, tested: pd.DataFrame) -> explanations.Files:
        rows = tested["example"].to_numpy()
        return _explained(one, dataset, folder, rows[:: max(1, len(rows) // N_TRIALS)][:N_TRIALS])

    explanations.write(config, folder, explained)


def _explained(config: ConfigDict, dataset: Dataset, folder: Path, rows: np.ndarray) -> explanations.Files:
    name = config.model.name
    network = load(folder, name, 1)[0]
    net = model(config, dataset)
    make = inputs(config)
    vae = isinstance(net, VAEClassifier)

    @jax.jit
    def see(variables: Any, stats: Any, batch: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The size of each channel's gradient [batch, n_chans]; the trials, and what the VAE leaves of them."""
        x = make(stats, batch, None, False)["inputs"]
        outputs: Any = net.apply(variables, x, train=False)
        rebuilt = outputs[1][0] if vae else x
        classifier = net
        weights = variables
        if vae:
            classifier = net.classifier
            weights = {kind: tree["classifier"] for kind, tree in variables.items()}

        def per_trial(x: jax.Array) -> jax.Array:
            logits: Any = classifier.apply(weights, x, train=False)
            return cross_entropy(logits, batch["label"].astype(jnp.int32))

        slopes = compute_gradients(per_trial, x if vae and net.extra else rebuilt)
        return slopes.mean(-2), x, rebuilt

    found = []
    for _, scored, batch in batches(config, TASK, dataset, rows):
        seen = see(network.variables, network.stats, jax.tree.map(jnp.asarray, batch))
        found.append([np.asarray(values)[scored] for values in seen])
    sizes, original, rebuilt = (np.concatenate(parts) for parts in zip(*found, strict=True))
    made = {f"importance_{name}": {"importance": sizes.mean(0)}}
    if vae:
        made[f"reconstruction_{name}"] = {"original": original[:N_SHOWN], "reconstruction": rebuilt[:N_SHOWN]}
    return made

"""Why the sleep networks answer as they do: sensitivity maps, activation maps, and where they are totally wrong.

`explanations/<model>.npz` in the run folder, all of the network's first member and the first subject it is tested on:

    classes [n_classes], count [n_classes]     stages, and the epochs that each sensitivity map is a mean of
    sensitivity [n_classes, size, size, n_channels] float32, the loss in nats per unit of a pixel
    shown [n_classes]                          an example epoch per stage, -1 without one; `image` its picture, 0..255
    activation/<layer> [n_classes, h, w]       what the layers make of it
    wrong_*                                    the epochs that it was surest of and wrong: rows of `predictions.parquet`
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Batch, gather
from eegjax.data.splits import choose_evenly
from eegjax.explain.activations import HIDDEN_STATE, compute_activation_maps, vgg16_layers
from eegjax.explain.sensitivity import accumulate, class_means, compute_gradients
from eegjax.models.vgg import VGG16Features
from eegjax.run import explanations
from eegjax.run.apply import batches
from eegjax.run.frozen import halve
from eegjax.run.weights import Trained, load
from eegjax.studies.sleep.data import ON_SIGNAL, SEQUENTIAL, classes, epochs_uv, labels, positions, source
from eegjax.studies.sleep.network import TASK, images_of, inputs, loss, model

EPOCHS_PER_STAGE = 32  # in a sensitivity map, spread over the subject's nights
N_WRONG = 4  # totally wrong epochs shown
APART = 10  # epochs that lie between them, at least


def explain(config: ConfigDict, dataset: Dataset, folder: Path) -> None:
    """Explain every network of a finished run."""

    def explained(one: ConfigDict, tested: pd.DataFrame) -> explanations.Files:
        return {one.model.name: _explained(one, dataset, folder, tested)}

    explanations.write(config, folder, explained)


def _explained(config: ConfigDict, dataset: Dataset, folder: Path, tested: pd.DataFrame) -> dict[str, np.ndarray]:
    wrong = _wrong_rows(config, tested)
    shown = np.zeros(0, np.int64)
    if config.model.name not in ON_SIGNAL:  # where there is no image, there is no map of one
        subject = tested[tested["subject"] == tested["subject"].iloc[0]]
        rows = subject["example"].to_numpy()
        targets = subject["target"].to_numpy()
        shown = np.array([_middle(rows[targets == stage]) for stage in range(len(classes(config)))])
    pictures = _pictures(config, dataset, np.concatenate([shown, wrong]))
    found = {
        "wrong_example": wrong,
        "wrong_recording": dataset.index["recording"].to_numpy(str)[wrong],
        "wrong_onset_s": dataset.index["onset_s"].to_numpy()[wrong],
        "wrong_target": labels(config, dataset.index)[wrong],
        "wrong_eeg_uv": epochs_uv(dataset, wrong),
        "wrong_image": pictures[len(shown) :],
    }
    if not len(shown):
        return found
    network = load(folder, config.model.name, at_most=1)[0]
    of_stages = [choose_evenly(rows[targets == stage], EPOCHS_PER_STAGE) for stage in np.unique(targets)]
    chosen = np.sort(np.concatenate(of_stages))
    maps, count = _sensitivity(config, dataset, network, rows, chosen)
    image = pictures[: len(shown)] * (shown >= 0)[:, None, None, None]
    activations = _activations(config, dataset, network, shown)
    return {"sensitivity": maps, "count": count, "shown": shown, "image": image, **activations, **found}


def _middle(rows: np.ndarray) -> int:
    return int(rows[len(rows) // 2]) if len(rows) else -1


def _sensitivity(
    config: ConfigDict, dataset: Dataset, network: Trained, rows: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Equation 3 over the chosen rows; the recurrent network sees them among their neighbours."""
    make = inputs(config)
    per_example = loss(config)
    unweighted = {**network.stats, "class_weights": np.ones(len(classes(config)), np.float32)}
    net = model(config, dataset)
    features, head = halve(VGG16Features(net.width, net.batch_norm, net.dtype), net)

    def add(variables: Any, total: jax.Array, count: jax.Array, batch: Batch, wanted: jax.Array) -> Any:
        batch = make(network.stats, batch, None, False)

        def losses(maps: jax.Array) -> jax.Array:
            return per_example(unweighted, head(variables, maps), batch)[0]

        each = compute_gradients(losses, batch["inputs"], partial(features, variables))
        return accumulate(total, count, each, batch["label"], wanted)

    variables = jax.device_put(network.variables)
    image = jax.eval_shape(lambda: make(network.stats, _batch(config, dataset, rows[:1]), None, False)["inputs"])
    total = jnp.zeros((len(classes(config)), *image.shape[1:]), jnp.float32)
    count = jnp.zeros(len(classes(config)), jnp.int32)
    near = _with_neighbours(dataset, rows, chosen, config) if config.model.name in SEQUENTIAL else chosen
    compiled = jax.jit(add, compiler_options=_quickly())
    for part, scored, batch in batches(config, TASK, dataset, near):
        total, count = compiled(variables, total, count, batch, scored & np.isin(part, chosen))
    return np.asarray(jax.jit(class_means)(total, count)), np.asarray(count)


def _quickly() -> dict[str, Any] | None:
    """Compiler options for what runs a few times only: optimising it on a CPU takes longer than it saves."""
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None


def _with_neighbours(dataset: Dataset, rows: np.ndarray, chosen: np.ndarray, config: ConfigDict) -> np.ndarray:
    """The rows of the same recordings that lie at most a sequence before or after a chosen one."""
    index = dataset.index.iloc[rows]
    length = config.model.sequence_epochs
    position = positions(index)
    recording = index["recording"].to_numpy()
    is_chosen = np.isin(rows, chosen)
    near = np.zeros(len(rows), bool)
    for name in np.unique(recording):
        here = recording == name
        distance = np.abs(position[here][:, None] - position[here & is_chosen][None]).min(1, initial=10**9)
        near[here] = distance < length
    return rows[near]


def _batch(config: ConfigDict, dataset: Dataset, rows: np.ndarray) -> Batch:
    """Single examples; -1 reads the first one."""
    return jax.tree.map(jnp.asarray, gather(np, source(config, dataset), rows, rows >= 0))


def _pictures(config: ConfigDict, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """[n, size, size, 1 or 3] float32, 0..255: epochs as a person sees them, before any scaling."""
    plain = config.copy_and_resolve_references()
    with plain.unlocked():
        plain.inputs.scale = "raw"
        plain.model.name = "vgg16"
    make = jax.jit(partial(images_of, plain), compiler_options=_quickly())
    return np.asarray(make(_batch(plain, dataset, rows)))


def _activations(config: ConfigDict, dataset: Dataset, network: Trained, shown: np.ndarray) -> dict[str, np.ndarray]:
    """Of the shown epochs, each alone: a recurrent network begins with it."""
    layers: tuple[str, ...] = vgg16_layers(config.model.batch_norm)
    layers += (HIDDEN_STATE,) if config.model.name in SEQUENTIAL else ()
    net = model(config, dataset)
    make = inputs(config)

    def maps(variables: Any, batch: Batch) -> dict[str, jax.Array]:
        return compute_activation_maps(net, variables, make(network.stats, batch, None, False)["inputs"], layers)

    found = jax.jit(maps, compiler_options=_quickly())(network.variables, _batch(config, dataset, shown))
    return {f"activation/{layer}": np.asarray(found[layer]) for layer in layers}


def _wrong_rows(config: ConfigDict, tested: pd.DataFrame) -> np.ndarray:
    """[at most N_WRONG] int64: the epochs whose true stage the network held for least likely, some way apart."""
    probabilities = tested[[f"p_{name}" for name in classes(config)]].to_numpy()
    target = tested["target"].to_numpy()
    position = positions(tested)
    recording = tested["recording"].to_numpy()
    order = np.argsort(probabilities[np.arange(len(tested)), target], kind="stable")
    found: list[int] = []
    for candidate in order[probabilities[order].argmax(-1) != target[order]]:
        same = [other for other in found if recording[other] == recording[candidate]]
        if all(abs(position[other] - position[candidate]) > APART for other in same):
            found.append(int(candidate))
        if len(found) == N_WRONG:
            break
    return tested["example"].to_numpy()[found]

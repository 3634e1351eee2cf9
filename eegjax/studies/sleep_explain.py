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
from eegjax.explain.activations import HIDDEN_STATE, activation_maps, vgg16_layers
from eegjax.explain.sensitivity import accumulate, class_means, gradients
from eegjax.files import write_aside
from eegjax.studies import trained
from eegjax.studies.sleep_data import ON_SIGNAL, SEQUENTIAL, classes, epochs_uv, labels, positions, source
from eegjax.studies.sleep_network import images_of, inputs, loss, model
from eegjax.studies.study import Study
from eegjax.studies.trained import Trained

EPOCHS_PER_STAGE = 32  # in a sensitivity map, spread over the subject's nights
N_WRONG, APART = 4, 10  # totally wrong epochs shown, and how many epochs lie between them


def explain(config: ConfigDict, dataset: Dataset, folder: Path, study: Study) -> None:
    """Explain every network of a finished run."""
    predictions = pd.read_parquet(folder / "predictions.parquet")
    made = {}
    for name in dict.fromkeys((config.model.name, *config.model.beside)):
        one = config.copy_and_resolve_references()
        one.model.name = name
        member = predictions[(predictions["model"] == name) & (predictions["member"] == 0)]
        made[name] = _explained(one, dataset, folder, study, member[member["split"] == "test"])
    write_aside(folder / "explanations", lambda aside: _save(aside, made))


def _save(folder: Path, made: dict[str, dict[str, np.ndarray]]) -> None:
    folder.mkdir()
    for name, arrays in made.items():
        np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]


def _explained(
    config: ConfigDict, dataset: Dataset, folder: Path, study: Study, tested: pd.DataFrame
) -> dict[str, np.ndarray]:
    wrong = _wrong(config, dataset, tested)
    if config.model.name in ON_SIGNAL:  # no image, no map of one
        return wrong
    network = trained.load(folder, config.model.name)[0]
    subject = tested[tested["subject"] == tested["subject"].iloc[0]]
    rows, targets = subject["example"].to_numpy(), subject["target"].to_numpy()
    chosen = np.sort(np.concatenate([_spread(rows[targets == stage]) for stage in np.unique(targets)]))
    maps, count = _sensitivity(config, dataset, study, network, rows, chosen)
    shown = np.array([_middle(rows[targets == stage]) for stage in range(len(count))])
    pictures = pictures_of(config, dataset, shown) * (shown >= 0)[:, None, None, None]
    activations = _activations(config, dataset, network, shown)
    return {"sensitivity": maps, "count": count, "shown": shown, "image": pictures, **activations, **wrong}


def _spread(rows: np.ndarray) -> np.ndarray:
    """At most EPOCHS_PER_STAGE of some rows, evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), EPOCHS_PER_STAGE)).round().astype(int))]


def _middle(rows: np.ndarray) -> int:
    return int(rows[len(rows) // 2]) if len(rows) else -1


def _sensitivity(
    config: ConfigDict, dataset: Dataset, study: Study, network: Trained, rows: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Equation 3 over the chosen rows; the recurrent network sees them among their neighbours."""
    net, make, per_example = model(config, dataset), inputs(config), loss(config)
    unweighted = {**network.stats, "class_weights": np.ones(len(classes(config)), np.float32)}

    @jax.jit
    def add(variables: Any, total: jax.Array, count: jax.Array, batch: Batch, wanted: jax.Array) -> Any:
        batch = make(network.stats, batch, None, False)

        def losses(images: jax.Array) -> jax.Array:
            return per_example(unweighted, net.apply(variables, images, train=False), batch)[0]

        return accumulate(total, count, gradients(losses, batch["inputs"]), batch["label"], wanted)

    variables = jax.device_put(network.variables)
    image = jax.eval_shape(lambda: make(network.stats, _batch(config, dataset, rows[:1]), None, False)["inputs"])
    total = jnp.zeros((len(classes(config)), *image.shape[1:]), jnp.float32)
    count = jnp.zeros(len(classes(config)), jnp.int32)
    near = _with_neighbours(dataset, rows, chosen, config) if config.model.name in SEQUENTIAL else chosen
    for part, scored, batch in trained.batches(config, study, dataset, near):
        total, count = add(variables, total, count, batch, scored & np.isin(part, chosen))
    return np.asarray(class_means(total, count)), np.asarray(count)


def _with_neighbours(dataset: Dataset, rows: np.ndarray, chosen: np.ndarray, config: ConfigDict) -> np.ndarray:
    """The rows of the same recordings that lie at most a sequence before or after a chosen one."""
    index, length = dataset.index.iloc[rows], config.model.sequence_epochs
    position, recording = positions(index), index["recording"].to_numpy()
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


def pictures_of(config: ConfigDict, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """[n, size, size, 1 or 3] float32, 0..255: epochs as a person sees them, before any scaling."""
    plain = config.copy_and_resolve_references()
    with plain.unlocked():
        plain.inputs.scale = "raw"
        plain.model.name = "vgg16"
    return np.asarray(jax.jit(partial(images_of, plain))(_batch(plain, dataset, rows)))


def _activations(config: ConfigDict, dataset: Dataset, network: Trained, shown: np.ndarray) -> dict[str, np.ndarray]:
    """Of the shown epochs, each alone: a recurrent network begins with it."""
    layers: tuple[str, ...] = vgg16_layers(config.model.batch_norm)
    layers += (HIDDEN_STATE,) if config.model.name in SEQUENTIAL else ()
    batch = inputs(config)(network.stats, _batch(config, dataset, shown), None, False)
    maps = activation_maps(model(config, dataset), network.variables, batch["inputs"], layers)
    return {f"activation/{layer}": np.asarray(array) for layer, array in maps.items()}


def _wrong(config: ConfigDict, dataset: Dataset, tested: pd.DataFrame) -> dict[str, np.ndarray]:
    """The epochs whose true stage the network held for least likely, some way apart, with their EEG."""
    names = classes(config)
    probabilities = tested[[f"p_{name}" for name in names]].to_numpy()
    target, position = tested["target"].to_numpy(), positions(tested)
    order = np.argsort(probabilities[np.arange(len(tested)), target], kind="stable")
    found: list[int] = []
    for place in order[probabilities[order].argmax(-1) != target[order]]:
        same = [other for other in found if tested["recording"].iloc[other] == tested["recording"].iloc[place]]
        if all(abs(position[other] - position[place]) > APART for other in same):
            found.append(int(place))
        if len(found) == N_WRONG:
            break
    rows = tested["example"].to_numpy()[found]
    pictures = pictures_of(config, dataset, rows) if found else np.zeros((0, 1, 1, 1), np.float32)
    return {
        "wrong_example": rows,
        "wrong_recording": dataset.index["recording"].to_numpy(str)[rows],
        "wrong_onset_s": dataset.index["onset_s"].to_numpy()[rows],
        "wrong_target": labels(config, dataset.index)[rows],
        "wrong_eeg_uv": epochs_uv(dataset, rows),
        "wrong_image": pictures,
    }

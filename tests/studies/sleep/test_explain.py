"""What a finished run's explanations hold, against gradients taken epoch by epoch and the recordings themselves."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import mne
import numpy as np
import pandas as pd
import pytest

from eegjax.data.dataset import Dataset
from eegjax.data.feed import gather
from eegjax.data.splits import choose_evenly
from eegjax.run import weights
from eegjax.studies.sleep import data as sleep_data
from eegjax.studies.sleep import explain as sleep_explain
from eegjax.studies.sleep import study as sleep
from eegjax.studies.sleep.network import inputs, model

STAGES = ("W", "N1", "N2", "N3", "N4", "R")
PROBABILITIES = [f"p_{name}" for name in STAGES]
NETWORKS = ("vgg16", "vgg16_conv_lstm")
APART = 10


class Run:
    """One network of the finished run: what it was trained with, what it answered, what is explained."""

    def __init__(self, config, folder: Path, dataset: Dataset, name: str) -> None:
        self.config = config.copy_and_resolve_references()
        self.config.model.name = name
        self.folder, self.dataset = folder, dataset
        predictions = pd.read_parquet(folder / "predictions.parquet")
        self.tested = predictions[predictions["model"] == name]
        with np.load(folder / "explanations" / f"{name}.npz") as file:
            self.arrays = dict(file)
        (self.network,) = weights.load(folder, name)

    def images(self, rows: np.ndarray) -> jax.Array:
        """What the network sees, [*rows.shape, size, size, n_channels]."""
        batch = gather(np, sleep.TASK.source(self.config, self.dataset), rows, rows >= 0)
        return inputs(self.config)(self.network.stats, jax.tree.map(jnp.asarray, batch), None, False)["inputs"]


@pytest.fixture(scope="module")
def runs(finished, tiny: Callable) -> dict[str, Run]:
    config = tiny()
    dataset = sleep.prepare(config)
    return {name: Run(config, finished.folder, dataset, name) for name in NETWORKS}


# ---- sensitivity: equation 3


def of_own_loss(run: Run) -> Callable:
    """(images of one unit, step, target) -> how the loss of that step's epoch depends on its own image."""
    net, variables = model(run.config, run.dataset), run.network.variables

    def loss(own: jax.Array, images: jax.Array, step: jax.Array, target: jax.Array) -> jax.Array:
        images = images.at[step].set(own)
        logits = net.apply(variables, images[None] if run.config.model.name == "vgg16_conv_lstm" else images)
        return -jax.nn.log_softmax(logits.reshape(-1, len(STAGES))[step])[target]

    return jax.jit(lambda images, step, target: jax.grad(loss)(images[step], images, step, target))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_map_is_the_mean_of_each_epoch_s_own_gradient(runs, name: str) -> None:
    """Of single epochs, or of each in the sequence in which it is scored, cut out of what lies around the epochs."""
    run = runs[name]
    rows, targets = (run.tested[column].to_numpy() for column in ("example", "target"))
    counts = np.bincount(targets, minlength=len(STAGES))
    assert run.arrays["count"].tolist() == np.minimum(counts, sleep_explain.EPOCHS_PER_STAGE).tolist()
    index = run.dataset.index.iloc[rows]
    position = (index["onset_s"] / 30).round().astype(int).to_numpy() + 10_000 * (index["session"] == "2").to_numpy()
    chosen = np.concatenate(
        [choose_evenly(rows[targets == stage], sleep_explain.EPOCHS_PER_STAGE) for stage in range(len(STAGES))]
    )
    distance = np.abs(position[:, None] - position[np.isin(rows, chosen)][None]).min(1)
    units, scored = sleep.TASK.units(run.config, run.dataset, rows[distance < 4] if "lstm" in name else chosen, False)
    units, scored = units.reshape(len(units), -1), scored.reshape(len(units), -1)
    gradient = of_own_loss(run)
    for stage in (3, 4, 5):  # those with few epochs
        found = []
        for row in rows[targets == stage]:
            unit, step = (int(where[0]) for where in np.nonzero((units == row) & scored))
            found.append(np.abs(gradient(run.images(units[unit]), step, stage)))
        expected = np.mean(found, 0)
        assert len(found) == counts[stage] > 0
        scale = expected.max()
        assert scale > 1e-5
        # a pixel beyond the night's end is a copy of another: where both are the largest, rounding picks one
        close = np.abs(run.arrays["sensitivity"][stage] - expected) < 1e-3 * scale
        assert close.mean() > 0.98
        assert run.arrays["sensitivity"][stage].mean() == pytest.approx(expected.mean(), rel=0.01)


def test_stages_that_were_not_tested_have_no_map(runs, tmp_path: Path, monkeypatch) -> None:
    """And of many epochs only some are taken, over the whole night."""
    run = runs["vgg16"]
    monkeypatch.setattr(sleep_explain, "EPOCHS_PER_STAGE", 2)
    tested = run.tested[run.tested["target"].isin([0, 2])]
    found = sleep_explain._explained(run.config, run.dataset, run.folder, tested)
    assert found["count"].tolist() == [2, 0, 2, 0, 0, 0]
    for stage, count in enumerate(found["count"]):
        assert (found["shown"][stage] >= 0) == bool(count)
        assert found["sensitivity"][stage].any() == found["image"][stage].any() == bool(count)


# ---- examples and activations


@pytest.mark.parametrize("name", NETWORKS)
def test_shown_epochs_are_of_their_stage(runs, name: str) -> None:
    run = runs[name]
    shown = run.arrays["shown"]
    assert set(shown) <= set(run.tested["example"])
    assert run.dataset.index["label"].to_numpy()[shown].tolist() == list(range(len(STAGES)))
    images = np.asarray(run.images(shown)) * (254 / np.sqrt(12)) + 127  # standardised levels, back to 0..254
    np.testing.assert_allclose(run.arrays["image"], images, atol=1e-3)
    assert run.arrays["image"].min() >= 0
    assert run.arrays["image"].max() > 200


@pytest.mark.parametrize("name", NETWORKS)
def test_activations_are_those_of_the_trained_network(runs, name: str) -> None:
    run = runs[name]
    maps = {key.split("/", 1)[1]: array for key, array in run.arrays.items() if key.startswith("activation/")}
    sizes = {"conv1_2": 32, "conv2_2": 16, "conv3_3": 8, "conv4_3": 4, "conv5_3": 2}
    wanted = {f"features/{layer}": (6, size, size) for layer, size in sizes.items()}
    wanted |= {"conv_lstm": (6, 1, 1)} if "lstm" in name else {}
    assert {layer: array.shape for layer, array in maps.items()} == wanted
    x = run.images(run.arrays["shown"])
    for layer in ("conv1_1", "conv1_2"):
        weights = run.network.variables["params"]["features"][layer]
        x = jax.lax.conv_general_dilated(
            x, weights["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jnp.maximum(x + weights["bias"], 0)
    np.testing.assert_allclose(maps["features/conv1_2"], x.mean(-1), atol=1e-5)


# ---- totally wrong


@pytest.mark.parametrize("name", NETWORKS)
def test_wrong_epochs_are_those_whose_truth_was_held_for_least_likely(runs, name: str) -> None:
    run = runs[name]
    tested = run.tested.set_index("example")
    found = run.arrays["wrong_example"]
    assert len(found) == 4
    truth = pd.Series(tested[PROBABILITIES].to_numpy()[np.arange(len(tested)), tested["target"]], tested.index)
    wrong = tested[tested[PROBABILITIES].to_numpy().argmax(1) != tested["target"]]
    assert set(found) <= set(wrong.index)
    assert (np.diff(truth[found]) >= 0).all()  # the worst first

    def near(one: int, others: np.ndarray) -> bool:
        same = tested.loc[others]
        same = same[same["recording"] == tested["recording"][one]]
        return bool((np.abs(same["onset_s"] - tested["onset_s"][one]) <= 30 * APART).any())

    for place, one in enumerate(found):
        assert not near(one, found[:place])
    for other in set(wrong.index) - set(found):  # worse ones are left out only beside one that is worse still
        assert truth[other] >= truth[found[-1]] or near(other, found[truth[found] <= truth[other]])


@pytest.mark.parametrize("name", NETWORKS)
def test_wrong_epochs_have_the_eeg_of_the_file(runs, name: str) -> None:
    run = runs[name]
    arrays = run.arrays
    folder = sleep_data._simulated(run.config, Path(run.config.run.root, "datasets"))
    for k, example in enumerate(arrays["wrong_example"]):
        row = run.dataset.index.iloc[example]
        assert (arrays["wrong_recording"][k], arrays["wrong_onset_s"][k]) == (row["recording"], row["onset_s"])
        assert arrays["wrong_target"][k] == row["label"]
        (psg,) = folder.glob(f"{row['recording']}*-PSG.edf")
        raw = mne.io.read_raw_edf(psg, include=["EEG Fpz-Cz"], verbose="error")
        begin = round(row["onset_s"] * raw.info["sfreq"])
        eeg_uv = 1e6 * raw.get_data(start=begin, stop=begin + 3000)[0]
        np.testing.assert_allclose(arrays["wrong_eeg_uv"][k], eeg_uv, atol=1e-3)


def test_a_network_on_the_signal_has_its_wrong_epochs_only(runs) -> None:
    run = runs["vgg16"]
    config = run.config.copy_and_resolve_references()
    config.model.name = "lstm"
    found = sleep_explain._explained(config, run.dataset, Path("nowhere"), run.tested)
    assert set(found) == {name for name in run.arrays if name.startswith("wrong_")}
    np.testing.assert_array_equal(found["wrong_image"], run.arrays["wrong_image"])


def test_a_network_that_is_never_wrong(runs) -> None:
    run = runs["vgg16"]
    right = run.tested.assign(**dict(zip(PROBABILITIES, np.eye(6)[run.tested["target"]].T, strict=True)))
    assert len(sleep_explain._wrong_rows(run.config, right)) == 0
    config = run.config.copy_and_resolve_references()
    config.model.name = "lstm"
    found = sleep_explain._explained(config, run.dataset, Path("nowhere"), right)
    assert found["wrong_eeg_uv"].shape == (0, 3000)
    assert len(found["wrong_image"]) == 0

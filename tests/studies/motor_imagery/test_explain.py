"""Explanations of motor-imagery networks whose weights are made by hand: finite differences, and the VAE by NumPy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict
from scipy import special

from eegjax import cli
from eegjax.data.dataset import Dataset
from eegjax.run import weights
from eegjax.studies.motor_imagery.explain import explain
from eegjax.studies.motor_imagery.network import model

ROOT = Path(__file__).parents[3]
N_TIMES, N_CHANS, N_TRIALS, LOOKED_AT = 110, 3, 30, 1  # the networks here see one channel
STATS = {"mean": np.array([[1.0, -2.0, 0.5]], np.float32), "sd": np.array([[2.0, 4.0, 0.5]], np.float32)}
NETWORKS = ("shallow", "vae_shallow", "shallow_vae_samples")


class Explained(NamedTuple):
    """A run's folder, its networks' variables, and the trials [n_trials, n_times, n_chans] as they see them."""

    folder: Path
    config: ConfigDict
    dataset: Dataset
    variables: dict[str, Any]
    seen: np.ndarray


def of_one_channel(shapes: Any) -> Any:
    """Random variables of the network, its filters zero on all channels but one."""
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)
    for tree in (variables["params"], variables["params"].get("classifier", {})):
        if "filters" in tree:
            tree["filters"]["space_kernel"][[k for k in range(N_CHANS) if k != LOOKED_AT]] = 0
    for leaf in jax.tree.leaves(variables["batch_stats"]):
        leaf[:] = np.abs(leaf) + 1
    return variables


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Explained]:
    """A function: number of tested trials -> a run of all three networks, explained."""

    def make(n_tested: int) -> Explained:
        config = cli.configure(f"{ROOT}/configs/motor_imagery.py:standard", ["main.py"])
        size = {"model.vae.n_hidden": 7, "model.vae.n_latent": 3, "model.vae.n_decoder": 6, "train.batch_size": 16}
        with config.unlocked():
            config.update_from_flattened_dict({"data.sfreq": 110.0, "data.window_s": (0.0, 1.0), **size})
            config.update_from_flattened_dict({"model.name": NETWORKS[0], "model.beside": NETWORKS[1:]})
        rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("run")
        eeg = rng.normal(1, 3, (N_TRIALS, N_TIMES, N_CHANS)).astype(np.float32)
        start = np.arange(N_TRIALS) * N_TIMES
        index = pd.DataFrame({"example": np.arange(N_TRIALS), "subject": "A01", "recording": "A01T", "start": start})
        index = index.assign(session="T", label=rng.integers(0, 4, N_TRIALS).astype(np.int8))
        card = {"recordings": [{"recording": "A01T", "extents": {"eeg": [0, eeg.shape[0] * N_TIMES]}}]}
        dataset = Dataset(folder, index, card, {"eeg": eeg.reshape(-1, N_CHANS)})
        variables, rows = {}, []
        for name in NETWORKS:
            config.model.name = name
            net, trial = model(config, dataset), jnp.zeros((1, N_TIMES, N_CHANS))
            variables[name] = of_one_channel(
                jax.eval_shape(lambda net=net, trial=trial: net.init(jax.random.key(0), trial, train=False))
            )
            for member, sign in ((0, 1), (1, 0)):  # the second isn't explained: it would say 0
                named = {"model": name, "member": member, "fold": f"four {member}", "seed": 0}
                values = jax.tree.map(lambda leaf, sign=sign: sign * leaf, variables[name])
                weights.write(folder / "weights", named, values, STATS)
                tested = np.arange(N_TRIALS - n_tested, N_TRIALS) if member == 0 else np.arange(5)
                rows.append(pd.DataFrame({**named, "split": "test", "example": tested}))
                rows.append(pd.DataFrame({**named, "split": "validation", "example": np.arange(3)}))
        config.model.name = NETWORKS[0]
        pd.concat(rows).to_parquet(folder / "predictions.parquet")
        explain(config, dataset, folder)
        return Explained(folder, config, dataset, variables, (eeg - STATS["mean"]) / STATS["sd"])

    return make


@pytest.fixture(scope="module")
def of_twenty(run: Callable[[int], Explained]) -> Explained:
    """More tested trials than a batch has."""
    return run(20)


def read(run: Explained, name: str) -> dict[str, np.ndarray]:
    with np.load(run.folder / "explanations" / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def rebuilt(variables: Any, trials: np.ndarray) -> np.ndarray:
    """The VAE's mean reconstruction, by NumPy."""
    params = variables["params"]["vae"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ params[name]["kernel"] + params[name]["bias"]

    code = dense(np.maximum(dense(trials.reshape(len(trials), -1), "encoder"), 0), "mean")
    return dense(np.maximum(dense(code, "decoder"), 0), "head").reshape(trials.shape)


def test_every_network_has_its_files(of_twenty: Explained) -> None:
    found = {path.name for path in (of_twenty.folder / "explanations").iterdir()}
    importances, rebuilds = (
        {f"{word}_{name}.npz" for name in names}
        for word, names in (("importance", NETWORKS), ("reconstruction", NETWORKS[1:]))
    )
    assert found == importances | rebuilds
    for name in NETWORKS:
        importance = read(of_twenty, f"importance_{name}")["importance"]
        assert importance.shape == (N_CHANS,)
        assert importance.dtype == np.float32


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_looks_at_one_channel_is_seen_to(of_twenty: Explained, name: str) -> None:
    """Behind a VAE too, which mixes all channels: it is asked of what the classifier is given."""
    importance = read(of_twenty, f"importance_{name}")["importance"]
    assert (np.delete(importance, LOOKED_AT) == 0).all()
    assert importance[LOOKED_AT] > 1e-6


@pytest.mark.parametrize("name", NETWORKS)
def test_importance_is_the_mean_size_of_the_loss_s_slope(of_twenty: Explained, name: str) -> None:
    """By central differences, over all tested trials, each once."""
    variables = of_twenty.variables[name]
    trials, label = of_twenty.seen[10:], of_twenty.dataset.index["label"].to_numpy()[10:]
    if name == "vae_shallow":
        trials = rebuilt(variables, trials).astype(np.float32)
    if name != "shallow":
        variables = {kind: tree["classifier"] for kind, tree in variables.items()}
    of_twenty.config.model.name = "shallow"
    net = model(of_twenty.config, of_twenty.dataset)
    answer = jax.jit(lambda x: net.apply(variables, x, train=False))
    step, sizes = 3e-2, []
    for trial, wanted in zip(trials, label, strict=True):
        moved = np.tile(trial, (2 * N_TIMES, 1, 1))
        moved[np.arange(N_TIMES), np.arange(N_TIMES), LOOKED_AT] += step
        moved[N_TIMES + np.arange(N_TIMES), np.arange(N_TIMES), LOOKED_AT] -= step
        losses = -special.log_softmax(np.asarray(answer(moved), float), -1)[:, wanted]
        sizes.append(np.abs(losses[:N_TIMES] - losses[N_TIMES:]) / (2 * step))
    found = read(of_twenty, f"importance_{name}")["importance"][LOOKED_AT]
    np.testing.assert_allclose(found, np.mean(sizes), rtol=2e-2)


@pytest.mark.parametrize("name", NETWORKS[1:])
def test_reconstructions_are_the_vae_s_of_the_first_tested_trials(of_twenty: Explained, name: str) -> None:
    found = read(of_twenty, f"reconstruction_{name}")
    np.testing.assert_allclose(found["original"], of_twenty.seen[10:14], rtol=1e-5, atol=1e-5)
    expected = rebuilt(of_twenty.variables[name], of_twenty.seen[10:14])
    np.testing.assert_allclose(found["reconstruction"], expected, rtol=1e-3, atol=1e-3)


def test_padding_is_not_shown_or_counted(run: Callable[[int], Explained]) -> None:
    """Two tested trials in a batch of sixteen."""
    few = run(2)
    found = read(few, "reconstruction_vae_shallow")
    assert found["original"].shape == found["reconstruction"].shape == (2, N_TIMES, N_CHANS)
    np.testing.assert_allclose(found["original"], few.seen[28:], rtol=1e-5, atol=1e-5)
    assert all(np.isfinite(read(few, f"importance_{name}")["importance"]).all() for name in NETWORKS)

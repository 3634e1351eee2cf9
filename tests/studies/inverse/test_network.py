"""What the inverse study's networks see, learn from and answer, by value; and split along depth over devices."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict
from safetensors.numpy import load_file

from eegjax import cli
from eegjax.data.dataset import Dataset
from eegjax.data.feed import gather
from eegjax.run.member import list_members
from eegjax.run.network import Network, Timing
from eegjax.studies.inverse import answers as inverse_points
from eegjax.studies.inverse import baselines as inverse_baselines
from eegjax.studies.inverse import data as inverse_data
from eegjax.studies.inverse import heads as inverse_heads
from eegjax.studies.inverse import network as inverse_network
from eegjax.studies.inverse import samples as inverse_samples
from eegjax.studies.inverse.folds import folds as folds_of
from eegjax.studies.inverse.network import TASK
from eegjax.train.log import MetricLog

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def configure(run_root: Path) -> Callable[..., ConfigDict]:
    """A function: fields -> the configuration of the smallest demo; `a__b` stands for `a.b`."""

    def make(**fields: Any) -> ConfigDict:
        path = f"{ROOT}/configs/inverse.py:demo,size=tiny,input=electrodes"
        config = cli.configure(path, ["", f"--config.run.root={run_root}"])
        with config.unlocked():
            config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
        return config

    return make


# ---- what is learnt


class Learnt(NamedTuple):
    """Three samples of 4 x 4 x 4 voxels, the last one silent, some voxels outside the grid."""

    target: np.ndarray
    grid: np.ndarray
    outputs: dict[int, np.ndarray]  # by their number per voxel


@pytest.fixture(scope="module")
def learnt() -> Learnt:
    rng = np.random.default_rng(0)
    shape = (3, 4, 4, 4)
    target = np.where(rng.uniform(size=shape) < 0.3, rng.uniform(0.1, 1, shape), 0).astype(np.float32)
    target[2] = 0
    outputs = {n: rng.normal(0, 2, (*shape, n)).astype(np.float32) for n in (1, 2)}
    return Learnt(target, rng.uniform(size=shape) < 0.6, outputs)


def log_p(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of source and background, of voxels [n, 2]."""
    total = np.log(np.exp(logits.astype(float)).sum(-1))
    return logits[:, 1] - total, logits[:, 0] - total


def cross_entropy(background: float | None, balance: float, logits: np.ndarray, target: np.ndarray) -> float:
    """With weights (background, 1); without one with that of equal say to the power of `balance`."""
    source, of = target > 0, log_p(logits)
    if background is None:
        background = (max(source.sum(), 1) / max((~source).sum(), 1)) ** balance
    weights = np.where(source, 1, background)
    return float(-(weights * np.where(source, *of)).sum() / weights.sum())


def dice(logits: np.ndarray, target: np.ndarray) -> float:
    p, g = np.exp(log_p(logits)[0]), target > 0
    one = 0 if g.any() else 1
    return float(1 - (2 * p[g].sum() + one) / ((p**2).sum() + g.sum() + one))


def focal(logits: np.ndarray, target: np.ndarray) -> float:
    source, of = target > 0, log_p(logits)
    right = np.where(source, *of)
    alpha = np.where(source, 0.25, 0.75)
    return float(-(alpha * (1 - np.exp(right)) ** 2 * right).sum() / max(source.sum(), 1))


def power(exponent: int, factor: float, outputs: np.ndarray, target: np.ndarray) -> float:
    return float((np.abs(outputs[:, 0].astype(float) - factor * target) ** exponent).mean())


LOSSES = [
    ({"class_weights": (1e-7, 1.0)}, partial(cross_entropy, 1e-7, 1.0)),
    ({"class_weights": (0.3, 1.0), "class_balance": 0.0}, partial(cross_entropy, 0.3, 0.0)),
    ({"class_balance": 0.0}, partial(cross_entropy, None, 0.0)),
    ({"class_balance": 0.5}, partial(cross_entropy, None, 0.5)),
    ({"class_balance": 1.0}, partial(cross_entropy, None, 1.0)),
    ({"loss": "dice"}, dice),
    ({"loss": "focal"}, focal),
    ({"loss": "mse"}, partial(power, 2, 1.0)),
    ({"loss": "mse", "target_factor": 30.0}, partial(power, 2, 30.0)),
    ({"loss": "l1", "target_factor": 0.5}, partial(power, 1, 0.5)),
]


@pytest.mark.parametrize(("fields", "formula"), LOSSES, ids=[str(fields) for fields, _ in LOSSES])
def test_each_loss_by_value_over_the_voxels_of_the_grid(configure, learnt: Learnt, fields, formula) -> None:
    """Whatever is said elsewhere changes nothing; without a grid all voxels count."""
    config = configure(**{f"train__{name}": value for name, value in fields.items()})
    outputs = learnt.outputs[1 if config.train.loss in ("mse", "l1") else 2]
    per_example = inverse_network.loss(config)
    batch = {"target": jnp.asarray(learnt.target), "grid": jnp.asarray(learnt.grid)}
    found, metrics = per_example({}, jnp.asarray(outputs), batch)
    wanted = [formula(*one) for one in zip_voxels(outputs, learnt.target, learnt.grid)]
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=5e-7)
    assert metrics == {}
    outside = ~learnt.grid[..., None]
    disturbed = np.where(outside, np.random.default_rng(1).normal(0, 9, outputs.shape), outputs).astype(np.float32)
    np.testing.assert_array_equal(per_example({}, jnp.asarray(disturbed), batch)[0], found)
    everywhere = [formula(*one) for one in zip_voxels(outputs, learnt.target, np.ones_like(learnt.grid))]
    batch.pop("grid")
    np.testing.assert_allclose(per_example({}, jnp.asarray(outputs), batch)[0], everywhere, rtol=2e-5, atol=5e-7)
    assert not np.allclose(wanted, everywhere)


def zip_voxels(outputs: np.ndarray, target: np.ndarray, grid: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each sample's voxels that count."""
    for one, wanted, inside in zip(outputs, target, grid, strict=True):
        yield one[inside], wanted[inside]


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_a_regression_answers_in_the_target_s_unit_and_never_below_zero(configure, learnt: Learnt, loss: str) -> None:
    answer = inverse_network.predict(configure(train__loss=loss, train__target_factor=30.0))
    np.testing.assert_allclose(answer(30 * jnp.asarray(learnt.target)[..., None]), learnt.target, rtol=1e-6)
    np.testing.assert_array_equal(answer(-30 * jnp.asarray(learnt.target)[..., None]), 0)


@pytest.mark.parametrize("loss", ["cross_entropy", "dice", "focal"])
def test_a_classification_answers_with_the_source_s_probability(configure, learnt: Learnt, loss: str) -> None:
    logits = learnt.outputs[2]
    said = inverse_network.predict(configure(train__loss=loss))(jnp.asarray(logits))
    np.testing.assert_allclose(said, 1 / (1 + np.exp(logits[..., 0] - logits[..., 1])), rtol=1e-5, atol=1e-7)


# ---- what is seen


def cubes(values: np.ndarray, voxels: np.ndarray, n: int, side: int, collisions: str) -> np.ndarray:
    """Each point's cube, cut at the border, one after another; a value of zero is no point."""
    there: dict[tuple[int, ...], list[float]] = {}
    half = side // 2
    for value, voxel in zip(values.tolist(), voxels.tolist(), strict=True):
        if value == 0:
            continue
        for offset in np.ndindex(side, side, side):
            at = tuple(v + o - half for v, o in zip(voxel, offset, strict=True))
            if min(at) >= 0 and max(at) < n:
                there.setdefault(at, []).append(value)
    choose = {"last": lambda found: found[-1], "max": lambda found: max(found, key=abs), "mean": np.mean}[collisions]
    volume = np.zeros((n, n, n))
    for at, found in there.items():
        volume[at] = choose(found)
    return volume


@pytest.mark.parametrize("target", ["centres", "sources"])
@pytest.mark.parametrize(
    ("scaling", "side", "collisions"),
    [
        ("affine", 1, "max"),
        ("affine", 5, "last"),
        ("separate", 1, "mean"),
        ("separate", 5, "max"),
        ("affine", 5, "mean"),
    ],
)
def test_volumes_hold_voltages_and_moments_at_their_voxels(configure, scaling, side, collisions, target) -> None:
    """Each divided by its sample's greatest magnitude: voltages with their sign, moments without."""
    config = configure(data__scaling=scaling, data__dilation=side, data__collisions=collisions, data__target=target)
    dataset = inverse_data.prepare(config)
    rows = np.array([0, 9, 17, 23])
    samples = inverse_samples.drawn(config, dataset, rows)
    batch = gather(np, inverse_data.source(config, dataset), rows, rows >= 0)
    made = jax.jit(partial(inverse_network.inputs(config), key=None, train=False))({}, batch)
    assert {name: value.shape[1:] for name, value in made.items()} == {
        "inputs": (16, 16, 16, 1),
        "target": (16, 16, 16),
        "grid": (16, 16, 16),
        "mask": (),
    }
    clipped = 0
    for place, number in enumerate(inverse_heads.number_of_recording(dataset)[rows]):
        nominal, real = inverse_heads.of_dataset(config, dataset)[number]
        electrode_grid, grid = inverse_heads.grids(config, nominal)
        at = electrode_grid.to_voxel(nominal.electrodes_m * 1e3)
        clipped += np.sum((at < side // 2) | (at >= 16 - side // 2))
        voltages = samples.voltages[place]
        wanted = cubes(voltages / np.abs(voltages).max(), at, 16, side, collisions)
        np.testing.assert_allclose(made["inputs"][place, ..., 0], wanted, atol=2e-6)
        moments = np.abs(samples.moments[place][: len(real.sources_m)])
        if target == "centres":
            centres = samples.centres[place][samples.centres[place] >= 0]
            moments = np.where(np.isin(np.arange(len(moments)), centres), moments, 0)
        scaled = moments / (moments.max() or 1)
        voxels = grid.to_voxel(real.sources_m * 1e3)
        np.testing.assert_allclose(made["target"][place], cubes(scaled, voxels, 16, side, collisions), atol=2e-6)
    assert (clipped > 0) == (side > 1)


# ---- trained, on whole volumes and on slabs


class Run(NamedTuple):
    """A network that was trained for an epoch, with what it left."""

    network: Network
    folder: Path
    frame: pd.DataFrame


@pytest.fixture(scope="module")
def config(configure: Callable[..., ConfigDict]) -> ConfigDict:
    """Thresholds on the training part, as in the paper; steps that don't blow up rounding."""
    splits = {"splits__validation_share": 0.0, "test__train_part": True, "test__n_train_part": 6, "test__n_tuning": 3}
    steps = {"train__optimizer": "sgd", "train__warmup_steps": 0, "train__learning_rate": 0.05, "train__n_epochs": 1}
    rest = {"train__watch_test": True, "run__log_every_steps": 1, "data__dilation": 3, "data__n_voxels": 8}
    return configure(**splits, **steps, **rest)


@pytest.fixture(scope="module")
def dataset(config: ConfigDict) -> Dataset:
    return inverse_data.prepare(config)


@pytest.fixture(scope="module")
def runs(config: ConfigDict, dataset: Dataset, tmp_path_factory) -> dict[int, Run]:
    """By the number of devices that a volume is split over, of four in all."""
    found = {}
    for space in (1, 2):
        one = config.copy_and_resolve_references()
        one.run.space = space
        (fold,) = folds_of(one, dataset)
        network = Network(one, TASK, dataset, list_members("v_net", [fold], 0, 1), Timing())
        folder = tmp_path_factory.mktemp(f"space_{space}")
        log = MetricLog(folder, True, False)
        found[space] = Run(network, folder, network.run(network.members, folder / "checkpoints" / "v_net-000-000", log))
    return found


def logged(run: Run, name: str) -> np.ndarray:
    return pd.read_json(run.folder / "metrics.jsonl", lines=True)[name].dropna().to_numpy()


@pytest.mark.slow
@pytest.mark.skipif(jax.device_count() % 2 > 0, reason="one device holds a volume whole")
def test_training_and_predicting_on_slabs_equal_those_on_whole_volumes(runs: dict[int, Run]) -> None:
    whole, split = runs[1], runs[2]
    assert dict(split.network.mesh.shape) == {"data": jax.device_count() // 2, "space": 2}
    for name in ("loss", "gradient_norm", "test_loss"):
        np.testing.assert_allclose(logged(split, name), logged(whole, name), rtol=1e-5, atol=1e-6)
    assert len(logged(whole, "loss")) == whole.network.steps_per_epoch == 5
    pd.testing.assert_frame_equal(split.frame, whole.frame)
    for part in ("train", "test"):
        first, second = (np.load(run.folder / "volumes" / f"v_net-000-{part}.npy") for run in (whole, split))
        assert np.ptp(first) > 0.01
        np.testing.assert_allclose(second, first, atol=1e-5)
    weights = [load_file(run.folder / "weights" / "v_net-000.safetensors") for run in (whole, split)]
    assert set(weights[0]) == set(weights[1])
    for name, leaf in weights[0].items():
        np.testing.assert_allclose(weights[1][name], leaf, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.skipif(jax.device_count() % 2 > 0, reason="one device holds a volume whole")
def test_a_device_holds_its_slabs_of_inputs_target_and_grid(runs: dict[int, Run]) -> None:
    made = {}
    for space, run in runs.items():
        network, program = run.network, run.network.programs[1]
        rows = network.members[0].fold.train[None, :4]

        def make(resident: Any, batch: Any, network: Network = network, feed: Any = program.feed) -> Any:
            one = jax.tree.map(lambda leaf: leaf[0], feed.unpack(batch, resident))
            return TASK.inputs(network.config)({}, one, None, False)

        with jax.set_mesh(network.mesh):
            made[space] = jax.jit(make)(program.feed.resident, program.feed.place(rows, rows >= 0))
    for name in ("inputs", "target", "grid"):
        np.testing.assert_allclose(np.asarray(made[2][name], float), np.asarray(made[1][name], float), atol=1e-5)
        assert made[2][name].sharding.spec == PartitionSpec("data", "space")
        assert {shard.data.shape[1] for shard in made[2][name].addressable_shards} == {4}


def test_only_the_paper_s_protocol_watches_the_test_part() -> None:
    watched = {
        name: cli.configure(f"{ROOT}/configs/inverse.py:{name}", [""]).train.watch_test
        for name in ("demo", "standard", "paper")
    }
    assert watched == {"demo": False, "standard": False, "paper": True}


@pytest.mark.slow
def test_the_watched_test_loss_is_that_of_the_answers(runs: dict[int, Run], dataset: Dataset) -> None:
    """Of the last epoch, from the volumes that were kept; no best weights were chosen by it."""
    run = runs[1]
    config, rows = run.network.config, run.frame.query("split == 'test'")["example"].to_numpy()
    batch = gather(np, inverse_data.source(config, dataset), rows, rows >= 0)
    made = jax.jit(partial(TASK.inputs(config), key=None, train=False))({}, batch)
    p = np.clip(np.load(run.folder / "volumes" / "v_net-000-test.npy"), 1e-7, 1 - 1e-7)
    logits = np.stack([np.log(1 - p), np.log(p)], -1)
    grid, target = np.asarray(made["grid"]), np.asarray(made["target"])
    expected = [cross_entropy(None, 1.0, *one) for one in zip_voxels(logits, target, grid)]
    assert logged(run, "test_loss") == pytest.approx([np.mean(expected)], rel=1e-4)


@pytest.mark.slow
def test_networks_and_classical_inverses_are_tuned_on_the_same_samples_of_all_heads(
    runs: dict[int, Run], dataset: Dataset, monkeypatch
) -> None:
    """Without a validation part: on some of the training part, which networks predict and inverses draw."""
    run, asked = runs[1], []
    config, fold = run.network.config, run.network.members[0].fold
    plain = inverse_points.Scene.truths

    def truths(scene: inverse_points.Scene, rows: np.ndarray) -> Any:
        asked.append(set(rows.tolist()) - set(fold.test.tolist()))
        return plain(scene, rows)

    monkeypatch.setattr(inverse_points.Scene, "truths", truths)
    inverse_points.decode(config, dataset, [fold], run.frame, run.folder)
    of_networks = set.union(*asked)
    asked.clear()
    inverse_baselines.baselines(config, dataset, [fold])
    of_inverses = set.union(*asked)
    assert of_networks == of_inverses
    assert of_networks == set(inverse_baselines.tuning_rows(config, fold).tolist())
    heads, predicted = dataset.index["recording"], run.frame.query("split == 'train'")["example"]
    assert set(heads[sorted(of_networks)]) == set(heads)
    assert (len(predicted), len(of_networks)) == (6, 3)
    assert set(heads[predicted]) == set(heads)


def test_of_the_training_part_all_samples_are_tuned_on_where_no_number_is_given(configure, dataset: Dataset) -> None:
    config = configure(splits__validation_share=0.0, test__n_train_part=0, test__n_tuning=100)
    (fold,) = folds_of(config, dataset)
    np.testing.assert_array_equal(inverse_baselines.tuning_rows(config, fold), fold.train)

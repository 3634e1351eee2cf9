"""A study that trains in a second: four recordings of noisy sines, a network with convolution, BatchNorm, dropout."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pandas as pd
from ml_collections import ConfigDict

from eegjax import protocols
from eegjax.data import splits
from eegjax.data.dataset import Dataset
from eegjax.data.feed import Batch, Source, cut_window, gather, make_feed
from eegjax.models import layers
from eegjax.run.member import list_members
from eegjax.run.network import Network, Timing
from eegjax.run.study import Study, Task
from eegjax.train import members
from eegjax.train import state as states
from eegjax.train.log import MetricLog
from eegjax.train.loop import _step_of
from eegjax.train.losses import cross_entropy
from eegjax.train.optimizer import make_optimizer
from eegjax.train.state import TrainState
from eegjax.train.step import Inputs, make_train_step

CLASSES = ("slow", "medium", "fast")
N_TIMES = 16
N_EPOCHS = {"a": 9, "b": 10, "c": 12, "d": 20}  # per subject: folds of 42, 41, 39 and 31 training examples
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def make_dataset(bad: Sequence[int] = ()) -> Dataset:
    """One recording per subject; the examples in `bad` hold a NaN."""
    rng = np.random.default_rng(7)
    subjects = np.repeat(list(N_EPOCHS), list(N_EPOCHS.values()))
    label = rng.integers(0, 3, len(subjects))
    phase = rng.uniform(0, 2 * np.pi, (len(subjects), 1, 2))
    cycles = (1 + 2 * label)[:, None, None]
    sines = np.sin(2 * np.pi * cycles * np.arange(N_TIMES)[:, None] / N_TIMES + phase)
    windows = (20 * sines + 5 * rng.standard_normal(sines.shape)).astype(np.float32)  # µV
    windows[list(bad), 3, 0] = np.nan
    ends = np.cumsum(list(N_EPOCHS.values())) * N_TIMES
    start = np.arange(len(subjects)) * float(N_TIMES)
    onset_s = np.concatenate([np.arange(n) * 30.0 for n in N_EPOCHS.values()])
    names = {"subject": subjects, "session": "1", "recording": np.char.add("rec-", subjects)}
    index = pd.DataFrame({"example": np.arange(len(subjects)), **names, "onset_s": onset_s})
    index = index.assign(start=start, stop=start + N_TIMES, label=label.astype(np.int8))
    recordings = [
        {"recording": f"rec-{name}", "extents": {"eeg": [int(end) - N_TIMES * n, int(end)]}}
        for (name, n), end in zip(N_EPOCHS.items(), ends, strict=True)
    ]
    card = {"recordings": recordings, "hash": "tiny", "simulated": True}
    return Dataset(Path("nowhere"), index, card, {"eeg": windows.reshape(-1, 2)})


class TinyNet(nn.Module):
    """Convolution (no bias in front of BatchNorm), BatchNorm, dropout, mean over time, dense head."""

    dropout: float = 0.0
    batch_norm: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """[batch, time, channels] -> [batch, 3] float32 logits."""
        x = layers.conv(6, (5,), use_bias=not self.batch_norm, dtype=self.dtype, name="conv")(x.astype(self.dtype))
        if self.batch_norm:
            x = layers.batch_norm(x, train, mask, dtype=self.dtype, name="norm")
        x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x)).mean(1)
        return layers.dense(3, dtype=self.dtype, name="head")(x).astype(jnp.float32)


def _source(config: ConfigDict, dataset: Dataset) -> Source:
    columns, _ = cut_window(dataset, "eeg", dataset.index["start"].to_numpy(), N_TIMES)
    table = {**columns, "label": dataset.index["label"].to_numpy()}
    return Source({"eeg": dataset.arrays["eeg"]}, {"eeg": N_TIMES}, table)


def _fit(config: ConfigDict, dataset: Dataset, fold: splits.Fold) -> dict[str, np.ndarray]:
    """The training part's standard deviation: it differs from fold to fold."""
    rows = dataset.index.iloc[fold.train]
    samples = np.concatenate(
        [dataset.arrays["eeg"][int(a) : int(b)] for a, b in zip(rows["start"], rows["stop"], strict=True)]
    )
    return {"scale": np.nanstd(samples).astype(np.float32), "class_weights": np.array([1.0, 1.1, 0.9], np.float32)}


def _inputs(config: ConfigDict) -> Inputs:
    """z-scores, in training with a random gain per example."""

    def make(stats: Any, batch: Batch, key: jax.Array | None, train: bool) -> Batch:
        x = batch["eeg"] / stats["scale"]
        if train and config.inputs.gain and key is not None:
            x = x * (1 + config.inputs.gain * jax.random.normal(key, (x.shape[0], 1, 1)))
        return {**batch, "inputs": x}

    return make


def _loss(stats: Any, logits: jax.Array, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Weighted cross-entropy and accuracy."""
    correct = (jnp.argmax(logits, -1) == batch["label"]).astype(jnp.float32)
    return cross_entropy(logits, batch["label"], stats["class_weights"]), {"accuracy": correct}


TASK = Task(
    classes=lambda config: CLASSES,
    labels=lambda config, index: index["label"].to_numpy(np.int8),
    source=_source,
    fit=_fit,
    model=lambda config, dataset: TinyNet(
        config.model.dropout, config.model.batch_norm, DTYPES[config.train.precision]
    ),
    inputs=_inputs,
    loss=lambda config: _loss,
)
STUDY = Study(
    task=TASK,
    prepare=lambda config: make_dataset(),
    folds=lambda config, dataset: splits.split_by_group(
        dataset.index, "subject", 0, config.splits.n_validation_subjects
    ),
    baselines=lambda config, dataset, folds: pd.DataFrame({"model": ["none"]}),
    evaluate=lambda config, predictions, baselines: {},
    tables=lambda folder: "",
)


def get_config(**overrides: Any) -> ConfigDict:
    """The study's configuration; `train__learning_rate=1.0` overrides `train.learning_rate`."""
    config = ConfigDict({"study": "tiny", "protocol": "demo", "seed": 3})
    config.splits = ConfigDict({"n_validation_subjects": 0})
    config.inputs = ConfigDict({"gain": 0.2})
    config.model = ConfigDict({"name": "tiny", "beside": (), "dropout": 0.2, "batch_norm": True})
    config.test = protocols.test_settings()
    config.train = protocols.train_settings()
    config.train.update(
        {
            "learning_rate": 3e-2,
            "schedule": "cosine",
            "warmup_steps": 2,
            "weight_decay": 1e-2,
            "clip_norm": 1.0,
            "batch_size": 8,
            "n_epochs": 2,
            "ema_decay": 0.9,
            "max_bad_steps": 3,
        }
    )
    config.run = protocols.run_settings()
    config.run.update(
        {
            "log_every_steps": 2,
            "checkpoint_every_s": 1e9,  # at the ends of epochs only: tests save when they say
            "tensorboard": False,
            "resident_bytes": 10**9,
            "members_bytes": 10**9,
        }
    )
    config.lock()
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in overrides.items()})
    return config


class Member(NamedTuple):
    """One member without devices: its first state, its compiled step, and batches of given rows."""

    state: TrainState
    step: Callable[[TrainState, Batch], tuple[TrainState, Any]]
    batch: Callable[[Sequence[int]], Batch]


@cache
def make_member(**overrides: Any) -> Member:
    """The step of one member alone, for 12 steps in 2 epochs; rows of -1 are padding. Compiled once."""
    config, dataset = get_config(**overrides), make_dataset()
    model = TASK.model(config, dataset)
    variables = jax.jit(model.init)(jax.random.PRNGKey(0), jnp.zeros((1, N_TIMES, 2)))
    tx = make_optimizer(config.train, variables["params"], 12, 6)
    stats = TASK.fit(config, dataset, STUDY.folds(config, dataset)[0])
    averaging = config.train.ema_decay > 0
    state = states.create(variables, stats, tx, jax.random.PRNGKey(5), averaging=averaging, validating=False)
    step = jax.jit(make_train_step(model, TASK.inputs(config), _loss, tx, config.train))
    source = TASK.source(config, dataset)

    def batch(rows: Sequence[int]) -> Batch:
        return gather(np, source, np.array(rows), np.array(rows) >= 0)

    return Member(state, step, batch)


def make_network(n_devices: int = 0, bad: Sequence[int] = (), **overrides: Any) -> Network:
    """A network of the study on the first devices (0: all); its members are the folds, one per subject and seed."""
    config, dataset = get_config(**overrides), make_dataset(bad)
    folds = STUDY.folds(config, dataset)
    everyone = list_members(config.model.name, folds, config.seed, config.train.n_seeds)
    mesh = mesh_of(n_devices) if n_devices else members.make_mesh()
    with mock.patch.object(members, "make_mesh", return_value=mesh):
        return Network(config, TASK, dataset, everyone, Timing())


def sharing(network: Network, bad: Sequence[int], **overrides: Any) -> Network:
    """What `network` has compiled, on other data."""
    other = make_network(bad=bad, **overrides)
    other.start.compiled = network.start.compiled
    for places, program in network.programs.items():
        feed = make_feed(other.source, program.feed.sharding, other.config.run.resident_bytes)
        other.programs[places] = program._replace(feed=feed)
    return other


def mesh_of(n_devices: int) -> jax.sharding.Mesh:
    """The mesh of the first devices."""
    kinds = (jax.sharding.AxisType.Auto,) * 2
    return jax.make_mesh((n_devices, 1), ("data", "space"), axis_types=kinds, devices=jax.devices()[:n_devices])


def run(network: Network, group: Sequence[int], folder: Path) -> pd.DataFrame:
    """Train a group of members in a run folder, or continue; the predictions."""
    log = MetricLog(folder, jax.process_index() == 0, network.config.run.tensorboard)
    folder.mkdir(parents=True, exist_ok=True)
    frame = network.run([network.members[number] for number in group], folder / "checkpoints", log)
    log.close()
    return frame


class Killed(BaseException):
    """What no code catches."""


def kill() -> None:
    """End the run here."""
    raise Killed


@contextmanager
def before_step(network: Network, step: int, act: Callable[[], Any], places: int = 1) -> Iterator[None]:
    """Do something just before a step (counted from 0) is taken by a compiled network."""
    program = network.programs[places]

    def train(resident: Any, state: TrainState, batch: Batch) -> Any:
        if _step_of(state) == step:
            act()
        return program.train(resident, state, batch)

    network.programs[places] = program._replace(train=train)
    try:
        yield
    finally:
        network.programs[places] = program


def saved_steps(folder: Path) -> list[int]:
    """The steps that lie in a run folder, oldest first."""
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


def saved(folder: Path, step: int | None = None) -> dict[str, Any]:
    """A saved state, the newest by default, as Orbax alone reads it."""
    step = saved_steps(folder)[-1] if step is None else step
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore((folder / "checkpoints" / str(step) / "state").absolute())
    return jax.tree.map(np.asarray, state)


def lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, without the speed."""
    rows = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "examples_per_s"} for row in rows]


def assert_close(one: Any, other: Any, tolerance: float) -> None:
    """Two trees of the same structure are equal to a tolerance (of large values relative), or exactly for 0."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), one, other)

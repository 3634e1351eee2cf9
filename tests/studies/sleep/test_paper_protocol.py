"""The paper as it was run, from files to tables, on the smallest scale: every quirk is there, and says so."""

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict

from eegjax import commands
from eegjax.data.dataset import Dataset
from eegjax.data.sleep_edf import simulator
from eegjax.run import apply, weights
from eegjax.run.network import Network
from eegjax.run.weights import Trained
from eegjax.studies.sleep import study as sleep

NAMES = ("vgg16", "vgg16_conv_lstm")
COLUMNS = [f"p_{stage}" for stage in ("W", "N1", "N2", "N3", "N4", "R")]
FOOTNOTES = (
    "undersampling), which over-calls rare stages such as N1 and N4",
    "two epochs before and two after the current one (150 s)",
    "from lights off to 15 min after the last sleep (as much before the first",
    "Unscored epochs and movement count as W",
    "Image values above 1 saturate before equalisation",
    "Images enter as 0..255, no mean subtracted",
    "All layers are trained, the fully connected ones from new weights",
    "The ConvLSTM takes a single step from a zero state: nothing recurs",
    "Dropout stays on at test",
    "The last, partial batch of test epochs is left out",
    "The declared L2 penalty of 0.0005 isn't in the loss",
    "Only the first fold is run: of leave-one-subject-out the first subject tested, the last two for validation",
    "The weights with the lowest validation loss are kept",
    "Six stages of Rechtschaffen & Kales",
    "Mean one-vs-rest accuracy is what the paper calls accuracy",
)


class Run(NamedTuple):
    """A finished run of the paper's protocol."""

    config: ConfigDict
    dataset: Dataset
    folder: Path
    predictions: pd.DataFrame


@pytest.fixture(scope="module")
def run(configure: Callable[..., ConfigDict], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Four subjects, a night each, the lights off minutes after the start or before it; four epochs of training."""
    root = tmp_path_factory.mktemp("nights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulator, "START", datetime.datetime(2000, 1, 1, 22, 45))
        for subject in (1, 2, 4, 5):
            simulator.write_night(root, 6, subject, 1, 90)
    config = configure("paper", root, train__n_epochs=4, run__log_every_steps=1)
    folder = commands.launch(config)
    return Run(config, sleep.prepare(config), folder, pd.read_parquet(folder / "predictions.parquet"))


def part_of(run: Run, name: str, split: str) -> pd.DataFrame:
    frame = run.predictions
    return frame[(frame["model"] == name) & (frame["split"] == split)]


def named(run: Run, name: str) -> ConfigDict:
    one = run.config.copy_and_resolve_references()
    one.model.name = name
    return one


def test_the_settings_are_those_of_the_paper(configure) -> None:
    config = configure("paper")
    train = config.train
    assert (train.optimizer, train.schedule, train.warmup_steps, train.batch_size) == ("adam", "constant", 0, 32)
    assert (train.weight_decay, train.clip_norm, train.ema_decay) == (0, 0, 0)
    assert (train.balance, train.class_weights) == ("under", False)
    assert (config.test.dropout, config.test.whole_batches) == (True, True)
    assert (config.test.prior_correction, config.test.viterbi) == (False, False)
    assert (config.inputs.colour, config.inputs.scale, config.inputs.subtract_mean) == ("jet", "raw", False)
    assert (config.model.trainable, config.model.sequence_epochs, config.model.batch_norm) == ("all", 1, False)


def test_the_full_size_is_that_of_the_paper(repository: Path) -> None:
    from eegjax import cli

    config = cli.parse(("", f"--config={repository}/configs/sleep.py:paper"), {})[0]
    assert (config.inputs.size, config.model.width, config.model.dropout) == (224, 1, 0.5)
    assert (config.train.learning_rate, config.train.n_epochs, config.model.sequence_epochs) == (1e-4, 20, 1)
    assert config.model.beside == ("vgg16_conv_lstm",)
    assert config.model.weights == ""  # must be said


@pytest.mark.slow
def test_the_first_subject_is_tested_and_the_last_two_validate(run: Run) -> None:
    (fold,) = json.loads((run.folder / "folds.json").read_text())
    assert fold["test_groups"] == ["SC401"]
    assert fold["train_groups"] == ["SC402"]
    assert fold["validation_groups"] == ["SC404", "SC405"]
    for name in NAMES:
        assert set(part_of(run, name, "test")["subject"]) == {"SC401"}
        assert part_of(run, name, "validation")["example"].tolist() == sorted(fold["validation"])
    assert set(run.predictions["model"]) == set(NAMES)  # no rows of prior correction or smoothing


@pytest.mark.slow
def test_the_last_partial_batch_is_left_out(run: Run) -> None:
    (fold,) = json.loads((run.folder / "folds.json").read_text())
    whole = len(fold["test"]) // 32 * 32
    assert 0 < whole < len(fold["test"])
    for name in NAMES:
        assert part_of(run, name, "test")["example"].tolist() == sorted(fold["test"])[:whole]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_epoch_of_training_holds_each_stage_equally_often(run: Run, name: str) -> None:
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    (fold,) = json.loads((run.folder / "folds.json").read_text())
    rarest = np.bincount(run.dataset.index["label"].to_numpy()[fold["train"]]).min()
    steps = [line["step"] for line in lines if line["model"] == name and "loss" in line]
    assert len(steps) == 4 * -(-6 * rarest // 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_weights_are_the_best_validated_ones(run: Run, name: str) -> None:
    """The loss of the kept predictions is the lowest that was logged: they are of that epoch."""
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    logged = [line["validation_loss"] for line in lines if line["model"] == name and "validation_loss" in line]
    assert len(logged) == 4
    assert name == "vgg16" or min(logged) < logged[-1] - 0.01  # else the test doesn't tell the best from the last
    part = part_of(run, name, "validation")
    given = part[COLUMNS].to_numpy()[np.arange(len(part)), part["target"]]
    assert -np.log(given).mean() == pytest.approx(min(logged), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_with_dropout_on_and_repeat(run: Run, name: str) -> None:
    config, part = named(run, name), part_of(run, name, "test")
    (network,) = weights.load(run.folder, name)
    rows, found = part["example"].to_numpy(), part[COLUMNS].to_numpy()
    np.testing.assert_allclose(dropped(config, run.dataset, network, rows), found, atol=1e-4)
    off = apply.predict(config, sleep.TASK, run.dataset, [network], rows)[0]
    assert (np.abs(off - found).max(1) > 1e-3).mean() > 0.5


def dropped(config: ConfigDict, dataset: Dataset, network: Trained, rows: np.ndarray) -> np.ndarray:
    """Predictions by the network's own `apply`, with dropout."""
    model, make = sleep.TASK.model(config, dataset), sleep.TASK.inputs(config)

    @jax.jit
    def answer(batch):
        images = make(network.stats, batch, None, False)["inputs"]
        return jax.nn.softmax(model.apply(network.variables, images, True, rngs={"dropout": jax.random.PRNGKey(0)}))

    batches = apply.batches(config, sleep.TASK, dataset, rows)
    return np.concatenate(
        [np.asarray(answer(jax.tree.map(jnp.asarray, batch)))[scored] for _, scored, batch in batches]
    )


@pytest.mark.slow
def test_the_images_are_the_colours_0_to_255_of_150_seconds(run: Run) -> None:
    source = sleep.TASK.source(run.config, run.dataset)
    assert source.lengths["image"] == round(150 / 0.67) + 1
    for _, _, batch in apply.batches(run.config, sleep.TASK, run.dataset, np.arange(0, 200, 10)):
        images = np.asarray(sleep.TASK.inputs(run.config)({}, jax.tree.map(jnp.asarray, batch), None, False)["inputs"])
        assert images.shape[1:] == (32, 32, 3)
        assert images.min() >= 0
        assert 200 < images.max() <= 255.01


@pytest.mark.slow
@pytest.mark.parametrize("table", ["results", "paper_table_1", "paper_table_3", "paper_table_4", "class_balanced"])
def test_every_table_names_every_quirk(run: Run, table: str) -> None:
    text = (run.folder / "tables" / f"{table}.md").read_text()
    for words in FOOTNOTES[: None if table == "results" else -1]:
        assert words in text, words
    assert "SIMULATED" not in text  # for all that the files say, these are recordings


def test_the_demo_and_the_standard_have_none_of_these_quirks(configure) -> None:
    from eegjax.studies.sleep.paper import quirks

    assert len(quirks(configure("paper"))) == len(FOOTNOTES) - 1
    assert quirks(configure("standard")) == quirks(configure("demo")) == []


@pytest.mark.slow
def test_the_same_command_trains_nothing_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Network, "run", lambda *_: 1 / 0)
    assert commands.launch(run.config) == run.folder

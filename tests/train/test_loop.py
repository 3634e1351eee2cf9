"""The training loop: killed = not killed, preemption, streaming = resident, bad batches, early stopping, learning."""

import os
import signal
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import tiny_study as tiny

from eegjax.data.feed import Sampler, draw_batch
from eegjax.data.splits import Fold
from eegjax.errors import UserError
from eegjax.run import weights
from eegjax.run.member import list_members
from eegjax.run.network import Network, Timing
from eegjax.train import checkpoint, loop
from eegjax.train.checkpoint import Checkpoints
from eegjax.train.log import MetricLog
from eegjax.train.loop import Plan
from eegjax.train.preemption import Preempted
from eegjax.train.state import TrainState

VALIDATING = {"splits__n_validation_subjects": 1, "train__n_epochs": 16}
FIRST = [0]  # the first member alone: 6 steps an epoch, the last with 2 examples of 8


def assert_same_run(folder, predictions, whole):
    """Final state and predictions bit for bit, and the same log lines, each once."""
    expected_predictions, expected = whole
    pd.testing.assert_frame_equal(predictions, expected_predictions, check_exact=True)
    tiny.assert_close(tiny.saved(folder), tiny.saved(expected), 0)
    assert tiny.lines(folder) == tiny.lines(expected)


@pytest.mark.parametrize("every_s", [0.0, 1e9], ids=["saved every step", "saved every epoch"])
@pytest.mark.parametrize(
    "steps", [pytest.param((step,), marks=pytest.mark.slow) for step in (1, 5, 9)] + [(6,), (3, 7, 11)], ids=str
)
def test_killed_equals_not_killed(network, whole, opened, tmp_path, monkeypatch, steps, every_s):
    """In the first epoch, at its end (just saved), in the second epoch, and again and again."""
    monkeypatch.setitem(network.config.run, "checkpoint_every_s", every_s)
    monkeypatch.setattr(checkpoint, "SLOW_S", np.inf)  # however slow the disk is, every step is saved
    for step in steps:
        with tiny.before_step(network, step, tiny.kill), pytest.raises(tiny.Killed):
            tiny.run(network, FIRST, tmp_path)
        opened[-1].close()
        saved = tiny.saved_steps(tmp_path)[-1:]
        assert saved == ([step] if every_s == 0 else [6] if step >= 6 else [])
    assert_same_run(tmp_path, tiny.run(network, FIRST, tmp_path), whole)


def test_killed_before_the_save_of_an_epoch(network, whole, opened, tmp_path, monkeypatch):
    """Lines of steps that no checkpoint holds are written again, not twice."""
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", lambda *_, **__: tiny.kill())
        with pytest.raises(tiny.Killed):
            tiny.run(network, FIRST, tmp_path)
    assert tiny.lines(tmp_path)
    assert_same_run(tmp_path, tiny.run(network, FIRST, tmp_path), whole)


def test_weights_are_kept_after_the_epochs_asked_for(network, tmp_path, monkeypatch):
    """What the run would have predicted with there; not by the best validation, and before that epoch's save."""
    monkeypatch.setitem(network.config.train, "keep_epochs", (1,))
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", lambda *_, **__: tiny.kill())
        with pytest.raises(tiny.Killed):
            tiny.run(network, FIRST, folder)
    (path,) = (tmp_path / "weights").rglob("*.safetensors")
    assert path.parent.name == "epoch_1"
    early = weights.read(path)
    path.unlink()
    tiny.run(network, FIRST, folder)
    kept = weights.read(path)
    for one in (early, kept):
        found = jax.tree.map(lambda leaf: leaf[None], one.variables["params"])
        tiny.assert_close(found, tiny.saved(folder, 6)["average"], 0)
    assert len(list((tmp_path / "weights").glob("*"))) == 2  # and those at the end


def test_finished_run_trains_no_more(network, whole, tmp_path):
    with tiny.before_step(network, 0, tiny.kill):
        predictions = tiny.run(network, FIRST, whole[1])
    assert_same_run(whole[1], predictions, whole)


@pytest.mark.parametrize("step", [3, 5, 11])
def test_preempted_equals_not_preempted(network, whole, opened, tmp_path, step):
    """SIGTERM during a step: it is finished and saved, the run leaves, the former handler is back."""
    before = signal.getsignal(signal.SIGTERM)
    with (
        tiny.before_step(network, step, lambda: os.kill(os.getpid(), signal.SIGTERM)),
        pytest.raises(Preempted, match=f"step {step + 1} of 12; saved"),
    ):
        tiny.run(network, FIRST, tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before
    assert tiny.saved_steps(tmp_path)[-1] == step + 1
    assert_same_run(tmp_path, tiny.run(network, FIRST, tmp_path), whole)


def test_streaming_equals_resident(whole, tmp_path):
    streaming = tiny.make_network(run__resident_bytes=0)
    predictions = tiny.run(streaming, FIRST, tmp_path)
    assert streaming.programs[1].feed.resident is None
    assert_same_run(tmp_path, predictions, whole)


@pytest.mark.slow
def test_second_member_compiles_nothing(validating, tmp_path):
    """Nor does any epoch after the first of the first."""
    compiled, counting = [], []

    def listen(event, seconds, **_):
        if counting and event.endswith("backend_compile_duration"):
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    counting.append(True)
    jax.jit(lambda x: x * 5)(1.0)
    assert compiled, "the listener hears compilations"
    counting.clear()
    tiny.run(validating, [0], tmp_path / "first")
    compiled.clear()
    counting.append(True)
    tiny.run(validating, [1], tmp_path / "second")
    counting.clear()
    assert not compiled


def test_early_stopping_ends_the_run_with_the_best_weights(validating, tmp_path):
    """The rate is so high that some epoch is worse than the one before; that epoch is the last."""
    predictions = tiny.run(validating, FIRST, tmp_path)
    values = [line["validation_loss"] for line in tiny.lines(tmp_path) if "validation_loss" in line]
    state = tiny.saved(tmp_path)
    assert 2 <= len(values) < 16
    assert values[-1] >= min(values)
    assert values == sorted(values[:-1], reverse=True) + values[-1:]
    assert state["stopped"] == [True]
    assert state["step"] == [len(values) * validating.steps_per_epoch]
    assert state["best_value"] == np.float32(min(values))
    validation = predictions[predictions["split"] == "validation"]
    names = [f"p_{name}" for name in tiny.CLASSES]
    right = validation[names].to_numpy()[np.arange(len(validation)), validation["target"]]
    class_weights = np.array([1.0, 1.1, 0.9])[validation["target"]]
    assert np.mean(-class_weights * np.log(right)) == pytest.approx(
        min(values), abs=1e-5
    )  # by hand, from the probabilities
    assert tiny.run(validating, FIRST, tmp_path).equals(predictions)  # stopped: it trains no more


def test_a_watched_test_part_is_logged_and_decides_nothing(network, whole, tmp_path):
    """State and predictions are those of a run that doesn't watch, bit for bit; so are its other lines."""
    expected_predictions, expected = whole
    predictions = tiny.run(tiny.sharing(network, (), train__watch_test=True), FIRST, tmp_path)
    pd.testing.assert_frame_equal(predictions, expected_predictions, check_exact=True)
    tiny.assert_close(tiny.saved(tmp_path), tiny.saved(expected), 0)
    lines = tiny.lines(tmp_path)
    assert [line for line in lines if "test_loss" not in line] == tiny.lines(expected)
    watched = [line for line in lines if "test_loss" in line]
    assert [line["step"] for line in watched] == [6, 12]
    names = [f"p_{name}" for name in tiny.CLASSES]
    right = predictions[names].to_numpy()[np.arange(len(predictions)), predictions["target"]]
    class_weights = np.array([1.0, 1.1, 0.9])[predictions["target"]]
    assert set(predictions["split"]) == {"test"}
    assert watched[-1]["test_loss"] == pytest.approx(np.mean(-class_weights * np.log(right)), abs=1e-5)  # by hand
    assert watched[0]["test_loss"] != watched[1]["test_loss"]


def test_where_there_is_a_validation_part_only_that_is_watched(validating, tmp_path):
    tiny.run(tiny.sharing(validating, (), **VALIDATING, train__watch_test=True), FIRST, tmp_path)
    lines = tiny.lines(tmp_path)
    assert any("validation_loss" in line for line in lines)
    assert not any("test_loss" in line for line in lines)


def test_bad_recording_costs_its_batches_only(network, whole, tmp_path):
    """Example 0 is tested, not trained on; padding reads its row, which is no reason to skip a step."""
    network = tiny.sharing(network, bad=[0, 12, 30])
    predictions = tiny.run(network, FIRST, tmp_path)
    state = tiny.saved(tmp_path)
    assert state["bad_total"] == [sum(hit for epoch in range(2) for hit in hits(network, epoch, {12, 30}))]
    assert state["bad_in_row"] == [0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state["params"], state["model_state"])))
    probabilities = predictions[[f"p_{name}" for name in tiny.CLASSES]].to_numpy()
    assert np.isnan(probabilities[0]).all()
    assert np.isfinite(probabilities[1:]).all()


def hits(network, epoch, bad):
    """Which steps of an epoch see a bad example."""
    sampler, seed = network.samplers[0], network.members[0].seed
    return [bool(bad & set(draw_batch(sampler, seed, epoch, step)[0].tolist())) for step in range(sampler.n_steps)]


def test_too_many_bad_steps_name_the_batch(network, whole, tmp_path):
    """All is bad: after three steps (the fourth is the next log line) the run says which recordings it saw."""
    network = tiny.sharing(network, bad=range(51))
    with pytest.raises(UserError) as error:
        tiny.run(network, FIRST, tmp_path)
    rows, _ = draw_batch(network.samplers[0], network.members[0].seed, 0, 3)
    seen = network.dataset.index.iloc[rows]
    message = str(error.value)
    assert "not finite 4 steps in a row (config.train.max_bad_steps is 3); the batch of step 4 holds" in message
    for recording, part in seen.groupby("recording"):
        assert f"{recording} at {', '.join(f'{onset:g}' for onset in sorted(part['onset_s']))} s" in message
    assert "\n" not in message


def ended(folder, losses, norms, bad=None, **limits):
    """The error of a loop with a log line per step, whose two members have given losses [step, member] and so on."""
    losses, norms = np.array(losses, float), np.array(norms, float)
    bad = np.zeros_like(losses) if bad is None else np.array(bad)
    sampler = Sampler(np.arange(2 * len(losses)), np.zeros(2 * len(losses), int), 2)
    plan = Plan([{"member": 0}, {"member": 1}], [sampler] * 2, [0, 1], len(losses), 1)
    fields = dict.fromkeys(TrainState.__dataclass_fields__)
    state = TrainState(**{**fields, "step": jnp.zeros(2, int), "stopped": jnp.zeros(2, bool)})

    def step(resident, state, batch):
        number = int(state.step[0])
        values = {"loss": losses[number] * 4, "gradient_norm": norms[number] * 4, "bad_in_row": bad[number] * 4}
        return state.replace(step=state.step + 1), {k: (v, np.full(2, 4)) for k, v in values.items()}

    checkpoints = SimpleNamespace(restore=lambda state: None, due=lambda *_: False, save=lambda *_, **__: None)
    with pytest.raises(UserError) as error:
        loop.train(
            state,
            plan,
            SimpleNamespace(resident=None, place=lambda rows, mask: None),
            step,
            lambda number, state: (state, {}),
            checkpoints=checkpoints,
            log=MetricLog(folder, False, False),
            log_every_steps=1,
            describe=lambda rows: f"rows {len(rows)}",
            **{"max_bad_steps": 3, "steps_taken": "How steps are taken", **limits},
        )
    return str(error.value)


NAN = np.nan
RISING = [0.5, 0.31, 0.4, 2e3, 3.1e12]
NORMS = [2, 1.5, 1.6, 8e4, 9e13]


def test_an_explosion_says_from_where_the_loss_rose(tmp_path):
    """Of the member that it happened to; the other one's loss is flat."""
    losses = [[1, loss] for loss in [*RISING, NAN, NAN, NAN]]
    bad = [[0, n] for n in (0, 0, 0, 0, 0, 1, 2, 3)]
    message = ended(tmp_path, losses, [[1, norm] for norm in [*NORMS, NAN, NAN, NAN]], bad)
    assert message == (
        "loss or gradient was not finite 3 steps in a row (config.train.max_bad_steps is 3); the batch of step 8 holds "
        "rows 2: look at these recordings. The loss rose from 0.31 at step 2 (gradient norm 1.5) to 3.1e+12 at step 5 "
        "(gradient norm 9e+13). How steps are taken"
    )


def test_a_finite_explosion_ends_the_run_where_it_is_asked_to(tmp_path):
    losses, norms = [[1, loss] for loss in RISING], [[1, norm] for norm in NORMS]
    message = ended(tmp_path, losses, norms, max_loss=1e3)
    assert message.startswith("the loss is 2e+03 (config.train.max_loss is 1000); the batch of step 4 holds rows 2")
    assert "rose from 0.31 at step 2 (gradient norm 1.5) to 2e+03 at step 4 (gradient norm 8e+04)" in message
    assert "batch of step 5" in ended(tmp_path, losses, norms, max_loss=2e3)  # more, not as much
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        ended(tmp_path, losses, norms)


def test_a_bad_batch_out_of_nothing_is_no_rise(tmp_path):
    """The last finite line: a gradient that is no number makes its loss none. A skipped step with inf is no loss."""
    losses, norms = [[0.5], [0.3], [0.2], [np.inf], [NAN], [NAN]], [[2], [1], [NAN], [1], [1], [1]]
    twice = [np.repeat(values, 2, 1) for values in (losses, norms, [[0], [0], [1], [2], [3], [4]])]
    message = ended(tmp_path, *twice, max_loss=100.0, max_bad_steps=4)
    assert "the batch of step 6" in message
    assert "The last finite loss was 0.3 at step 2 (gradient norm 1)." in message
    first = ended(tmp_path, *(values[3:] for values in twice))
    assert "No loss before it was finite since training began here." in first


def test_a_slow_rise_is_told_from_its_last_ten_lines(tmp_path):
    losses = np.repeat(np.arange(1.0, 31)[:, None], 2, 1)
    assert "rose from 16 at step 16 (gradient norm 16) to 25 at step 25" in ended(
        tmp_path, losses, losses, max_loss=24.0
    )


def test_a_run_ends_at_too_large_a_loss_and_says_why(network, whole, tmp_path):
    other = tiny.sharing(network, (), train__max_loss=1e-3)
    with pytest.raises(UserError, match=r"^the loss is \S+ \(config\.train\.max_loss is 0\.001\).* rec-") as error:
        tiny.run(other, FIRST, tmp_path)
    assert "config.train.learning_rate is 0.03" in str(error.value)
    assert "config.train.clip_norm 1" in str(error.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"clip_norm": 0.0}, ("not clipped (config.train.clip_norm 0)", "learning_rate is 0.03", "clip_norm=1,")),
        ({"clip_norm": 2.5}, ("were clipped (config.train.clip_norm 2.5)", "learning_rate is 0.03", "lower one")),
        ({"optimizer": "lbfgs"}, ("line search of 'lbfgs'", "another config.train.optimizer")),
    ],
    ids=str,
)
def test_how_steps_are_taken(settings, expected):
    said = loop.steps_taken(tiny.get_config(**{f"train__{name}": value for name, value in settings.items()}).train)
    assert all(part in said for part in expected), said


def test_a_shorter_member_takes_as_many_steps_and_none_is_empty(network):
    """Members with 6 and 4 steps of their own: twelve steps are two rounds of the one and three of the other."""
    samplers = [network.samplers[0], network.samplers[3]]
    assert [sampler.n_steps for sampler in samplers] == [6, 4]
    plan = Plan([{}, {}], samplers, [0, 0], network.steps_per_epoch, 2)
    drawn = [plan.rows(step) for step in range(plan.total_steps)]
    assert all(mask.any(1).all() for _, mask in drawn)
    for place, rounds in enumerate((2, 3)):
        rows = np.concatenate([rows[place][mask[place]] for rows, mask in drawn])
        examples, times = np.unique(rows, return_counts=True)
        np.testing.assert_array_equal(examples, np.sort(samplers[place].units))
        assert set(times) == {rounds}


def test_eight_examples_are_learnt_by_heart(tmp_path):
    settings = {"model__dropout": 0.0, "inputs__gain": 0.0, "train__weight_decay": 0.0, "train__learning_rate": 0.1}
    settings["train__schedule"] = "constant"
    config, dataset = tiny.get_config(**settings, train__n_epochs=5), tiny.make_dataset()
    eight, nothing = np.arange(8), np.array([], int)
    fold = Fold("eight", np.tile(eight, 20), nothing, eight, dataset.index["subject"].to_numpy(), "on purpose")
    predictions = tiny.run(
        Network(config, tiny.TASK, dataset, list_members("tiny", [fold], 0, 1), Timing()), FIRST, tmp_path
    )
    last = tiny.lines(tmp_path)[-1]
    assert last["step"] == 100
    assert last["loss"] < 0.05
    assert last["accuracy"] == 1
    names = [f"p_{name}" for name in tiny.CLASSES]
    np.testing.assert_array_equal(predictions[names].to_numpy().argmax(1), predictions["target"])

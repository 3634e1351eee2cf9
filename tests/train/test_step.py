"""The training step: padding, accumulation, non-finite batches, averages, precision, promotion of dtypes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_study as tiny

from eegjax import cli
from eegjax.models import layers
from eegjax.signal import image as images
from eegjax.signal.multitaper import multitaper_spectrogram
from eegjax.studies.sleep import data as sleep_data
from eegjax.studies.sleep import study as sleep
from eegjax.train import state as states
from eegjax.train.optimizer import make_optimizer
from eegjax.train.step import make_predict_step, make_train_step

PLAIN = {"train__optimizer": "sgd", "train__clip_norm": 0.0, "train__warmup_steps": 0, "inputs__gain": 0.0}
ROWS = [3, 14, 15, 9, 26, 5, 35, 8]


@pytest.fixture
def member():
    """With BatchNorm, dropout and a random gain."""
    return tiny.make_member(**{**PLAIN, "inputs__gain": 0.2})


def broken(batch):
    """The batch with one sample that is no number."""
    batch = {**batch, "eeg": batch["eeg"].copy()}
    batch["eeg"][4, 3, 1] = np.nan
    return batch


def mean(metrics, name="loss"):
    total, count = metrics[name]
    return float(total) / float(count)


@pytest.mark.parametrize("wild", [1e8, np.inf, np.nan])
def test_padding_may_hold_anything(member, wild):
    """What stands in padded rows changes no bit of loss, metrics, gradients, batch statistics."""
    tame = member.batch([*ROWS[:6], -1, -1])
    strange = {**tame, "eeg": tame["eeg"].copy(), "label": tame["label"].copy()}
    strange["eeg"][6:] = wild
    strange["label"][6:] = (tame["label"][6:] + 1) % 3
    tiny.assert_close(member.step(member.state, strange), member.step(member.state, tame), 0)


def test_padded_batch_equals_the_smaller_batch():
    member = tiny.make_member(**PLAIN, model__dropout=0.0)
    padded = member.step(member.state, member.batch([*ROWS[:6], -1, -1]))
    tiny.assert_close(padded, member.step(member.state, member.batch(ROWS[:6])), 1e-6)


@pytest.mark.parametrize("n_padded", [0, 3, 7])
def test_accumulation_equals_one_batch(n_padded):
    """The mean over examples, not over pieces: pieces with fewer examples (or none) weigh less."""
    settings = {**PLAIN, "model__dropout": 0.0, "model__batch_norm": False, "train__clip_norm": 0.5}
    whole, pieces = (tiny.make_member(**settings, train__accumulate_steps=n) for n in (1, 4))
    batch = whole.batch([*ROWS[: 8 - n_padded], *[-1] * n_padded])
    tiny.assert_close(pieces.step(whole.state, batch), whole.step(whole.state, batch), 1e-6)


def test_a_piece_of_padding_alone_leaves_no_trace():
    """Its batch statistics would be 0 / 0: neither the step nor the running statistics may see them."""
    whole, pieces = (tiny.make_member(**PLAIN, model__dropout=0.0, train__accumulate_steps=n) for n in (1, 2))
    batch = whole.batch([3, -1, -1, -1])  # the second piece is rows 1 and 3
    state, metrics = pieces.step(pieces.state, batch)
    assert int(state.bad_total) == 0
    expected = whole.step(whole.state, batch)
    tiny.assert_close((state, metrics), expected, 1e-6)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), state.model_state, pieces.state.model_state)
    assert min(jax.tree.leaves(moved)) > 1e-3


def test_a_step_in_pieces_keeps_the_values_of_one_piece():
    """And not of all, worked through side by side: values are nearly all that this network takes."""

    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x, train, mask=None):
            for index in range(3):
                x = nn.tanh(layers.conv(8, (3,), name=str(index))(x))
            return x.mean((1, 2))

    def n_bytes(n_pieces):
        tx, train = optax.sgd(0.1), tiny.get_config(train__accumulate_steps=n_pieces, train__ema_decay=0.0).train
        batch = {"x": jnp.ones((16, 1024, 8)), "mask": jnp.ones(16, bool)}
        model, settings = Deep(), {"averaging": False, "validating": False}
        inputs = lambda stats, batch, key, train: {**batch, "inputs": batch["x"]}  # noqa: E731
        step = make_train_step(model, inputs, lambda stats, outputs, batch: (outputs, {}), tx, train)
        variables = jax.eval_shape(lambda: model.init(jax.random.PRNGKey(0), batch["x"], False))
        state = jax.eval_shape(lambda v: states.create(v, {}, tx, jax.random.PRNGKey(0), **settings), variables)
        return jax.jit(step).lower(state, batch).compile().memory_analysis().temp_size_in_bytes

    assert n_bytes(4) < 0.5 * n_bytes(1)


def test_steps_draw_their_own_random_numbers(member):
    """Dropout and gain depend on the step and the member's key, and on nothing else."""
    batch = member.batch(ROWS)
    losses = [
        mean(member.step(state, batch)[1])
        for state in (
            member.state,
            member.state,
            member.state.replace(step=jnp.int32(1)),
            member.state.replace(key=jax.random.PRNGKey(6)),
        )
    ]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


STREAMS = ("dropout", "latent")


class Drawing(nn.Module):
    """Of each random stream a number per example."""

    @nn.compact
    def __call__(self, x, train, mask=None):
        zero = self.param("zero", nn.initializers.zeros, ())
        drawn = {name: jax.random.normal(self.make_rng(name), x.shape[:1]) for name in STREAMS if train}
        return {**drawn, "inputs": x[:, 0], "loss": zero * x[:, 0]}


def drawing():
    """The model, its inputs (a number per example too) and its loss, which shows what was drawn."""
    inputs = lambda stats, batch, key, train: {  # noqa: E731
        **batch,
        "inputs": jax.random.normal(key, (8 // batch["pieces"].shape[-1], 1)) if train else jnp.ones((8, 1)),
    }
    return Drawing(), inputs, lambda stats, outputs, batch: (outputs["loss"], outputs)


def drawn(step=0, key=0, n_pieces=1, examples=slice(None)):
    """The sums over some examples of what a training step draws."""
    train = tiny.get_config(train__accumulate_steps=n_pieces).train
    model, inputs, loss = drawing()
    tx = optax.sgd(0.1)
    state = states.create({"params": {"zero": jnp.float32(0)}}, {}, tx, jax.random.PRNGKey(key), averaging=False,
                          validating=False).replace(step=jnp.int32(step))  # fmt: skip
    mask = np.zeros(8, bool)
    mask[examples] = True
    batch = {"mask": mask, "pieces": np.zeros((8, n_pieces))}
    _, metrics = make_train_step(model, inputs, loss, tx, train)(state, batch)
    return [float(metrics[name][0]) for name in ("inputs", *STREAMS)]


def test_streams_are_their_own():
    """Inputs, dropout and latent codes differ, from step to step, member to member, piece to piece."""
    first = drawn()
    assert drawn() == first
    odd, even = slice(1, None, 2), slice(0, None, 2)
    each = [first, drawn(step=1), drawn(key=1), *(drawn(n_pieces=2, examples=rows) for rows in (odd, even))]
    numbers = np.concatenate(each)
    assert len(np.unique(numbers.round(4))) == len(numbers) == 15


def test_prediction_draws_only_with_dropout_and_always_the_same():
    model, inputs, loss = drawing()
    batch = {"mask": np.ones(8, bool), "pieces": np.zeros((8, 1))}
    seen = []
    for dropout in (False, True, True):
        inputs_at_test = lambda stats, batch, key, train: inputs(stats, batch, key, False)  # noqa: E731
        step = make_predict_step(model, inputs_at_test, loss, lambda outputs: outputs, dropout)
        seen.append(step({"params": {"zero": jnp.float32(0)}}, {}, batch)[0])
    assert set(seen[0]) == {"inputs", "loss"}
    assert set(seen[1]) == {"inputs", "loss", *STREAMS}
    tiny.assert_close(seen[1], seen[2], 0)
    assert not np.allclose(seen[1]["dropout"], seen[1]["latent"])


def test_nan_batch_changes_the_counters_only(member):
    good, bad = member.batch(ROWS), broken(member.batch(ROWS))
    state, _ = member.step(member.state, good)
    skipped, metrics = member.step(state, bad)
    assert np.isnan(mean(metrics))
    counters = {"step": jnp.int32(2), "bad_in_row": jnp.int32(1), "bad_total": jnp.int32(1)}
    tiny.assert_close(skipped, state.replace(**counters), 0)
    twice, metrics = member.step(skipped, bad)
    assert (int(twice.bad_in_row), int(twice.bad_total), mean(metrics, "bad_in_row")) == (2, 2, 2.0)
    after, metrics = member.step(twice, good)
    assert (int(after.bad_in_row), int(after.bad_total), mean(metrics, "bad_in_row")) == (0, 2, 0.0)
    assert np.isfinite(mean(metrics))
    assert not np.array_equal(after.params["conv"]["kernel"], state.params["conv"]["kernel"])


def test_infinite_gradient_with_a_finite_loss_is_skipped():
    """sqrt at 0: the loss is 0, its gradient infinite."""
    member = tiny.make_member(**PLAIN, model__dropout=0.0)
    config, dataset = tiny.get_config(**PLAIN), tiny.make_dataset()
    tx = make_optimizer(config.train, member.state.params, 12, 6)

    def loss(stats, logits, batch):
        return jnp.sqrt(jnp.sum(logits * 0.0, -1)), {}

    step = make_train_step(tiny.TASK.model(config, dataset), tiny.TASK.inputs(config), loss, tx, config.train)
    state, metrics = jax.jit(step)(member.state, member.batch(ROWS))
    assert mean(metrics) == 0
    assert int(state.bad_total) == 1
    tiny.assert_close(state.params, member.state.params, 0)


def test_empty_batch_and_stopped_member_change_the_step_only(member):
    """An empty batch is no bad step, and neither is it a good one between two bad ones."""
    state = member.state.replace(bad_in_row=jnp.int32(2), bad_total=jnp.int32(2))
    empty, metrics = member.step(state, member.batch([-1] * 8))
    tiny.assert_close(empty, state.replace(step=jnp.int32(1)), 0)
    assert float(metrics["loss"][1]) == 0
    stopped = member.state.replace(stopped=jnp.bool_(True))
    tiny.assert_close(member.step(stopped, member.batch(ROWS))[0], stopped.replace(step=jnp.int32(1)), 0)


def test_average_equals_one_by_hand(member):
    """decay = min(0.9, (1 + t) / (10 + t)), a_t = decay a_(t-1) + (1 - decay) p_t, skipped steps left out."""
    state, by_hand = member.state, np.asarray(member.state.params["head"]["kernel"], np.float64)
    good = member.batch(ROWS)
    for step, batch in enumerate([good, broken(good), good, good, good]):
        state, _ = member.step(state, batch)
        if step != 1:
            decay = min(0.9, (1 + step) / (10 + step))
            by_hand = decay * by_hand + (1 - decay) * np.asarray(state.params["head"]["kernel"], np.float64)
    assert int(state.bad_total) == 1
    np.testing.assert_allclose(state.weights["params"]["head"]["kernel"], by_hand, atol=1e-6)
    assert not np.allclose(state.params["head"]["kernel"], by_hand, atol=1e-3)


def test_bfloat16_keeps_float32_weights():
    """The loss is near float32's (8 bits of mantissa: about 1 %), everything that is kept is float32."""
    exact = tiny.make_member(**PLAIN, model__dropout=0.0)
    short = tiny.make_member(**PLAIN, model__dropout=0.0, train__precision="bfloat16")
    batch = exact.batch(ROWS)
    state, metrics = short.step(short.state, batch)
    kept = jax.tree.leaves((state.params, state.model_state, state.opt_state, state.average, metrics))
    assert {leaf.dtype.name for leaf in kept} <= {"float32", "int32"}
    expected = mean(exact.step(exact.state, batch)[1])
    assert abs(mean(metrics) / expected - 1) < 0.02
    assert mean(metrics) != expected


@pytest.mark.parametrize("colour", ["gray", "jet"])
def test_sleep_study_needs_no_implicit_promotion(colour, repository):
    """Inputs, model, loss, both steps, validation: no mixture of integers and floats (but optax's Adam has one)."""
    config, _ = cli.parse(["", f"--config={repository}/configs/sleep.py:demo,size=tiny"], {})
    config.inputs.colour, config.model.width = colour, 1 / 64
    n_frames = sleep_data.n_frames(config)
    batch = {
        "image": np.random.default_rng(0).integers(0, 255, (4, n_frames + 1, 40), np.uint8),
        "fraction": np.full(4, 0.5, np.float32),
        "label": np.array([0, 1, 2, 5], np.int8),
        "mask": np.array([True, True, True, False]),
    }
    model, inputs, loss = sleep.TASK.model(config, None), sleep.TASK.inputs(config), sleep.TASK.loss(config)
    stats = {"class_weights": np.ones(6, np.float32)}
    channels = {"gray": 1, "jet": 3}[colour]
    with jax.numpy_dtype_promotion("strict"):
        variables = jax.eval_shape(model.init, jax.random.PRNGKey(0), jnp.zeros((1, 32, 32, channels)))
        variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)
        tx = optax.sgd(0.1)
        state = states.create(variables, stats, tx, jax.random.PRNGKey(0), averaging=True, validating=True)
        step = make_train_step(model, inputs, loss, tx, config.train)
        predict = make_predict_step(model, inputs, loss, sleep.TASK.predict(config))
        jax.eval_shape(step, state, batch)
        jax.eval_shape(predict, state.weights, stats, batch)
        jax.eval_shape(lambda one, value: states.validated(one, value, 2), state, jnp.float32(1))


def test_signal_functions_need_no_implicit_promotion():
    eeg = np.random.default_rng(0).standard_normal(6000).astype(np.float32)
    with jax.numpy_dtype_promotion("strict"):
        power = multitaper_spectrogram(eeg, sleep_data.SPECTROGRAM)
        level = images.equalise(jnp.log10(power + 1))
        images.equalise(power, upper=1.0)
        images.colour(level, images.jet(255))
        images.resize(images.to_image(images.crop(level, jnp.float32(0.5), 10)), 8, 8)

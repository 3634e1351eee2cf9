"""Full-batch L-BFGS: theorems, scipy's minimum, what its line search sees, resuming, several members as one program."""

from functools import cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import tiny_study as tiny
from ml_collections import ConfigDict

from eegjax.errors import UserError
from eegjax.train import members
from eegjax.train import state as states
from eegjax.train.optimizer import make_optimizer
from eegjax.train.step import make_train_step

LBFGS = {"train__optimizer": "lbfgs", "train__weight_decay": 0.0, "train__clip_norm": 0.0}
SGD = {"train__optimizer": "sgd", "train__clip_norm": 0.0, "train__warmup_steps": 0, "inputs__gain": 0.2}
ROWS = [*range(9, 51), -1, -1]  # the first fold's training part, and padding


class Linear(nn.Module):
    """One number per example."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train=False, mask=None):
        return nn.Dense(1, dtype=self.dtype, name="head")(x)[:, 0].astype(jnp.float32)


def regression(stats, y, batch):
    """Logistic or linear."""
    logistic = optax.sigmoid_binary_cross_entropy(y, batch["target"])
    return jnp.where(batch["logistic"], logistic, jnp.square(y - batch["target"]) / 2), {}


@cache
def linear(dtype=jnp.float32):
    """The first state, of zeros, and the compiled step of a regression with five features."""
    train, params = tiny.get_config(**LBFGS).train, {"head": {"kernel": jnp.zeros((5, 1)), "bias": jnp.zeros(1)}}
    tx = make_optimizer(train, params, 30, 1)
    state = states.create({"params": params}, {}, tx, jax.random.PRNGKey(0), averaging=False, validating=False)
    return state, jax.jit(make_train_step(Linear(dtype), lambda stats, batch, key, train: batch, regression, tx, train))


def fitted(batch, n_steps, dtype=jnp.float32):
    """The last state and the losses before each step."""
    state, step = linear(dtype)
    losses = []
    for _ in range(n_steps):
        state, metrics = step(state, batch)
        losses.append(mean(metrics))
    return state, losses


def weights(state):
    return np.append(state.params["head"]["kernel"][:, 0], state.params["head"]["bias"])


def problem(logistic=False):
    """80 examples, features of different scales, and a padded last row, which no step may see."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((80, 5)) * np.geomspace(1, 6, 5)).astype(np.float32)
    target = x.sum(1) + 3 * rng.standard_normal(80)
    target = (target > 0 if logistic else target).astype(np.float32)
    x[-1] = 1e6
    batch = {"inputs": x, "target": target, "mask": np.arange(80) < 79, "logistic": np.full(80, logistic)}
    return np.c_[x, np.ones(80)][:-1].astype(float), target[:-1], batch


@pytest.mark.slow
def test_a_quadratic_takes_few_steps_where_gradient_descent_takes_hundreds():
    """Conjugate directions (Nocedal & Wright, section 6.4): n steps for n parameters if the line search were exact."""
    x, target, batch = problem()
    n_steps = 4 * 6
    state, losses = fitted(batch, n_steps)
    condition = np.linalg.cond(x.T @ x)
    assert ((condition - 1) / (condition + 1)) ** n_steps > 0.5  # how near gradient descent's best rate gets
    np.testing.assert_allclose(weights(state), np.linalg.lstsq(x, target, rcond=None)[0], atol=2e-5)
    assert (np.diff(losses) <= 1e-6 * losses[0]).all()


def test_logistic_regression_ends_where_scipy_does():
    x, target, batch = problem(logistic=True)
    state, losses = fitted(batch, 30)
    value = lambda w: np.logaddexp(0, (1 - 2 * target) * (x @ w)).mean()  # noqa: E731
    best = scipy.optimize.minimize(value, np.zeros(6), method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-8})
    assert 0.05 < best.fun < 0.6
    assert losses[-1] == pytest.approx(best.fun, abs=1e-5)
    np.testing.assert_allclose(weights(state), best.x, atol=1e-4)


@pytest.mark.slow
def test_bfloat16_keeps_float32_weights_and_memory():
    """It ends near where float32 does (8 bits of mantissa: about 1 %), although its search sees less."""
    _, _, batch = problem()
    (state, losses), (_, exact) = (fitted(batch, 24, dtype) for dtype in (jnp.bfloat16, jnp.float32))
    kept = jax.tree.leaves((state.params, state.opt_state))
    assert {leaf.dtype.name for leaf in kept} <= {"float32", "int32"}
    assert all(np.isfinite(leaf).all() for leaf in kept)
    assert losses[-1] == pytest.approx(exact[-1], rel=0.02)
    assert losses[-1] != exact[-1]
    assert losses[0] > 5 * losses[-1]


@pytest.fixture(scope="module")
def one():
    """A member with BatchNorm, dropout and a random gain."""
    return tiny.make_member(**LBFGS)


def mean(metrics):
    return float(metrics["loss"][0] / metrics["loss"][1])


@pytest.mark.slow
def test_a_network_s_loss_never_rises(one):
    """Which is the same function at every step if the dropout and the gains are."""
    state, losses = one.state, []
    for _ in range(25):
        state, metrics = one.step(state.replace(step=jnp.int32(0)), one.batch(ROWS))
        losses.append(mean(metrics))
    assert losses[0] > 1
    assert losses[-1] < 1e-4
    assert (np.diff(losses) <= 1e-6).all()
    assert int(state.bad_total) == 0


def test_a_search_is_given_the_mean_loss_and_its_gradient():
    """Of the step's unmasked examples, with its dropout and gains."""

    def update(grads, memory, params, *, value, grad, value_fn, **_):
        again, grad_again = jax.value_and_grad(value_fn)(params)
        return jax.tree.map(jnp.zeros_like, params), {"value": (value, again), "grads": (grads, grad, grad_again)}

    config, plain = tiny.get_config(**SGD), tiny.make_member(**SGD)
    tx = optax.GradientTransformationExtraArgs(lambda p: {"value": (jnp.float32(0),) * 2, "grads": (p,) * 3}, update)
    model = tiny.TASK.model(config, tiny.make_dataset())
    step = jax.jit(make_train_step(model, tiny.TASK.inputs(config), tiny._loss, tx, config.train))
    state, metrics = step(plain.state.replace(opt_state=tx.init(plain.state.params)), plain.batch(ROWS))
    np.testing.assert_allclose(state.opt_state["value"], mean(metrics), rtol=1e-6)
    first, *others = state.opt_state["grads"]
    assert optax.tree.norm(first) > 0.1
    for grads in others:
        tiny.assert_close(grads, first, 1e-5)


@pytest.mark.slow
def test_the_line_search_sees_the_step_s_own_dropout_and_gain(one):
    """The loss at which a search ended is the one that the same step finds there, and another step doesn't."""
    batch = one.batch(ROWS)
    state, before = one.step(one.state, batch)
    ended = float(optax.tree.get(state.opt_state, "value"))
    assert mean(one.step(one.state.replace(params=state.params), batch)[1]) == pytest.approx(ended, rel=1e-5, abs=5e-7)
    assert abs(mean(one.step(state, batch)[1]) / ended - 1) > 1e-3
    assert ended < mean(before)


def test_batch_statistics_are_those_of_the_gradient(one):
    """What a plain step keeps: nothing of what the search tried."""
    plain = tiny.make_member(**SGD)
    found, expected = (m.step(m.state, m.batch(ROWS))[0].model_state for m in (one, plain))
    tiny.assert_close(found, expected, 1e-6)


def test_a_step_without_a_number_keeps_the_memory(one):
    state, _ = one.step(one.state, one.batch(ROWS))
    batch = one.batch(ROWS)
    batch["eeg"] = batch["eeg"].copy()
    batch["eeg"][4, 3, 1] = np.nan
    skipped, _ = one.step(state, batch)
    tiny.assert_close((skipped.params, skipped.opt_state), (state.params, state.opt_state), 0)
    assert int(skipped.bad_total) == 1


@pytest.mark.slow
def test_two_members_as_one_program(one):
    """They search for different numbers of trials; one of them is stopped."""
    mesh = tiny.mesh_of(2)
    first, _ = one.step(one.state, one.batch(ROWS))
    misled = first.replace(params=jax.tree.map(lambda leaf: 0.3 * leaf, first.params))  # by what it remembers
    pairs = [(misled, one.batch(ROWS)), (one.state, one.batch([*range(31), *[-1] * 13]))]
    pairs += [(first.replace(stopped=jnp.bool_(True)), one.batch(ROWS)), (one.state, one.batch(ROWS[::-1]))]
    step = jax.jit(members.spread(lambda _, state, batch: one.step(state, batch), 4, mesh))
    together, _ = step((), *jax.tree.map(lambda *leaves: jnp.stack(leaves), *pairs))
    for place, (state, batch) in enumerate(pairs):
        found = jax.tree.map(lambda leaf, place=place: leaf[place], together)
        tiny.assert_close(found, one.step(state, batch)[0], 2e-5)
    counts = np.asarray(optax.tree.get(together.opt_state, "num_linesearch_steps"))
    assert len(set(counts.tolist())) > 1


@pytest.fixture(scope="module")
def network():
    """On four devices, with batch statistics, dropout and averaged weights."""
    return tiny.make_network(n_devices=4, **LBFGS, train__n_epochs=4)


@pytest.mark.slow
def test_a_step_sees_the_whole_training_part(network):
    """42, 41, 39 and 31 examples, filled up to equal shares of four devices; balanced, as many as an epoch holds."""
    assert [sampler.batch_size for sampler in network.samplers] == [44] * 4
    assert [sampler.n_steps for sampler in network.samplers] == [1] * 4
    balanced = tiny.make_network(n_devices=1, **LBFGS, train__balance="over")
    drawn = [sampler.n_drawn for sampler in balanced.samplers]
    assert max(drawn) > 42
    assert {sampler.batch_size for sampler in balanced.samplers} == {max(drawn)}
    assert balanced.steps_per_epoch == 1


@pytest.fixture(scope="module")
def whole(network, tmp_path_factory):
    """The first member, never stopped: its predictions and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return tiny.run(network, [0], folder), folder


@pytest.mark.slow
def test_killed_equals_not_killed(network, whole, opened, tmp_path):
    """The memory is part of the state."""
    folder = tmp_path / "killed" / "run"
    for step in (1, 3):
        with tiny.before_step(network, step, tiny.kill), pytest.raises(tiny.Killed):
            tiny.run(network, [0], folder)
        opened[-1].close()
        assert tiny.saved_steps(folder)[-1] == step
    assert tiny.run(network, [0], folder).equals(whole[0])
    state = tiny.saved(folder)
    tiny.assert_close(state, tiny.saved(whole[1]), 0)
    assert tiny.lines(folder) == tiny.lines(whole[1])
    memory = jax.tree.leaves(optax.tree.get(state, "diff_params_memory"))
    assert [int(np.abs(leaf[0]).reshape(10, -1).any(1).sum()) for leaf in memory] == [3] * len(memory)


@pytest.mark.slow
def test_one_device_equals_four(whole, tmp_path):
    """With dropout, gains and batch statistics; on one the batch isn't filled up."""
    predictions = tiny.run(tiny.make_network(n_devices=1, **LBFGS, train__n_epochs=4), [0], tmp_path / "run")
    names = [f"p_{name}" for name in tiny.CLASSES]
    np.testing.assert_allclose(predictions[names], whole[0][names], atol=1e-4)
    assert predictions["example"].equals(whole[0]["example"])
    found, expected = tiny.saved(tmp_path / "run"), tiny.saved(whole[1])
    names = ("params", "model_state", "average")
    tiny.assert_close(*({name: state[name] for name in names} for state in (found, expected)), 1e-4)
    assert np.abs(found["params"]["head"]["kernel"] - found["average"]["head"]["kernel"]).max() > 1e-2


HALF = {"all": {"pattern": ".", "rate": 0.5, "decay": 1.0, "frozen": False}}
STILL = {"all": {"pattern": ".", "rate": 1.0, "decay": 1.0, "frozen": True}}


@pytest.mark.parametrize(
    ("changes", "frozen", "words"),
    [
        ({"weight_decay": 0.01}, "", r"config\.train\.weight_decay is 0\.01, .* --config\.train\.weight_decay=0 or"),
        ({"clip_norm": 1.0}, "", r"config\.train\.clip_norm is 1\.0, which doesn't go with config\.train\.optimizer="),
        ({"accumulate_steps": 2}, "", r"config\.train\.accumulate_steps is 2, .* --config\.train\.accumulate_steps=1"),
        ({"groups": ConfigDict(HALF)}, "", r"config\.train\.groups\.all\.rate is 0\.5, .*groups\.all\.rate=1 or"),
        ({"groups": ConfigDict(STILL)}, "", r"config\.train\.groups\.all\.frozen is True, .*all\.frozen=False or"),
        ({}, "^conv/", r"parameters found by '\^conv/' are frozen, .* train them too"),
        ({"schedule": "cosinus"}, "", "Did you mean 'cosine'"),
        ({"groups": ConfigDict({"all": {**HALF["all"], "rate": 1.0, "pattern": "^conv/"}})}, "", "head/bias"),
    ],
)
def test_what_does_not_go_with_it(one, changes, frozen, words):
    config, params = tiny.get_config(**LBFGS), one.state.params
    with config.unlocked():
        config.train.update({name: value for name, value in changes.items() if name != "groups"})
        config.train.groups = changes.get("groups", config.train.groups)
    with pytest.raises(UserError, match=words) as error:
        make_optimizer(config.train, params, 10, 1, frozen)
    assert "\n" not in str(error.value)

"""Optimisers against their papers' equations in NumPy, schedules against closed forms, groups against their rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study as tiny
from ml_collections import ConfigDict

from eegjax.errors import UserError
from eegjax.train.optimizer import FROZEN, label_parameters, make_optimizer, make_schedule

BODY = {"pattern": "^body/", "rate": 1.0, "decay": 1.0, "frozen": False}
HEAD = {"pattern": "^head/", "rate": 1.0, "decay": 1.0, "frozen": False}


def settings(groups=None, **overrides):
    """A constant rate of 0.1, nothing else."""
    train = tiny.get_config().train
    train.update(optimizer="sgd", learning_rate=0.1, schedule="constant", warmup_steps=0, weight_decay=0.0)
    train.update(clip_norm=0.0)
    train.update(overrides)
    if groups is not None:
        with train.unlocked():
            train.groups = ConfigDict(groups)
    return train


def parameters():
    rng = np.random.default_rng(0)
    shapes = {"body": {"kernel": (4, 3), "bias": (3,)}, "head": {"kernel": (3, 2), "bias": (2,)}}
    return jax.tree.map(
        lambda shape: rng.standard_normal(shape).astype(np.float32),
        shapes,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def gradients(n_steps):
    rng = np.random.default_rng(1)
    return [
        jax.tree.map(lambda p: rng.standard_normal(p.shape).astype(np.float32), parameters()) for _ in range(n_steps)
    ]


def steps(train, grads, total_steps=10, frozen=""):
    """The parameters after each gradient."""
    params = jax.tree.map(jnp.asarray, parameters())
    tx = make_optimizer(train, params, total_steps, 5, frozen)
    state, seen = tx.init(params), []
    for grad in grads:
        updates, state = tx.update(grad, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        seen.append(params)
    return seen


def sgd(g, m, v, t):
    m = 0.9 * m + g
    return m, m, v


def adam(g, m, v, t):
    """Kingma & Ba (2015), algorithm 1."""
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    return m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v


def rmsprop(g, m, v, t):
    """Tieleman & Hinton (2012)."""
    v = 0.9 * v + 0.1 * g**2
    return g / np.sqrt(v + 1e-8), m, v


@pytest.mark.parametrize("rule", [sgd, adam, rmsprop])
def test_optimisers_follow_their_equations(rule):
    """With decoupled weight decay (Loshchilov & Hutter 2019) on kernels only, and the gradient clipped to norm 0.5."""
    grads = gradients(4)
    found = steps(settings(optimizer=rule.__name__, weight_decay=0.2, clip_norm=0.5), grads)
    state = jax.tree.map(lambda p: (p.astype(float), np.zeros(p.shape), np.zeros(p.shape)), parameters())
    for t, grad in enumerate(grads, 1):
        norm = np.sqrt(sum((leaf.astype(float) ** 2).sum() for leaf in jax.tree.leaves(grad)))
        for part, name in (("body", "kernel"), ("body", "bias"), ("head", "kernel"), ("head", "bias")):
            p, m, v = state[part][name]
            update, m, v = rule(grad[part][name] * min(1, 0.5 / norm), m, v, t)
            p = p - 0.1 * (update + 0.2 * p * (name == "kernel"))
            state[part][name] = (p, m, v)
            np.testing.assert_allclose(found[t - 1][part][name], p, atol=2e-5)


def coupled(train, value):
    """Settings with the field that other studies lack."""
    with train.unlocked():
        train.decoupled_decay = value
    return train


@pytest.mark.parametrize("rule", [sgd, adam, rmsprop])
def test_coupled_decay_is_torchs(rule):
    """`torch.optim.Adam(weight_decay=d)`: g + d p of every parameter, biases too, is what the rule sees."""
    grads = gradients(4)
    groups = {"body": {**BODY, "decay": 0.5}, "head": HEAD}
    found = steps(coupled(settings(groups, optimizer=rule.__name__, weight_decay=0.2, clip_norm=0.5), False), grads)
    state = jax.tree.map(lambda p: (p.astype(float), np.zeros(p.shape), np.zeros(p.shape)), parameters())
    for t, grad in enumerate(grads, 1):
        norm = np.sqrt(sum((leaf.astype(float) ** 2).sum() for leaf in jax.tree.leaves(grad)))
        for part, decay in (("body", 0.1), ("head", 0.2)):
            for name in ("kernel", "bias"):
                p, m, v = state[part][name]
                update, m, v = rule(grad[part][name] * min(1, 0.5 / norm) + decay * p, m, v, t)
                state[part][name] = (p - 0.1 * update, m, v)
                np.testing.assert_allclose(found[t - 1][part][name], p - 0.1 * update, atol=2e-5)


def test_coupled_decay_keeps_what_is_frozen_and_is_not_the_decoupled_one():
    grads, before = gradients(3), parameters()
    groups = {"body": {**BODY, "frozen": True}, "head": HEAD}
    found = steps(coupled(settings(groups, optimizer="adam", weight_decay=0.2), False), grads)[-1]
    tiny.assert_close(found["body"], before["body"], 0)
    apart = steps(coupled(settings(groups, optimizer="adam", weight_decay=0.2), True), grads)[-1]
    unsaid = steps(settings(groups, optimizer="adam", weight_decay=0.2), grads)[-1]
    tiny.assert_close(apart, unsaid, 0)
    assert not np.allclose(found["head"]["kernel"], apart["head"]["kernel"], atol=1e-3)


def test_small_gradients_are_not_clipped():
    grads = jax.tree.map(lambda g: g * 1e-3, gradients(2))
    tiny.assert_close(steps(settings(clip_norm=1.0), grads), steps(settings(clip_norm=0.0), grads), 0)


def test_frozen_group_keeps_every_bit_and_slow_group_moves_a_tenth():
    grads, before = gradients(3), parameters()
    whole = steps(settings({"body": BODY, "head": HEAD}), grads)[-1]
    frozen = steps(settings({"body": {**BODY, "frozen": True}, "head": HEAD}, weight_decay=0.1), grads)[-1]
    tiny.assert_close(frozen["body"], before["body"], 0)
    assert not np.allclose(frozen["head"]["kernel"], before["head"]["kernel"])
    slow = steps(settings({"body": {**BODY, "rate": 0.1}, "head": HEAD}), grads)[-1]
    tiny.assert_close(slow["head"], whole["head"], 0)
    for name in ("kernel", "bias"):
        moved, fully = (after["body"][name] - before["body"][name] for after in (slow, whole))
        np.testing.assert_allclose(moved, 0.1 * fully, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("groups", "frozen"),
    [
        ({"body": {**BODY, "frozen": True}, "head": HEAD}, ""),
        ({"all": {**BODY, "pattern": "."}}, "^body/"),
        ({"body": BODY, "head": HEAD}, "^body/"),
        ({"head": HEAD}, "^body/"),
    ],
)
def test_frozen_gradients_do_not_count_in_the_clipped_norm(groups, frozen):
    """Gradients of the frozen part are a thousand times larger; what moves is clipped by its own norm."""
    grads = [{**grad, "body": jax.tree.map(lambda g: 1000 * g, grad["body"])} for grad in gradients(3)]
    before = parameters()
    found = steps(settings(groups, weight_decay=0.2, clip_norm=0.5), grads, frozen=frozen)[-1]
    tiny.assert_close(found["body"], before["body"], 0)
    head, momentum = before["head"], jax.tree.map(np.zeros_like, before["head"])
    for grad in grads:
        norm = np.sqrt(sum((leaf**2).sum() for leaf in grad["head"].values()))
        assert norm > 0.5
        momentum = {name: 0.9 * momentum[name] + grad["head"][name] * 0.5 / norm for name in head}
        head = {name: head[name] - 0.1 * (momentum[name] + 0.2 * head[name] * (name == "kernel")) for name in head}
    tiny.assert_close(found["head"], head, 1e-5)


def test_frozen_parameters_are_in_no_group():
    """Not in two either; a group may be frozen whole, but a pattern that finds nothing is a slip."""
    groups = ConfigDict({"all": {**BODY, "pattern": "."}, "kernels": {**BODY, "pattern": "kernel"}})
    labels = label_parameters(groups, parameters(), "kernel$")
    assert labels == {part: {"kernel": FROZEN, "bias": "all"} for part in ("body", "head")}
    for frozen, words in (("^neck/", "no parameter is found by '^neck/'; the parameters are"), ("(", "is '(': no reg")):
        with pytest.raises(UserError) as error:
            label_parameters(groups, parameters(), frozen)
        assert words in str(error.value)


def test_decay_is_the_group_s_and_on_kernels_only():
    """Without gradients what is left is p (1 - rate * decay) per step."""
    nothing = [jax.tree.map(np.zeros_like, parameters())] * 2
    groups = {"body": {**BODY, "decay": 0.5}, "head": {**HEAD, "rate": 2.0}}
    after, before = steps(settings(groups, weight_decay=0.2), nothing)[-1], parameters()
    np.testing.assert_allclose(after["body"]["kernel"], before["body"]["kernel"] * (1 - 0.1 * 0.1) ** 2, rtol=1e-5)
    np.testing.assert_allclose(after["head"]["kernel"], before["head"]["kernel"] * (1 - 0.2 * 0.2) ** 2, rtol=1e-5)
    for part in ("body", "head"):
        np.testing.assert_array_equal(after[part]["bias"], before[part]["bias"])


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"head": HEAD}, ["'body/", "no group"]),
        ({"all": {**BODY, "pattern": "."}, "head": HEAD}, ["'head/", "'all', 'head'"]),
        (
            {"body": BODY, "head": HEAD, "neck": {**BODY, "pattern": "^neck/"}},
            ["no parameter", "['neck']", "body/bias"],
        ),
    ],
)
def test_every_parameter_is_in_exactly_one_group(groups, words):
    with pytest.raises(UserError) as error:
        label_parameters(ConfigDict(groups), parameters())
    assert all(word in str(error.value) for word in ["config.train.groups", *words])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("field", "wrong", "right"), [("optimizer", "adm", "adam"), ("schedule", "cosinus", "cosine")])
def test_unknown_names_are_guessed(field, wrong, right):
    with pytest.raises(UserError, match=f"config.train.{field} is '{wrong}'.*Did you mean '{right}'"):
        make_optimizer(settings(**{field: wrong}), parameters(), 10, 5)


def cosine(t):
    """Loshchilov & Hutter (2017), equation 5, over the 90 steps after the warm-up."""
    return 0.1 * t / 10 if t < 10 else 0.05 * (1 + np.cos(np.pi * (t - 10) / 90))


def one_cycle(t):
    """From rate / 25 up to it within 10 steps, then down to rate / 25 / 1e4, both along half a cosine."""
    first, top, last = 0.1 / 25, 0.1, 0.1 / 25 / 1e4
    begin, end, x = (first, top, t / 10) if t < 10 else (top, last, (t - 10) / 90)
    return begin + (end - begin) * (1 - np.cos(np.pi * x)) / 2


@pytest.mark.parametrize(
    ("schedule", "warmup_steps", "expected"),
    [
        ("constant", 0, lambda t: 0.1),
        ("constant", 10, lambda t: 0.1 * min(t / 10, 1)),
        ("cosine", 10, cosine),
        ("exponential", 0, lambda t: 0.1 * 0.9 ** (t // 20)),
        ("exponential", 10, lambda t: 0.1 * min(t / 10, 1) * 0.9 ** (t // 20)),
        ("exponential", 30, lambda t: 0.1 * (t / 30 if t < 30 else 0.9 ** (t // 20))),
        ("one_cycle", 10, one_cycle),
    ],
)
def test_schedules_follow_their_closed_forms(schedule, warmup_steps, expected):
    """100 steps in epochs of 20."""
    train = settings(schedule=schedule, warmup_steps=warmup_steps, decay_per_epoch=0.9)
    found = make_schedule(train, 100, 20)
    for t in (0, 1, 5, 9, 10, 11, 19, 20, 29, 30, 31, 39, 40, 55, 99):
        assert float(found(t)) == pytest.approx(expected(t), rel=1e-4, abs=1e-7), t


@pytest.mark.parametrize("schedule", ["constant", "cosine", "exponential", "one_cycle"])
@pytest.mark.parametrize("total_steps", [1, 2, 5])
def test_runs_shorter_than_their_warm_up_have_a_rate(schedule, total_steps):
    train = settings(schedule=schedule, warmup_steps=10)
    rates = [float(make_schedule(train, total_steps, 1)(t)) for t in range(total_steps + 1)]
    assert np.isfinite(rates).all()
    assert min(rates) >= 0
    assert max(rates) <= 0.1 * (1 + 1e-6)

"""The LSTM on the raw signal: its size, its equations in NumPy, what it drops, what it learns, many at once."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit

from eegjax.models.lstm import RawLSTM
from eegjax.train import members

WIDTH = 1 / 64  # 8 features


def signals(*leading: int, n_times: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*leading, n_times, 1)).astype(np.float32)


def made(module: nn.Module, n_times: int = 100) -> Any:
    """Weights large enough to matter, biases too."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, n_times, 1)))
    return jax.tree.map(lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("n_cells", [1, 2, 3])
@pytest.mark.parametrize(("width", "samples_per_step"), [(1.0, 20), (0.25, 50)])
def test_parameter_counts(width, samples_per_step, n_cells):
    """4 gates of h (inputs + h) weights and h biases per cell."""
    module = RawLSTM(6, width, n_cells, samples_per_step=samples_per_step)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 3000, 1)))["params"]
    found = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    h = int(512 * width)
    cells = [4 * (h * (n_inputs + h) + h) for n_inputs in (samples_per_step, *[h] * (n_cells - 1))]
    assert found == sum(cells) + 6 * h + 6
    assert set(shapes) == {"head", *("lstm", "lstm_2", "lstm_3")[:n_cells]}


def test_published_size():
    shapes = jax.eval_shape(RawLSTM(6).init, jax.random.key(0), jnp.zeros((1, 3000, 1)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 1_094_662


def numpy_lstm(params: Any, steps: np.ndarray) -> np.ndarray:
    """Gers et al. (2000) without peepholes: [n_steps, n_inputs] -> the hidden states."""
    hidden = cell = np.zeros(len(params["hi"]["bias"]))
    states = []
    for x in steps:
        i, f, g, o = (
            x @ params[f"i{gate}"]["kernel"] + hidden @ params[f"h{gate}"]["kernel"] + params[f"h{gate}"]["bias"]
            for gate in "ifgo"
        )
        cell = expit(f) * cell + expit(i) * np.tanh(g)
        hidden = expit(o) * np.tanh(cell)
        states.append(hidden)
    return np.array(states)


@pytest.mark.parametrize("n_cells", [1, 2])
def test_logits_match_numpy(n_cells):
    module = RawLSTM(3, WIDTH, n_cells, samples_per_step=7)
    variables, eeg = made(module), signals(4)
    params = jax.tree.map(lambda leaf: leaf.astype(np.float64), variables["params"])
    expected = []
    for one in eeg.astype(np.float64):
        x = np.array([one[begin : begin + 7, 0] for begin in range(0, 98, 7)])  # the last two samples fill no step
        for name in ("lstm", "lstm_2")[:n_cells]:
            x = numpy_lstm(params[name], x)
        expected.append(x.mean(0) @ params["head"]["kernel"] + params["head"]["bias"])
    assert np.std(expected, 0).min() > 0.01
    np.testing.assert_allclose(jax.jit(module.apply)(variables, eeg), expected, rtol=0, atol=1e-5)


def test_what_fills_no_step_is_dropped_and_nothing_else():
    module = RawLSTM(3, WIDTH)
    variables, eeg = made(module), signals(2, n_times=119)
    apply = jax.jit(module.apply)
    logits = apply(variables, eeg)
    assert np.array_equal(logits, apply(variables, eeg[:, :100]))
    for sample in (0, 99):
        other = eeg.copy()
        other[:, sample] += 1
        assert np.abs(apply(variables, other) - logits).min() > 1e-5
    with pytest.raises(ValueError, match="19 samples are fewer than one step of 20"):
        module.apply(variables, eeg[:, :19])


def test_leading_axes_are_kept_and_no_epoch_sees_another():
    module = RawLSTM(3, WIDTH)
    variables, eeg = made(module), signals(2, 3)
    apply = jax.jit(module.apply)
    logits = apply(variables, eeg)
    assert logits.shape == (2, 3, 3)
    np.testing.assert_allclose(logits.reshape(6, 3), apply(variables, eeg.reshape(6, 100, 1)), atol=1e-6)
    other = eeg.copy()
    other[0, 1] = 100
    mask = np.ones((2, 3), bool)
    mask[0, 1] = False
    padded = jax.jit(lambda eeg, mask: module.apply(variables, eeg, mask=mask))(other, mask)
    np.testing.assert_allclose(padded[mask], logits[mask], atol=1e-6)
    assert np.abs(padded[0, 1] - logits[0, 1]).max() > 1e-2


def test_dropout_works_in_training_only_between_cells_and_before_the_head():
    module = RawLSTM(3, WIDTH, n_cells=2)
    variables, eeg = made(module), signals(4)
    logits = jax.jit(module.apply)(variables, eeg)  # no key given: it would be missed

    @jax.jit
    def training(key: Any) -> Any:
        return module.apply(
            variables,
            eeg,
            train=True,
            rngs={"dropout": key},
            capture_intermediates=lambda part, _: isinstance(part, nn.Dropout),
            mutable=["intermediates"],
        )

    train, captured = training(jax.random.key(0))
    assert np.abs(train - logits).max() > 1e-2
    between, last = (captured["intermediates"][f"Dropout_{number}"]["__call__"][0] for number in range(2))
    assert (between.shape, last.shape) == ((4, 5, 8), (4, 8))
    assert all(0.25 < np.mean(leaf == 0) < 0.75 for leaf in (between, last))


@pytest.mark.slow
def test_two_frequencies_are_told_apart_in_a_few_steps():
    """3 Hz and 12 Hz at any phase, three times as much noise power as signal."""
    rng = np.random.default_rng(0)
    seconds = np.arange(400) / 100

    def batch(size: int) -> tuple[np.ndarray, np.ndarray]:
        label = rng.integers(0, 2, size)
        angle = 2 * np.pi * np.array([3.0, 12.0])[label, None] * seconds + rng.uniform(0, 2 * np.pi, (size, 1))
        eeg = np.sqrt(2) * np.sin(angle) + np.sqrt(3) * rng.standard_normal((size, 400))
        return (eeg / 2).astype(np.float32)[..., None], label

    module, tx = RawLSTM(2, 1 / 16), optax.adam(1e-2)

    @jax.jit
    def step(params: Any, opt_state: Any, eeg: Any, label: Any) -> Any:
        def loss(params: Any) -> Any:
            logits = module.apply(params, eeg, train=True, rngs={"dropout": jax.random.key(0)})
            return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state)
        return optax.apply_updates(params, updates), opt_state

    params = jax.jit(module.init)(jax.random.key(0), batch(1)[0])
    opt_state = tx.init(params)
    eeg, label = batch(200)
    assert 0.3 < np.mean(np.argmax(module.apply(params, eeg), -1) == label) < 0.7
    for _ in range(30):
        params, opt_state = step(params, opt_state, *batch(32))
    assert np.mean(np.argmax(module.apply(params, eeg), -1) == label) > 0.95


def test_bfloat16_keeps_float32_weights_and_logits_near():
    module, half = RawLSTM(3, WIDTH, 2), RawLSTM(3, WIDTH, 2, dtype=jnp.bfloat16)
    variables, eeg = made(module), signals(4)
    shapes = jax.eval_shape(half.init, jax.random.key(0), eeg)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    logits = jax.jit(module.apply)(variables, eeg)
    with jax.numpy_dtype_promotion("strict"):
        near = jax.jit(half.apply)(variables, eeg)
    assert near.dtype == jnp.float32
    assert 1e-5 < np.linalg.norm(near - logits) / np.linalg.norm(logits) < 0.03


def test_members_run_as_one_program():
    """A scan inside shard_map wants its first state to vary over the devices as its input does."""
    module, eeg = RawLSTM(3, WIDTH), signals(4, 2)
    variables = made(module)
    mesh = members.make_mesh()
    places = members.n_places(4, mesh)
    stacked = members.stack([variables] * 4, places, members.state_sharding(places, mesh))

    def value_and_grad(_: Any, variables: Any, eeg: Any) -> Any:
        return jax.value_and_grad(lambda v: module.apply(v, eeg).sum())(variables)

    with jax.set_mesh(mesh):
        found = jax.jit(members.spread(value_and_grad, places, mesh))(0, stacked, eeg)
    alone = jax.jit(value_and_grad)
    for place, one in enumerate(eeg):
        expected = alone(0, variables, one)
        jax.tree.map(lambda a, b, place=place: np.testing.assert_allclose(a[place], b, atol=1e-5), found, expected)

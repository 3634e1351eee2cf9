"""The convolutional recurrent network: published sizes, torch's equations in NumPy, initial weights, many at once."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from eegjax.models import cnn_rnn
from eegjax.models.cnn_rnn import CNNRNN, Bidirectional
from eegjax.train import members

CELLS = ("rnn", "gru", "lstm")


def shapes(module: nn.Module, *shape: int, **options: Any) -> Any:
    trial = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda key, x: module.init(key, x, **options), jax.random.key(0), trial)


def made(module: nn.Module, *shape: int, **options: Any) -> Any:
    """Weights, biases and running statistics that matter."""
    rng = np.random.default_rng(0)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if str(path[-1]) in ("['var']", "['scale']"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return rng.normal(0, 0.15, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes(module, *shape, **options))


@pytest.mark.parametrize(
    ("cell", "published", "upsampled"),
    [("rnn", 581_244, 1_097_340), ("gru", 707_708, 1_223_804), ("lstm", 770_940, 1_287_036)],
)
def test_published_parameter_counts(cell, published, upsampled):
    for n_times, expected in ((1000, published), (2000, upsampled)):
        params = shapes(CNNRNN(4, cell), 1, n_times, 22, train=False)["params"]
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected
        assert params["fc"]["kernel"].shape == ({1000: 7808, 2000: 15872}[n_times], 64)
    adaptive = shapes(CNNRNN(4, cell, pooling="adaptive"), 1, 2000, 22, train=False)["params"]
    assert adaptive["fc"]["kernel"].shape == (128, 64)


def numpy_cell(cell: str, x: np.ndarray, of_input: Any, of_state: Any, b_input: Any, b_state: Any) -> np.ndarray:
    """The equations in the documentation of torch.nn.RNN, GRU and LSTM: [n_steps, n_inputs] -> hidden states."""
    h = c = np.zeros(len(of_state))
    states = []
    for step in x:
        if cell == "rnn":
            h = np.maximum(step @ of_input + b_input + h @ of_state + b_state, 0)
        elif cell == "gru":
            (wr, wz, wn), (ur, uz, un) = (np.split(w, 3, 1) for w in (of_input, of_state))
            (br, bz, bn), (cr, cz, cn) = (np.split(b, 3) for b in (b_input, b_state))
            r = expit(step @ wr + br + h @ ur + cr)
            z = expit(step @ wz + bz + h @ uz + cz)
            n = np.tanh(step @ wn + bn + r * (h @ un + cn))
            h = (1 - z) * n + z * h
        else:
            i, f, g, o = np.split(step @ of_input + b_input + h @ of_state + b_state, 4)
            c = expit(f) * c + expit(i) * np.tanh(g)
            h = expit(o) * np.tanh(c)
        states.append(h)
    return np.array(states)


def numpy_both_ways(cell: str, x: np.ndarray, params: Any) -> np.ndarray:
    """One sequence, [n_steps, n_inputs] -> [n_steps, 2 * hidden]."""
    names = ("input_kernel", "hidden_kernel", "input_bias", "hidden_bias")
    there, back = ([params[name][way] for name in names] for way in (0, 1))
    return np.concatenate([numpy_cell(cell, x, *there), numpy_cell(cell, x[::-1], *back)[::-1]], 1)


@pytest.mark.parametrize("cell", CELLS)
def test_recurrence_in_bfloat16(cell):
    variables = made(Bidirectional(cell, 5), 1, 7, 3)
    x = np.random.default_rng(1).normal(size=(4, 7, 3)).astype(np.float32)
    with jax.numpy_dtype_promotion("strict"):
        near = Bidirectional(cell, 5, jnp.bfloat16).apply(variables, jnp.asarray(x, jnp.bfloat16))
    assert near.dtype == jnp.bfloat16
    expected = Bidirectional(cell, 5).apply(variables, x)
    assert 1e-5 < np.linalg.norm(near.astype(jnp.float32) - expected) / np.linalg.norm(expected) < 0.03


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrence_matches_numpy(cell, backend, monkeypatch):
    """In both forms, value and gradients."""
    module = Bidirectional(cell, 5)
    variables = made(module, 1, 7, 3)
    x = np.random.default_rng(1).normal(size=(4, 7, 3)).astype(np.float32)
    exact = jax.tree.map(lambda leaf: leaf.astype(np.float64), variables["params"])
    expected = np.array([numpy_both_ways(cell, one.astype(np.float64), exact) for one in x])
    assert expected.shape == (4, 7, 10)
    with monkeypatch.context() as patch:
        patch.setattr(cnn_rnn.jax, "default_backend", lambda: backend)

        @jax.jit
        def run(variables: Any) -> Any:
            states, back = jax.vjp(lambda v: module.apply(v, x), variables)
            return states, back(2 * states)[0]["params"]

        states, gradient = run(variables)
    np.testing.assert_allclose(states, expected, atol=1e-5)
    rng = np.random.default_rng(2)
    for name in ("hidden_kernel", "input_kernel", "hidden_bias", "input_bias"):
        towards = rng.normal(size=exact[name].shape)
        values = []
        for step in (1e-5, -1e-5):
            moved = {**exact, name: exact[name] + step * towards}
            values.append(sum((numpy_both_ways(cell, one.astype(np.float64), moved) ** 2).sum() for one in x))
        slope = (values[0] - values[1]) / 2e-5
        assert float(np.sum(gradient[name] * towards)) == pytest.approx(slope, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("pooling", ["flatten", "adaptive"])
@pytest.mark.parametrize("cell", CELLS)
def test_logits_match_numpy(cell, pooling):
    """Table 3, line by line."""
    module = CNNRNN(4, cell, pooling=pooling)
    variables = made(module, 1, 90, 3, train=False)
    exact = jax.tree.map(lambda leaf: leaf.astype(np.float64), variables)
    params, running = exact["params"], exact["batch_stats"]
    eeg = np.random.default_rng(1).normal(size=(3, 90, 3)).astype(np.float32)

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - running[name]["mean"]) / np.sqrt(running[name]["var"] + 1e-5)
        return scaled * params[name]["scale"] + params[name]["bias"]

    windows = np.lib.stride_tricks.sliding_window_view(eeg.astype(np.float64), 20, 1)[:, ::4]
    x = np.einsum("btck,kcf->btf", windows, params["conv"]["kernel"]) + params["conv"]["bias"]
    x = norm(np.maximum(x, 0), "norm_conv")
    assert x.shape == (3, 18, 40)
    x = x[:, :16].reshape(3, 4, 4, 40).max(2)
    for layer in (1, 2, 3):
        x = np.array([numpy_both_ways(cell, one, params[f"{cell}_{layer}"]) for one in x])
    x = norm(x, "norm_rnn")
    x = x.reshape(3, -1) if pooling == "flatten" else x.mean(1)
    x = x @ params["fc"]["kernel"] + params["fc"]["bias"]
    expected = x @ params["head"]["kernel"] + params["head"]["bias"]
    assert np.std(expected, 0).min() > 1e-3 * np.abs(expected).max()
    logits = jax.jit(lambda v, x: module.apply(v, x, train=False))(variables, eeg)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_lstm_and_gru_start_as_torchs():
    for cell in ("lstm", "gru"):
        params = jax.jit(Bidirectional(cell, 64).init)(jax.random.key(0), jnp.zeros((1, 2, 40)))["params"]
        for leaf in params.values():
            assert np.abs(leaf).max() <= 1 / 8
            assert float(leaf.std()) == pytest.approx(1 / 8 / np.sqrt(3), rel=0.1)
            assert np.abs(leaf[0] - leaf[1]).max() > 0.01


def test_the_plain_rnn_starts_as_the_reports():
    """Xavier weights of the input, orthogonal ones of the state, each direction its own; no biases."""
    params = Bidirectional("rnn", 64).init(jax.random.key(0), jnp.zeros((1, 2, 40)))["params"]
    bound = np.sqrt(6 / (40 + 64))
    assert 0.95 * bound < np.abs(params["input_kernel"]).max() <= bound
    for way in params["hidden_kernel"]:
        np.testing.assert_allclose(way @ way.T, np.eye(64), atol=1e-5)
    assert np.abs(params["hidden_kernel"][0] - params["hidden_kernel"][1]).max() > 0.1
    assert not params["input_bias"].any()
    assert not params["hidden_bias"].any()


def test_dropout_follows_the_convolution_and_lies_between_the_recurrent_layers():
    module = CNNRNN(4)
    variables = made(module, 1, 200, 3, train=False)
    x = np.random.default_rng(1).normal(size=(4, 200, 3)).astype(np.float32)
    run = partial(
        module.apply,
        train=True,
        rngs={"dropout": jax.random.key(0)},
        capture_intermediates=lambda part, _: isinstance(part, nn.Dropout),
        mutable=["intermediates", "batch_stats"],
    )
    captured = jax.jit(run)(variables, x)[1]["intermediates"]
    dropped = [captured[f"Dropout_{number}"]["__call__"][0] for number in range(3)]
    assert [leaf.shape for leaf in dropped] == [(4, 46, 40), (4, 11, 128), (4, 11, 128)]
    assert all(0.4 < np.mean(leaf == 0) < 0.6 for leaf in dropped[1:])
    assert len(captured) == 3


@pytest.mark.slow
def test_members_run_as_one_program():
    """A scan inside shard_map wants its first state to vary over the devices as its input does."""
    module = Bidirectional("lstm", 4)
    variables = made(module, 1, 5, 3)
    x = np.random.default_rng(1).normal(size=(4, 2, 5, 3)).astype(np.float32)
    mesh = members.make_mesh()
    places = members.n_places(4, mesh)
    stacked = members.stack([variables] * 4, places, members.state_sharding(places, mesh))

    def value_and_grad(_: Any, variables: Any, x: Any) -> Any:
        return jax.value_and_grad(lambda v: module.apply(v, x).sum())(variables)

    with jax.set_mesh(mesh):
        found = jax.jit(members.spread(value_and_grad, places, mesh))(0, stacked, x)
    alone = jax.jit(value_and_grad)
    for place, one in enumerate(x):
        expected = alone(0, variables, one)
        jax.tree.map(lambda a, b, place=place: np.testing.assert_allclose(a[place], b, atol=1e-5), found, expected)

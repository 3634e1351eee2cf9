"""The motor-imagery report's hybrid: a strided convolution over time, then three bidirectional recurrent layers.

Table 3 of the report. The cells are torch's, biases twice as there, so that counts and weights agree.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from eegjax.errors import check_choice
from eegjax.models import layers

KERNEL = 20  # samples of the convolution
STRIDE = 4  # samples between its windows
POOL = 4  # samples of the max-pool
SMALLEST_N_TIMES = KERNEL + (POOL - 1) * STRIDE
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def lstm_step(state: tuple[jax.Array, jax.Array], given: jax.Array, recur: Callable[[jax.Array], jax.Array]) -> Any:
    """Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000)."""
    hidden, cell = state
    enter, forget, candidate, leave = jnp.split(given + recur(hidden), 4, -1)
    cell = nn.sigmoid(forget) * cell + nn.sigmoid(enter) * jnp.tanh(candidate)
    hidden = nn.sigmoid(leave) * jnp.tanh(cell)
    return (hidden, cell), hidden


def gru_step(state: tuple[jax.Array], given: jax.Array, recur: Callable[[jax.Array], jax.Array]) -> Any:
    """Cho et al. (2014), in the form whose reset gate acts on the product with its bias."""
    (hidden,) = state
    reset, update, candidate = jnp.split(given, 3, -1)
    reset_hidden, update_hidden, candidate_hidden = jnp.split(recur(hidden), 3, -1)
    update = nn.sigmoid(update + update_hidden)
    candidate = jnp.tanh(candidate + nn.sigmoid(reset + reset_hidden) * candidate_hidden)
    hidden = (1 - update) * candidate + update * hidden
    return (hidden,), hidden


def rnn_step(state: tuple[jax.Array], given: jax.Array, recur: Callable[[jax.Array], jax.Array]) -> Any:
    """Elman (1990), with a ReLU."""
    hidden = nn.relu(given + recur(state[0]))
    return (hidden,), hidden


STEPS: dict[str, Callable[..., Any]] = {"lstm": lstm_step, "gru": gru_step, "rnn": rnn_step}


def draw_each_way(init: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """An initialiser of [2, ...] that draws each direction by itself."""
    return lambda key, shape, dtype=jnp.float32: jnp.stack([init(k, shape[1:], dtype) for k in jax.random.split(key)])


def choose_initialisers(cell: str, hidden: int) -> tuple[Callable[..., jax.Array], ...]:
    """Of the input's and the state's weights, and of the biases: torch's uniform one, or the report's for the RNN."""
    if cell == "rnn":
        orthogonal = draw_each_way(nn.initializers.orthogonal())
        return draw_each_way(layers.xavier_uniform), orthogonal, nn.initializers.zeros_init()
    bound = hidden**-0.5

    def uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return uniform, uniform, uniform


class Bidirectional(nn.Module):
    """Both directions over a sequence: [batch, n_steps, n_inputs] -> [batch, n_steps, 2 * hidden], forward first.

    The parameters hold the forward and the backward direction, in this order, along their first axis; the gates lie
    side by side along their last, in torch's order: enter, forget, candidate, leave; or reset, update, candidate.
    """

    cell: str
    hidden: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        of_input, of_state, of_bias = choose_initialisers(self.cell, self.hidden)
        n_columns = GATES[self.cell] * self.hidden
        shapes = {
            "input_kernel": (of_input, (2, x.shape[-1], n_columns)),
            "hidden_kernel": (of_state, (2, self.hidden, n_columns)),
            "input_bias": (of_bias, (2, n_columns)),
            "hidden_bias": (of_bias, (2, n_columns)),
        }
        params = {name: self.param(name, *given).astype(self.dtype) for name, given in shapes.items()}

        def one_way(x: jax.Array, params: dict[str, jax.Array]) -> jax.Array:
            # The input's share of all steps is one product; only the state's is left for the scan.
            given = (x @ params["input_kernel"] + params["input_bias"]).swapaxes(0, 1)
            # Made like the input, so that it is spread over devices as that is: a scan's state may not change its kind.
            nothing = jnp.zeros_like(given, shape=(given.shape[1], self.hidden))
            state = (nothing, nothing) if self.cell == "lstm" else (nothing,)
            step = partial(STEPS[self.cell], recur=lambda h: h @ params["hidden_kernel"] + params["hidden_bias"])
            return jax.lax.scan(step, state, given)[1].swapaxes(0, 1)

        forward, backward = run_both_ways(one_way, (x, x[:, ::-1]), params)
        return jnp.concatenate([forward, backward[:, ::-1]], -1)


def run_both_ways(one_way: Callable[..., jax.Array], xs: tuple[jax.Array, jax.Array], params: Any) -> Any:
    """A function of each direction: in one scan on an accelerator; a CPU is faster with two."""
    if jax.default_backend() == "cpu":
        return [one_way(x, jax.tree.map(lambda leaf, way=way: leaf[way], params)) for way, x in enumerate(xs)]
    return jax.vmap(one_way)(jnp.stack(xs), params)


class CNNRNN(nn.Module):
    """Logits per trial, from 61 steps of 40 features that a convolution makes of 1000 samples.

    At 22 channels, 1000 samples and four classes 770,940 parameters with LSTMs, 707,708 with GRUs and 581,244 with
    plain ReLU cells; 1,287,036, 1,223,804 and 1,097,340 at 2000 samples.

    cell: `lstm`, `gru` or `rnn`.
    dropout: after the convolution, and between the recurrent layers.
    pooling: how time ends: `flatten`, or `adaptive`, its mean.
    """

    n_outputs: int
    cell: str = "lstm"
    dropout: float = 0.5
    pooling: str = "flatten"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Classify.

        Args:
            x: [batch, n_times, n_chans] z-scores.
            train: dropout and batch statistics on.
            mask: [batch] bool, False for padded trials.

        Returns:
            [batch, n_outputs] float32 logits.

        Raises:
            UserError: `x` has fewer than `SMALLEST_N_TIMES` samples, `cell` is none of `GATES`, or `pooling` none of
                `POOLINGS`.
        """
        check_choice("cell", self.cell, tuple(GATES))
        layers.check_n_times(x.shape[1], SMALLEST_N_TIMES, "CNNRNN")
        drop = partial(nn.Dropout, self.dropout, deterministic=not train)
        x = x.astype(self.dtype)
        x = layers.conv(40, (KERNEL,), strides=STRIDE, padding="VALID", dtype=self.dtype, name="conv")(x)
        x = layers.batch_norm(drop()(nn.relu(x)), train, mask, dtype=self.dtype, name="norm_conv")
        x = layers.max_pool(x, (POOL,))
        for layer in range(1, 4):
            if layer > 1:
                x = drop()(x)
            x = Bidirectional(self.cell, 64, self.dtype, name=f"{self.cell}_{layer}")(x)
        x = layers.batch_norm(x, train, mask, dtype=self.dtype, name="norm_rnn")
        x = layers.dense(64, dtype=self.dtype, name="fc")(layers.pool_time(x, self.pooling))
        return layers.dense(self.n_outputs, dtype=self.dtype, name="head")(x).astype(jnp.float32)

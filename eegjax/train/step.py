"""The training step and the prediction step: pure functions of one member, compiled by the caller."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from eegjax.train import state as states
from eegjax.train.state import TrainState

Batch = dict[str, Any]
Metrics = dict[str, tuple[jax.Array, jax.Array]]  # name -> (sum, count) over the unmasked examples
Inputs = Callable[[Any, Batch, jax.Array | None, bool], Batch]
Loss = Callable[[Any, Any, Batch], tuple[jax.Array, dict[str, jax.Array]]]


def make_train_step(
    model: nn.Module, inputs: Inputs, loss: Loss, tx: optax.GradientTransformation, train: ConfigDict
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """A step of one member.

    Args:
        model: called as `model(batch["inputs"], train=..., mask=batch["mask"])`, with the random streams `dropout` and
            `latent`; its outputs may be any tree.
        inputs: (stats, batch, key, train) -> batch with `inputs`; augmentation, normalisation, on the device.
        loss: (stats, outputs, batch) -> per-example loss and metrics, each of the mask's shape.
        tx: the optimiser; one with a line search tries other parameters on the same batch, dropout and all, and the
            batch statistics of those trials are thrown away.
        train: `accumulate_steps` (the batch in that many pieces), `ema_decay` (0: none).

    Returns:
        (state, batch) -> (state, metrics). The loss is the mean over unmasked examples of the whole batch. A step with
        a non-finite loss or gradient, without examples, or of a stopped member leaves all but the counters as it was.
    """

    tx = optax.with_extra_args_support(tx)

    def summed_loss(params: Any, model_state: Any, state: TrainState, batch: Batch, number: int = 0) -> Any:
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), number)
        input_key, dropout_key = jax.random.split(key)  # which is folding in 0 and 1
        batch = blanked(inputs(state.stats, batch, input_key, True))
        outputs, model_state = model.apply(
            {"params": params, **model_state},
            batch["inputs"],
            train=True,
            mask=batch["mask"],
            rngs={"dropout": dropout_key, "latent": jax.random.fold_in(key, 2)},
            mutable=list(model_state),
        )
        per_example, metrics = loss(state.stats, outputs, batch)
        sums = masked_sums({"loss": per_example, **metrics}, batch["mask"])
        return sums["loss"][0], (model_state, sums)

    def gradient(state: TrainState, batch: Batch) -> tuple[Any, Any, Metrics]:
        """Sums over the pieces of the batch, one after another (a Python loop: see the CPU's scanned convolutions)."""
        model_state = state.model_state
        total = None
        grads = None
        for number, piece in enumerate(split(batch, train.accumulate_steps)):
            piece = piece if grads is None else after(grads, piece)
            piece_grads, (piece_state, sums) = jax.grad(summed_loss, has_aux=True)(
                state.params, model_state, state, piece, number
            )
            some = sums["loss"][1] > 0  # a piece of padding alone has no batch statistics: 0 / 0
            model_state = states.where(some, piece_state, model_state)
            piece_grads = jax.tree.map(lambda g, some=some: jnp.where(some, g, 0), piece_grads)
            grads = piece_grads if grads is None else jax.tree.map(jnp.add, grads, piece_grads)
            total = sums if total is None else jax.tree.map(jnp.add, total, sums)
        count = jnp.maximum(total["loss"][1], 1)  # type: ignore[index]
        return jax.tree.map(lambda g: g / count, grads), model_state, total  # type: ignore[return-value]

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        grads, model_state, sums = gradient(state, batch)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(sums["loss"][0]) & jnp.isfinite(norm)
        active = ~state.stopped & (sums["loss"][1] > 0)
        count = jnp.maximum(sums["loss"][1], 1)
        updates, opt_state = tx.update(
            grads,
            state.opt_state,
            state.params,
            value=sums["loss"][0] / count,
            grad=grads,
            value_fn=lambda params: summed_loss(params, state.model_state, state, batch)[0] / count,
        )
        params = optax.apply_updates(state.params, updates)
        average = state.average
        if average is not None:  # a shorter memory at first, so that the average forgets the initial weights
            decay = jnp.minimum(train.ema_decay, (1 + state.step) / (10 + state.step))
            average = optax.incremental_update(params, average, 1 - decay)
        new = state.replace(params=params, model_state=model_state, opt_state=opt_state, average=average)
        new = states.where(active & finite, new, state)
        bad = (active & ~finite).astype(jnp.int32)
        new = new.replace(
            step=state.step + 1,
            bad_in_row=jnp.where(active, (state.bad_in_row + 1) * bad, state.bad_in_row),
            bad_total=state.bad_total + bad,
        )
        one = jnp.float32(1)
        return new, {**sums, "gradient_norm": (norm, one), "bad_in_row": (new.bad_in_row.astype(jnp.float32), one)}

    return step


def make_predict_step(
    model: nn.Module, inputs: Inputs, loss: Loss, predict: Callable[[Any], Any], dropout: bool = False
) -> Callable[[dict[str, Any], Any, Batch], tuple[Any, Metrics]]:
    """(variables, stats, batch) -> (predictions, metrics) of one member, without augmentation.

    `dropout` leaves it (and whatever else is drawn) on, the same in every batch, as some published studies did; not for
    batch statistics.
    """

    def step(variables: dict[str, Any], stats: Any, batch: Batch) -> tuple[Any, Metrics]:
        batch = inputs(stats, batch, None, False)
        rngs = {"dropout": jax.random.PRNGKey(0), "latent": jax.random.PRNGKey(1)} if dropout else None
        outputs = model.apply(variables, batch["inputs"], train=dropout, mask=batch["mask"], rngs=rngs)
        per_example, metrics = loss(stats, outputs, batch)
        return predict(outputs), masked_sums({"loss": per_example, **metrics}, batch["mask"])

    return step


def masked_sums(values: dict[str, jax.Array], mask: jax.Array) -> Metrics:
    """(sum, count) of each under the mask; what is masked may be anything, even not a number."""
    count = jnp.sum(mask, dtype=jnp.float32)
    return {name: (jnp.sum(jnp.where(mask, value, 0)), count) for name, value in values.items()}


def blanked(batch: Batch) -> Batch:
    """The batch with zeros for padded inputs: a NaN there would reach the gradient as 0 times NaN."""
    mask = batch["mask"]

    def blank(leaf: jax.Array) -> jax.Array:
        return jnp.where(mask.reshape(*mask.shape, *[1] * (leaf.ndim - mask.ndim)), leaf, 0)

    return {**batch, "inputs": jax.tree.map(blank, batch["inputs"])}


def after(earlier: Any, batch: Batch) -> Batch:
    """The batch as it is, but not before `earlier` is computed.

    Pieces that don't wait for one another are worked through side by side, and the values of all of them kept.
    """
    one = sum(leaf.ravel()[0] for leaf in jax.tree.leaves(earlier))
    # No number is both. A compiler doesn't see that, while it takes `optimization_barrier` away before it decides on
    # an order (on a CPU).
    never = jnp.isnan(one) & (one > 0)
    return jax.tree.map(lambda leaf: jnp.where(never, jnp.zeros_like(leaf), leaf), batch)


def split(batch: Batch, n_pieces: int) -> list[Batch]:
    """A batch in pieces along its first axis: every n-th row each, so that sharded pieces stay on their devices."""
    if n_pieces == 1:
        return [batch]
    return [jax.tree.map(lambda leaf, first=first: leaf[first::n_pieces], batch) for first in range(n_pieces)]

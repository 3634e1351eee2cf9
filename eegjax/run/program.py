"""Both steps of a network, compiled ahead of time for so many members at once, and all batches of a part for them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from eegjax.data.feed import Batch, Feed, Source, iterate_in_order, make_feed
from eegjax.run.start import Start
from eegjax.run.study import Task
from eegjax.train import members, memory, state
from eegjax.train.state import TrainState
from eegjax.train.step import make_predict_step, make_train_step


class Program(NamedTuple):
    """What is compiled for a number of places, that is of members at once; surplus places repeat the last member.

    places: how many.
    feed: makes their batches.
    train: (resident data, state, batch) -> (state, metrics).
    predict: (resident data, variables, stats, batch) -> (predictions, metrics).
    decide: (state, validation losses [places]) -> state, with the best weights and early stopping.
    """

    places: int
    feed: Feed
    train: Callable[[Any, TrainState, Batch], tuple[TrainState, Any]]
    predict: Callable[[Any, Any, Any, Batch], tuple[Any, Any]]
    decide: Callable[[TrainState, jax.Array], TrainState]


def compile_program(
    config: ConfigDict,
    task: Task,
    source: Source,
    start: Start,
    mesh: Mesh,
    initial: TrainState,
    rows: tuple[np.ndarray, np.ndarray],
    steps_per_epoch: int,
    smaller: Callable[[bool], str],
) -> Program:
    """Compile both steps ahead of time: afterwards another shape is an error, never a slow surprise.

    Args:
        config: of the network.
        task: what it learns, above a frozen backbone if there is one.
        source: of the task.
        start: of its members.
        mesh: of the run.
        initial: state of all places, on the devices.
        rows: (rows, mask) of a batch [places, batch, ...].
        steps_per_epoch: of the run.
        smaller: (whether of a training step) -> what makes the step smaller, in words.

    Raises:
        UserError: a step takes more memory than a device has.
    """
    places = rows[0].shape[0]
    sharding = members.state_sharding(places, mesh)
    everywhere = members.everywhere(mesh)
    feed = make_feed(source, members.batch_sharding(places, mesh), config.run.resident_bytes)
    inputs = task.inputs(config)
    loss = task.loss(config)
    tx = start.optimizer(initial.params, steps_per_epoch)
    train_step = make_train_step(start.model, inputs, loss, tx, config.train)
    predict_step = make_predict_step(start.model, inputs, loss, task.predict(config), config.test.dropout)

    def train(resident: Any, one: TrainState, batch: Batch) -> Any:
        return train_step(one, feed.unpack(batch, resident))

    def predict(resident: Any, variables: Any, stats: Any, batch: Batch) -> Any:
        return predict_step(variables, stats, feed.unpack(batch, resident))

    def decide(one: TrainState, value: jax.Array) -> TrainState:
        return state.validated(one, value, config.train.patience_epochs)

    batch = feed.place(*rows)
    # A CPU's arrays may be shared with a checkpoint still being written: not donated there.
    donated = () if jax.default_backend() == "cpu" else (1,)
    spread_train = members.spread(train, places, mesh)
    spread_predict = members.spread(predict, places, mesh)
    trained = jax.jit(spread_train, donate_argnums=donated, out_shardings=(sharding, everywhere))
    predicted = jax.jit(spread_predict, out_shardings=everywhere)
    with memory.explained(smaller(True)):
        train_program = trained.lower(feed.resident, initial, batch).compile()
    memory.check(train_program, smaller(True))
    with memory.explained(smaller(False)):
        weights = initial.final_weights
        predict_program = predicted.lower(feed.resident, weights, initial.stats, batch).compile()
    memory.check(predict_program, smaller(False), training=False)
    decided = jax.jit(jax.vmap(decide), out_shardings=sharding)
    return Program(places, feed, train_program, predict_program, decided)


def batches_of(feed: Feed, batch_size: int, units: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, Batch]]:
    """All units of each place in order; the shorter ones padded.

    Args:
        feed: makes the batches.
        batch_size: units per batch.
        units: of each place, [n] or [n, sequence] int64.

    Yields:
        (rows [places, batch, ...], batch).
    """
    n_batches = max(-(-len(some) // batch_size) for some in units)
    nothing = np.full((batch_size, *units[0].shape[1:]), -1)
    pending = [iterate_in_order(some, batch_size) for some in units]
    for _ in range(n_batches):
        pairs = [next(batches, (nothing, nothing >= 0)) for batches in pending]
        rows = np.stack([pair[0] for pair in pairs])
        yield rows, feed.place(rows, np.stack([pair[1] for pair in pairs]))

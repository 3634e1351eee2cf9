"""The one training loop, for all studies: it feeds, steps, logs, validates, saves, and can stop at any moment."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from eegjax.data.feed import Batch, Feed, Sampler, batch_indices, prefetch
from eegjax.errors import UserError
from eegjax.train.checkpoint import Checkpoints
from eegjax.train.log import MetricLog, Progress, averages
from eegjax.train.preemption import Preempted, watch
from eegjax.train.state import TrainState


class Plan(NamedTuple):
    """What one program trains, decided before it starts.

    members: what names each member in the logs, such as {"model", "member", "fold", "seed"}.
    samplers: one per place of the program (surplus places repeat the last member).
    seeds: one per place.
    steps_per_epoch: the same for all members of the run, so that they share a schedule and its length. A member with
        fewer examples goes through them again sooner: it takes as many steps as the others.
    n_epochs: epochs.
    """

    members: Sequence[dict[str, Any]]
    samplers: Sequence[Sampler]
    seeds: Sequence[int]
    steps_per_epoch: int
    n_epochs: int

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self.n_epochs

    @property
    def examples_per_step(self) -> int:
        """Examples of a full batch, over all members."""
        return self.samplers[0].batch_size * self.samplers[0].units[0].size * len(self.members)

    def rows(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows [member, batch, ...] and mask of a step."""
        members = zip(self.samplers, self.seeds, strict=True)
        pairs = [batch_indices(sampler, seed, *divmod(step, sampler.n_steps)) for sampler, seed in members]
        rows, masks = zip(*pairs, strict=True)
        return np.stack(rows), np.stack(masks)


def train(
    state: TrainState,
    plan: Plan,
    feed: Feed,
    step_function: Callable[[Any, TrainState, Batch], tuple[TrainState, Any]],
    validate: Callable[[TrainState], tuple[TrainState, Any]] | None,
    *,
    checkpoints: Checkpoints,
    log: MetricLog,
    log_every_steps: int,
    max_bad_steps: int,
    describe: Callable[[np.ndarray], str],
) -> tuple[TrainState, int]:
    """Train from the newest checkpoint, or from `state`, to the end.

    Args:
        state: initial, stacked over members.
        plan: what to train.
        feed: makes the batches.
        step_function: compiled; (resident data, state, batch) -> (state, metrics).
        validate: (state) -> (state, metrics), after every epoch; None without a validation part.
        checkpoints: of this program.
        log: of the run.
        log_every_steps: how often a line is written (and at the end of an epoch).
        max_bad_steps: skipped steps in a row after which the run stops.
        describe: rows -> where those examples come from, for the error.

    Returns:
        The last state, saved, and the number of steps taken now.

    Raises:
        UserError: too many non-finite steps in a row; the message names the batch.
        Preempted: SIGTERM came; the state is saved.
    """
    state = checkpoints.restore(state) or state
    first = _step_of(state)
    for member in plan.members:
        log.cut_back(member, first)
    if first == plan.total_steps or bool(_all_stopped(state)):
        return state, 0
    writer = _Writer(plan, log, log_every_steps, max_bad_steps, describe, first)
    batches = prefetch(_batches(plan, feed, first))
    with watch() as preemption:
        try:
            for step, batch in enumerate(batches, first):
                state, metrics = step_function(feed.resident, state, batch)
                writer.add(step, metrics)
                epoch_ends = (step + 1) % plan.steps_per_epoch == 0
                if epoch_ends and validate is not None:
                    state, values = validate(state)
                    writer.validated(step, values)
                asked = preemption.asked(step)
                due = checkpoints.due(step, epoch_ends)  # asked by all processes at the same steps
                if due or asked:
                    writer.flush()  # a run that continues from this save writes no earlier line again
                    checkpoints.save(step + 1, state, wait=asked)
                if asked:
                    raise Preempted(f"asked to stop at step {step + 1} of {plan.total_steps}; saved")
                if epoch_ends and validate is not None and bool(_all_stopped(state)):
                    break
            writer.flush()
            checkpoints.save(_step_of(state), state, wait=True)
        finally:
            batches.close()  # type: ignore[attr-defined]
            writer.close()
    return state, _step_of(state) - first


def _step_of(state: TrainState) -> int:
    return int(np.asarray(state.step.addressable_data(0)).ravel()[0])  # one device's copy, so off the mesh


def _batches(plan: Plan, feed: Feed, first: int) -> Iterator[Batch]:
    for step in range(first, plan.total_steps):
        yield feed.place(*plan.rows(step))


@jax.jit
def _all_stopped(state: TrainState) -> jax.Array:
    return state.stopped.all()


class _Writer:
    """Writes a step's metrics one log line later, when the device has long finished it: the loop never waits."""

    def __init__(
        self, plan: Plan, log: MetricLog, every: int, max_bad: int, describe: Callable[[np.ndarray], str], first: int
    ) -> None:
        self._plan, self._log, self._every, self._max_bad, self._describe = plan, log, every, max_bad, describe
        label = " ".join(str(plan.members[0][name]) for name in ("model", "fold") if name in plan.members[0])
        self._progress = Progress(label, plan.total_steps, first, jax.process_index() == 0)
        self._waiting: tuple[int, Any] | None = None

    def add(self, step: int, metrics: Any) -> None:
        self._progress.step()
        if (step + 1) % self._every == 0 or (step + 1) % self._plan.steps_per_epoch == 0:
            self.flush()
            self._waiting = (step, metrics)

    def flush(self) -> None:
        if self._waiting is None:
            return
        step, metrics = self._waiting
        self._waiting = None
        metrics = jax.tree.map(np.asarray, metrics)
        rate = self._progress.rate(step + 1) * self._plan.examples_per_step
        values = [averages(metrics, place) for place in range(len(self._plan.members))]
        losses = [value["loss"] for value in values if np.isfinite(value["loss"])]
        self._progress.show(float(np.mean(losses)) if losses else np.nan, rate)
        for place, (member, value) in enumerate(zip(self._plan.members, values, strict=True)):
            self._log.write(member, step + 1, step // self._plan.steps_per_epoch, {**value, "examples_per_s": rate})
            if value["bad_in_row"] >= self._max_bad:
                self._stop(step, place, int(value["bad_in_row"]))

    def _stop(self, step: int, place: int, bad_in_row: int) -> None:
        rows, mask = self._plan.rows(step)
        raise UserError(
            f"loss or gradient was not finite {bad_in_row} steps in a row (config.train.max_bad_steps is "
            f"{self._max_bad}); the batch of step {step + 1} holds {self._describe(rows[place][mask[place]])}: look at "
            "these recordings, or lower config.train.learning_rate"
        )

    def validated(self, step: int, values: Any) -> None:
        self.flush()
        values = jax.tree.map(np.asarray, values)
        for place, member in enumerate(self._plan.members):
            numbers = {f"validation_{name}": value for name, value in averages(values, place).items()}
            self._log.write(member, step + 1, step // self._plan.steps_per_epoch, numbers)

    def close(self) -> None:
        self._progress.close()

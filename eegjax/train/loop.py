"""The one training loop, for all studies: it feeds, steps, logs, validates, saves, and can stop at any moment."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from eegjax.data.feed import Batch, Feed, Sampler, draw_batch, prefetch
from eegjax.errors import UserError
from eegjax.train.checkpoint import Checkpoints
from eegjax.train.log import MetricLog, Progress, averages
from eegjax.train.optimizer import LBFGS
from eegjax.train.preemption import Preempted, watch
from eegjax.train.state import TrainState

N_REMEMBERED = 10  # log lines, which tell from where a loss rose


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
        pairs = [draw_batch(sampler, seed, *divmod(step, sampler.n_steps)) for sampler, seed in members]
        rows, masks = zip(*pairs, strict=True)
        return np.stack(rows), np.stack(masks)


class AfterEpoch(Protocol):
    """What is done with a state after every epoch, before it is saved: what this writes is there after a kill.

    Args:
        number: epochs that have ended.
        state: at that moment.

    Returns:
        The state to go on with, and metrics for the log, name -> (sum, count) over members; none is no line.
    """

    def __call__(self, number: int, state: TrainState) -> tuple[TrainState, dict[str, Any]]: ...


def train(
    state: TrainState,
    plan: Plan,
    feed: Feed,
    step_function: Callable[[Any, TrainState, Batch], tuple[TrainState, Any]],
    after_epoch: AfterEpoch,
    *,
    checkpoints: Checkpoints,
    log: MetricLog,
    log_every_steps: int,
    max_bad_steps: int,
    describe: Callable[[np.ndarray], str],
    max_loss: float = 0.0,
    steps_taken: str = "Try a lower config.train.learning_rate",
) -> tuple[TrainState, int]:
    """Train from the newest checkpoint, or from `state`, to the end.

    Args:
        state: initial, stacked over members.
        plan: what to train.
        feed: makes the batches.
        step_function: compiled; (resident data, state, batch) -> (state, metrics).
        after_epoch: called after every epoch: validation, early stopping, keeping weights.
        checkpoints: of this program.
        log: of the run.
        log_every_steps: how often a line is written (and at the end of an epoch).
        max_bad_steps: skipped steps in a row after which the run stops.
        describe: rows -> where those examples come from, for the error.
        max_loss: the run stops at a log line with a larger loss; 0: never.
        steps_taken: how large steps can be and what makes them smaller, from `steps_taken`, for the error.

    Returns:
        The last state, saved, and the number of steps taken now.

    Raises:
        UserError: too many non-finite steps in a row, or too large a loss; the message names the batch, from where
            the loss rose, and what decides how large steps are.
        Preempted: SIGTERM came; the state is saved.
    """
    state = checkpoints.restore(state) or state
    first = _step_of(state)
    for member in plan.members:
        log.cut_back(member, first)
    if first == plan.total_steps or bool(_all_stopped(state)):
        return state, 0
    limits = _Limits(max_bad_steps, max_loss, steps_taken)
    writer = _Writer(plan, log, log_every_steps, limits, describe, first)
    batches = prefetch(_batches(plan, feed, first))
    with watch() as preemption:
        try:
            for step, batch in enumerate(batches, first):
                state, metrics = step_function(feed.resident, state, batch)
                writer.add(step, metrics)
                epoch_ends = (step + 1) % plan.steps_per_epoch == 0
                if epoch_ends:
                    state, values = after_epoch((step + 1) // plan.steps_per_epoch, state)
                    writer.epoch_ended(step, values)
                asked = preemption.asked(step)
                due = checkpoints.due(step, epoch_ends)  # asked by all processes at the same steps
                if due or asked:
                    writer.flush()  # a run that continues from this save writes no earlier line again
                    checkpoints.save(step + 1, state, wait=asked)
                if asked:
                    raise Preempted(f"asked to stop at step {step + 1} of {plan.total_steps}; saved")
                if epoch_ends and bool(_all_stopped(state)):
                    break
            writer.flush()
            checkpoints.save(_step_of(state), state, wait=True)
        finally:
            batches.close()  # type: ignore[attr-defined]
            writer.close()
    return state, _step_of(state) - first


def steps_taken(train: ConfigDict) -> str:
    """How large a training's steps can be, as a sentence with what makes them smaller."""
    if train.optimizer == LBFGS:
        return "Steps are as long as the line search of 'lbfgs' makes them: try another config.train.optimizer"
    rate = f"config.train.learning_rate is {train.learning_rate:g}"
    norm = f"config.train.clip_norm {train.clip_norm:g}"
    if train.clip_norm:
        return f"Gradients were clipped ({norm}), {rate}: lower one of them"
    return f"Gradients were not clipped ({norm}), {rate}: clip with --config.train.clip_norm=1, or lower the rate"


def _step_of(state: TrainState) -> int:
    return int(np.asarray(state.step.addressable_data(0)).ravel()[0])  # one device's copy, so off the mesh


def _batches(plan: Plan, feed: Feed, first: int) -> Iterator[Batch]:
    for step in range(first, plan.total_steps):
        yield feed.place(*plan.rows(step))


@jax.jit
def _all_stopped(state: TrainState) -> jax.Array:
    return state.stopped.all()


class _Limits(NamedTuple):
    """What ends a run early, and how its steps are taken."""

    max_bad_steps: int
    max_loss: float
    steps_taken: str

    def exceeded(self, value: dict[str, float]) -> str:
        """What is wrong with a log line, or nothing."""
        if value["bad_in_row"] >= self.max_bad_steps:
            bad = f"loss or gradient was not finite {int(value['bad_in_row'])} steps in a row"
            return f"{bad} (config.train.max_bad_steps is {self.max_bad_steps})"
        if 0 < self.max_loss < value["loss"] < np.inf:  # a loss of inf is a bad step, which was skipped
            return f"the loss is {value['loss']:.3g} (config.train.max_loss is {self.max_loss:g})"
        return ""


class _Line(NamedTuple):
    """What is remembered of a log line."""

    step: int
    loss: float
    gradient_norm: float

    def __str__(self) -> str:
        return f"{self.loss:.3g} at step {self.step} (gradient norm {self.gradient_norm:.3g})"


def _course(lines: Sequence[_Line]) -> str:
    """How the loss went in the last log lines with a finite loss and gradient, as a sentence."""
    if not lines:
        return "No loss before it was finite since training began here"
    lowest = min(reversed(lines), key=lambda line: line.loss)
    if lowest.loss < lines[-1].loss:
        return f"The loss rose from {lowest} to {lines[-1]}"
    return f"The last finite loss was {lines[-1]}"


class _Writer:
    """Writes a step's metrics one log line later, when the device has long finished it: the loop never waits."""

    def __init__(
        self, plan: Plan, log: MetricLog, every: int, limits: _Limits, describe: Callable[[np.ndarray], str], first: int
    ) -> None:
        self._plan = plan
        self._log = log
        self._every = every
        self._limits = limits
        self._describe = describe
        label = " ".join(str(plan.members[0][name]) for name in ("model", "fold") if name in plan.members[0])
        self._progress = Progress(label, plan.total_steps, first, jax.process_index() == 0)
        self._waiting: tuple[int, Any] | None = None
        self._lines: list[deque[_Line]] = [deque(maxlen=N_REMEMBERED) for _ in plan.members]

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
            line = _Line(step + 1, value["loss"], value["gradient_norm"])
            if np.isfinite(line[1:]).all():
                self._lines[place].append(line)
            if wrong := self._limits.exceeded(value):
                self._stop(wrong, step, place)

    def _stop(self, wrong: str, step: int, place: int) -> None:
        rows, mask = self._plan.rows(step)
        raise UserError(
            f"{wrong}; the batch of step {step + 1} holds {self._describe(rows[place][mask[place]])}: look at these "
            f"recordings. {_course(self._lines[place])}. {self._limits.steps_taken}"
        )

    def epoch_ended(self, step: int, values: dict[str, Any]) -> None:
        if not values:
            return
        self.flush()
        values = jax.tree.map(np.asarray, values)
        for place, member in enumerate(self._plan.members):
            self._log.write(member, step + 1, step // self._plan.steps_per_epoch, averages(values, place))

    def close(self) -> None:
        self._progress.close()

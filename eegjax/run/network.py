"""The course of one network through its groups of members: start, train, keep, predict.

Weights from a file take their places in every member's initial parameters. Where a backbone is frozen, its outputs
are computed once for all members, and members are the network without it.
"""

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Source, prefetch
from eegjax.run import answers, weights
from eegjax.run.frozen import FEATURES, on_kept_features
from eegjax.run.member import Member
from eegjax.run.program import Program, batches_of, compile_program
from eegjax.run.sampling import make_samplers, take_first_unit
from eegjax.run.start import Fitted, Start, load_params
from eegjax.run.study import Task
from eegjax.train import loop, members, memory
from eegjax.train.checkpoint import Checkpoints
from eegjax.train.log import MetricLog
from eegjax.train.state import TrainState


class Timing:
    """What a run took, summed over its networks and groups."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.seconds_compile = 0.0
        self.seconds_training = 0.0
        self.examples = 0


class Network:
    """A model on a dataset with all its members; what they share is made once.

    members: of the run, all of this model.
    programs: number of places -> what is compiled for so many members at once.
    """

    def __init__(
        self, config: ConfigDict, task: Task, dataset: Dataset, all_members: Sequence[Member], timing: Timing
    ) -> None:
        """Set up and check, without compiling a step.

        Raises:
            UserError: a mistake in the network's settings, or in its file of weights.
        """
        self.config = config
        self.task = task
        self.dataset = dataset
        self.members = all_members
        self.timing = timing
        self.programs: dict[int, Program] = {}
        self.mesh = members.make_mesh(config.run.space)
        self.source = task.source(config, dataset)
        self.samplers = make_samplers(config, task, dataset, all_members, self.mesh)
        self.batch_size = self.samplers[0].batch_size
        self.steps_per_epoch = max(sampler.n_steps for sampler in self.samplers)
        self.validating = any(len(member.fold.validation) for member in all_members)
        self.fitted = Fitted(config, task, dataset)
        # whatever complains of settings does it before a file of weights is read, or another network is trained
        task.model(config, dataset)
        task.inputs(config)
        task.loss(config)
        stats = self.fitted.of(all_members[0].fold) if task.pretrained else None
        self.loaded = load_params(
            config, task, dataset, stats, take_first_unit(self.samplers[0], self.source, self.mesh)
        )

    @property
    def watched(self) -> str:
        """The part that is measured after every epoch: validation, or test where it is only looked at; or none."""
        return "validation" if self.validating else "test" if self.config.train.watch_test else ""

    @cached_property
    def learnt(self) -> tuple[Task, Source]:
        """The task and data that members are trained on: above a frozen backbone where there is one."""
        return on_kept_features(self.config, self.task, self.dataset, self.source, self.backbone)

    @cached_property
    def backbone(self) -> Any:
        """The parameters of a frozen backbone, or None."""
        if self.task.backbone(self.config) is None:
            return None
        return unflatten_dict(self.loaded, sep="/")[FEATURES]

    @cached_property
    def start(self) -> Start:
        """What members begin with."""
        task, source = self.learnt
        batch = take_first_unit(self.samplers[0], source, self.mesh)
        return Start(self.config, task, self.dataset, self.fitted, self.loaded, batch, self.mesh)

    def at_once(self) -> int:
        """Members that run as one program: as many as asked for; else one on a CPU, and elsewhere as many as fit.

        One where a member starts from another's weights.
        """
        if self.config.train.reuse_params_across_folds:
            return 1
        if self.config.run.members_at_once or jax.default_backend() == "cpu":
            return self.config.run.members_at_once
        with jax.set_mesh(self.mesh):
            initial = self.initial(self.members[0])
        n_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(initial))
        # beside the states a step holds their successors and the gradients
        return max(1, int(self.config.run.members_bytes // (3 * n_bytes))) * self.mesh.shape["data"]

    def initial(self, member: Member, folder: Path | None = None) -> TrainState:
        """A member's state before training; `folder` holds the files of members that were trained before it."""
        earlier = None
        if folder and self.config.train.reuse_params_across_folds:
            before = [one for one in self.members[: member.number] if one.seed == member.seed]
            earlier = weights.file_of(folder, before[-1].names()) if before else None
        return self.start.state(member, self.steps_per_epoch, self.validating, earlier)

    def run(self, group: Sequence[Member], folder: Path, log: MetricLog) -> pd.DataFrame:
        """Train a group of members (or continue) and predict their validation and test parts.

        Args:
            group: members that run as one program.
            folder: of the group's checkpoints, `<run folder>/checkpoints/<group>`.
            log: of the run.
        """
        run_folder = folder.parents[1]
        padded = [*group, *[group[-1]] * (members.n_places(len(group), self.mesh) - len(group))]
        with jax.set_mesh(self.mesh):
            program, initial, plan = self._prepare(group, padded, run_folder)
            final = self._train(program, initial, plan, group, padded, folder, log)
            self._keep(run_folder / "weights", group, final.final_weights, final.stats)
            with memory.explained(self._smaller(len(padded), training=False)):
                splits = answers.parts_to_predict(self.config)
                frames = [self._predict(program, final, group, padded, split, run_folder) for split in splits]
        return pd.concat(frames, ignore_index=True)

    def _keep(self, folder: Path, group: Sequence[Member], variables: Any, stats: Any) -> None:
        weights.write_members(folder, group, variables, stats, self.backbone, self.mesh)

    def _plan(self, group: Sequence[Member], padded: Sequence[Member]) -> loop.Plan:
        return loop.Plan(
            members=[member.names() for member in group],
            samplers=[self.samplers[member.number] for member in padded],
            seeds=[member.seed for member in padded],
            steps_per_epoch=self.steps_per_epoch,
            n_epochs=self.config.train.n_epochs,
        )

    def _prepare(
        self, group: Sequence[Member], padded: Sequence[Member], run_folder: Path
    ) -> tuple[Program, TrainState, loop.Plan]:
        """The compiled steps, the members' states before training, and what is trained."""
        places = len(padded)
        sharding = members.state_sharding(places, self.mesh)
        states = [jax.device_get(self.initial(member, run_folder / "weights")) for member in group]
        initial = members.stack(states, places, sharding)
        plan = self._plan(group, padded)
        if places not in self.programs:
            begun_s = time.monotonic()
            task, source = self.learnt
            self.programs[places] = compile_program(
                self.config,
                task,
                source,
                self.start,
                self.mesh,
                initial,
                plan.rows(0),
                self.steps_per_epoch,
                lambda training: self._smaller(places, training),
            )
            self.timing.seconds_compile += time.monotonic() - begun_s
        return self.programs[places], initial, plan

    def _smaller(self, places: int, training: bool = True) -> str:
        own = self.task.shrink(self.config, training)
        depth = self.task.depth(self.config)
        return memory.smaller(self.config, self.mesh, self.batch_size, places, training, depth, own)

    def _train(
        self,
        program: Program,
        initial: TrainState,
        plan: loop.Plan,
        group: Sequence[Member],
        padded: Sequence[Member],
        folder: Path,
        log: MetricLog,
    ) -> TrainState:
        """Train to the end, or go on; the last state."""
        config = self.config
        checkpoints = Checkpoints(folder, config.run.checkpoint_every_s)
        begun_s = time.monotonic()
        with memory.explained(self._smaller(program.places)):
            final, n_steps = loop.train(
                initial,
                plan,
                program.feed,
                program.train,
                self._after_epoch(program, group, padded, folder.parents[1] / "weights"),
                checkpoints=checkpoints,
                log=log,
                log_every_steps=config.run.log_every_steps,
                max_bad_steps=config.train.max_bad_steps,
                describe=lambda rows: answers.describe(self.dataset.index, rows),
                max_loss=config.train.max_loss,
                steps_taken=loop.steps_taken(config.train),
            )
        self.timing.seconds_training += time.monotonic() - begun_s
        self.timing.examples += n_steps * plan.examples_per_step
        checkpoints.close()
        # where the next fold goes on from here, what is tested is where this one ended
        return final.replace(best=None) if config.train.reuse_params_across_folds else final

    def _after_epoch(
        self, program: Program, group: Sequence[Member], padded: Sequence[Member], folder: Path
    ) -> loop.AfterEpoch:
        """Measure the watched part, which decides the best weights if it is for validation; keep weights if asked."""
        parts = [getattr(member.fold, self.watched) for member in padded] if self.watched else []
        units = [self.task.units(self.config, self.dataset, part, False)[0] for part in parts]
        kept = self.config.train.keep_epochs

        def act(number: int, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
            total: Any = {}
            for _, batch in prefetch(batches_of(program.feed, self.batch_size, units)) if units else ():
                _, sums = program.predict(program.feed.resident, state.weights, state.stats, batch)
                total = jax.tree.map(jnp.add, total, sums) if total else sums
            if self.validating:
                loss_sum, count = total["loss"]
                state = program.decide(state, loss_sum / count)
            if number in kept:
                self._keep(folder / f"epoch_{number}", group, state.weights, state.stats)
            return state, {f"{self.watched}_{name}": value for name, value in total.items()}

        return act

    def _predict(
        self,
        program: Program,
        final: TrainState,
        group: Sequence[Member],
        padded: Sequence[Member],
        split: str,
        run_folder: Path,
    ) -> pd.DataFrame:
        """Rows of predictions of a part of each member's fold."""
        known = (self.config, self.task, self.dataset)
        parts = [answers.units_of(*known, member.fold, split, self.batch_size) for member in padded]
        outputs = []
        for _, batch in prefetch(batches_of(program.feed, self.batch_size, [units for units, _ in parts])):
            predicted, _ = program.predict(program.feed.resident, final.final_weights, final.stats, batch)
            outputs.append(np.asarray(predicted))
        frames = [pd.DataFrame()]
        for place, (member, (units, scored)) in enumerate(zip(group, parts, strict=False)):  # without surplus places
            if len(units):
                values = np.concatenate([output[place] for output in outputs])[: len(units)]
                frames.append(answers.frame_of(*known, member, split, units[scored], values[scored], run_folder))
        return pd.concat(frames, ignore_index=True)

"""One network of a run: compiled once, then trained and applied to each group of its members (fold, seed).

Weights from a file take their places in every member's initial parameters. Where a backbone is frozen, its outputs
are computed once for all members, and members are the network without it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Batch, Feed, Sampler, Source, iterate_in_order, make_feed, prefetch
from eegjax.data.splits import Fold, choose_evenly
from eegjax.run import weights as trained
from eegjax.run.answers import INDEX_COLUMNS
from eegjax.run.frozen import kept_features
from eegjax.run.study import Study
from eegjax.train import loop, members, memory, state
from eegjax.train.checkpoint import Checkpoints
from eegjax.train.log import MetricLog
from eegjax.train.optimizer import LBFGS, make_optimizer
from eegjax.train.state import TrainState
from eegjax.train.step import make_predict_step, make_train_step

PREDICTED = ("validation", "test")


class Timing:
    """What a run took, summed over its networks and groups."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.seconds_compile = self.seconds_training = 0.0
        self.examples = 0


class Program(NamedTuple):
    """Compiled for a number of places, that is of members at once."""

    places: int
    feed: Feed
    train: Callable[[Any, TrainState, Batch], tuple[TrainState, Any]]
    predict: Callable[[Any, Any, Any, Batch], tuple[Any, Any]]
    decide: Callable[[TrainState, jax.Array], TrainState]


class Network:
    """A model on a dataset with all its members; what they share is made here once."""

    def __init__(
        self, config: ConfigDict, study: Study, dataset: Dataset, pairs: Sequence[tuple[Fold, int]], timing: Timing
    ) -> None:
        """Set up, without compiling: `pairs` are the members' (fold, seed)."""
        self.config, self.study, self.dataset, self.pairs, self.timing = config, study, dataset, pairs, timing
        self.mesh = members.make_mesh(config.run.space)
        self.labels = study.labels(config, dataset.index)
        self.source = study.source(config, dataset)
        self.samplers = self._samplers()
        self.batch_size = self.samplers[0].batch_size
        unit_size = self.samplers[0].units[0].size
        members.check_batch_size(self.batch_size, config.train.accumulate_steps, self.mesh, unit_size)
        self.steps_per_epoch = max(sampler.n_steps for sampler in self.samplers)
        self.validating = any(len(fold.validation) for fold, _ in pairs)
        watching = config.train.get("watch_test", False)
        self.watched = "validation" if self.validating else "test" if watching else ""  # part, after every epoch
        self.model, self.inputs, self.loss = study.model(config, dataset), study.inputs(config), study.loss(config)
        self.reuse = config.train.get("reuse_params_across_folds", False)
        self.compiled_init: Callable[..., Any] | None = None
        self.programs: dict[int, Program] = {}
        self.pick = jax.jit(
            lambda tree, place: jax.tree.map(lambda leaf: leaf[place], tree),
            out_shardings=members.everywhere(self.mesh),
        )
        self.fitted: dict[str, Any] = {}
        self.loaded = self._load()
        self.backbone: Any = None  # its parameters, where it is frozen

    def at_once(self) -> int:
        """Members that run as one program: as many as asked for; else one on a CPU, and elsewhere as many as fit.

        One where a member starts from another's weights.
        """
        if self.reuse:
            return 1
        if self.config.run.members_at_once or jax.default_backend() == "cpu":
            return self.config.run.members_at_once
        with jax.set_mesh(self.mesh):
            n_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(self._initial(0)))
        # beside the states a step holds their successors and the gradients
        return max(1, int(self.config.run.members_bytes // (3 * n_bytes))) * self.mesh.shape["data"]

    def run(self, group: Sequence[int], folder: Path, log: MetricLog) -> pd.DataFrame:
        """Train a group of members (or continue) and predict their validation and test parts."""
        places, weights = members.n_places(len(group), self.mesh), folder.parents[1] / "weights"
        padded = [*group, *[group[-1]] * (places - len(group))]
        if self.study.backbone(self.config) is not None and self.backbone is None:
            self._keep_features()
        with jax.set_mesh(self.mesh):
            plan = self._plan(group, padded)
            initial = members.stack(
                [jax.device_get(self._initial(member, weights)) for member in group],
                places,
                members.state_sharding(places, self.mesh),
            )
            if places not in self.programs:
                self.programs[places] = self._compile(places, initial, plan)
            program = self.programs[places]
            checkpoints = Checkpoints(folder, self.config.run.checkpoint_every_s)
            begun_s = time.monotonic()
            with memory.explained(self._smaller(places)):
                final, n_steps = loop.train(
                    initial,
                    plan,
                    program.feed,
                    program.train,
                    self._validation(program, padded) if self.watched else None,
                    part=self.watched,
                    checkpoints=checkpoints,
                    log=log,
                    log_every_steps=self.config.run.log_every_steps,
                    max_bad_steps=self.config.train.max_bad_steps,
                    describe=lambda rows: describe(self.dataset.index, rows),
                    max_loss=self.config.train.get("max_loss", 0.0),
                    steps_taken=loop.steps_taken(self.config.train),
                    keep=self._keeper(weights, group),
                )
            self.timing.seconds_training += time.monotonic() - begun_s
            self.timing.examples += n_steps * plan.examples_per_step
            checkpoints.close()
            if self.reuse:
                final = final.replace(best=None)  # what goes on, and is tested, is where it ended
            self._write_weights(weights, final.final_weights, final.stats, group)
            place = folder.parents[1]
            with memory.explained(self._smaller(places, training=False)):
                frames = [self._predictions(program, final, group, padded, split, place) for split in self._splits()]
        return pd.concat(frames, ignore_index=True)

    def _splits(self) -> tuple[str, ...]:
        """The parts that are predicted: the training part only where a published table has it."""
        return (*PREDICTED, "train") if self.config.test.get("train_part", False) else PREDICTED

    def _samplers(self) -> list[Sampler]:
        samplers = [self._sampler(fold) for fold, _ in self.pairs]
        if self.config.train.optimizer != LBFGS:
            return samplers
        # the largest training part decides the shape, filled up to equal shares
        shares = self.mesh.shape["data"] * self.config.train.accumulate_steps
        whole = -(-max(sampler.n_drawn for sampler in samplers) // shares) * shares
        return [sampler._replace(batch_size=whole) for sampler in samplers]

    def _sampler(self, fold: Fold) -> Sampler:
        train = self.config.train
        units, _ = self.study.units(self.config, self.dataset, fold.train, True)
        firsts = units.reshape(len(units), -1)[:, 0]  # of a sequence, the first epoch stands for it in balancing
        # batch_size counts examples: of sequences a step holds fewer
        batch_size = max(1, train.batch_size // units[0].size)
        return Sampler(units, self.labels[firsts], batch_size, train.balance)

    def _plan(self, group: Sequence[int], padded: Sequence[int]) -> loop.Plan:
        return loop.Plan(
            members=[self._names(member) for member in group],
            samplers=[self.samplers[member] for member in padded],
            seeds=[self.pairs[member][1] for member in padded],
            steps_per_epoch=self.steps_per_epoch,
            n_epochs=self.config.train.n_epochs,
        )

    def _names(self, member: int) -> dict[str, Any]:
        fold, seed = self.pairs[member]
        return {"model": self.config.model.name, "member": member, "fold": fold.name, "seed": seed}

    def _load(self) -> dict[str, np.ndarray]:
        """Path -> array of the parameters that come from a file; it is read and checked before anything is trained."""
        if self.config.model.get("weights", "none") in ("", "none"):
            return {}
        stats = self._fit(self.pairs[0][0])
        shapes = jax.eval_shape(self._variables, jax.random.PRNGKey(0), stats, self._first_batch())["params"]
        flat = flatten_dict(self.study.pretrained(self.config, shapes), sep="/")
        return {path: leaf for path, leaf in flat.items() if isinstance(leaf, np.ndarray)}

    def _keep_features(self) -> None:
        """Compute the frozen backbone's outputs, and go on with them as the data and without it in the model."""
        backbone = self.study.backbone(self.config)
        assert backbone is not None
        self.backbone = unflatten_dict(self.loaded, sep="/")["features"]
        maps = kept_features(self.config, self.dataset, self.source, self.inputs, backbone, self.backbone)
        rows = np.arange(len(maps))
        edges = {"maps_start": rows, "maps_low": rows, "maps_high": rows + 1}
        windows = {f"{array}_{edge}" for array in self.source.arrays for edge in ("start", "low", "high")}
        others = {name: column for name, column in self.source.table.items() if name not in windows}
        self.source = Source({"maps": maps}, {"maps": 1}, {**edges, **others})
        self.inputs = lambda stats, batch, key, train: {**batch, "inputs": batch["maps"].squeeze(batch["mask"].ndim)}
        self.model = self.model.clone(on_maps=True)

    def _fit(self, fold: Fold) -> Any:
        """What the fold's training part gives, once for all seeds."""
        if fold.name not in self.fitted:
            self.fitted[fold.name] = self.study.fit(self.config, self.dataset, fold)
        return self.fitted[fold.name]

    def _initial(self, member: int, weights: Path | None = None) -> TrainState:
        """A member's state before training, from its fold and seed alone, or from what its seed had learnt before."""
        fold, seed = self.pairs[member]
        stats = self._fit(fold)
        key = jax.random.PRNGKey(seed)
        variables = self._init(jax.random.fold_in(key, 0x1717), stats)
        earlier = [one for one in range(member) if self.pairs[one][1] == seed]
        if weights and self.reuse and earlier:
            variables = self._reused(variables, trained.file_of(weights, self._names(earlier[-1])))
        tx = self._optimizer(variables["params"])
        averaging = self.config.train.ema_decay > 0
        return state.create(variables, stats, tx, key, averaging=averaging, validating=self.validating)

    def _init(self, key: jax.Array, stats: Any) -> Any:
        """The model's initial variables, those of a file in their places."""
        batch = self._first_batch()
        if self.compiled_init is None:
            # Run once per member: unoptimised on a CPU, where optimising it takes seven times as long as it saves.
            options: Any = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
            self.compiled_init = jax.jit(self._variables).lower(key, stats, batch).compile(compiler_options=options)
        variables = self.compiled_init(key, stats, batch)
        flat = flatten_dict(variables["params"], sep="/")
        everywhere = members.everywhere(self.mesh)
        flat |= {path: members.put(leaf, everywhere) for path, leaf in self.loaded.items() if path in flat}
        return {**variables, "params": unflatten_dict(flat, sep="/")}

    def _reused(self, variables: Any, path: Path) -> Any:
        """A finished member's final weights and batch statistics; its optimiser's memory ended with it."""
        found, everywhere = flatten_dict(trained.read(path).variables), members.everywhere(self.mesh)
        return unflatten_dict({name: members.put(found[name], everywhere) for name in flatten_dict(variables)})

    def _variables(self, key: jax.Array, stats: Any, batch: Batch) -> Any:
        return self.model.init(key, self.inputs(stats, batch, None, False)["inputs"], train=False)

    def _first_batch(self) -> Batch:
        """The first unit, which decides the shapes."""
        rows, mask = next(iterate_in_order(self.samplers[0].units, 1))
        return make_feed(self.source, members.everywhere(self.mesh), 0).place(rows, mask)

    def _optimizer(self, params: Any) -> Any:
        total_steps = self.steps_per_epoch * self.config.train.n_epochs
        frozen = self.study.frozen(self.config)
        return make_optimizer(self.config.train, params, total_steps, self.steps_per_epoch, frozen)

    def _keeper(self, folder: Path, group: Sequence[int]) -> Callable[[int, TrainState], None] | None:
        """Writes the weights of a group after the epochs that are asked for."""
        epochs = self.config.train.get("keep_epochs", ())
        if not epochs:
            return None

        def keep(n_epochs: int, current: TrainState) -> None:
            if n_epochs in epochs:
                self._write_weights(folder / f"epoch_{n_epochs}", current.weights, current.stats, group)

        return keep

    def _write_weights(self, folder: Path, weights: Any, fitted: Any, group: Sequence[int]) -> None:
        """Each member's whole network, and what was fitted for it, as a file of its own.

        Before predicting, in which processes wait for one another: the next member may start from the file.
        """
        for place, member in enumerate(group):
            variables, stats = self.pick((weights, fitted), place)
            if self.backbone is not None:
                variables = {**variables, "params": {**variables["params"], "features": self.backbone}}
            if jax.process_index() == 0:
                trained.write(folder, self._names(member), variables, stats)

    def _compile(self, places: int, initial: TrainState, plan: loop.Plan) -> Program:
        """Compile both steps ahead of time: afterwards another shape is an error, never a slow surprise."""
        begun_s = time.monotonic()
        sharding, everywhere = members.state_sharding(places, self.mesh), members.everywhere(self.mesh)
        feed = make_feed(self.source, members.batch_sharding(places, self.mesh), self.config.run.resident_bytes)
        train_step = make_train_step(
            self.model, self.inputs, self.loss, self._optimizer(initial.params), self.config.train
        )
        predict_step = make_predict_step(
            self.model, self.inputs, self.loss, self.study.predict(self.config), self.config.test.dropout
        )

        def train(resident: Any, one: TrainState, batch: Batch) -> Any:
            return train_step(one, feed.unpack(batch, resident))

        def predict(resident: Any, weights: Any, stats: Any, batch: Batch) -> Any:
            return predict_step(weights, stats, feed.unpack(batch, resident))

        batch = feed.place(*plan.rows(0))
        # A CPU's arrays may be shared with a checkpoint still being written: not donated there.
        donated = () if jax.default_backend() == "cpu" else (1,)
        trained = jax.jit(
            members.spread(train, places, self.mesh), donate_argnums=donated, out_shardings=(sharding, everywhere)
        )
        predicted = jax.jit(members.spread(predict, places, self.mesh), out_shardings=everywhere)
        with memory.explained(self._smaller(places)):
            train_program = trained.lower(feed.resident, initial, batch).compile()
        memory.check(train_program, self._smaller(places))
        with memory.explained(self._smaller(places, training=False)):
            weights = initial.final_weights
            predict_program = predicted.lower(feed.resident, weights, initial.stats, batch).compile()
        memory.check(predict_program, self._smaller(places, training=False), training=False)
        program = Program(
            places,
            feed,
            train_program,
            predict_program,
            jax.jit(
                jax.vmap(lambda one, value: state.validated(one, value, self.config.train.patience_epochs)),
                out_shardings=sharding,
            ),
        )
        self.timing.seconds_compile += time.monotonic() - begun_s
        return program

    def _smaller(self, places: int, training: bool = True) -> str:
        return memory.smaller(self.config, self.mesh, self.batch_size, places, training)

    def _batches(
        self, program: Program, padded: Sequence[int], units: Sequence[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, Batch]]:
        """All units of each member in order, (rows, batch) [member, batch, ...]; the shorter ones padded."""
        size = self.batch_size
        n_batches = max(-(-len(units[member]) // size) for member in padded)
        nothing = np.full((size, *self.samplers[0].units.shape[1:]), -1)
        pending = [iterate_in_order(units[member], size) for member in padded]
        for _ in range(n_batches):
            pairs = [next(batches, (nothing, nothing >= 0)) for batches in pending]
            rows = np.stack([pair[0] for pair in pairs])
            yield rows, program.feed.place(rows, np.stack([pair[1] for pair in pairs]))

    def _validation(self, program: Program, padded: Sequence[int]) -> Callable[[TrainState], tuple[TrainState, Any]]:
        """After every epoch: the loss over the part of each member that is watched.

        That over the validation part decides a member's best weights and its stop; that over the test part nothing.
        """
        parts = [getattr(fold, self.watched) for fold, _ in self.pairs]
        units = [self.study.units(self.config, self.dataset, part, False)[0] for part in parts]

        def validate(current: TrainState) -> tuple[TrainState, Any]:
            total = None
            for _, batch in prefetch(self._batches(program, padded, units)):
                _, sums = program.predict(program.feed.resident, current.weights, current.stats, batch)
                total = sums if total is None else jax.tree.map(jnp.add, total, sums)
            assert total is not None
            loss_sum, count = total["loss"]
            return program.decide(current, loss_sum / count) if self.validating else current, total

        return validate

    def _predictions(
        self, program: Program, final: TrainState, group: Sequence[int], padded: Sequence[int], split: str, folder: Path
    ) -> pd.DataFrame:
        """A row per example of a split and member."""
        limit = self.config.test.get("n_train_part", 0) if split == "train" else 0  # 0: all
        rows_of = [getattr(fold, split) for fold, _ in self.pairs]
        parts = [self._scored(choose_evenly(some, limit or len(some)), split) for some in rows_of]
        rows, outputs = [], []
        for batch_rows, batch in prefetch(self._batches(program, padded, [units for units, _ in parts])):
            predicted, _ = program.predict(program.feed.resident, final.final_weights, final.stats, batch)
            rows.append(batch_rows)
            outputs.append(np.asarray(predicted))
        frames = []
        for place, member in enumerate(group):
            units, scored = parts[member]
            if len(units):
                values = np.concatenate([output[place] for output in outputs])[: len(units)]
                frames.append(self._table(member, split, units[scored], values[scored], folder))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def _scored(self, rows: np.ndarray, split: str) -> tuple[np.ndarray, np.ndarray]:
        units, scored = self.study.units(self.config, self.dataset, rows, False)
        whole = len(units) // self.batch_size * self.batch_size
        if split == "test" and self.config.test.whole_batches and whole:
            return units[:whole], scored[:whole]
        return units, scored

    def _table(self, member: int, split: str, rows: np.ndarray, values: np.ndarray, folder: Path) -> pd.DataFrame:
        frame = self.dataset.index[list(INDEX_COLUMNS)].iloc[rows].reset_index(drop=True)
        frame = frame.assign(**self._names(member), split=split, target=self.labels[rows])
        if self.study.columns is not None:
            frame = self.study.columns(self.config, self.dataset, frame, values, folder)
        else:
            classes = self.study.classes(self.config)
            frame = frame.assign(**{f"p_{name}": values[:, number] for number, name in enumerate(classes)})
        return frame.sort_values("example", ignore_index=True)


def describe(index: pd.DataFrame, rows: np.ndarray) -> str:
    """Where examples come from, in a sentence."""
    chosen = index.iloc[np.unique(rows)]
    places = [
        f"{recording} at {', '.join(f'{onset:g}' for onset in part['onset_s'].iloc[:8])} s"
        for recording, part in chosen.groupby("recording")
    ]
    return "; ".join(places[:8])

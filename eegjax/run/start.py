"""What a member starts from: fitted arrays, initial variables, those of a file, or those of an earlier fold."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Batch
from eegjax.data.splits import Fold
from eegjax.run import weights
from eegjax.run.member import Member
from eegjax.run.study import Task
from eegjax.train import members, state
from eegjax.train.optimizer import make_optimizer
from eegjax.train.state import TrainState

FOR_WEIGHTS = 0x1717  # folded into a member's key: its initial weights share nothing with its steps


class Fitted:
    """What each fold's training part gives, computed once for all seeds."""

    def __init__(self, config: ConfigDict, task: Task, dataset: Dataset) -> None:
        """Set up; nothing is computed yet."""
        self._config = config
        self._task = task
        self._dataset = dataset
        self._of_fold: dict[str, Any] = {}

    def of(self, fold: Fold) -> Any:
        """The arrays of a fold."""
        if fold.name not in self._of_fold:
            self._of_fold[fold.name] = self._task.fit(self._config, self._dataset, fold)
        return self._of_fold[fold.name]


def load_params(config: ConfigDict, task: Task, dataset: Dataset, stats: Any, batch: Batch) -> dict[str, np.ndarray]:
    """Path -> array of the parameters that come from a file: read and checked before anything is trained.

    Args:
        config: of the network.
        task: what it learns; without `pretrained` nothing is read.
        dataset: with the examples.
        stats: fitted arrays of any fold.
        batch: of one unit, which decides the shapes.

    Raises:
        UserError: the file can't be read, or its arrays don't fit the network.
    """
    if task.pretrained is None:
        return {}
    model = task.model(config, dataset)
    initialise = make_initialiser(model, task.inputs(config))
    shapes = jax.eval_shape(initialise, jax.random.PRNGKey(0), stats, batch)["params"]
    flat = flatten_dict(task.pretrained(config, shapes), sep="/")
    return {path: leaf for path, leaf in flat.items() if isinstance(leaf, np.ndarray)}


def make_initialiser(model: Any, inputs: Any) -> Callable[[jax.Array, Any, Batch], Any]:
    """A function of (key, stats, batch) that gives a model's initial variables."""
    return lambda key, stats, batch: model.init(key, inputs(stats, batch, None, False)["inputs"], train=False)


class Start:
    """Makes members' states before training; the program that initialises is compiled once."""

    def __init__(
        self,
        config: ConfigDict,
        task: Task,
        dataset: Dataset,
        fitted: Fitted,
        loaded: dict[str, np.ndarray],
        batch: Batch,
        mesh: Mesh,
    ) -> None:
        """Set up, without compiling: `batch` is of one unit, which decides the shapes."""
        self.model = task.model(config, dataset)
        self._config = config
        self._frozen = task.frozen(config)
        self._fitted = fitted
        self._loaded = loaded
        self._batch = batch
        self._everywhere = members.everywhere(mesh)
        self._initialise = make_initialiser(self.model, task.inputs(config))
        self.compiled: Callable[..., Any] | None = None

    def state(self, member: Member, steps_per_epoch: int, validating: bool, earlier: Path | None = None) -> TrainState:
        """A member's state before its first step, from its fold and seed alone, or from a trained member's file.

        Args:
            member: whose.
            steps_per_epoch: of the run.
            validating: whether a validation part decides the best weights.
            earlier: the file of a trained member that this one goes on from; None: from initial weights.
        """
        stats = self._fitted.of(member.fold)
        key = jax.random.PRNGKey(member.seed)
        variables = self._initial(jax.random.fold_in(key, FOR_WEIGHTS), stats)
        if earlier is not None:
            variables = self._reused(variables, earlier)
        tx = self.optimizer(variables["params"], steps_per_epoch)
        averaging = self._config.train.ema_decay > 0
        return state.create(variables, stats, tx, key, averaging=averaging, validating=validating)

    def optimizer(self, params: Any, steps_per_epoch: int) -> optax.GradientTransformation:
        """The optimiser of a training, which is as long for all members of a run."""
        total_steps = steps_per_epoch * self._config.train.n_epochs
        return make_optimizer(self._config.train, params, total_steps, steps_per_epoch, self._frozen)

    def _initial(self, key: jax.Array, stats: Any) -> Any:
        """The model's initial variables, those of a file in their places."""
        if self.compiled is None:
            # Run once per member: unoptimised on a CPU, where optimising it takes seven times as long as it saves.
            options: Any = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
            lowered = jax.jit(self._initialise).lower(key, stats, self._batch)
            self.compiled = lowered.compile(compiler_options=options)
        variables = self.compiled(key, stats, self._batch)
        flat = flatten_dict(variables["params"], sep="/")
        flat |= {path: members.put(leaf, self._everywhere) for path, leaf in self._loaded.items() if path in flat}
        return {**variables, "params": unflatten_dict(flat, sep="/")}

    def _reused(self, variables: Any, path: Path) -> Any:
        """A finished member's final weights and batch statistics; its optimiser's memory ended with it."""
        found = flatten_dict(weights.read(path).variables)
        return unflatten_dict({name: members.put(found[name], self._everywhere) for name in flatten_dict(variables)})

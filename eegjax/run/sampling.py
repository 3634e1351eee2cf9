"""How each member's training part is drawn, and the one unit that decides a network's shapes."""

from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Batch, Sampler, Source, iterate_in_order, make_feed
from eegjax.data.splits import Fold
from eegjax.run.answers import labels_of
from eegjax.run.member import Member
from eegjax.run.study import Task
from eegjax.train import members
from eegjax.train.optimizer import LBFGS


def make_samplers(
    config: ConfigDict, task: Task, dataset: Dataset, all_members: Sequence[Member], mesh: Mesh
) -> list[Sampler]:
    """A sampler of each member, all with the same batch size.

    Raises:
        UserError: the batch doesn't fall into equal shares for the devices.
    """
    samplers = [_make_sampler(config, task, dataset, member.fold) for member in all_members]
    if config.train.optimizer == LBFGS:
        # the largest training part decides the shape, filled up to equal shares
        shares = mesh.shape["data"] * config.train.accumulate_steps
        whole = -(-max(sampler.n_drawn for sampler in samplers) // shares) * shares
        samplers = [sampler._replace(batch_size=whole) for sampler in samplers]
    first = samplers[0]
    members.check_batch_size(first.batch_size, config.train.accumulate_steps, mesh, first.units[0].size)
    return samplers


def _make_sampler(config: ConfigDict, task: Task, dataset: Dataset, fold: Fold) -> Sampler:
    units, _ = task.units(config, dataset, fold.train, True)
    firsts = units.reshape(len(units), -1)[:, 0]  # of a sequence, the first epoch stands for it in balancing
    # batch_size counts examples: of sequences a step holds fewer
    batch_size = max(1, config.train.batch_size // units[0].size)
    labels = labels_of(config, task, dataset)
    of_units = np.zeros(len(firsts), np.int8) if labels is None else labels[firsts]
    return Sampler(units, of_units, batch_size, config.train.balance)


def take_first_unit(sampler: Sampler, source: Source, mesh: Mesh) -> Batch:
    """A batch of the first unit alone, whole on every device."""
    rows, mask = next(iterate_in_order(sampler.units, 1))
    return make_feed(source, members.everywhere(mesh), 0).place(rows, mask)

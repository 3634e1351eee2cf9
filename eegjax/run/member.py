"""A member of a run: a network of one fold and one seed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from eegjax.data.splits import Fold


class Member(NamedTuple):
    """What tells a member from the others of a run.

    model: the network's name.
    number: the member's, counted over folds and seeds.
    fold: what it is trained and tested on.
    seed: of its initial weights and everything drawn in training.
    """

    model: str
    number: int
    fold: Fold
    seed: int

    def names(self) -> dict[str, Any]:
        """The columns that name the member in logs, tables and files: with its task, where folds have one."""
        names = {"model": self.model, "member": self.number, "fold": self.fold.name, "seed": self.seed}
        return {**names, "task": self.fold.task} if self.fold.task else names


def list_members(model: str, folds: Sequence[Fold], seed: int, n_seeds: int) -> list[Member]:
    """Every fold with every seed, seed by seed: member n is fold n modulo the folds."""
    pairs = [(fold, seed + number) for number in range(n_seeds) for fold in folds]
    return [Member(model, number, *pair) for number, pair in enumerate(pairs)]

"""The runs that a paper's tables take: a row each, made of a configuration by a few fields."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict


class Rows(NamedTuple):
    """What tables are made of.

    runs: row -> {field: value} that its run differs by from the configuration; one named '' has file names of its own.
    once: patterns of the names of tables and figures that are the same in all runs, or that the study's `compare`
        makes for all of them together: no run's are copied.
    """

    runs: dict[str, dict[str, Any]]
    once: tuple[str, ...] = ()


class Run(NamedTuple):
    """A row's run.

    own: the fields that make it what the row is called.
    usual: those that go with it, such as how long it is trained, unless the user set them.
    """

    own: dict[str, Any]
    usual: dict[str, Any] = {}  # noqa: RUF012


def fields_of(runs: Mapping[str, Run], given: set[str]) -> dict[str, dict[str, Any]]:
    """Row -> the fields of its run; of the usual ones those that aren't `given`."""
    return {
        row: {name: value for name, value in run.usual.items() if name not in given} | run.own
        for row, run in runs.items()
    }


def arguments(protocol: str, keys: Mapping[str, Sequence[str]]) -> list[str]:
    """The arguments of a study's `get_config` with each choice of values, and with a key left out.

    Args:
        protocol: the first word of all of them.
        keys: key -> the values it may have had.
    """
    choices = [["", *(f",{key}={value}" for value in values)] for key, values in keys.items()]
    return [protocol + "".join(chosen) for chosen in product(*choices)]


def set_by_user(config: ConfigDict, defaults: Iterable[ConfigDict]) -> set[str]:
    """The fields, such as `train.batch_size`, that were given beside a configuration's protocol and keys.

    Args:
        config: with overrides.
        defaults: configurations without any, of all keys it may have been made with: which of them it was is told by
            the fewest differences.
    """
    given = _flat(config)
    different = [{name for name, value in _flat(one).items() if given.get(name) != value} for one in defaults]
    return min(different, key=len)


def _flat(config: ConfigDict) -> dict[str, Any]:
    tree = flatten_dict(config.to_dict(), sep=".")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in tree.items()}

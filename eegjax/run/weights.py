"""Trained members as files, `weights/<model>-<member>.safetensors` in a run folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh

from eegjax import __version__
from eegjax.errors import UserError
from eegjax.files import write_aside
from eegjax.run.frozen import add_backbone
from eegjax.run.member import Member
from eegjax.train import members

SAID = "eegjax"  # what a file says of itself: names, whether anything was fitted, the version that wrote it


class Trained(NamedTuple):
    """One member: `names` are its model, member, fold and seed; `variables` the model's; `stats` what was fitted."""

    names: dict[str, Any]
    variables: dict[str, Any]
    stats: dict[str, Any]


def write(folder: Path, names: dict[str, Any], variables: Any, stats: Any) -> Path:
    """Keep a trained member."""
    from safetensors.numpy import save

    tree = flatten_dict({"variables": variables, "stats": stats}, sep="/")
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in tree.items()}
    # one entry, since several come in any order, and the same member must be the same file
    said = {SAID: json.dumps({"names": names, "fitted": bool(stats), "version": __version__})}
    content = save(arrays, metadata=said)  # its own writer makes files only the owner can read
    return write_aside(file_of(folder, names), lambda aside: aside.write_bytes(content))


def file_of(folder: Path, names: dict[str, Any]) -> Path:
    """Where a member's file lies."""
    return folder / f"{names['model']}-{names['member']:03d}.safetensors"


def load(folder: Path, model: str, at_most: int | None = None) -> list[Trained]:
    """All members of one of a run's networks (or the first of them), in their order.

    Raises:
        UserError: there are none, or a file is broken.
    """
    paths = sorted((Path(folder) / "weights").glob(f"{model}-[0-9]*.safetensors"))
    if not paths:
        raise UserError(f"{folder}: no weights/{model}-*.safetensors; the run must be trained again, in a new folder")
    return [read(path) for path in paths[:at_most]]


def read(path: Path) -> Trained:
    """One member.

    Raises:
        UserError: its file is missing or broken.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise UserError(f"{path}: missing weights; copy the run folder again, or train anew")
    try:
        with safe_open(path, "np") as file:
            tree = unflatten_dict({name: file.get_tensor(name) for name in file.keys()}, sep="/")  # noqa: SIM118
            names, fitted = _read_said(file.metadata())
            return Trained(names, tree["variables"], tree["stats"] if fitted else {})
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: broken weights ({error}); copy the run folder again, or train anew") from error


def _read_said(metadata: dict[str, str]) -> tuple[dict[str, Any], bool]:
    """A member's names, and whether anything was fitted for it; version 0.1 said both in entries of their own."""
    if SAID in metadata:
        said = json.loads(metadata[SAID])
        return said["names"], said["fitted"]
    return json.loads(metadata["names"]), metadata.get("fitted") != "nothing"


def write_members(folder: Path, group: Sequence[Member], variables: Any, stats: Any, backbone: Any, mesh: Mesh) -> None:
    """Keep each member's whole network, and what was fitted for it, as a file of its own.

    Before predicting, in which processes wait for one another: the next member may start from the file. All processes
    call this, and the first writes.

    Args:
        folder: for the files.
        group: members, in the order of the first axis of the trees.
        variables: of the members, each leaf [places, ...].
        stats: fitted for them, each leaf [places, ...].
        backbone: a frozen backbone's parameters, the same in all; None: the variables are whole.
        mesh: that the trees lie on.
    """
    for place, member in enumerate(group):
        of_member, of_stats = members.pick((variables, stats), place, mesh)
        if backbone is not None:
            of_member = add_backbone(of_member, backbone)
        if jax.process_index() == 0:
            write(folder, member.names(), of_member, of_stats)

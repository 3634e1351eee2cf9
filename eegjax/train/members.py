"""Devices and members: one mesh, and independent runs (folds, seeds) as one program over it.

A single member's batch is split over the devices. Several members are `shard_map(vmap(step))` over the same axis,
pmap's successor, the data replicated. On a CPU a vmapped convolution is many times slower than single ones, so there
members run one after another.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from eegjax.errors import UserError


def make_mesh(space: int = 1) -> Mesh:
    """All devices as axes `data` (batches, members) and `space` (volumes split along depth)."""
    n_devices = jax.device_count()
    if n_devices % space:
        raise UserError(f"config.run.space is {space}, which doesn't divide the {n_devices} devices")
    return jax.make_mesh((n_devices // space, space), ("data", "space"), axis_types=(AxisType.Auto,) * 2)


def check_batch_size(batch_size: int, accumulate_steps: int, mesh: Mesh, unit_size: int = 1) -> None:
    """A batch must fall into equal shares, so that one device and many draw the same random numbers.

    Args:
        batch_size: units per step.
        accumulate_steps: pieces that a batch is worked through in.
        mesh: from `make_mesh`.
        unit_size: examples per unit (sequences have several), in which `config.train.batch_size` counts.
    """
    shares = mesh.shape["data"] * accumulate_steps
    if batch_size % shares:
        units = "examples" if unit_size == 1 else f"sequences of {unit_size} examples"
        raise UserError(
            f"config.train.batch_size makes steps of {batch_size} {units}: not a multiple of {mesh.shape['data']} "
            f"device(s) x accumulate_steps {accumulate_steps}; choose {-(-batch_size // shares) * shares * unit_size}"
        )


def grouped(n_members: int, at_once: int) -> list[list[int]]:
    """Members in groups that run as one program: `at_once` each; 0 means one on a CPU and all elsewhere."""
    size = at_once or (1 if jax.default_backend() == "cpu" else n_members)
    return [list(range(begin, min(begin + size, n_members))) for begin in range(0, n_members, size)]


def n_places(n_members: int, mesh: Mesh) -> int:
    """How many members a program holds: one, or as many as fill all devices evenly (the surplus is stopped copies)."""
    share = mesh.shape["data"]
    return 1 if n_members == 1 else -(-n_members // share) * share


def state_sharding(n_members: int, mesh: Mesh) -> NamedSharding:
    """Of states, stacked over members: whole on every device, or each member on one."""
    return NamedSharding(mesh, PartitionSpec() if n_members == 1 else PartitionSpec("data"))


def batch_sharding(n_members: int, mesh: Mesh) -> NamedSharding:
    """Of batches [member, batch, ...]: split along the batch for one member, along the members for several."""
    return NamedSharding(mesh, PartitionSpec(None, "data") if n_members == 1 else PartitionSpec("data"))


def everywhere(mesh: Mesh) -> NamedSharding:
    """Whole on every device, so that every process can read it."""
    return NamedSharding(mesh, PartitionSpec())


def split_along_depth(x: jax.Array) -> jax.Array:
    """Volumes, split along depth over the mesh's axis `space` (a constraint inside a compiled step).

    What is computed from them stays split as far as it can; convolutions exchange the slabs that they reach over.

    Args:
        x: [batch, depth, ...] of any dtype.

    Returns:
        The same; as it came without a mesh, where `space` has one device, and inside a program of several members, in
        which a device has its members whole.

    Raises:
        UserError: the depth isn't a multiple of the devices along `space`.
    """
    mesh = jax.sharding.get_abstract_mesh()
    n_parts = mesh.shape["space"] if "space" in mesh.auto_axes else 1
    if n_parts == 1:
        return x
    if x.shape[1] % n_parts:
        raise UserError(
            f"config.run.space is {n_parts}, which doesn't divide the {x.shape[1]} voxels of a volume's depth: give a "
            f"divisor of both it and the {jax.device_count()} devices"
        )
    return jax.lax.with_sharding_constraint(x, PartitionSpec("data", "space"))


def spread(function: Callable[..., Any], n_members: int, mesh: Mesh) -> Callable[..., Any]:
    """Lift a function of one member to members stacked along the first axis of every leaf.

    Args:
        function: (shared, *trees of one member) -> tree.
        n_members: places of the program; one is the plain function on the whole mesh.
        mesh: from `make_mesh`.

    Returns:
        (shared, *trees with a first axis of `n_members`) -> tree with that axis.
    """
    if n_members == 1:

        def single(shared: Any, *trees: Any) -> Any:
            result = function(shared, *jax.tree.map(lambda leaf: leaf[0], trees))
            return jax.tree.map(lambda leaf: leaf[None], result)

        return single

    def several(shared: Any, *trees: Any) -> Any:
        mapped = jax.vmap(lambda *one: function(shared, *one))
        return mapped(*trees)

    def call(shared: Any, *trees: Any) -> Any:
        specs = (PartitionSpec(), *[PartitionSpec("data")] * len(trees))
        # Members exchange nothing, so there is nothing to check, and optax's line search doesn't pass the check.
        return jax.shard_map(several, mesh=mesh, in_specs=specs, out_specs=PartitionSpec("data"), check_vma=False)(
            shared, *trees
        )

    return call


def stack(trees: Sequence[Any], places: int, sharding: NamedSharding) -> Any:
    """Members' trees as one, padded with copies of the last, on the devices."""
    padded = [*trees, *[trees[-1]] * (places - len(trees))]
    # Leaf by leaf on the host: on the devices all of them would lie there twice.
    return jax.tree.map(lambda *leaves: put(np.stack(jax.device_get(leaves)), sharding), *padded)


def pick(tree: Any, place: int, mesh: Mesh) -> Any:
    """One member of a stacked tree, whole on every device; all processes call this together."""
    return _picker(everywhere(mesh))(tree, place)


@cache
def _picker(sharding: NamedSharding) -> Callable[[Any, int], Any]:
    return jax.jit(lambda tree, place: jax.tree.map(lambda leaf: leaf[place], tree), out_shardings=sharding)


def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """A host value that every process has whole, as one global array."""
    value = jax.device_get(leaf)
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])

"""Whether a compiled step fits the device, and which settings make it smaller where it doesn't."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from eegjax.errors import UserError
from eegjax.train.optimizer import LBFGS

GB = 1e9


def values_of(training: bool) -> str:
    """What takes a step's memory beside weights and data, in words."""
    return "values for the gradient" if training else "values in between"


def check(compiled: jax.stages.Compiled, settings: str, limit_bytes: int | None = None, training: bool = True) -> None:
    """Refuse a step that the device can't hold, before it is run.

    Args:
        compiled: the step.
        settings: those that make it smaller, from `smaller`.
        limit_bytes: memory of a device; None: what the first one says that it has.
        training: whether it is a training step, or one that predicts.

    Raises:
        UserError: it takes more than `limit_bytes`. Where the compiler or the device doesn't say, nothing is compared.
    """
    limit_bytes = device_bytes() if limit_bytes is None else limit_bytes
    found = compiled.memory_analysis()
    if found is None or limit_bytes is None:
        return
    kept = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    needed = kept + found.temp_size_in_bytes
    if needed > limit_bytes:
        step = "training" if training else "prediction"
        others = found.temp_size_in_bytes / GB
        raise UserError(
            f"a {step} step takes {needed / GB:.3g} GB on each device ({kept / GB:.3g} GB of weights and data, "
            f"{others:.3g} GB of {values_of(training)}), which has {limit_bytes / GB:.3g} GB: {settings}"
        )


def device_bytes() -> int | None:
    """What one device can hold; on a CPU its equal share of the physical memory. None: it doesn't say."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
    return (device.memory_stats() or {}).get("bytes_limit")


@contextmanager
def explained(settings: str) -> Iterator[None]:
    """What is compiled or run here may find no memory: XLA's error becomes one that says what to do.

    Args:
        settings: those that make the step smaller, from `smaller`.

    Raises:
        UserError: RESOURCE_EXHAUSTED; with what XLA said of it.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        said = str(error)
        if "RESOURCE_EXHAUSTED" not in said:
            raise
        first = said.partition("RESOURCE_EXHAUSTED:")[2].strip().partition("\n")[0].rstrip(". ")
        raise UserError(f"the device has no memory left ({first}): {settings}") from error


def smaller(
    config: ConfigDict,
    mesh: Mesh,
    batch_size: int,
    places: int = 1,
    training: bool = True,
    depth: int = 0,
    own: Mapping[str, str] | None = None,
) -> str:
    """The settings that make a step smaller, the one that changes least first, and what each of them does.

    Args:
        config: of the run.
        mesh: from `make_mesh`.
        batch_size: units per step.
        places: members that run as one program.
        training: whether of a training step; one that predicts takes a batch whole and has no gradient.
        depth: voxels along the depth of the volumes that the network sees; 0 where it sees none.
        own: fields of the study's own, `--config.FIELD=VALUE` -> what that does.

    Returns:
        A piece of a sentence.
    """
    train = config.train
    devices = mesh.shape["data"]
    batches = train.optimizer != LBFGS  # that takes all at once
    n_pieces = 2 * train.accumulate_steps
    half = f"about halves the {values_of(training)}"
    ways = []
    if places > devices:
        ways.append(f"--config.run.members_at_once={max(devices, places // 2)} (fewer members on a device)")
    if training and batches and batch_size % (n_pieces * devices) == 0:
        ways.append(f"--config.train.accumulate_steps={n_pieces} ({half})")
    space = 2 * mesh.shape["space"]
    if training and batches and places == 1 and devices % 2 == 0 and depth and depth % space == 0:
        # a batch then falls into half as many shares: in twice as many pieces a device has as many volumes as before
        ways.append(f"--config.run.space={space} --config.train.accumulate_steps={n_pieces} ({half})")
    ways += [f"{field} ({effect})" for field, effect in (own or {}).items()]
    last = f"a smaller --config.train.batch_size (half of it {half})"
    ways.append(last if batches else "an optimizer that takes batches")
    return f"make it smaller with {', or '.join(ways)}"

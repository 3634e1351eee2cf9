"""Whether a compiled step fits the device, and which settings make it smaller where it doesn't."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from eegjax.errors import UserError
from eegjax.train.optimizer import LBFGS

GB = 1e9
FOR_GRADIENT = "values for the gradient"


def check(compiled: jax.stages.Compiled, settings: str, limit_bytes: int | None = None, training: bool = True) -> None:
    """Refuse a step that the device can't hold, before it is run.

    Args:
        compiled: the step.
        settings: those that make it smaller, from `smaller`.
        limit_bytes: memory of a device; None: what the first one says that it has.
        training: whether it is a training step, or one that predicts.

    Raises:
        UserError: so, in gigabytes. Where the compiler or the device doesn't say, nothing is compared.
    """
    limit_bytes = device_bytes() if limit_bytes is None else limit_bytes
    found = compiled.memory_analysis()
    if found is None or limit_bytes is None:
        return
    kept = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    needed = kept + found.temp_size_in_bytes
    if needed > limit_bytes:
        step, values = ("training", FOR_GRADIENT) if training else ("prediction", "values in between")
        raise UserError(
            f"a {step} step takes {needed / GB:.3g} GB on each device ({kept / GB:.3g} GB of weights and data, "
            f"{found.temp_size_in_bytes / GB:.3g} GB of {values}), which has {limit_bytes / GB:.3g} GB: {settings}"
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


def smaller(config: ConfigDict, mesh: Mesh, batch_size: int, places: int = 1, training: bool = True) -> str:
    """The settings that make a step smaller, the one that changes least first, and what each of them does.

    Args:
        config: of the run; `model.remat` and `data.n_voxels` where the study has them.
        mesh: from `make_mesh`.
        batch_size: units per step.
        places: members that run as one program.
        training: whether of a training step; one that predicts takes a batch whole and has no gradient.

    Returns:
        A piece of a sentence.
    """
    train, n_voxels = config.train, config.get("data", {}).get("n_voxels", 0)
    devices, space = mesh.shape["data"], mesh.shape["space"]
    batches, n_pieces = train.optimizer != LBFGS, 2 * train.accumulate_steps  # L-BFGS takes all at once
    values = FOR_GRADIENT if training else "values in between"
    pieces, half, ways = f"--config.train.accumulate_steps={n_pieces}", f"about halves the {values}", []
    if places > devices:
        ways.append(f"--config.run.members_at_once={max(devices, places // 2)} (fewer members on a device)")
    if training and batches and batch_size % (n_pieces * devices) == 0:
        ways.append(f"{pieces} ({half})")
    if training and not config.model.get("remat", True) and jax.default_backend() != "cpu":
        ways.append(f"--config.model.remat=True (fewer {values})")  # a CPU's compiler gains nothing by it
    if training and batches and places == 1 and devices % 2 == 0 and n_voxels and n_voxels % (2 * space) == 0:
        # a batch then falls into half as many shares: in twice as many pieces a device has as many volumes as before
        ways.append(f"--config.run.space={2 * space} {pieces} ({half})")
    if n_voxels > 1:
        ways.append(f"--config.data.n_voxels={n_voxels // 2} (about divides the {values} by eight)")
    last = f"a smaller --config.train.batch_size (half of it {half})"
    ways.append(last if batches else "an optimizer that takes batches")
    return f"make it smaller with {', or '.join(ways)}"

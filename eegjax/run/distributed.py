"""Several processes as one run: how each of them joins the others."""

from eegjax.errors import UserError

DAY_S = 86400


def join(distributed: str) -> None:
    """Join the other processes of the run, before JAX looks for devices.

    Args:
        distributed: "auto" (SLURM, Kubernetes, TPU pods, MPI), or "coordinator:port,n_processes,this_process".

    Raises:
        UserError: `distributed` is neither.
    """
    import jax

    # the others wait at their end for the first process, which explains and reports
    if distributed == "auto":
        jax.distributed.initialize(shutdown_timeout_seconds=DAY_S)
    else:
        jax.distributed.initialize(*_coordinator(distributed), shutdown_timeout_seconds=DAY_S)
    jax.devices()  # looked for by all together now: later the first may hold a lock that the others wait for


def _coordinator(distributed: str) -> tuple[str, int, int]:
    parts = distributed.split(",")
    if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        raise UserError(
            f"--distributed is '{distributed}': expected auto, or coordinator:port,n_processes,this_process"
        )
    return parts[0], int(parts[1]), int(parts[2])

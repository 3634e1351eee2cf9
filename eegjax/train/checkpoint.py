"""Checkpoints: Orbax behind one small wrapper that never trusts the newest step blindly."""

import shutil
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec
from orbax.checkpoint.checkpoint_managers import LatestN

from eegjax.errors import UserError, note

SLOW_S = 2.0  # a save that takes longer is one of a large state
DISK_WORDS = ("No space left", "File too large", "Disk quota exceeded", "RESOURCE_EXHAUSTED")


class Checkpoints:
    """The newest two states of a run in a folder; the best weights so far are part of the state."""

    def __init__(self, folder: Path, every_s: float) -> None:
        """Open (or make) the folder; `due` says so every `every_s` seconds, or less often if a save takes long."""
        options = ocp.CheckpointManagerOptions(preservation_policy=LatestN(2), create=True)
        self._folder = folder.absolute()
        self._manager = ocp.CheckpointManager(self._folder, options=options)
        self._every_s = every_s
        self._saved_s = time.monotonic()
        self._saving = False
        self._took_s = 0.0

    def due(self, step: int, epoch_ends: bool = False) -> bool:
        """Whether to save now, asked once per step: at the end of an epoch, and every `every_s` seconds.

        A state of gigabytes takes longer to write than that: then the saves take a fifth of the time at most, or
        training would wait for the disk. Several processes must save together: they go by the first one's clock, which
        they ask every tenth step.
        """
        if jax.process_count() == 1:
            return self._late(epoch_ends)
        return (epoch_ends or step % 10 == 0) and bool(
            multihost_utils.broadcast_one_to_all(np.asarray(self._late(epoch_ends)))
        )

    def _late(self, epoch_ends: bool) -> bool:
        since_s = time.monotonic() - self._saved_s
        if self._saving and not self._manager.is_saving_in_progress():
            self._saving = False
            self._took_s = since_s
        pause_s = 5 * self._took_s if self._took_s > SLOW_S else 0.0
        busy = self._saving and since_s > SLOW_S
        return not busy and since_s >= max(pause_s, 0.0 if epoch_ends else self._every_s)

    def save(self, step: int, state: Any, *, wait: bool = False) -> None:
        """Save a state in the background, or wait until it stands on the disk.

        Raises:
            UserError: the disk is full; the saves before are whole.
        """
        begun_s = time.monotonic()
        try:
            if step not in self._manager.all_steps():
                self._manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(state)))
            if wait:
                self._manager.wait_until_finished()
        except Exception as error:
            if any(word in str(error) for word in DISK_WORDS):
                raise UserError(
                    f"{self._folder}: the disk is full, step {step} could not be saved; the save before is whole: "
                    "free some space and start the same command again to continue from it"
                ) from error
            raise
        self._saved_s = begun_s
        self._saving = not wait
        self._took_s = time.monotonic() - begun_s if wait else 0.0

    def restore(self, state: Any) -> Any | None:
        """The newest state that can be read, in the shapes and on the devices of `state`; None if there is none.

        A step that can't be read is named and set aside as `broken-<step>`, and the one before is taken.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                return self._read(step, state)
            except Exception as error:
                reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
                note(
                    f"{self._folder}: checkpoint {step} can't be read and was set aside as broken-{step} "
                    f"({type(error).__name__}: {reason})"
                )
                self._set_aside(step)
        return None

    def _set_aside(self, step: int) -> None:
        """Not deleted: what can't be read here may be whole, for another version or with more memory."""
        if jax.process_index() == 0:
            aside = self._folder / f"broken-{step}"
            shutil.rmtree(aside, ignore_errors=True)
            (self._folder / str(step)).rename(aside)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"set aside {step}")
        self._manager.reload()

    def _read(self, step: int, state: Any) -> Any:
        """One step; if its program had other surplus places (on other devices), those are dropped or repeated."""
        found = ocp.StandardCheckpointHandler().metadata(self._folder / str(step) / "state")
        shardings = jax.tree.map(lambda x: x.sharding, state)
        saved, wanted = (jax.tree.leaves(tree)[0].shape[0] for tree in (found, state))

        def abstract(x: jax.Array, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
            there = sharding if saved == wanted else NamedSharding(sharding.mesh, PartitionSpec())
            return jax.ShapeDtypeStruct((saved, *x.shape[1:]), x.dtype, sharding=there)

        target = ocp.args.StandardRestore(jax.tree.map(abstract, state, shardings))
        restored = self._manager.restore(step, args=ocp.args.Composite(state=target))["state"]
        if saved == wanted:
            return restored
        places = np.minimum(np.arange(wanted), saved - 1)
        return jax.jit(lambda tree: jax.tree.map(lambda x: x[places], tree), out_shardings=shardings)(restored)

    def close(self) -> None:
        """Wait for saves under way."""
        self._manager.close()

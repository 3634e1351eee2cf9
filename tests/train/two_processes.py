"""One of two processes that train the tiny study together: two_processes.py COORDINATOR,2,RANK FOLDER [preempted].

Says at the end, as JSON, how it went, what it predicted, and which files of the run folder this process wrote itself.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

WRITTEN: list[str] = []


def main(distributed: str, folder: Path, preempted: bool) -> None:
    """Train the first member alone, then four as one program, then two of which the second goes on from the first."""

    from eegjax.run.distributed import join

    join(distributed)
    import jax
    import tiny_study as tiny

    from eegjax.run.flow import run
    from eegjax.train.preemption import Preempted, Preemption

    rank = jax.process_index()
    assert (jax.process_count(), jax.device_count(), jax.local_device_count()) == (2, 4, 2)
    asked = Preemption.asked

    def sigterm(self: Preemption, step: int) -> bool:
        if rank == 1 and step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)  # it takes a second or so until all processes know
        return asked(self, step)

    if preempted:
        Preemption.asked = sigterm  # type: ignore[method-assign]
    clock = {"run.checkpoint_every_s": 1e9 * rank}  # each process has a clock of its own, and they must agree
    said = "finished"
    try:
        for name, n_members in (("alone", 1), ("together", 4), ("reused", 2)):
            config = tiny.get_config(
                run__members_at_once=n_members, protocol="paper", train__reuse_params_across_folds=name == "reused"
            )
            config.update_from_flattened_dict(clock)
            study = tiny.STUDY._replace(folds=lambda c, d, n=n_members: tiny.STUDY.folds(c, d)[:n])
            run(config, study, str(folder / name))
    except Preempted as error:
        said = str(error)
    written = [path for path in WRITTEN if path.startswith(str(folder)) and "orbax-checkpoint-tmp" not in path]
    print(json.dumps({"said": said, "written": sorted({str(Path(path).relative_to(folder)) for path in written})}))


def listen(event: str, arguments: Any) -> None:
    """Remember the files that Python opens for writing."""
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        WRITTEN.append(os.fsdecode(arguments[0]) if not isinstance(arguments[0], int) else "")


if __name__ == "__main__":
    sys.addaudithook(listen)
    main(sys.argv[1], Path(sys.argv[2]), "preempted" in sys.argv[3:])

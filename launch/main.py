"""Run a study, continue it, or show it finished.

python launch/main.py --config=configs/sleep.py[:protocol[,key=value...]] [--workdir=DIR] [--config.a.b=value ...]
"""

from ml_collections import ConfigDict

from eegjax import cli


def main(config: ConfigDict, workdir: str | None, distributed: str | None) -> None:
    """One call."""
    from eegjax import commands

    commands.launch(config, workdir, distributed)


if __name__ == "__main__":
    cli.start(
        main,
        {
            "workdir": "run folder; without it runs/<study>-<protocol>-<hash>, found again by the same command",
            "distributed": "auto (SLURM, Kubernetes, TPU pods, MPI), or coordinator:port,n_processes,this_process",
        },
        __doc__ or "",
    )

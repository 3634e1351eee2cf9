"""One folder of runs for the session, so that simulated nights are prepared and programs compiled once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict

from eegjax import cli, studies

ROOT = Path(__file__).parents[2]


class Finished(NamedTuple):
    """A finished run: the arguments that made it, its folder, what it printed."""

    arguments: tuple[str, ...]
    folder: Path
    printed: str


@pytest.fixture(scope="session")
def run_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`config.run.root` of the session, with prepared datasets and compiled programs in it."""
    yield tmp_path_factory.mktemp("runs")
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()


@pytest.fixture(scope="session")
def tiny_arguments(run_root: Path) -> tuple[str, ...]:
    """The smallest demo: three subjects, 32 x 32 images, both networks at a 64th of their width."""
    return (
        f"--config={ROOT}/configs/sleep.py:demo,size=tiny",
        "--config.model.width=0.015625",
        "--config.run.log_every_steps=1",
        f"--config.run.compilation_cache={run_root}/programs",
    )


@pytest.fixture(scope="session")
def tiny(tiny_arguments: tuple[str, ...], run_root: Path) -> Callable[..., ConfigDict]:
    """A function: further arguments -> the configuration of the smallest demo."""

    def make(*further: str) -> ConfigDict:
        arguments = ("main.py", *tiny_arguments, f"--config.run.root={run_root}", *further)
        return cli.parse(arguments, {})[0]

    return make


@pytest.fixture(scope="session")
def configure(run_root: Path) -> Callable[..., ConfigDict]:
    """A function: protocol, folder of recordings, fields -> its smallest configuration; `a__b` stands for `a.b`."""

    def make(protocol: str, root: Path | str = "", **fields: object) -> ConfigDict:
        named = {name.replace("__", "."): value for name, value in fields.items()}
        given = (f"--config={ROOT}/configs/sleep.py:{protocol},size=tiny", "--config.model.weights=none")
        config = cli.parse(("main.py", *given, f"--config.run.root={run_root}"), {})[0]
        with config.unlocked():
            config.update_from_flattened_dict({"data.root": str(root), **named})
        return config

    return make


@pytest.fixture(scope="session")
def finished(tiny: Callable[..., ConfigDict], tiny_arguments: tuple[str, ...]) -> Finished:
    """The smallest demo, run to its end once."""
    import contextlib
    import io

    compilation_cache.reset_cache()  # programs compiled before may have decided that there is none
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        folder = studies.launch(tiny())
    return Finished(tiny_arguments, folder, printed.getvalue())

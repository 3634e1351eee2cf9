"""Four CPU devices for all tests, compiled quickly rather than well; real recordings where EEGJAX_DATA names them."""

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# before JAX is imported; what a test starts as a process of its own inherits it
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict

from eegjax import cli, commands
from eegjax.errors import logger

ROOT = Path(__file__).parent.parent


@pytest.fixture
def data_root() -> Path:
    """The folder of small real recordings; without it the test is skipped."""
    if "EEGJAX_DATA" not in os.environ:
        pytest.skip("EEGJAX_DATA doesn't name the folder of real recordings")
    return Path(os.environ["EEGJAX_DATA"])


@pytest.fixture
def repository() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture
def process_as_before() -> Iterator[None]:
    """What a command changes in its process (the log, the handler of SIGTERM) is put back after the test."""
    absl = logging.getLogger("absl")
    level = absl.level
    handlers = list(logger.handlers)
    propagate = logger.propagate
    terminate = signal.getsignal(signal.SIGTERM)
    yield
    logger.handlers = handlers
    logger.propagate = propagate
    absl.setLevel(level)
    signal.signal(signal.SIGTERM, terminate)


@pytest.fixture
def browse(tmp_path: Path) -> Callable[[Path], tuple[str, list[str]]]:
    """A function: page -> it as headless Chromium has it after loading, and what stands on its console."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
    chrome = os.environ.get("CHROME") or next(filter(None, map(shutil.which, names)), None)
    if chrome is None:
        pytest.skip("no Chromium on the path, and CHROME names none")
    flags = ["--headless", "--disable-gpu", "--no-sandbox", "--enable-logging=stderr", "--v=0", "--window-size=500,900"]

    def load(page: Path) -> tuple[str, list[str]]:
        command = [chrome, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return load


# ---- one folder of runs for the session, so that simulated nights are prepared and programs compiled once


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
        folder = commands.launch(tiny())
    return Finished(tiny_arguments, folder, printed.getvalue())

"""Four CPU devices for all tests, compiled quickly rather than well; real recordings where EEGJAX_DATA names them.

`python -m pytest` leaves out what is marked slow, `--full` is everything. Property tests draw the same examples every
time; `--hypothesis-random` draws new ones.
"""

import logging
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# before JAX is imported; what a test starts as a process of its own inherits it
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
# compiled once for all files and processes of a session; for the next one too in a folder that JAX's variable names
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{tempfile.gettempdir()}/eegjax-programs-{os.getpid()}")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import pytest
from hypothesis import HealthCheck, settings
from ml_collections import ConfigDict

from eegjax import cli, commands
from eegjax.errors import logger

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also what is marked slow")
    parser.addoption("--hypothesis-random", action="store_true", help="draw new examples in property tests")


def pytest_configure(config: pytest.Config) -> None:
    """Neither the examples nor how long they take may decide whether a test passes."""
    machine = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
    always = settings(deadline=None, suppress_health_check=machine)
    settings.register_profile("same", always, derandomize=True, database=None)
    settings.register_profile("random", always, print_blob=True)
    settings.load_profile("random" if config.getoption("--hypothesis-random") else "same")


def pytest_unconfigure() -> None:
    if PROGRAMS.name == f"eegjax-programs-{os.getpid()}":  # this session's own, and not a worker's
        shutil.rmtree(PROGRAMS, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: runs with --full"))


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
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return load


# ---- one folder of runs for the session, so that simulated nights are prepared and programs compiled once


class Finished(NamedTuple):
    """A finished run: the arguments that made it, its folder, what it printed."""

    arguments: tuple[str, ...]
    folder: Path
    printed: str


@pytest.fixture(scope="session")
def run_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`config.run.root` of the session, with prepared datasets in it."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def tiny_arguments() -> tuple[str, ...]:
    """The smallest demo: three subjects, 32 x 32 images, both networks at a 64th of their width."""
    return (
        f"--config={ROOT}/configs/sleep.py:demo,size=tiny",
        "--config.model.width=0.015625",
        "--config.run.log_every_steps=1",
        f"--config.run.compilation_cache={PROGRAMS}",
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

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        folder = commands.launch(tiny())
    return Finished(tiny_arguments, folder, printed.getvalue())

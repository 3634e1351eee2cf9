"""Four CPU devices for all tests, compiled quickly rather than well; real recordings where EEGJAX_DATA names them."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

# before JAX is imported; what a test starts as a process of its own inherits it
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"

import pytest

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

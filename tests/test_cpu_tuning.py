"""`--cpu-tuning`: set before JAX, said, and nothing elsewhere."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from eegjax import cpu_tuning
from eegjax.errors import UserError

ON_GLIBC = sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc"


def run(repository: Path, program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True)


@pytest.mark.skipif(not ON_GLIBC, reason="glibc's allocator")
def test_large_arrays_stay_in_the_heap(repository: Path) -> None:
    """Page faults: what was touched once isn't cleared again."""
    program = """
import resource, sys
from eegjax import cpu_tuning
if sys.argv[-1] == "tuned": cpu_tuning.tune()
import numpy as np
np.ones(2**24)  # 128 MB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3): np.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", program, word], cwd=repository, capture_output=True, text=True, check=True
            ).stdout
        )
        for word in ("plain", "tuned")
    ]
    assert faults[1] < 0.1 * faults[0]


def test_after_jax_is_too_late() -> None:
    import jax  # noqa: F401

    with pytest.raises(UserError, match="too late"):
        cpu_tuning.tune()


def test_elsewhere_nothing_happens_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(cpu_tuning, "_allocator", lambda: pytest.fail("touched"))
    cpu_tuning.tune()
    assert "does nothing on this platform" in caplog.text
    assert not cpu_tuning.is_tuned()


@pytest.mark.slow
@pytest.mark.skipif(not ON_GLIBC, reason="glibc's allocator")
def test_every_command_has_the_switch_and_says_what_it_did(repository: Path) -> None:
    for script in sorted((repository / "launch").glob("*.py")):
        done = subprocess.run(
            [sys.executable, str(script), "--cpu-tuning", "--nonsense"], cwd=repository, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert "note: --cpu-tuning: memory is kept" in done.stderr
        assert (
            "cpu-tuning"
            in subprocess.run(
                [sys.executable, str(script), "--help"], cwd=repository, capture_output=True, text=True
            ).stdout
        )


@pytest.mark.skipif(not ON_GLIBC, reason="glibc's allocator")
def test_the_vector_width_is_added_to_the_flags_where_the_processor_has_it(repository: Path) -> None:
    program = """
import os
from eegjax import cpu_tuning
os.environ["XLA_FLAGS"] = "--mine"
cpu_tuning.tune()
print(os.environ["XLA_FLAGS"])
"""
    words = run(repository, program).stdout.split()
    assert words == ["--mine", cpu_tuning.WIDEST] if cpu_tuning._has_avx512() else ["--mine"]

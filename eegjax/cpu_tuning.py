"""`--cpu-tuning`: settings of the process that make JAX faster on a CPU, chosen by whoever starts it.

Large arrays are otherwise mapped into memory and given back at every operation, and each page is cleared by the kernel
when it is first touched. With glibc's allocator told to keep what it has, single convolutions are 2 to 6 times as fast;
the process keeps its largest size until it ends.
"""

import ctypes
import os
import platform
import sys
from pathlib import Path

from eegjax.errors import UserError, note

# glibc's <malloc.h>; all four are needed: one heap, never mapped apart, never trimmed, grown in large steps
MALLOPT = {"M_ARENA_MAX": (-8, 1), "M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_TOP_PAD": (-2, 2**28)}
_done: list[str] = []
WIDEST = "--xla_cpu_prefer_vector_width=512"


def tune() -> None:
    """Set the allocator and the vector width, and say so; elsewhere than on Linux with glibc nothing.

    Raises:
        UserError: JAX is loaded already, or the allocator refuses.
    """
    if "jax" in sys.modules:
        raise UserError("--cpu-tuning comes too late: JAX is loaded; it is for the start of a process")
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        note(f"--cpu-tuning does nothing on this platform ({platform.platform()}): it is for Linux with glibc")
        return
    _done.append(_allocator())
    if _has_avx512():
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {WIDEST}".strip()
        _done.append("vectors of 512 bits")
    note(f"--cpu-tuning: {', '.join(_done)}; the process keeps the memory it once had")


def is_tuned() -> bool:
    """Whether this process was tuned."""
    return bool(_done)


def _allocator() -> str:
    mallopt = ctypes.CDLL(None).mallopt
    for name, (number, value) in MALLOPT.items():
        if not mallopt(ctypes.c_int(number), ctypes.c_int(value)):
            raise UserError(f"--cpu-tuning: glibc's mallopt refuses {name}={value}; leave the switch out")
    return "memory is kept, in one heap"


def _has_avx512() -> bool:
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False

"""Rivals in processes of their own: each with its own threads, settings and memory, taking turns.

This module loads neither JAX nor torch: what a process sets before them must come first.
"""

import importlib
import multiprocessing
import os
import resource
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

PINNED = {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"}  # how torch is started


class Rival:
    """A process that holds a network and answers one request at a time."""

    def __init__(self, module: str, settings: Mapping[str, str], **arguments: Any) -> None:
        """Start `module.make(**arguments)`, which returns {name: function without arguments}; `settings` are its
        environment."""
        before = dict(os.environ)
        os.environ.update(settings)
        try:
            context = multiprocessing.get_context("spawn")
            self._here, there = context.Pipe()
            self._process = context.Process(target=_serve, args=(there, module, arguments), daemon=True)
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)

    def ask(self, request: str, *given: Any) -> Any:
        """`value` of a function, `seconds` of one call of it, or `peak_bytes` of the process."""
        self._here.send((request, given))
        kind, answer = self._here.recv()
        if kind == "error":
            raise RuntimeError(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def _serve(pipe: Connection, module: str, arguments: Mapping[str, Any]) -> None:
    try:
        functions = importlib.import_module(module).make(**arguments)
    except Exception as error:  # said where it is asked for
        functions = {}
        failed = f"{type(error).__name__}: {error}"
    else:
        failed = ""
    while True:
        request, given = pipe.recv()
        if failed:
            pipe.send(("error", failed))
        elif request == "peak_bytes":
            pipe.send(("value", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
        elif request == "value":
            pipe.send(("value", functions[given[0]](*given[1:])))
        else:
            begun_s = time.perf_counter()
            functions[given[0]](*given[1:])
            pipe.send(("value", time.perf_counter() - begun_s))


def measure_interleaved(rivals: Sequence[Rival], what: str, rounds: int) -> np.ndarray:
    """[n_rivals] seconds per call of a function: the median over rounds, in each of which every rival has its turn."""
    for rival in rivals:
        rival.ask("seconds", what)  # compiles
    return np.median([[rival.ask("seconds", what) for rival in rivals] for _ in range(rounds)], 0)

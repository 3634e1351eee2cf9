"""What is measured is what is claimed; and a guard: fast forms stay well ahead of plain ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eegjax import benchmarks
from eegjax.benchmarks import operations, rivals
from eegjax.benchmarks.timing import interleaved
from eegjax.benchmarks.vgg16_weights import weights
from eegjax.errors import UserError

GUARDED = {  # case -> parts that gain at least fivefold; half of the time is allowed
    "depthwise 5x5, stride 2, odd": ("forward", "input gradient"),
    "volume 5^3, odd": ("forward", "input gradient", "kernel gradient"),
    "transposed 2^3, stride 2": ("forward", "kernel gradient"),
    "max-pool 3, stride 2": ("input gradient",),
}


def test_fast_forms_are_faster(repository: Path) -> None:
    program = f"""
import json
from eegjax.benchmarks import operations
names = {list(GUARDED)!r}
rows = [row for name in names for row in operations.rows(name, rounds=3) if row["name"] == name]
print(json.dumps([[row["name"], row["part"], row["fast"] / row["plain"]] for row in rows]))
"""
    # one device and the compiler as users have it, unlike the tests themselves
    environment = {
        name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    }
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, env=environment, capture_output=True, text=True, check=True
    )
    ratios = {(name, part): ratio for name, part, ratio in json.loads(done.stdout.splitlines()[-1])}
    slow = {key: ratio for key, ratio in ratios.items() if key[1] in GUARDED[key[0]] and ratio > 0.5}
    assert not slow
    assert len(ratios) == 11


def test_every_operation_is_measured_in_both_directions() -> None:
    names = " ".join(case.name for case in operations.CASES)
    for word in ("depthwise 3x3", "stride 2", "volume 3^3", "volume 5^3", "transposed", "1 channel", "max-pool", "odd"):
        assert word in names
    assert len({case.name for case in operations.CASES}) == len(operations.CASES)
    for case in operations.CASES:
        assert (
            list(operations.parts_of(case))
            == ["forward", "input gradient", "kernel gradient"][: 3 if case.kernel else 2]
        )


def test_rivals_take_turns_and_the_median_is_reported() -> None:
    order: list[int] = []
    seconds = interleaved([lambda: order.append(0), lambda: order.append(1)], 3, lambda value: value)
    assert seconds.shape == (2,)
    assert (seconds > 0).all()
    turns = [name for place, name in enumerate(order) if place == 0 or order[place - 1] != name]
    assert turns[-6:] == [0, 1] * 3


def make(answer: float) -> dict[str, object]:
    """What `Rival` starts in a process of its own."""
    if answer < 0:
        raise ValueError("below zero")
    return {"answer": lambda: answer, "variable": lambda: os.environ.get("OMP_PLACES"), "add": lambda x: answer + x}


def test_a_rival_has_its_own_process_and_environment() -> None:
    rival = rivals.Rival(__name__, rivals.PINNED, answer=2.5)
    try:
        assert rival.ask("value", "answer") == 2.5
        assert rival.ask("value", "add", 1) == 3.5
        assert rival.ask("value", "variable") == "cores"
        assert 0 <= rival.ask("seconds", "answer") < 1
        assert rival.ask("peak_bytes") > 2**20
        assert "OMP_PLACES" not in os.environ
    finally:
        rival.close()


def test_a_rival_that_fails_says_why() -> None:
    rival = rivals.Rival(__name__, {}, answer=-1.0)
    with pytest.raises(RuntimeError, match="ValueError: below zero"):
        rival.ask("value", "answer")
    rival.close()


def test_both_vggs_have_torchvisions_weights() -> None:
    state = weights()
    assert sum(array.size for array in state.values()) == 138_357_544
    assert {array.dtype for array in state.values()} == {np.dtype(np.float32)}
    assert list(state)[:2] == ["features.0.weight", "features.0.bias"]
    assert "features.28.weight" in state
    assert state["classifier.6.weight"].shape == (1000, 4096)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "say what to measure"),
        ({"study": "sleep"}, "say what to measure"),
        ({"operations": True, "study": "sleep", "against": "torch"}, "say what to measure"),
        ({"study": "sleep", "against": "tensorflow"}, "there is torch"),
        ({"study": "slep", "against": "torch"}, "Did you mean 'sleep'"),
    ],
)
def test_mistakes_are_said(given: dict[str, object], message: str) -> None:
    whole = {"operations": False, "study": None, "against": None, "only": None, "batch": 1, **given}
    with pytest.raises(UserError, match=message):
        benchmarks.launch(**whole)

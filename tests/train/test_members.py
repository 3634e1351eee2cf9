"""Devices, processes and members: however a training is spread, its numbers are the same."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
import tiny_study as tiny

from eegjax.errors import UserError
from eegjax.train import members

PROBABILITIES = [f"p_{name}" for name in tiny.CLASSES]


def assert_same(frame, expected, atol=1e-5):
    """The same rows, and probabilities equal to `atol`."""
    frame, expected = (table.reset_index(drop=True) for table in (frame, expected))
    pd.testing.assert_frame_equal(frame.drop(columns=PROBABILITIES), expected.drop(columns=PROBABILITIES))
    np.testing.assert_allclose(frame[PROBABILITIES], expected[PROBABILITIES], rtol=0, atol=atol)


def assert_same_lines(found, expected):
    """The same lines, their numbers equal to 1e-5; null where nothing was averaged."""
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            assert one[name] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), name


def member_of(state, place):
    """One member of a saved state, without its clock and what it may have seen after it stopped."""
    return jax.tree.map(lambda leaf: leaf[place], {k: v for k, v in state.items() if k != "step"})


@pytest.fixture(scope="module")
def single(network, whole, tmp_path_factory):
    """Members 0 to 3 one by one: predictions and folders."""
    runs = [whole]
    for member in (1, 2, 3):
        folder = tmp_path_factory.mktemp(f"single{member}")
        runs.append((tiny.run(network, [member], folder), folder))
    return runs


@pytest.fixture(scope="module")
def together(network, tmp_path_factory):
    """Members 0 to 3 as one program, one on each device."""
    folder = tmp_path_factory.mktemp("together")
    return tiny.run(network, [0, 1, 2, 3], folder), folder


@pytest.fixture(scope="module")
def one_device():
    return tiny.make_network(n_devices=1)


def test_one_device_equals_four(one_device, whole, tmp_path):
    """Dropout, gains, BatchNorm and the padded last batches included."""
    assert_same(tiny.run(one_device, [0], tmp_path), whole[0])
    tiny.assert_close(tiny.saved(tmp_path), tiny.saved(whole[1]), 1e-5)
    assert_same_lines(tiny.lines(tmp_path), tiny.lines(whole[1]))


def test_four_members_equal_one_by_one(network, single, together):
    """The members have 6, 6, 5 and 4 steps of their own per epoch."""
    assert [sampler.n_steps for sampler in network.samplers] == [6, 6, 5, 4]
    predictions, folder = together
    state, lines = tiny.saved(folder), tiny.lines(folder)
    for member, (expected, expected_folder) in enumerate(single):
        assert_same(predictions[predictions["member"] == member], expected)
        tiny.assert_close(member_of(state, member), member_of(tiny.saved(expected_folder), 0), 1e-5)
        assert_same_lines([line for line in lines if line["member"] == member], tiny.lines(expected_folder))


def test_three_members_on_four_devices(network, single, tmp_path):
    predictions = tiny.run(network, [1, 2, 3], tmp_path)
    assert_same(predictions, pd.concat([frame for frame, _ in single[1:]]))
    assert {line["member"] for line in tiny.lines(tmp_path)} == {1, 2, 3}
    assert tiny.saved(tmp_path)["step"].shape == (4,)


@pytest.mark.slow
def test_members_killed_on_four_devices_end_on_one(network, one_device, single, opened, tmp_path):
    """Three members take four places on four devices, and three on one."""
    with tiny.before_step(network, 7, tiny.kill, places=4), pytest.raises(tiny.Killed):
        tiny.run(network, [1, 2, 3], tmp_path)
    opened[-1].close()
    assert tiny.saved_steps(tmp_path) == [6]
    predictions = tiny.run(one_device, [1, 2, 3], tmp_path)
    assert_same(predictions, pd.concat([frame for frame, _ in single[1:]]))
    assert tiny.saved(tmp_path)["step"].tolist() == [12, 12, 12]


@pytest.mark.slow
def test_stopped_members_are_frozen(validating, tmp_path):
    """Each member ends at its own epoch; those that go on don't change it."""
    predictions = tiny.run(validating, [0, 1, 2, 3], tmp_path / "together")
    state, epochs = tiny.saved(tmp_path / "together"), set()
    for member in range(4):
        folder = tmp_path / str(member)
        assert_same(predictions[predictions["member"] == member], tiny.run(validating, [member], folder))
        alone = tiny.saved(folder)
        epochs.add(int(alone["step"][0]))
        tiny.assert_close(member_of(state, member), member_of(alone, 0), 1e-5)
    assert len(epochs) > 1, "no member stopped before another: this tests nothing"


@pytest.mark.parametrize(("at_once", "groups"), [(0, [[0], [1], [2], [3], [4]]), (2, [[0, 1], [2, 3], [4]])])
def test_groups_of_members(at_once, groups):
    """0 on a CPU: one by one."""
    assert members.grouped(5, at_once) == groups


@pytest.mark.parametrize("n_devices", [1, 2, 4])
@pytest.mark.parametrize("n_members", [1, 2, 3, 5])
def test_places_fill_the_devices(n_members, n_devices):
    places = members.n_places(n_members, tiny.mesh_of(n_devices))
    if n_members == 1:
        assert places == 1
    else:
        assert places % n_devices == 0
        assert n_members <= places < n_members + n_devices


def test_batches_that_no_devices_share_evenly():
    with pytest.raises(UserError, match=r"config\.train\.batch_size .* choose 16"):
        members.check_batch_size(10, 2, tiny.mesh_of(4))
    members.check_batch_size(16, 2, tiny.mesh_of(4))
    with pytest.raises(UserError, match=r"config\.run\.space is 3, which doesn't divide the 4 devices"):
        members.make_mesh(3)


def start(folder: Path, *more: str) -> list[dict]:
    """Both processes of a run, to their end; what each said."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    script = Path(__file__).parent / "two_processes.py"
    processes = [
        subprocess.Popen(
            [sys.executable, script, f"{address},2,{rank}", folder, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_NUM_CPU_DEVICES": "2"},
        )
        for rank in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=400) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, said, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [json.loads(output.splitlines()[-1]) for output, _ in said]


@pytest.fixture(scope="module")
def reused(network, tmp_path_factory):
    """Member 1 as it goes on from where member 0 ended: predictions and folder."""
    one, folder = tiny.sharing(network, (), train__reuse_params_across_folds=True), tmp_path_factory.mktemp("reused")
    for member in (0, 1):
        frame = tiny.run(one, [member], folder / str(member))
    return frame, folder / "1"


@pytest.mark.slow
def test_two_processes_equal_one(single, reused, tmp_path):
    """SIGTERM to one of them stops both at one step; started again they end as one process does; the first writes.

    So they do where the second member goes on from weights that one of them has written. The first one's clock says to
    save all the time and the other's never: they have to agree.
    """
    first, second = start(tmp_path, "preempted")
    assert first["said"] == second["said"]
    assert re.fullmatch(r"asked to stop at step (\d+) of 12; saved", first["said"])
    first, second = start(tmp_path)
    assert (first["said"], second["said"]) == ("finished", "finished")
    assert second["written"] == []
    assert {"alone/metrics.jsonl", "together/metrics.jsonl"} < set(first["written"])
    for name, expected in (("alone", single[:1]), ("together", single), ("reused", [single[0], reused])):
        predictions = pd.read_parquet(tmp_path / name / "predictions.parquet")
        assert_same(predictions, pd.concat([frame for frame, _ in expected]))
        for member, (_, folder) in enumerate(expected):
            lines = [line for line in tiny.lines(tmp_path / name) if line["member"] == member]
            assert_same_lines(lines, tiny.lines(folder))

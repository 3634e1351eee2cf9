"""Checkpoints: two kept, broken ones named and passed over, other devices, full disks."""

import errno
import logging
import resource
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study as tiny

from eegjax.errors import UserError
from eegjax.train import members
from eegjax.train.checkpoint import Checkpoints


def tree(value: float, mesh: jax.sharding.Mesh | None = None, n_members: int = 1, size: int = 1000):
    """A state of sorts, on a mesh: different numbers everywhere, a PRNG key, a None."""
    mesh = mesh or tiny.mesh_of(4)
    one = {
        "params": {"w": np.random.default_rng(0).standard_normal(size).astype(np.float32) + value},
        "key": jax.random.PRNGKey(int(value)),
        "step": jnp.int32(value),
        "best": None,
    }
    stopped = [{**one, "stopped": jnp.bool_(place % 2)} for place in range(n_members)]
    return members.stack(stopped, n_members, members.state_sharding(n_members, mesh))


def saved(folder: Path, *steps: int) -> Checkpoints:
    checkpoints = Checkpoints(folder, 1e9)
    for step in steps:
        checkpoints.save(step, tree(step), wait=True)
    return checkpoints


def on_disk(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def truncate(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_data(folder: Path) -> None:
    for path in (folder / "state").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(b"")


def forget_manifest(folder: Path) -> None:
    for path in folder.rglob("manifest.ocdbt"):
        path.unlink()


def forget_item(folder: Path) -> None:
    shutil.rmtree(folder / "state")


def test_two_newest_are_kept(tmp_path):
    checkpoints = saved(tmp_path / "c", 1, 2, 3, 4)
    assert on_disk(tmp_path / "c") == [3, 4]
    checkpoints.save(4, tree(99), wait=True)  # saved already: left alone
    tiny.assert_close(checkpoints.restore(tree(0)), tree(4), 0)
    checkpoints.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax's threads, after the error
@pytest.mark.parametrize("harm", [truncate, empty_data, forget_manifest, forget_item])
def test_broken_newest_step_is_named_and_the_one_before_is_taken(tmp_path, caplog, harm):
    saved(tmp_path / "c", 1, 2).close()
    harm(tmp_path / "c" / "2")
    checkpoints = Checkpoints(tmp_path / "c", 1e9)
    with caplog.at_level(logging.WARNING, "eegjax"):
        tiny.assert_close(checkpoints.restore(tree(0)), tree(1), 0)
    (record,) = [record for record in caplog.records if record.name == "eegjax"]
    assert "checkpoint 2 can't be read and was set aside as broken-2" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert (tmp_path / "c" / "broken-2").is_dir()  # nothing is thrown away
    checkpoints.save(2, tree(2), wait=True)  # the run comes by again and saves it whole
    tiny.assert_close(checkpoints.restore(tree(0)), tree(2), 0)
    checkpoints.close()


def test_all_broken_is_none(tmp_path, caplog):
    saved(tmp_path / "c", 1, 2).close()
    for step in (1, 2):
        truncate(tmp_path / "c" / str(step))
    checkpoints = Checkpoints(tmp_path / "c", 1e9)
    with caplog.at_level(logging.WARNING, "eegjax"):
        assert checkpoints.restore(tree(0)) is None
    messages = [record.getMessage() for record in caplog.records if record.name == "eegjax"]
    for step, text in zip((2, 1), messages, strict=True):
        assert f"checkpoint {step} can't be read" in text
    checkpoints.close()


def test_half_a_save_is_no_step(tmp_path):
    """What kill -9 leaves while a step is written: a folder with another name."""
    saved(tmp_path / "c", 1, 2).close()
    shutil.move(tmp_path / "c" / "2", tmp_path / "c" / "2.orbax-checkpoint-tmp")
    checkpoints = Checkpoints(tmp_path / "c", 1e9)
    tiny.assert_close(checkpoints.restore(tree(0)), tree(1), 0)
    checkpoints.save(2, tree(2), wait=True)
    tiny.assert_close(checkpoints.restore(tree(0)), tree(2), 0)
    checkpoints.close()


def test_nothing_saved_is_none(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", 1e9)
    assert checkpoints.restore(tree(0)) is None
    checkpoints.close()


@pytest.mark.parametrize("n_members", [1, 4])
@pytest.mark.parametrize("n_devices", [1, 2])
def test_saved_on_four_devices_restores_onto_fewer(tmp_path, n_members, n_devices):
    checkpoints = Checkpoints(tmp_path / "c", 1e9)
    state = tree(5, tiny.mesh_of(4), n_members)
    checkpoints.save(5, state, wait=True)
    target = tree(0, tiny.mesh_of(n_devices), n_members)
    restored = checkpoints.restore(target)
    tiny.assert_close(restored, jax.device_get(state), 0)
    assert jax.tree.map(lambda leaf: leaf.sharding, restored) == jax.tree.map(lambda leaf: leaf.sharding, target)
    assert len(restored["params"]["w"].sharding.device_set) == n_devices
    checkpoints.close()


def test_due_after_so_many_seconds(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path / "c", 10.0)
    seen = []
    for seconds, saves in ((9, False), (2, True), (9, False), (2, False)):
        now[0] += seconds
        seen.append(checkpoints.due(0))
        if saves:
            checkpoints.save(1, tree(1), wait=True)
    assert seen == [False, True, False, True]
    checkpoints.close()


def test_due_less_often_where_a_save_takes_long(tmp_path, monkeypatch):
    """Gigabytes take seconds to write: five times as long passes before the next save, at the end of an epoch too."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path / "c", 10.0)
    assert checkpoints.due(0, epoch_ends=True)
    checkpoints.save(1, tree(1), wait=True)
    assert checkpoints.due(1, epoch_ends=True)  # a quick one costs nothing
    checkpoints.save(2, tree(2))
    saving = [True]
    monkeypatch.setattr(checkpoints._manager, "is_saving_in_progress", lambda: saving[0])
    now[0] += 30
    assert not checkpoints.due(2, epoch_ends=True)  # still writing
    saving[0] = False
    assert not checkpoints.due(3)  # it took 30 s
    now[0] += 119
    assert not checkpoints.due(4, epoch_ends=True)
    now[0] += 2
    assert checkpoints.due(5)
    checkpoints.close()


def test_full_disk_is_one_line_and_the_save_before_is_whole(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path / "c", 1)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints._manager, "save", full)
        with pytest.raises(UserError, match="the disk is full, step 2"):
            checkpoints.save(2, tree(2))
    tiny.assert_close(checkpoints.restore(tree(0)), tree(1), 0)
    checkpoints.close()


def test_other_errors_stay_what_they_are(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path / "c", 1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints._manager, "save", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            checkpoints.save(2, tree(2))
    checkpoints.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_file_that_may_not_grow(tmp_path):
    """A real limit of the operating system, met in the writing thread."""
    saved(tmp_path / "c", 1).close()
    checkpoints = Checkpoints(tmp_path / "c", 1e9)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(UserError, match="the disk is full, step 2"):
            checkpoints.save(2, tree(2, size=200_000), wait=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    again = Checkpoints(tmp_path / "c", 1e9)
    tiny.assert_close(again.restore(tree(0)), tree(1), 0)
    again.close()

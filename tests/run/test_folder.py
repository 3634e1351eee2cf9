"""The run folder: found by what decides the results, owned by one run, never taken from another."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from eegjax.errors import UserError
from eegjax.run import folder as runs

DATASET = "0123456789abcdef"


def config(root: Path, **changes) -> ConfigDict:
    fields = {
        "study": "sleep",
        "protocol": "demo",
        "seed": 0,
        "data": {"root": "", "n_classes": 6},
        "train": {"learning_rate": 1e-3, "groups": {"all": {"pattern": "."}}},
        "model": {"beside": ("a", "b")},
        "run": {"root": str(root), "workers": 2},
    }
    made = ConfigDict(fields)
    made.update_from_flattened_dict(changes)
    return made


def dotted(**changes) -> dict:
    return {name.replace("__", "."): value for name, value in changes.items()}


# ---- the name


def test_the_name_says_study_protocol_and_hash(tmp_path: Path) -> None:
    folder = runs.run_folder(config(tmp_path), DATASET, None)
    assert folder.parent == tmp_path
    assert re.fullmatch(r"sleep-demo-[0-9a-f]{16}", folder.name)
    assert runs.run_folder(config(tmp_path), DATASET, "elsewhere") == Path("elsewhere")


@pytest.mark.parametrize("changes", [{"run__workers": 9}, {"data__root": "/some/folder"}])
def test_what_does_not_change_results_does_not_change_the_name(tmp_path: Path, changes: dict) -> None:
    assert runs.run_folder(config(tmp_path, **dotted(**changes)), DATASET, None) == runs.run_folder(
        config(tmp_path), DATASET, None
    )


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"data__n_classes": 5}, {"train__groups__all__pattern": "head"}, {"model__beside": ("a",)}]
)
def test_whatever_else_changes_the_name(tmp_path: Path, changes: dict) -> None:
    assert runs.run_folder(config(tmp_path, **dotted(**changes)), DATASET, None) != runs.run_folder(
        config(tmp_path), DATASET, None
    )


def test_a_dataset_enters_by_its_hash(tmp_path: Path) -> None:
    assert runs.run_folder(config(tmp_path), DATASET, None) != runs.run_folder(config(tmp_path), DATASET[::-1], None)


# ---- the folder


def test_an_opened_folder_says_what_made_it_and_each_start(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    for _ in range(2):  # the second is the same command again
        with runs.opened(folder, config(tmp_path), DATASET) as opened:
            assert opened == folder
    made = json.loads((folder / "config.json").read_text())
    assert made["config"]["train"]["learning_rate"] == 1e-3
    assert made["canonical"]["dataset"] == DATASET
    starts = json.loads((folder / "environment.json").read_text())["starts"]
    assert len(starts) == 2
    assert starts[0]["packages"]["jax"]
    assert starts[0]["devices"]
    assert starts[0]["command"] == sys.argv


def test_a_folder_of_another_configuration_names_the_field_and_both_values(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with runs.opened(folder, config(tmp_path), DATASET):
        pass
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = config(tmp_path, **dotted(train__learning_rate=0.5, run__workers=7))
    with (
        pytest.raises(UserError, match=r"train\.learning_rate 0\.001 -> 0\.5.*--workdir") as caught,
        runs.opened(folder, other, DATASET),
    ):
        pass
    assert "workers" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.txt.*--workdir"), runs.opened(tmp_path, config(tmp_path), DATASET):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert {path.name for path in tmp_path.iterdir()} <= {"thesis.txt", ".lock"}


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    for workdir in (path, path / "deeper"):
        with pytest.raises(UserError, match=re.escape(str(workdir))), runs.opened(workdir, config(tmp_path), DATASET):
            pass


def test_a_broken_config_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"canonical": {"see')
    with pytest.raises(UserError, match=r"config\.json"), runs.opened(tmp_path, config(tmp_path), DATASET):
        pass


def test_a_mistake_found_before_training_does_not_claim_the_folder(tmp_path: Path) -> None:
    def fold_and_fail() -> None:
        (folder / "folds.json").write_text("[]")
        raise UserError("mistaken")

    folder = tmp_path / "run"
    with pytest.raises(UserError, match="mistaken"), runs.opened(folder, config(tmp_path), DATASET):
        fold_and_fail()
    with runs.opened(folder, config(tmp_path, seed=1), DATASET):  # the mended command
        (folder / "checkpoints").mkdir()
    with pytest.raises(UserError, match="mistaken"), runs.opened(folder, config(tmp_path, seed=1), DATASET):
        raise UserError("mistaken")
    assert (folder / "config.json").exists()  # what has trained keeps its folder


def test_a_bug_leaves_the_folder_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(ZeroDivisionError), runs.opened(folder, config(tmp_path), DATASET):
        raise ZeroDivisionError
    assert (folder / "config.json").exists()


# ---- the lock


def test_two_runs_are_never_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with runs.opened(folder, config(tmp_path), DATASET):
        with (
            pytest.raises(UserError, match=r"another run.*--workdir") as caught,
            runs.opened(folder, config(tmp_path), DATASET),
        ):
            pass
        assert str(folder) in str(caught.value)
        assert len(json.loads((folder / "environment.json").read_text())["starts"]) == 1
    with runs.opened(folder, config(tmp_path), DATASET):
        pass


def test_a_run_that_is_killed_lets_its_folder_go(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    holding = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX)"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{holding}; print('held', flush=True); time.sleep(600)", path], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(UserError, match="held by another"), runs.locked(path, "held by another"):
        pass
    holder.kill()
    holder.communicate()
    with runs.locked(path, "held by another"):
        pass


def test_without_a_complaint_the_second_waits(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    holding = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX)"
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{holding}; print('held', flush=True); time.sleep(0.5); print('gone', flush=True)",
            path,
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        begun_s = time.monotonic()
        with runs.locked(path):
            assert time.monotonic() - begun_s > 0.2
            assert holder.stdout.read() == "gone\n"

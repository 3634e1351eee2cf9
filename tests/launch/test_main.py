"""`eegjax run` and `launch/main.py` as they are typed; whole runs of them are in tests/run/test_flow.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from eegjax import cli, commands, console
from eegjax.errors import UserError

SCRIPTS = {name: "main" if name == "run" else name for name in console.SUBCOMMANDS}


@pytest.fixture
def script(repository: Path) -> Path:
    return repository / "launch" / "main.py"


@pytest.mark.parametrize("door", ["script", "console"])
def test_a_mistake_is_one_line_on_standard_error_and_status_2(script: Path, tmp_path: Path, door: str) -> None:
    typed = [script, f"--config={script.parents[1]}/configs/sleep.py"]
    if door == "console":
        typed = ["-m", "eegjax", "run", "sleep"]
    command = [sys.executable, *typed, "--config.train.learning_rat=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "Did you mean 'learning_rate'" in last
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_both_doors_and_both_names_of_a_configuration_call_the_same(call, repository: Path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(commands, "launch", lambda *given: seen.append(given))
    further = ("--config.train.n_epochs=1", "--workdir=here", "--distributed=auto")
    assert call("run", "sleep:demo,size=tiny", *further) == 0
    assert call("run", f"--config={repository}/configs/sleep.py:demo,size=tiny", *further) == 0
    assert seen[0] == seen[1]
    config, workdir, distributed = seen[0]
    assert (config.study, config.protocol, config.inputs.size, config.train.n_epochs) == ("sleep", "demo", 32, 1)
    assert (workdir, distributed) == ("here", "auto")


@pytest.mark.parametrize("name", console.SUBCOMMANDS)
def test_the_help_of_both_doors_is_one_but_for_its_own_name(call, capsys, request, name: str) -> None:
    assert call(name, "--help") == 0
    shown = capsys.readouterr().out
    door = f"eegjax {name}" if "console" in request.node.name else f"python launch/{SCRIPTS[name]}.py"
    console.show_help(name, "DOOR", [])
    assert shown.replace(door, "DOOR") == capsys.readouterr().out
    assert shown.count(door) == len(console.SUBCOMMANDS[name].typed)
    for flag in console.SUBCOMMANDS[name].flags:
        assert f"\n  --{flag}: " in shown


def test_help_shows_the_command_and_every_flag(call, capsys, request) -> None:
    assert call("run", "--help") == 0
    out = capsys.readouterr().out
    door = "eegjax run" if "console" in request.node.name else "python launch/main.py"
    for word in (f"{door} --config=", f"{door} STUDY", "--workdir: ", "--distributed: ", "--cpu-tuning: "):
        assert word in out
    assert "runs/<study>-<protocol>-<hash>" in out


def test_help_of_a_study_shows_its_fields(call, capsys) -> None:
    assert call("run", "sleep:paper", "--help") == 0
    out = capsys.readouterr().out
    assert out.startswith("Sleep stages from multitaper images")
    assert "size=tiny|small|full" in out
    assert "--config.train.balance=under" in out  # of this protocol


def test_it_runs_from_any_folder_without_the_repository_on_the_path(script: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, script, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Run a study")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "a study is missing: sleep, motor_imagery, inverse"),
        (("slep",), "Did you mean 'sleep'?"),
        (("sleep:demo,size=tinny",), "Did you mean 'tiny'?"),
        (("slep", "--help"), "Did you mean 'sleep'?"),
        (("sleep", "--config.trian.n_epochs=1"), "Did you mean 'train'?"),
        (("--config=mine.py",), "mine.py: no such file"),
    ],
)
def test_a_mistaken_command_line_is_one_clear_line(complaint, arguments, words: str) -> None:
    assert words in complaint("run", *arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "flag"),
    [
        ("run", ("sleep:demo,size=tiny", "--config.run.root=FILE/runs"), "--config.run.root=DIR"),
        ("run", ("sleep:demo,size=tiny", "--workdir=FILE/one"), "--workdir=DIR"),
        ("tables", ("--paper=sleep", "--runs=FILE/runs"), "--runs=DIR"),
        ("prepare", ("--dataset=inverse", "--samples=4", "--runs=FILE/runs"), "--runs=DIR"),
    ],
)
def test_a_folder_that_cannot_be_made_is_named_with_the_flag_for_another(
    complaint, tmp_path: Path, monkeypatch, name: str, arguments, flag: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("")
    line = complaint(name, *arguments)
    assert "error: FILE/" in line
    assert flag in line
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]


@pytest.mark.parametrize("distributed", ["autom", "host:1,2", "host:1,two,0"])
def test_a_mistaken_way_to_join_other_processes_is_named(distributed: str) -> None:
    config, _ = cli.parse(["", "sleep:demo,size=tiny"], {})
    with pytest.raises(
        UserError, match=rf"--distributed is '{distributed}'.*coordinator:port,n_processes,this_process"
    ):
        commands.launch(config, None, distributed)

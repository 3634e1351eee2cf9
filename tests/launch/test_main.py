"""`launch/main.py` as it is typed; whole runs of it are in tests/studies/test_run.py."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from eegjax import commands, studies


@pytest.fixture
def script(repository: Path) -> Path:
    return repository / "launch" / "main.py"


def test_a_mistake_is_one_line_on_standard_error_and_status_2(script: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        script,
        f"--config={script.parents[1]}/configs/sleep.py",
        "--config.train.learning_rat=1",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "Did you mean 'learning_rate'" in last
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_its_flags_reach_the_study(script: Path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(studies, "launch", lambda *given: seen.append(given))
    main = runpy.run_path(str(script))["main"]
    main("config", workdir="here", distributed="auto")
    assert seen == [("config", "here", "auto")]


def test_help_shows_the_command_and_every_flag(script: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["main.py", "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(script), run_name="__main__")
    out = capsys.readouterr().out
    assert left.value.code == 0
    for word in ("python launch/main.py --config=", "--workdir", "--distributed", "runs/<study>-<protocol>-<hash>"):
        assert word in out


def test_it_runs_from_any_folder_without_the_repository_on_the_path(script: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, script, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Run a study")


@pytest.mark.parametrize("distributed", ["autom", "host:1,2", "host:1,two,0"])
def test_a_mistaken_way_to_join_other_processes_is_named(repository: Path, distributed: str) -> None:
    from eegjax import cli
    from eegjax.errors import UserError

    config, _ = cli.parse(["main.py", f"--config={repository}/configs/sleep.py:demo,size=tiny"], {})
    with pytest.raises(
        UserError, match=rf"--distributed is '{distributed}'.*coordinator:port,n_processes,this_process"
    ):
        commands.launch(config, None, distributed)

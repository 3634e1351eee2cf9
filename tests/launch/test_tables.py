"""`launch/tables.py` as it is typed; what it gathers is in tests/studies/test_gather.py."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from eegjax import studies


@pytest.fixture
def script(repository: Path) -> Path:
    return repository / "launch" / "tables.py"


def test_a_mistake_is_one_line_on_standard_error_and_status_2(script: Path, tmp_path: Path) -> None:
    command = [sys.executable, script, "--paper=sleep", "--protocol=papr"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Did you mean 'paper'?" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_its_flags_reach_the_study(script: Path, monkeypatch, tmp_path: Path) -> None:
    """From any folder; a field that is overridden is so in every run of the tables."""
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studies, "tables", lambda *given: seen.append(given))
    main = runpy.run_path(str(script))["main"]
    main(["tables.py", "--paper=sleep"])
    main(["tables.py", "--paper=sleep", "--protocol=paper,size=tiny", "--runs=kept", "--config.train.n_epochs=3"])
    (first, no_root), (second, root) = seen
    assert (first.study, first.protocol, no_root) == ("sleep", "demo", None)
    assert (second.protocol, second.inputs.size, second.train.n_epochs, root) == ("paper", 32, 3, "kept")


def test_help_shows_the_command_and_every_flag(script: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["tables.py", "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(script), run_name="__main__")
    assert left.value.code == 0
    out = capsys.readouterr().out
    for word in ("python launch/tables.py --paper=", "--protocol", "--runs", "--config"):
        assert word in out

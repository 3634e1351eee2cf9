"""`eegjax tables` as it is typed; what it gathers is in tests/run/test_gather.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from eegjax import commands


def test_a_mistake_is_one_line_on_standard_error_and_status_2(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, repository / "launch" / "tables.py", "--paper=sleep", "--protocol=papr"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Did you mean 'paper'?" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--paper is missing"),
        (("--paper=slep",), "Did you mean 'sleep'?"),
        (("--paper=sleep", "--protocol=papr"), "Did you mean 'paper'?"),
        (("--paper=sleep", "--rusn=x"), "Did you mean 'runs'?"),
        (("--paper=sleep", "--config.train.n_epoch=1"), "Did you mean 'n_epochs'?"),
    ],
)
def test_a_mistaken_command_line_is_one_clear_line(complaint, arguments, words: str) -> None:
    assert words in complaint("tables", *arguments)


def test_its_flags_reach_the_study(call, monkeypatch, tmp_path: Path) -> None:
    """From any folder; a field that is overridden is so in every run of the tables."""
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "tables", lambda *given: seen.append(given))
    call("tables", "--paper=sleep")
    call("tables", "--paper=sleep", "--protocol=paper,size=tiny", "--runs=kept", "--config.train.n_epochs=3")
    (first, no_root), (second, root) = seen
    assert (first.study, first.protocol, no_root) == ("sleep", "demo", None)
    assert (second.protocol, second.inputs.size, second.train.n_epochs, root) == ("paper", 32, 3, "kept")


def test_help_shows_the_command_and_every_flag(call, capsys, request) -> None:
    assert call("tables", "--help") == 0
    out = capsys.readouterr().out
    door = "eegjax tables" if "console" in request.node.name else "python launch/tables.py"
    for word in (f"{door} --paper=", "--protocol", "--runs", "--config"):
        assert word in out

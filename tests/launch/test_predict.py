"""`eegjax predict` as it is typed; what it computes is tested in tests/studies/sleep/test_apply.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from eegjax import commands


def test_a_mistake_is_one_line_on_standard_error_and_status_2(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, repository / "launch" / "predict.py", "--run=nowhere", "night.edf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: nowhere: no run folder (it has no config.json); give one that eegjax run has made"
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--run=R", "a.edf"], ("R", "a.edf", None, ".")),
        (["a.edf", "--out", "D", "--channel=C4-M1", "--run", "R"], ("R", "a.edf", "C4-M1", "D")),
    ],
)
def test_its_flags_reach_the_study(call, monkeypatch, capsys, arguments, expected) -> None:
    seen = []
    monkeypatch.setattr(commands, "apply", lambda *given: seen.append(given) or "what is said")
    assert call("predict", *arguments) == 0
    run, path, channel, out = expected
    assert seen == [(Path(run), Path(path), channel, Path(out))]
    assert capsys.readouterr().out == "what is said\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.edf"], ("--run is missing: folder of a finished run",)),
        (["--run=R"], ("RECORDING is missing",)),
        (["--run=R", "a.edf", "b.edf"], ("stray argument 'b.edf'",)),
        (["--run=R", "a.edf", "--chanel=Cz"], ("unknown flag '--chanel=Cz': ", " Did you mean 'channel'")),
    ],
)
def test_a_mistaken_command_line_is_one_clear_line(complaint, monkeypatch, arguments, words) -> None:
    monkeypatch.setattr(commands, "apply", lambda *given: pytest.fail("it was run"))
    line = complaint("predict", *arguments)
    for word in words:
        assert word in line


def test_help_shows_the_command_and_every_flag(call, capsys, request) -> None:
    assert call("predict", "--help") == 0
    out = capsys.readouterr().out
    door = "eegjax predict" if "console" in request.node.name else "python launch/predict.py"
    for word in (f"{door} --run=RUN RECORDING", "--run: ", "--channel: ", "--out: ", "replace earlier"):
        assert word in out

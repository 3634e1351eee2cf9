"""`launch/predict.py` as it is typed; what it computes is tested in tests/studies/test_sleep_predict.py."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from eegjax import studies
from eegjax.errors import UserError


@pytest.fixture
def script(repository: Path) -> Path:
    return repository / "launch" / "predict.py"


def test_a_mistake_is_one_line_on_standard_error_and_status_2(script: Path, tmp_path: Path) -> None:
    command = [sys.executable, script, "--run=nowhere", "night.edf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: nowhere: no run folder (it has no config.json); give one that launch/main.py has made"
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--run=R", "a.edf"], ("R", "a.edf", None, ".")),
        (["a.edf", "--out", "D", "--channel=C4-M1", "--run", "R"], ("R", "a.edf", "C4-M1", "D")),
    ],
)
def test_its_flags_reach_the_study(script: Path, monkeypatch, capsys, arguments, expected) -> None:
    seen = []
    monkeypatch.setattr(studies, "apply", lambda *given: seen.append(given) or "what is said")
    runpy.run_path(str(script))["main"](["predict.py", *arguments])
    run, path, channel, out = expected
    assert seen == [(Path(run), Path(path), channel, Path(out))]
    assert capsys.readouterr().out == "what is said\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.edf"], "--run is missing: folder of a finished run"),
        (["--run=R"], "RECORDING is missing"),
        (["--run=R", "a.edf", "b.edf"], "stray argument 'b.edf'"),
        (["--run=R", "a.edf", "--chanel=Cz"], r"unknown flag '--chanel=Cz': .* Did you mean 'channel'"),
    ],
)
def test_a_mistaken_command_line_is_one_clear_line(script: Path, monkeypatch, arguments, words: str) -> None:
    monkeypatch.setattr(studies, "apply", lambda *given: pytest.fail("it was run"))
    with pytest.raises(UserError, match=words) as caught:
        runpy.run_path(str(script))["main"](["predict.py", *arguments])
    assert "\n" not in str(caught.value)


def test_help_shows_the_command_and_every_flag(script: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["predict.py", "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(script), run_name="__main__")
    out = capsys.readouterr().out
    assert left.value.code == 0
    for word in (
        "python launch/predict.py --run=RUN RECORDING",
        "--run: ",
        "--channel: ",
        "--out: ",
        "replace earlier",
    ):
        assert word in out

"""The two doors to the subcommands: `eegjax NAME` and `python launch/NAME.py`."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(params=["console", "launch"])
def call(request: pytest.FixtureRequest, repository: Path, monkeypatch, process_as_before) -> Callable[..., int]:
    """A function: subcommand, arguments -> the exit status, in this process, as either door has it."""

    def through_the_console(name: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["eegjax", name, *arguments])
        runpy.run_module("eegjax", run_name="__main__")

    def through_the_script(name: str, *arguments: str) -> None:
        script = repository / "launch" / f"{'main' if name == 'run' else name}.py"
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        runpy.run_path(str(script), run_name="__main__")

    door = through_the_console if request.param == "console" else through_the_script

    def status(name: str, *arguments: str) -> int:
        try:
            door(name, *arguments)
        except SystemExit as left:
            return int(left.code or 0)
        return 0

    return status


@pytest.fixture
def complaint(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function: subcommand, arguments -> the one line on standard error that goes with status 2."""

    def line(*arguments: str) -> str:
        status = call(*arguments)
        out, err = capsys.readouterr()
        assert (status, out) == (2, "")
        assert "Traceback" not in err
        assert err.splitlines()[-1].startswith("error: ")
        return err.splitlines()[-1]

    return line

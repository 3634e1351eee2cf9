"""The console command itself: its subcommands, and what it says of a word that is none."""

import subprocess
import sys
from pathlib import Path

import pytest

from eegjax import console, studies


@pytest.fixture
def typed(monkeypatch, process_as_before):
    """A function: the words behind `eegjax` -> the exit status."""

    def status(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/eegjax", *words])
        try:
            console.main()
        except SystemExit as left:
            return int(left.code or 0)
        return 0

    return status


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_has_a_line_for_every_subcommand(typed, capsys, words: tuple[str, ...]) -> None:
    assert typed(*words) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, one in console.SUBCOMMANDS.items():
        assert [line for line in lines if line.split()[:1] == [name]] == [f"  {name:<10} {one.summary}"]
    for name in studies.NAMES:
        assert name in lines[-1]


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("rnu", ("'rnu'", "run, predict, tables, prepare, benchmark", "Did you mean 'run'?")),
        ("tabels", ("Did you mean 'tables'?",)),
        ("sleep:demo", ("Did you mean 'run sleep:demo'?",)),
        ("--hlep", ("no subcommand '--hlep'",)),
    ],
)
def test_an_unknown_subcommand_is_one_line_and_status_2(typed, capsys, word: str, words: tuple[str, ...]) -> None:
    assert typed(word, "--workdir=x") == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == ""
    assert line.startswith("error: ")
    for expected in words:
        assert expected in line


def test_the_command_that_is_kept_can_be_typed_behind_python(typed, tmp_path: Path, monkeypatch) -> None:
    """Wherever the console command was installed."""
    seen = []
    monkeypatch.setattr(console.commands, "launch", lambda *_: seen.append(list(sys.argv)))
    assert typed("run", "sleep") == 0
    assert seen == [["-m", "eegjax", "run", "sleep"]]
    done = subprocess.run([sys.executable, *seen[0], "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("Sleep stages")
    assert done.returncode == 0


def test_help_loads_no_heavy_library() -> None:
    """A newcomer's first command answers at once."""
    program = "import sys\nsys.argv = ['eegjax', 'run', 'sleep', '--help']\nfrom eegjax.console import main\nmain()\n"
    asked = "print([name for name in ('jax', 'mne', 'matplotlib', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program + asked], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

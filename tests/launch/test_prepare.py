"""`eegjax prepare` as it is typed; what it fetches and prepares is in tests/run/test_prepare.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from eegjax import commands


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--root=nights"], ("--dataset is missing", "sleep_edf")),
        (["--dataset=sleep_edf"], ("--root is missing",)),
        (["--dataset=sleep-edf", "--root=nights"], ("--dataset is 'sleep-edf'", "Did you mean 'sleep_edf'?")),
        (["--dataset=sleep_edf", "--root=nights", "--workers=0"], ("--workers is '0'", "1 or more")),
        (["--dataset=sleep_edf", "--root=nights", "--workers=two"], ("--workers is 'two'", "whole number")),
        (["--dataset=sleep_edf", "--root=nights", "--protocol=standart"], ("'standart'", "Did you mean 'standard'?")),
        (["--dataset=sleep_edf", "--root=nights", "--protocol=demo"], ("nights", "the demo simulates its data")),
        (["--dataset=sleep_edf", "--root=nights"], ("nights: is no folder", "--download")),
        (["--dataset=eegmmidb", "--root=nights"], ("nights: is no folder", "--dataset=eegmmidb")),
        (["--dataset=sleep_edf", "--root=nights", "--downlod"], ("--downlod", "Did you mean 'download'?")),
        (["--dataset=sleep_edf", "--root=nights", "--samples=5"], ("--samples", "--dataset=inverse", "sleep_edf")),
        (["--dataset=inverse", "--samples=few"], ("--samples is 'few'", "whole number")),
        (["--dataset=inverse", "--download"], ("--download", "inverse is simulated", "leave it out")),
        (["--dataset=sleep_edf", "--root=nights", "more"], ("stray argument 'more'",)),
    ],
)
def test_a_mistake_is_one_clear_line(complaint, tmp_path: Path, monkeypatch, arguments, words) -> None:
    monkeypatch.chdir(tmp_path)
    text = complaint("prepare", *arguments)
    for word in words:
        assert word in text
    assert not list(tmp_path.rglob("*.edf"))


def test_its_flags_reach_the_study(call, monkeypatch, capsys, tmp_path: Path) -> None:
    """From any folder: paths are those of the folder where it is typed."""
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "prepare", lambda *given: seen.append(given) or "done")
    call("prepare", "--dataset=sleep_edf", "--root=my nights")
    call("prepare", "--dataset=sleep_edf", "--root=n", "--download", "--workers=5", "--protocol=paper", "--runs=r")
    assert capsys.readouterr().out == "done\ndone\n"
    (first, *plain), (second, *full) = seen
    assert (plain, full) == (["sleep_edf", False, "standard"], ["sleep_edf", True, "paper"])
    call("prepare", "--dataset=inverse", "--samples=40", "--heads=3", "--workers=5")
    (third, *made) = seen[2]
    assert made == ["inverse", False, "paper"]
    assert (third.protocol, third.data.n_samples, third.data.n_heads, third.data.root) == ("paper", 40, 3, "")
    assert (first.protocol, first.data.root, first.run.root, first.run.workers) == ("standard", "my nights", "runs", 2)
    assert (second.protocol, second.data.root, second.run.root, second.run.workers) == ("paper", "n", "r", 5)


@pytest.mark.parametrize("dataset", ["bci_iv_2a", "eegmmidb"])
def test_of_a_study_with_two_datasets_the_named_one_is_prepared(call, monkeypatch, dataset: str) -> None:
    seen = []
    monkeypatch.setattr(commands, "prepare", lambda *given: seen.append(given) or "done")
    call("prepare", f"--dataset={dataset}", "--root=n")
    call("prepare", f"--dataset={dataset}", "--root=n", f"--protocol=standard,size=tiny,dataset={dataset}")
    assert [config.data.dataset for config, *_ in seen] == [dataset] * 2
    assert [given[-1] for given in seen] == [f"standard,dataset={dataset}", f"standard,size=tiny,dataset={dataset}"]


def test_it_ends_with_status_2_and_the_line_last(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, repository / "launch" / "prepare.py", "--dataset=sleep_edf", "--root=nights"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: nights: is no folder")
    assert "Traceback" not in done.stderr

"""Where things are: the same files in every study, an engine that names none, and a new study in one package."""

import ast
import importlib
import re
from pathlib import Path

import pandas as pd
import pytest

from eegjax import cli, commands, studies, study_help
from eegjax.errors import UserError
from eegjax.run.study import Study, Task

ROOT = Path(__file__).parent.parent
STUDIES = ROOT / "eegjax" / "studies"
NEEDED = ("study", "config", "data", "network")
SHARED = "hms"  # what several studies share; no study itself
# field of `Study` or `Task` -> the file whose function it is, wherever a study has one of its own
HOMES = {
    "prepare": "data",
    "folds": "folds",
    "baselines": "baselines",
    "evaluate": "numbers",
    "tables": "tables",
    "figures": "figures",
    "decode": "answers",
    "explain": "explain",
    "rows": "compare",
    "compare": "compare",
    "apply": "apply",
    "classes": "data",
    "labels": "data",
    "source": "data",
    "units": "data",
    "fit": "network",
    "model": "network",
    "inputs": "network",
    "loss": "network",
    "predict": "network",
    "backbone": "network",
    "frozen": "network",
    "pretrained": "network",
    "shrink": "network",
    "record": "answers",
}


def packages() -> list[str]:
    """The packages in the studies' room, without what they share."""
    return sorted(path.parent.name for path in STUDIES.glob("*/__init__.py") if path.parent.name != SHARED)


def imports(path: Path) -> set[str]:
    """The modules that a file imports anywhere, with the names taken from them as modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_studies_room_holds_packages_and_a_registry() -> None:
    assert [path.name for path in STUDIES.glob("*.py")] == ["__init__.py"]
    assert packages() == sorted(studies.NAMES)
    assert sorted(path.stem for path in (ROOT / "configs").glob("*.py")) == sorted(studies.NAMES)


@pytest.mark.parametrize("name", studies.NAMES)
def test_a_study_has_the_files_of_every_study(name: str) -> None:
    package = STUDIES / name
    for needed in NEEDED:
        assert (package / f"{needed}.py").exists(), f"{name} has no {needed}.py"
    study = studies.named(name)
    assert isinstance(study, Study)
    assert isinstance(study.task, Task)
    module = importlib.import_module(f"eegjax.studies.{name}.config")
    assert {"get_config", "BOUNDS", "CHOICES", "PROTOCOLS", "KEYS"} <= set(dir(module))
    own = [node for node in ast.parse((package / "study.py").read_text()).body if not isinstance(node, ast.ImportFrom)]
    assert [type(node) for node in own] == [ast.Expr, ast.Assign], "study.py holds STUDY and nothing else"


@pytest.mark.parametrize("name", studies.NAMES)
def test_a_step_is_found_where_it_is_in_the_other_studies(name: str) -> None:
    study = studies.named(name)
    own = f"eegjax.studies.{name}."
    found = 0
    for field, function in {**study.task._asdict(), **study._asdict()}.items():
        module = getattr(function, "__module__", "") or ""
        if callable(function) and module.startswith(own) and not isinstance(function, Task):
            if function.__name__ == "<lambda>":
                assert module == own + "network", f"{field} of {name} is a lambda elsewhere"
                continue
            assert module == own + HOMES[field], f"{field} of {name} lies in {module}"
            assert function.__name__ == field
            found += 1
    assert found >= 12


@pytest.mark.parametrize("name", studies.NAMES)
def test_no_study_imports_another(name: str) -> None:
    for path in (STUDIES / name).glob("*.py"):
        others = {one for one in imports(path) if one.startswith("eegjax.studies.")}
        assert {one.split(".")[2] for one in others} <= {name, SHARED}, path


def test_the_engine_names_no_study() -> None:
    words = [*studies.NAMES, "vgg", "v_net", "sleep_edf", "bci_iv_2a"]
    for room in ("run", "train"):
        for path in (ROOT / "eegjax" / room).glob("*.py"):
            assert not {one for one in imports(path) if one.startswith("eegjax.studies")}, path
            for node in ast.walk(ast.parse(path.read_text())):
                named = isinstance(node, ast.Constant) and node.value in words
                assert not named, f"{path}: names '{getattr(node, 'value', '')}'"


def test_the_engine_asks_for_no_field_that_may_be_missing() -> None:
    for room in ("run", "train"):
        for path in (ROOT / "eegjax" / room).glob("*.py"):
            assert not re.search(r"config(\.\w+)*\.get\(|(?<!\w)train\.get\(", path.read_text()), path


def test_formats_and_downloads_know_no_data_set() -> None:
    data = ROOT / "eegjax" / "data"
    sets = {"sleep_edf", "bci_iv_2a", "eegmmidb", "heads", "hms"}
    for room in ("formats", "download"):
        for path in (data / room).glob("*.py"):
            assert not {one.split(".")[2] for one in imports(path) if one.startswith("eegjax.data.")} & sets, path


# ---- a study of some forty lines


@pytest.fixture
def alpha(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study of docs/new_study.md as one package, a line in the registry and a file of its configuration."""
    page = (ROOT / "docs" / "new_study.md").read_text()
    code = re.search(r"## A study in forty lines.*?```python\n(.*?)```", page, flags=re.DOTALL)
    assert code is not None
    package = tmp_path / "studies" / "alpha"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""Eyes open or closed."""\n')
    (package / "study.py").write_text(code[1])
    handed_on = {"config": "KEYS, PROTOCOLS, get_config", "data": "prepare, labels, source", "network": "TASK"}
    for name, things in handed_on.items():
        (package / f"{name}.py").write_text(f"from eegjax.studies.alpha.study import {things}\n")
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(package.parent)])
    monkeypatch.setattr(studies, "NAMES", (*studies.NAMES, "alpha"))
    config = tmp_path / "alpha.py"
    config.write_text("from eegjax.studies.alpha.study import get_config\n")
    return config


def test_a_new_study_is_one_package_a_configuration_and_a_line(alpha: Path, tmp_path: Path, capsys) -> None:
    """It trains, learns, is compared, drawn and found again, without a word in the engine."""
    config = cli.configure(str(alpha), ["", f"--config.run.root={tmp_path}/runs"])
    folder = commands.launch(config)
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert set(predictions["subject"]) == {"P0", "P1", "P2", "P3"}
    right = (predictions["p_closed"] > 0.5) == predictions["target"]
    assert right.mean() > 0.8  # chance is .5
    assert "SIMULATED" in capsys.readouterr().out
    assert (folder / "report.html").exists()
    assert commands.launch(config) == folder  # finished: shown, not trained again
    assert "--config.train.n_epochs=4" in study_help.describe("alpha")
    same, _ = cli.parse(["eegjax run", "alpha", f"--config.run.root={tmp_path}/runs"], {})
    assert same == config  # as the console command has it
    with pytest.raises(UserError, match=r"config\.train\.n_epochs is 0; expected 1 or more"):
        commands.launch(cli.configure(str(alpha), ["", "--config.train.n_epochs=0"]))

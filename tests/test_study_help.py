"""The help of a study: the comments of its source stand beside its fields, each with its own."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from eegjax import studies, study_help
from eegjax.run.folder import _flat

SOURCE = """
from ml_collections import ConfigDict
from eegjax import protocols


def get_config(argument=""):
    config = ConfigDict({"study": "mine", "seed": 0})
    config.data = _data(True)
    config.inputs = ConfigDict({"kind": "x"})  # how it is seen
    config.train = ConfigDict({**_shared(), "n_epochs": 3})
    config.test = _shared(
        rate=2.0,  # said where it is called
    )
    config.run = protocols.run_settings()
    config.model = ConfigDict(
        {
            "name": "net",
        }
    )
    config.model.update(_shared() | {"depth": 4})
    return config


def _data(demo):
    return ConfigDict(
        {
            "root": "#1",  # folder # of data
            "plain": 1,
            # above it
            "skull": (0.1,),
            "two": {"a": 1, "b": 2},  # of the section
            "long": {  # of the section too
                "c": (
                    1,
                    2,
                ),  # at its end
            },
        }
    )


def _shared(**given):
    settings = {
        "rate": 1.0,  # a step's
        "n_epochs": 1,  # all of them
    }
    return settings
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch) -> ModuleType:
    (tmp_path / "mine.py").write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("eegjax.mine_for_help", tmp_path / "mine.py")
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(importlib.import_module("sys").modules, "eegjax.mine_for_help", made)
    spec.loader.exec_module(made)
    return made


def test_every_comment_goes_to_its_own_field(module: ModuleType) -> None:
    found = study_help.comments_of(module, "get_config")
    of_the_run = {field: found.pop(field) for field in list(found) if field.startswith("run.")}
    assert of_the_run["run.resident_bytes"] == "larger data streams from disk"
    assert found == {
        "data.root": "folder # of data",
        "data.skull": "above it",
        "data.two": "of the section",
        "data.long": "of the section too",
        "data.long.c": "at its end",
        "inputs": "how it is seen",
        "train.rate": "a step's",
        "train.n_epochs": "all of them",
        "test.rate": "said where it is called",
        "test.n_epochs": "all of them",
    }


@pytest.mark.parametrize("name", studies.NAMES)
@pytest.mark.parametrize("protocol", ["", "paper"])
def test_every_field_is_shown_with_its_default(name: str, protocol: str) -> None:
    shown = study_help.describe(name, protocol).splitlines()
    config = studies.get_config(name, protocol).to_dict()
    for field, value in _flat(config).items():
        lines = [line for line in shown if line.startswith(f"  --config.{field}={value}")]
        assert len(lines) == (0 if field in ("study", "protocol") else 1), field
    assert max(len(line) for line in shown if "--config." in line) <= 120
    text = "\n".join(shown)
    assert "{" not in text  # no section in a single value


@pytest.mark.parametrize("name", studies.NAMES)
def test_its_docstring_its_protocols_and_all_its_keys_are_shown(name: str) -> None:
    text = study_help.describe(name)
    module = importlib.import_module(f"eegjax.studies.{name}.config")
    assert text.startswith(importlib.import_module(f"eegjax.studies.{name}").__doc__.splitlines()[0])
    assert f"Protocols: {', '.join(module.PROTOCOLS)}." in text
    for key, values in module.KEYS.items():
        assert f"\n  {key}={'|'.join(values)}\n" in text


@pytest.mark.parametrize("name", studies.NAMES)
def test_every_comment_is_of_a_field_that_there_is(name: str) -> None:
    module = importlib.import_module(f"eegjax.studies.{name}.config")
    shown = study_help.describe(name)
    for field, comment in study_help.comments_of(module, "get_config").items():
        assert f"config.{field}" in shown
        assert comment.split()[0] in shown


def test_a_comment_stands_beside_its_field() -> None:
    lines = study_help.describe("sleep").splitlines()
    (line,) = [line for line in lines if "--config.data.margin_s=" in line]
    assert line.split() == ["--config.data.margin_s=1800.0", *["of", "wake", "kept", "before", "and", "after", "sleep"]]
    assert "  --config.inputs.size=64" in lines  # without a comment its default alone

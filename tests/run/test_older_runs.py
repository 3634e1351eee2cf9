"""Folders of runs that an older version made: read, or refused in one line; and what says which version made a run."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import eegjax
from eegjax import commands
from eegjax.errors import UserError
from eegjax.run import weights
from eegjax.studies.sleep.tables import tables

NEW_FIELDS = ("watch_test", "keep_epochs", "max_loss", "reuse_params_across_folds", "decoupled_decay")


@pytest.fixture
def older(finished, tmp_path: Path) -> Path:
    """A finished run as version 0.1 left it: without a version, and without fields that came later."""
    folder = tmp_path / "older"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns("tensorboard"))
    path = folder / "config.json"
    content = json.loads(path.read_text())
    del content["eegjax"]
    for one in (content["config"], content["canonical"]):
        for name in NEW_FIELDS:
            del one["train"][name]
        del one["test"]["train_part"]
        del one["test"]["n_train_part"]
    path.write_text(json.dumps(content))
    return folder


def test_every_file_of_a_run_that_is_read_later_says_which_version_made_it(finished) -> None:
    assert json.loads((finished.folder / "config.json").read_text())["eegjax"] == eegjax.__version__
    (start,) = json.loads((finished.folder / "environment.json").read_text())["starts"][:1]
    assert start["eegjax"] == eegjax.__version__
    for path in (finished.folder / "weights").iterdir():
        with safe_open(path, "np") as file:
            assert json.loads(file.metadata()["eegjax"])["version"] == eegjax.__version__


def test_weights_of_version_0_1_are_still_read(finished, tmp_path: Path) -> None:
    """Their names, and that nothing was fitted, stood in entries of their own."""
    one = weights.load(finished.folder, "vgg16")[0]
    content = {"variables/params/head/bias": one.variables["params"]["head"]["bias"]}
    for name, fitted in (("with", {"stats/prior": one.stats["prior"]}), ("without", {})):
        said = {"names": json.dumps(one.names)} | ({} if fitted else {"fitted": "nothing"})
        save_file({**content, **fitted}, tmp_path / name, metadata=said)
        found = weights.read(tmp_path / name)
        assert found.names == one.names
        assert set(found.stats) == ({"prior"} if fitted else set())


def test_an_older_run_is_still_read(older: Path) -> None:
    before = (older / "tables" / "results.csv").read_text()
    shutil.rmtree(older / "tables")
    tables(older)
    assert (older / "tables" / "results.csv").read_text() == before


def test_an_older_run_is_still_applied(older: Path, finished, tmp_path: Path, tiny) -> None:
    night = next(Path(tiny().run.root, "datasets").glob("simulated-sleep-*/*PSG.edf"))
    for name, folder in (("older", older), ("newer", finished.folder)):
        commands.apply(folder, night, None, tmp_path / name)
    (one,) = tmp_path.glob("older/*_epochs.tsv")
    assert one.read_text() == (tmp_path / "newer" / one.name).read_text()


def test_an_older_run_is_not_continued_and_the_version_is_said(older: Path, tiny) -> None:
    with pytest.raises(UserError, match=r"made by eegjax an older version, .* can be read, but not continued; give"):
        commands.launch(tiny(), str(older))
    assert (older / "metrics.json").exists()


def test_a_configuration_that_is_none_is_one_line(older: Path, tiny) -> None:
    (older / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json: no configuration of a run"):
        commands.launch(tiny(), str(older))

"""Baselines are computed once for all runs of a data set and its folds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict

from eegjax import cli, studies
from eegjax.data.dataset import Dataset
from eegjax.data.splits import Fold
from eegjax.errors import UserError
from eegjax.files import locked
from eegjax.run import baselines
from eegjax.run.baselines import load_or_compute

ROOT = Path(__file__).parents[2]
FIELDS = ("seed", "data", "test.radii")
FOLD = Fold("a", np.arange(5), np.arange(5, 7), np.arange(7, 10), np.arange(10))


class Counted:
    """Baselines that count how often they are computed."""

    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(self, config: ConfigDict, dataset: Dataset, folds: list[Fold]) -> pd.DataFrame:
        self.n_calls += 1
        rows = np.concatenate([fold.test for fold in folds])
        columns = {"example": rows, "target": rows.astype(np.int8), "model": "majority", "onset_s": 0.5 * rows}
        return pd.DataFrame(columns).assign(p_a=np.float32(1 / 3), tuned="", auc=np.nan)


@pytest.fixture
def config(tmp_path: Path) -> ConfigDict:
    return ConfigDict(
        {
            "study": "sleep",
            "protocol": "demo",
            "seed": 0,
            "data": {"root": "here", "sfreq": 125.0, "simulation": {"seed": 0}},
            "model": {"name": "a"},
            "test": {"radii": (1.0, 2.0), "dropout": False},
            "run": {"root": str(tmp_path)},
        }
    )


@pytest.fixture
def compute() -> Counted:
    return Counted()


@pytest.fixture
def get(config: ConfigDict, compute: Counted, dataset: Callable[..., Dataset]) -> Callable[..., pd.DataFrame]:
    """A function: fields, and the dataset's hash -> the baselines of a fold."""

    def load(hash_: str = "feed", folds: tuple[Fold, ...] = (FOLD,), **fields: Any) -> pd.DataFrame:
        one = config.copy_and_resolve_references()
        with one.unlocked():
            one.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
        return load_or_compute(one, compute, FIELDS, dataset(hash_), folds)

    return load


@pytest.fixture
def dataset() -> Callable[..., Dataset]:
    """A function: hash -> a dataset that has nothing else."""
    return lambda hash_: Dataset(Path(), pd.DataFrame(), {"hash": hash_}, {})


def test_another_network_s_run_has_the_same_ones(get, compute: Counted, config: ConfigDict, dataset) -> None:
    first = get()
    pd.testing.assert_frame_equal(first, compute(config, dataset("feed"), [FOLD]), check_exact=True)
    for fields in ({"model__name": "b"}, {"test__dropout": True}, {"data__root": "elsewhere"}):
        pd.testing.assert_frame_equal(first, get(**fields), check_exact=True)
    assert compute.n_calls == 2  # one of them by hand


@pytest.mark.parametrize(
    "changed",
    [
        *({"seed": 1}, {"data__sfreq": 250.0}, {"data__simulation__seed": 1}, {"test__radii": (1.0,)}),
        *({"hash_": "beef"}, {"folds": (FOLD._replace(train=FOLD.train[1:]),)}, {"folds": (FOLD, FOLD)}),
        *({"folds": (FOLD._replace(name="b"),)}, {"folds": (FOLD._replace(task="four"),)}),
        {"folds": (FOLD._replace(train=FOLD.train[:4], validation=np.arange(4, 7)),)},
    ],
)
def test_whatever_decides_them_makes_new_ones(get, compute: Counted, changed: dict[str, Any]) -> None:
    get()
    get(**changed)
    assert compute.n_calls == 2
    get(**changed)
    get()
    assert compute.n_calls == 2


def test_new_code_and_packages_make_new_ones(get, compute: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    get()
    monkeypatch.setattr(baselines, "VERSION", baselines.VERSION + 1)
    get()
    monkeypatch.setattr(baselines, "_version", lambda name: None)
    get()
    assert compute.n_calls == 3


def test_all_of_a_configuration_decides_where_a_study_names_no_fields(config, compute: Counted, dataset) -> None:
    for name in ("a", "b", "b"):
        config.model.name = name
        load_or_compute(config, compute, None, dataset("feed"), [FOLD])
    config.run.root = str(Path(config.run.root))
    assert compute.n_calls == 2


@pytest.mark.parametrize("harm", ["cut", "changed", "undone"])
def test_a_file_that_is_not_as_written_is_computed_anew(get, compute: Counted, tmp_path: Path, caplog, harm) -> None:
    first = get()
    (path,) = (tmp_path / "baselines").glob("*.parquet")
    content = path.read_bytes()
    if harm == "undone":  # killed before its digest was written
        path.with_suffix(".json").unlink()
    else:
        path.write_bytes(content[:-9] if harm == "cut" else content[:40] + b"x" + content[41:])
    pd.testing.assert_frame_equal(first, get(), check_exact=True)
    assert compute.n_calls == 2
    assert ("computed anew" in caplog.text) == (harm != "undone")
    get()
    assert compute.n_calls == 2
    assert path.read_bytes() == content


def test_nothing_is_left_of_what_fails(config, dataset, get, compute: Counted, tmp_path: Path) -> None:
    def fail(*_: Any) -> pd.DataFrame:
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        load_or_compute(config, fail, FIELDS, dataset("feed"), [FOLD])
    assert [path.suffix for path in (tmp_path / "baselines").iterdir()] == [".lock"]
    get()
    assert compute.n_calls == 1


def test_they_are_owned_while_computed(config, dataset, compute: Counted, tmp_path: Path) -> None:
    """Who comes second finds the lock held."""

    def try_lock(*given: Any) -> pd.DataFrame:
        (path,) = (tmp_path / "baselines").glob("*.lock")
        with pytest.raises(UserError, match="held"), locked(path, "held"):
            pass
        return compute(*given)

    load_or_compute(config, try_lock, FIELDS, dataset("feed"), [FOLD])


# ---- the studies'


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sleep", "motor_imagery", "inverse"])
def test_a_study_s_baselines_read_no_other_fields(name: str, run_root: Path) -> None:
    """Without all others they say the same, and what is read back is what was computed."""
    study = studies.named(name)
    config = cli.configure(f"{ROOT}/configs/{name}.py:demo,size=tiny", ["main.py", f"--config.run.root={run_root}"])
    dataset = study.prepare(config)
    folds = study.folds(config, dataset)
    assert study.baseline_fields is not None
    bare = ConfigDict({"study": name, "run": config.run})
    for field in study.baseline_fields:
        value, place = config, bare
        *sections, last = field.split(".")
        for section in sections:
            value = value[section]
            if section not in place:
                place[section] = ConfigDict()
            place = place[section]
        place[last] = value[last]
    expected = study.baselines(config, dataset, folds)
    found = load_or_compute(bare, study.baselines, study.baseline_fields, dataset, folds)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)

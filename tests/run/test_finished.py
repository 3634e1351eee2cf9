"""A finished run's folder, read once."""

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eegjax.errors import UserError
from eegjax.files import write_json
from eegjax.run.finished import Finished, read

NUMBERS = {"f1": 0.5, "f1_low": 0.25, "f1_high": 0.75, "random_10_f1": 0.125, "auc": None, "two_f1": 0.375}
DIFFERENCE = {
    "difference_to_random_10": 0.375,
    "difference_to_random_10_low": 0.25,
    "difference_to_random_10_high": 0.5,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two networks, the answers of one smoothed, and a baseline."""
    place = tmp_path / "run"
    place.mkdir()
    models = ["b_net", "a_net", "b_net_smooth"]
    predictions = pd.DataFrame({"model": models * 2, "split": ["validation"] * 3 + ["test"] * 3})
    predictions.to_parquet(place / "predictions.parquet")
    pd.DataFrame({"model": ["random 10"], "split": ["test"]}).to_parquet(place / "baselines.parquet")
    write_json(place / "config.json", {"config": {"model": {"name": "b_net", "beside": ["a_net"]}, "protocol": "demo"}})
    write_json(place / "environment.json", {"starts": [{"command": ["main.py", "--config=x"]}]})
    write_json(place / "card.json", {"recordings": []})
    write_json(place / "metrics.json", {"simulated": True, **NUMBERS, **DIFFERENCE})
    (place / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 1.5}\n')
    (place / "explanations").mkdir()
    for number in (1, 0):
        np.savez(place / "explanations" / f"head_{number}.npz", number=number)
    return place


def test_what_lies_in_the_folder(folder: Path) -> None:
    run = read(folder)
    assert run.answered == ("b_net", "a_net", "b_net_smooth")
    assert run.networks == ("b_net", "a_net")
    assert run.tasks == ()
    assert run.simulated
    assert run.config.protocol == "demo"
    assert run.log()["loss"].tolist() == [2.5, 1.5]
    assert run.explanation("head_1")["number"] == 1
    assert [arrays["number"] for arrays in run.explanations("head_*")] == [0, 1]


def test_numbers_are_found_by_model(folder: Path) -> None:
    run = read(folder)
    assert run.number("b_net", "f1") == 0.5
    assert run.interval("b_net", "f1") == (0.5, 0.25, 0.75)
    assert run.number("random 10", "f1") == 0.125
    assert math.isnan(run.number("b_net", "auc"))
    assert math.isnan(run.number("a_net", "f1"))
    assert run.has("b_net", "auc")
    assert not run.has("a_net", "f1")


def test_a_difference_is_the_model_s_minus_the_first_s(folder: Path) -> None:
    assert read(folder).difference("random 10") == (-0.375, -0.5, -0.25)


def test_numbers_of_other_tasks_are_behind_their_names(folder: Path) -> None:
    predictions = pd.read_parquet(folder / "predictions.parquet")
    parts = [predictions.assign(task=task) for task in ("one", "two")]
    pd.concat(parts).to_parquet(folder / "predictions.parquet")
    run = read(folder)
    assert run.tasks == ("one", "two")
    assert [run.number("b_net", "f1", task) for task in ("", "one", "two")] == [0.5, 0.5, 0.375]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.json", r"no run folder \(it has no config.json\)"),
        ("metrics.json", r"isn't finished; finish it by the command that began it: python main.py --config=x"),
        ("card.json", r"no whole run folder \(card.json missing\)"),
        ("predictions.parquet", r"no whole run folder \(predictions.parquet missing\)"),
        ("baselines.parquet", r"no whole run folder \(baselines.parquet missing\)"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused(folder: Path, name: str, words: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"^{folder}: .*{words}") as caught:
        read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["metrics.json", "card.json", "predictions.parquet"])
def test_a_broken_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-5])
    with pytest.raises(UserError, match=f"^{folder / name}: ") as caught:
        read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("study", ["sleep", "motor_imagery", "inverse"])
def test_no_folder_at_all(tmp_path: Path, study: str) -> None:
    from eegjax import studies

    with pytest.raises(UserError, match="no run folder"):
        studies.named(study).tables(tmp_path / study)


def test_a_run_is_the_same_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    one, other = read(folder), read(tmp_path / "copy")
    assert isinstance(other, Finished)
    pd.testing.assert_frame_equal(one.predictions, other.predictions)
    assert one.metrics == other.metrics

"""Trained networks as files: they say what they said when they were trained, and nothing else passes for them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from eegjax import commands
from eegjax.data.dataset import Dataset
from eegjax.errors import UserError
from eegjax.run import apply, weights
from eegjax.studies.sleep import study as sleep

NETWORKS = ("vgg16", "vgg16_conv_lstm")
COLUMNS = [f"p_{name}" for name in ("W", "N1", "N2", "N3", "N4", "R")]


@pytest.fixture(scope="module")
def dataset(finished, tiny: Callable[..., ConfigDict]) -> Dataset:
    """The finished run's own, prepared by its configuration."""
    return sleep.prepare(tiny())


@pytest.fixture(scope="module")
def said(finished, dataset: Dataset) -> dict[str, np.ndarray]:
    """What the trained networks say of every epoch of the dataset, [n, n_classes]."""
    return {name: _predict(finished.folder, name, dataset, np.arange(len(dataset.index)))[0] for name in NETWORKS}


def _predict(folder: Path, name: str, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    config = weights.finished(folder)
    config.model.name = name
    return apply.predict(config, sleep.TASK, dataset, weights.load(folder, name), rows)


def _same(one: weights.Trained, other: weights.Trained) -> bool:
    leaves = [flatten_dict({"variables": each.variables, "stats": each.stats}) for each in (one, other)]
    return (
        one.names == other.names
        and leaves[0].keys() == leaves[1].keys()
        and all(np.array_equal(leaf, leaves[1][path]) for path, leaf in leaves[0].items())
    )


# ---- what they say


@pytest.mark.parametrize("name", NETWORKS)
def test_the_tested_epochs_have_the_probabilities_of_the_run(finished, dataset, said, name: str) -> None:
    frame = pd.read_parquet(finished.folder / "predictions.parquet")
    frame = frame[frame["model"] == name]
    rows = frame["example"].to_numpy()
    assert 0 < len(rows) < len(dataset.index)
    np.testing.assert_allclose(said[name][rows], frame[COLUMNS], atol=1e-5)  # as rows of all nights
    assert frame[COLUMNS].to_numpy().std(0).min() > 1e-4  # they differ, so the order matters
    again = _predict(finished.folder, name, dataset, rows)
    assert again.shape == (1, len(rows), 6)
    np.testing.assert_allclose(again[0], said[name][rows], atol=1e-6)  # and alone


def test_the_decoded_night_is_that_of_the_run(finished, dataset) -> None:
    from eegjax.studies.sleep.apply import _decided

    frame = pd.read_parquet(finished.folder / "predictions.parquet")
    plain, smooth = (frame[frame["model"] == name] for name in ("vgg16", "vgg16_viterbi"))
    config, index = weights.finished(finished.folder), dataset.index.iloc[plain["example"]]
    staged = _decided(config, weights.load(finished.folder, "vgg16"), index, plain[COLUMNS].to_numpy())
    assert (staged.stages == smooth[COLUMNS].to_numpy().argmax(1)).all()
    assert (staged.probabilities == plain[COLUMNS].to_numpy()).all()


def test_every_member_speaks_for_itself_in_order(finished, dataset, said, tmp_path: Path) -> None:
    (first,) = weights.load(finished.folder, "vgg16")
    halved = jax.tree.map(lambda leaf: leaf / 2, first.variables)
    weights.write(tmp_path / "weights", {**first.names, "member": 1}, halved, first.stats)
    weights.write(tmp_path / "weights", first.names, first.variables, first.stats)
    both = weights.load(tmp_path, "vgg16")
    assert [one.names["member"] for one in both] == [0, 1]
    rows = np.arange(40)
    each = apply.predict(weights.finished(finished.folder), sleep.TASK, dataset, both, rows)
    np.testing.assert_allclose(each[0], said["vgg16"][rows], atol=1e-6)
    assert np.abs(each[1] - each[0]).max() > 0.01
    assert each[1].std() < each[0].std()  # weights of half the size are nearer to knowing nothing


# ---- files


def test_what_is_written_is_read(finished, tmp_path: Path) -> None:
    (one,) = weights.load(finished.folder, "vgg16")
    weights.write(tmp_path / "weights", one.names, one.variables, one.stats)
    assert _same(weights.load(tmp_path, "vgg16")[0], one)
    assert set(one.names) == {"model", "member", "fold", "seed"}
    assert {"prior", "trained_prior", "transitions"} <= set(one.stats)


def test_a_study_that_fits_nothing_has_weights_all_the_same(tmp_path: Path) -> None:
    names = {"model": "v_net", "member": 0, "fold": "random", "seed": 0}
    one = weights.read(weights.write(tmp_path, names, {"params": {"head": {"bias": np.ones(2, np.float32)}}}, {}))
    assert one.stats == {}
    assert one.variables["params"]["head"]["bias"].tolist() == [1, 1]


def test_shapes_stay(tmp_path: Path) -> None:
    """A number is no array of one; what is transposed is written as it reads."""
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    variables = {"params": {"scale": np.float32(2), "kernel": table.T, "one": np.ones(1, np.float32)}}
    names = {"model": "tiny", "member": 12, "fold": "a", "seed": 0}
    path = weights.write(tmp_path, names, variables, {"sd": np.float32(3)})
    assert path == weights.file_of(tmp_path, names) == tmp_path / "tiny-012.safetensors"
    found = weights.read(path)
    assert found.names == names
    assert found.stats["sd"].shape == ()
    params = found.variables["params"]
    assert {name: leaf.shape for name, leaf in params.items()} == {"scale": (), "kernel": (3, 2), "one": (1,)}
    assert np.array_equal(params["kernel"], table.T)


def _weights(finished, folder: Path) -> Path:
    """A copy of the run's weights, to be broken."""
    shutil.copytree(finished.folder / "weights", folder / "weights")
    return folder / "weights" / "vgg16-000.safetensors"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _pickle(path: Path) -> None:
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'false'\ntR.")


def _nameless(path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    save_file(load_file(path), path)


def _statless(path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    arrays = {name: array for name, array in load_file(path).items() if not name.startswith("stats/")}
    save_file(arrays, path, {"names": "{}"})


@pytest.mark.parametrize("damage", [_cut, _empty, _pickle, _nameless, _statless])
def test_broken_weights_are_one_clear_line(finished, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = _weights(finished, tmp_path)
    damage(path)
    with pytest.raises(
        UserError, match=r"^\S+weights/vgg16-000\.safetensors: broken weights .*; copy the run"
    ) as caught:
        weights.load(tmp_path, "vgg16")
    assert "\n" not in str(caught.value)


def test_missing_weights_are_said(finished, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no weights/vgg16-\*\.safetensors; the run must be trained again"):
        weights.load(tmp_path, "vgg16")
    path = _weights(finished, tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"no weights/vgg16-"):  # those of the ConvLSTM are not taken for it
        weights.load(tmp_path, "vgg16")
    assert len(weights.load(tmp_path, "vgg16_conv_lstm")) == 1
    with pytest.raises(
        UserError, match=r"vgg16-000\.safetensors: missing weights; copy the run folder again, or train"
    ):
        weights.read(path)


def test_the_weights_of_another_network_are_no_answer(finished, dataset, tmp_path: Path) -> None:
    path = _weights(finished, tmp_path)
    path.with_name("vgg16_conv_lstm-000.safetensors").replace(path)
    config = weights.finished(finished.folder)
    with pytest.raises(UserError, match=r"vgg16_conv_lstm.* don't fit vgg16: ") as caught:
        apply.predict(config, sleep.TASK, dataset, weights.load(tmp_path, "vgg16"), np.arange(4))
    assert "\n" not in str(caught.value)
    config.data.n_classes = 5
    with pytest.raises(UserError, match=r"don't fit vgg16: "):  # six outputs
        apply.predict(config, sleep.TASK, dataset, weights.load(finished.folder, "vgg16"), np.arange(4))


# ---- run folders


def test_a_finished_run_is_its_configuration(finished, tiny: Callable[..., ConfigDict]) -> None:
    found, wanted = weights.finished(finished.folder).to_dict(), tiny().to_dict()
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(wanted))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), r"no run folder \(it has no config.json\); give one that launch/main.py has made"),
        (("config.json", "environment.json"), r"isn't finished; finish it by the command .*: python \S+"),
        (("config.json", "environment.json", "card.json"), r"isn't finished"),
        (("config.json",), r"no whole run folder \(environment.json, card.json, metrics.json missing\); copy all"),
        (("config.json", "environment.json", "metrics.json"), r"no whole run folder \(card.json missing\); copy all"),
    ],
)
def test_a_folder_that_is_no_finished_run(finished, tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    for name in names:
        shutil.copy(finished.folder / name, tmp_path)
    with pytest.raises(UserError, match=f"^{tmp_path}: .*{words}") as caught:
        commands.apply(tmp_path, Path("night.edf"), None, tmp_path)
    assert "\n" not in str(caught.value)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run folder"):
        weights.finished(tmp_path / "nowhere")

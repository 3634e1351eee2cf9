"""Weights of a file in the study's networks, and frozen backbones whose features are kept.

Most networks here are VGG16 in small: `shrunk` divides its channels, and those that a file must have, by 16.
"""

import dataclasses
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict
from safetensors.numpy import save_file

from eegjax import commands
from eegjax.data.dataset import Dataset
from eegjax.data.feed import gather
from eegjax.data.sleep_edf import simulator
from eegjax.errors import UserError
from eegjax.models import layers, pretrained
from eegjax.run import apply, frozen, weights
from eegjax.run import folder as runs
from eegjax.run.member import Member
from eegjax.run.network import Network, Timing
from eegjax.studies.sleep import study as sleep
from eegjax.train import features
from eegjax.train.log import MetricLog

SMALLER = 16
REAL = layers.scale_channels, pretrained.VGG16_FEATURES
NAMES = ("vgg16", "vgg16_conv_lstm")
COLUMNS = [f"p_{stage}" for stage in ("W", "N1", "N2", "N3", "R")]


def state_of(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict whose layers neither swell nor shrink what they see."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.normal(size=shape) * (np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1)).astype(np.float32)
        for name, shape in shapes.items()
    }


def shapes_of(layers: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    parts = {}
    for name, shape in layers.values():
        shape = tuple(1000 if size == -1 else size for size in shape)
        parts |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return parts


@pytest.fixture(scope="module")
def shrunk() -> Iterator[dict[str, tuple[int, ...]]]:
    """The whole networks with a 16th of their channels; the names and shapes of a file for them."""

    def less(layers: dict[str, Any]) -> dict[str, Any]:
        return {
            layer: (name, tuple(size if size in (-1, 3) else size // SMALLER for size in shape))
            for layer, (name, shape) in layers.items()
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "scale_channels", lambda channels, width: max(1, round(channels * width / SMALLER)))
        for name in ("VGG16_FEATURES", "VGG16_CLASSIFIER"):
            patch.setattr(pretrained, name, less(getattr(pretrained, name)))
        yield shapes_of({**pretrained.VGG16_FEATURES, **pretrained.VGG16_CLASSIFIER})


@pytest.fixture(scope="module")
def state(shrunk: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return state_of(shrunk)


@pytest.fixture(scope="module")
def weight_file(state: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg16.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects, a night each, of 44 epochs."""
    root = tmp_path_factory.mktemp("nights")
    for subject in (1, 2):
        simulator.write_night(root, 6, subject, 1, 44)
    return root


@pytest.fixture(scope="module")
def standard(configure: Callable[..., ConfigDict], nights: Path, weight_file: Path) -> Callable[..., ConfigDict]:
    """A function: fields -> the standard protocol at 32 x 32 with the file's weights, two epochs of training."""

    def make(**fields: Any) -> ConfigDict:
        given = {"model__weights": str(weight_file), "model__width": 1.0, "model__sequence_epochs": 2}
        given["inputs__colour"] = "jet"
        quick = {"train__n_epochs": 2, "train__batch_size": 16, "run__log_every_steps": 1, "run__tensorboard": False}
        return configure("standard", nights, **{**given, **quick, **fields})

    return make


@pytest.fixture(scope="module")
def dataset(standard: Callable[..., ConfigDict]) -> Dataset:
    """The first 12 epochs of each night."""
    whole = sleep.prepare(standard())
    index = whole.index.groupby("recording").head(12).reset_index(drop=True)
    index["example"] = np.arange(len(index))
    return dataclasses.replace(whole, index=index, card={**whole.card, "hash": "few"})


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "EXAMPLES_PER_DEVICE", 2)


def network_of(config: ConfigDict, dataset: Dataset, n_members: int = 1) -> Network:
    """A network with a member, and a seed, per fold."""
    folds = sleep.folds(config, dataset)
    members = [Member(config.model.name, seed, fold, seed) for seed, fold in enumerate(folds)]
    return Network(config, sleep.TASK, dataset, members[:n_members], Timing())


def train(network: Network, folder: Path, group: tuple[int, ...] = (0,)) -> tuple[pd.DataFrame, list[dict]]:
    """The predictions and the lines of the log."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = network.run(
        [network.members[number] for number in group], folder / "checkpoints" / "group", MetricLog(folder, True, False)
    )
    return frame, [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def in_torch_order(leaf: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    return leaf.transpose(3, 2, 0, 1).reshape(size)


def from_file(params: Any, state: dict[str, np.ndarray]) -> set[str]:
    """The top layers whose every parameter is the file's."""
    layers = {**pretrained.VGG16_FEATURES, **pretrained.VGG16_CLASSIFIER}
    same: dict[str, bool] = {}
    for path, leaf in flatten_dict(params, sep="/").items():
        *_, layer, kind = path.split("/")
        name = layers.get(layer, ("",))[0]
        expected = state.get(f"{name}.{'weight' if kind == 'kernel' else 'bias'}", np.zeros(0))
        leaf = np.asarray(leaf)
        equal = leaf.size == expected.size and np.array_equal(
            in_torch_order(leaf, expected.shape) if kind == "kernel" else leaf, expected
        )
        top = path.split("/")[0]
        same[top] = same.get(top, True) and equal
    return {top for top, equal in same.items() if equal}


# ---- weights of a file


@pytest.mark.parametrize(
    ("name", "size", "trainable", "loaded"),
    [
        pytest.param("vgg16", 224, "all", {"features", "fc6", "fc7"}, marks=pytest.mark.slow),
        pytest.param("vgg16", 224, "head", {"features", "fc6", "fc7"}, marks=pytest.mark.slow),
        ("vgg16_conv_lstm", 32, "all", {"features"}),
    ],
)
def test_every_member_begins_with_what_the_file_gives(standard, dataset, state, name, size, trainable, loaded) -> None:
    network = network_of(standard(model__name=name, model__trainable=trainable, inputs__size=size), dataset, 2)
    with jax.set_mesh(network.mesh):
        first, second = (network.initial(network.members[member]).params for member in (0, 1))
    if network.backbone is not None:  # it is no part of what is trained, and in every member's file
        first, second = ({**params, "features": network.backbone} for params in (first, second))
    assert from_file(first, state) == from_file(second, state) == loaded
    assert not np.array_equal(first["head"]["kernel"], second["head"]["kernel"])


@pytest.mark.parametrize(
    ("name", "size", "trainable", "still"),
    [
        ("vgg16", 32, "fc", {"features"}),
        pytest.param("vgg16", 224, "head", {"features", "fc6", "fc7"}, marks=pytest.mark.slow),
        pytest.param("vgg16_conv_lstm", 32, "head", {"features"}, marks=pytest.mark.slow),  # the ConvLSTM is always new
    ],
)
def test_a_step_moves_what_is_to_be_trained_and_nothing_else(
    standard, dataset, state, tmp_path: Path, name: str, size: int, trainable: str, still: set
) -> None:
    given = {"model__name": name, "model__trainable": trainable, "inputs__size": size, "run__root": str(tmp_path)}
    settings = {"model__dropout": 0.0, "train__n_epochs": 1, "train__ema_decay": 0.0, "train__warmup_steps": 0}
    network = network_of(standard(**given, **settings), dataset)
    lines = train(network, tmp_path)[1]
    assert [line["step"] for line in lines] == [1]
    with jax.set_mesh(network.mesh):
        before = flatten_dict(network.initial(network.members[0]).params, sep="/")
    after = flatten_dict(weights.load(tmp_path, name)[0].variables["params"], sep="/")
    moved = {path: not np.array_equal(leaf, before[path]) for path, leaf in after.items() if path in before}
    assert moved == {path: path.split("/")[0] not in still for path in moved}
    kept = unflatten_dict({path: leaf for path, leaf in after.items() if path.split("/")[0] in still}, sep="/")
    assert from_file(kept, state) == still


def test_fc_layers_that_would_stay_random_are_refused(standard, dataset) -> None:
    with pytest.raises(UserError, match=r"trainable is 'head'.*fc6 and fc7.*inputs\.size=32; choose 224, or .*=fc"):
        network_of(standard(model__trainable="head"), dataset)


@pytest.mark.parametrize(
    ("protocol", "size", "trainable", "loaded"),
    [
        ("standard", 224, "all", {"features", "fc6", "fc7"}),
        ("standard", 224, "fc", {"features", "fc6", "fc7"}),
        ("standard", 64, "all", {"features"}),  # the file's fc6 is for 7 x 7 maps
        ("paper", 224, "all", {"features"}),  # its code has new fully connected layers
        ("paper", 224, "fc", {"features"}),
        ("paper", 224, "head", {"features", "fc6", "fc7"}),  # its text has a new head
    ],
)
def test_what_is_taken_of_a_file(configure, weight_file, state, protocol, size, trainable, loaded) -> None:
    config = configure(protocol, model__weights=str(weight_file), model__width=1.0, model__trainable=trainable)
    config.inputs.update({"size": size, "scale": "standard"})
    images = np.zeros((1, size, size, 3), np.float32)
    shapes = jax.eval_shape(lambda: sleep.TASK.model(config, None).init(jax.random.key(0), images))["params"]
    params = jax.tree.map(lambda leaf: np.full(leaf.shape, -1, np.float32), shapes)
    assert from_file(sleep.TASK.pretrained(config, params), state) == loaded


def test_the_paper_shows_its_images_to_a_rescaled_kernel(configure, nights, weight_file, state, dataset) -> None:
    """0..255 by the first kernel are what rgb / 255 / deviation is by the file's."""
    config = configure("paper", nights, model__weights=str(weight_file), model__width=1.0)
    params = jax.eval_shape(
        lambda: sleep.TASK.model(config, dataset).init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    )["params"]
    first = sleep.TASK.pretrained(config, params)["features"]["conv1_1"]["kernel"]
    deviation = np.array([0.229, 0.224, 0.225])[:, None]
    np.testing.assert_allclose(first * 255 * deviation, state["features.0.weight"].transpose(2, 3, 1, 0), rtol=1e-5)


def test_a_run_is_named_by_what_the_file_holds(standard, dataset, state, tmp_path: Path) -> None:
    def folder(values: dict[str, np.ndarray], path: Path) -> Path:
        path.parent.mkdir(exist_ok=True)
        save_file(values, path)
        return runs.run_folder(standard(model__weights=str(path)), dataset.card["hash"], None)

    other = {**state, "features.0.bias": state["features.0.bias"] + 1e-6}
    assert folder(state, tmp_path / "a.safetensors") == folder(state, tmp_path / "elsewhere" / "b.safetensors")
    assert folder(state, tmp_path / "a.safetensors") != folder(other, tmp_path / "a.safetensors")
    assert folder(state, tmp_path / "a.safetensors") != runs.run_folder(
        standard(model__weights="none"), dataset.card["hash"], None
    )


# ---- kept features


@pytest.mark.slow
def test_kept_features_train_as_frozen_ones_do_and_members_at_once_as_one_by_one(standard, dataset, tmp_path) -> None:
    """Two folds of the recurrent network, dropout on: with the features in the network, frozen by groups, both folds
    as one program; with features computed beforehand, together, and one by one, streamed from their file."""
    config = standard(model__name="vgg16_conv_lstm", run__root=str(tmp_path))
    whole = standard(model__name="vgg16_conv_lstm", model__trainable="all")
    with whole.unlocked():
        whole.train.groups = ConfigDict(
            {
                "features": {"pattern": "^features/", "rate": 1.0, "decay": 1.0, "frozen": True},
                "others": {"pattern": "^(?!features/)", "rate": 1.0, "decay": 1.0, "frozen": False},
            }
        )
    streamed = config.copy_and_resolve_references()
    streamed.run.resident_bytes = 0
    expected, lines = train(network_of(whole, dataset, 2), tmp_path / "whole", (0, 1))
    together, together_lines = train(network_of(config, dataset, 2), tmp_path / "together", (0, 1))
    network = network_of(streamed, dataset, 2)
    parts = [train(network, tmp_path / f"alone{member}", (member,)) for member in (0, 1)]
    alone, alone_lines = pd.concat([part[0] for part in parts], ignore_index=True), parts[0][1] + parts[1][1]

    losses = {(line["member"], line["step"]): line["loss"] for line in lines}
    assert set(losses) == {(member, step) for member in (0, 1) for step in (1, 2)}
    assert len({round(loss, 4) for loss in losses.values()}) == 4
    assert expected["member"].tolist() == [0] * 12 + [1] * 12
    for frame, found in ((together, together_lines), (alone, alone_lines)):
        assert frame["example"].tolist() == expected["example"].tolist()
        np.testing.assert_allclose(frame[COLUMNS], expected[COLUMNS], atol=1e-5)
        for line in found:
            assert line["loss"] == pytest.approx(losses[line["member"], line["step"]], rel=1e-5, abs=1e-6)
        assert len(found) == len(lines)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows whose features are computed from now on."""
    rows: list[int] = []
    original = features._compute_into

    def counting(path: Path, shape: Any, compute: Callable, chunk: int, desc: str) -> None:
        def counted(chosen: np.ndarray) -> np.ndarray:
            rows.extend(chosen.tolist())
            return compute(chosen)

        original(path, shape, counted, chunk, desc)

    monkeypatch.setattr(features, "_compute_into", counting)
    return rows


@pytest.fixture(scope="module")
def finished(standard, nights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ConfigDict, Path, list[int]]:
    """A frozen run of both networks, two folds and two seeds, to its end; the rows whose features were computed."""
    fields = {"model__beside": ("vgg16_conv_lstm",), "train__n_seeds": 2, "train__n_epochs": 1}
    config = standard(run__root=str(tmp_path_factory.mktemp("frozen")), **fields)
    rows: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        original = frozen.load_or_compute

        def kept(path: Path, n_rows: int, shape: Any, compute: Callable, chunk: int, desc: str) -> np.ndarray:
            return original(path, n_rows, shape, lambda chosen: (rows.extend(chosen), compute(chosen))[1], chunk, desc)

        patch.setattr(frozen, "load_or_compute", kept)
        patch.setattr(sleep, "STUDY", sleep.STUDY._replace(explain=lambda *_: None, figures=lambda _: []))
        return config, commands.launch(config), rows


def test_features_are_computed_once_for_all_members_and_networks(finished) -> None:
    config, folder, rows = finished
    n_examples = len(sleep.prepare(config).index)
    assert set(rows) == set(range(n_examples))
    assert len(rows) < n_examples + 64  # the last ones fill a chunk
    assert len(list((Path(config.run.root) / "features").glob("[!.]*"))) == 1
    frame = pd.read_parquet(folder / "predictions.parquet")
    plain = frame[frame["model"].isin(NAMES)]
    assert plain.groupby(["model", "fold", "seed"]).ngroups == 8


def test_weights_of_a_frozen_run_hold_the_whole_network(finished, state) -> None:
    config, folder, _ = finished
    frame, dataset = pd.read_parquet(folder / "predictions.parquet"), sleep.prepare(config)
    for name in NAMES:
        one = config.copy_and_resolve_references()
        one.model.name = name
        networks, rows = weights.load(folder, name), np.arange(len(dataset.index))
        for network, found in zip(networks, apply.predict(one, sleep.TASK, dataset, networks, rows), strict=True):
            assert "features" in from_file(network.variables["params"], state)
            part = frame[(frame["model"] == name) & (frame["member"] == network.names["member"])]
            np.testing.assert_allclose(found[part["example"]], part[COLUMNS], atol=1e-5)


def test_another_run_reads_the_features_that_are_there(finished, computed, tmp_path: Path) -> None:
    config, _, _ = finished
    for fields in ({"train.learning_rate": 1e-2}, {"data.n_classes": 6}, {"seed": 7}):
        other = config.copy_and_resolve_references()
        other.update_from_flattened_dict(fields)
        network_of(other, sleep.prepare(other)).learnt  # noqa: B018
    assert computed == []
    assert len(list((Path(config.run.root) / "features").glob("[!.]*"))) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs.size": 64},
        {"inputs.colour": "gray"},
        {"inputs.scale": "raw"},
        {"data.context_epochs": 2},
        {"data.context_epochs": 2, "data.causal": True},
        {"data.saturate": True},
        {"train.precision": "bfloat16"},
        {"weights": "other"},
    ],
)
def test_what_the_backbone_sees_or_is_gives_other_features(finished, state, monkeypatch, tmp_path, fields) -> None:
    config = finished[0].copy_and_resolve_references()
    before = {path.name for path in (Path(config.run.root) / "features").glob("[!.]*")}
    if fields.pop("weights", ""):
        path = tmp_path / "other.safetensors"
        save_file({**state, "features.0.bias": state["features.0.bias"] + 1}, path)
        fields["model.weights"] = str(path)
    config.update_from_flattened_dict(fields)
    asked: list[str] = []
    monkeypatch.setattr(
        frozen, "load_or_compute", lambda path, n_rows, shape, *_: (asked.append(path.name), np.zeros((n_rows, 1)))[1]
    )
    network_of(config, sleep.prepare(config)).learnt  # noqa: B018
    assert len(asked) == 1
    assert asked[0] not in before


def test_features_are_those_of_the_backbone_whatever_the_chunks(
    standard, dataset, monkeypatch, computed, tmp_path
) -> None:
    """Interrupted after a chunk, continued: each row once, and equal to the backbone applied to its image."""
    config = standard(run__root=str(tmp_path))
    network = network_of(config, dataset)
    plain, original = network.source, features._compute_into

    def broken(path: Path, shape: Any, compute: Callable, chunk: int, desc: str) -> None:
        def until(chosen: np.ndarray) -> np.ndarray:
            if chosen[0] >= 8:
                raise KeyboardInterrupt
            return compute(chosen)

        original(path, shape, until, chunk, desc)

    monkeypatch.setattr(features, "_compute_into", broken)
    with pytest.raises(KeyboardInterrupt):
        network.learnt  # noqa: B018
    assert not list((tmp_path / "features").glob("[!.]*"))
    computed.clear()
    monkeypatch.setattr(features, "_compute_into", original)
    network.learnt  # noqa: B018
    assert computed == list(range(8, 24))  # 2 on each of 4 devices at once

    rows = np.arange(0, 24, 5)
    images = sleep.TASK.inputs(config)({}, gather(np, plain, rows, rows >= 0), None, False)["inputs"]
    expected = jax.jit(sleep.TASK.backbone(config).apply)({"params": network.backbone}, images)
    np.testing.assert_allclose(network.learnt[1].arrays["maps"][rows], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_gray_images_and_half_precision_train_on_kept_features(standard, dataset, tmp_path: Path) -> None:
    fields = {"inputs__colour": "gray", "train__precision": "bfloat16", "model__name": "vgg16_conv_lstm"}
    network = network_of(standard(run__root=str(tmp_path), **fields), dataset)
    frame, lines = train(network, tmp_path / "run")
    assert network.learnt[1].arrays["maps"].dtype == np.float32
    assert np.isfinite([line["loss"] for line in lines]).all()
    np.testing.assert_allclose(frame[COLUMNS].sum(axis=1), 1, atol=1e-5)
    kinds = {leaf.dtype for leaf in jax.tree.leaves(weights.load(tmp_path / "run", "vgg16_conv_lstm")[0].variables)}
    assert kinds == {np.dtype(np.float32)}


@pytest.mark.slow
def test_the_real_network_trains_on_a_file_of_features_alone(
    configure, nights, dataset, tmp_path: Path, monkeypatch
) -> None:
    """14,714,688 parameters in 59 MB that never move; the ConvLSTM and its head, on their 1 x 1 x 512 maps, do."""
    monkeypatch.setattr(layers, "scale_channels", REAL[0])
    monkeypatch.setattr(pretrained, "VGG16_FEATURES", REAL[1])
    values = state_of(shapes_of(REAL[1]))
    assert sum(array.size for array in values.values()) == 14_714_688
    save_file(values, tmp_path / "features.safetensors")
    config = configure(
        "standard",
        nights,
        model__name="vgg16_conv_lstm",
        model__weights=str(tmp_path / "features.safetensors"),
        model__width=1.0,
        inputs__colour="jet",
        train__n_epochs=1,
        run__root=str(tmp_path),
    )
    frame, lines = train(network_of(config, dataset), tmp_path / "run")
    assert np.isfinite([line["loss"] for line in lines]).all()
    assert len(frame) == 12
    params = weights.load(tmp_path / "run", "vgg16_conv_lstm")[0].variables["params"]
    assert from_file(params, values) == {"features"}
    assert params["conv_lstm"]["gates"]["kernel"].shape == (1, 1, 1024, 2048)


# ---- files that don't fit


class Bomb:
    """What unpickling would execute."""

    def __reduce__(self) -> tuple:
        return exec, ("open('exploded', 'w').close()",)


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("vgg16/data.pkl", pickle.dumps(Bomb()))
        file.writestr("vgg16/version", "3")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (
            "another model",
            r"not torchvision's VGG16: \d\d .*missing, 2 \(conv1\.weight, fc\.weight\) of another network",
        ),
        ("missing key", r"1 \(features\.28\.bias\) missing"),
        ("wrong shape", r"features\.5\.weight has the shape \(8, 4, 5, 5\).*expected \(8, 4, 3, 3\)"),
        ("bomb", r"vgg16\.pth: .*"),
        ("old bomb", r"vgg16\.pth: .*"),
        ("no file", r"no such file; give a state dict, or config\.model\.weights=none"),
        ("a folder", r"no such file"),
        ("half a file", r"broken, or no \.safetensors file"),
        ("small width", r"first layer has .* channels, this network's .*; set config\.model\.width=1"),
        ("batch norm", r"batch_norm"),
    ],
)
@pytest.mark.parametrize("trainable", ["fc", "all"])
def test_a_file_that_does_not_fit_is_one_line_and_trains_nothing(
    standard, state, tmp_path: Path, monkeypatch, what: str, words: str, trainable: str
) -> None:
    monkeypatch.setattr(Network, "run", lambda *_: pytest.fail("something is trained"))
    monkeypatch.chdir(tmp_path)
    path, fields = tmp_path / "vgg16.safetensors", {}
    save_file(state, path)
    if what == "another model":
        save_file({"conv1.weight": np.zeros((64, 3, 7, 7)), "fc.weight": np.zeros((9, 9))}, path)
    elif what == "missing key":
        save_file({name: array for name, array in state.items() if name != "features.28.bias"}, path)
    elif what == "wrong shape":
        save_file({**state, "features.5.weight": np.zeros((8, 4, 5, 5), np.float32)}, path)
    elif what == "bomb":
        bomb(path := tmp_path / "vgg16.pth")
    elif what == "old bomb":
        (path := tmp_path / "vgg16.pth").write_bytes(pickle.dumps(Bomb(), 2))
    elif what == "no file":
        path = tmp_path / "nothing.pth"
    elif what == "a folder":
        (path := tmp_path / "folder.pth").mkdir()
    elif what == "half a file":
        path.write_bytes(path.read_bytes()[:1000])
    elif what == "small width":
        fields["model__width"] = 0.125
    elif what == "batch norm":
        fields["model__batch_norm"] = True
    config = standard(
        model__weights=str(path), model__trainable=trainable, model__beside=("vgg16_conv_lstm",), **fields
    )
    workdir = tmp_path / "run"
    with pytest.raises(UserError, match=words) as caught:
        commands.launch(config, str(workdir))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()
    assert {child.name for child in workdir.iterdir()} <= {".lock"}  # the mended command may have the folder


def test_both_networks_are_checked_before_the_first_is_trained(standard, state, tmp_path: Path, monkeypatch) -> None:
    """The first network trains all and needs the features alone; the second has no room for weights."""
    monkeypatch.setattr(Network, "run", lambda *_: pytest.fail("something is trained"))
    with pytest.raises(UserError, match="'lstm' sees no images"):
        commands.launch(standard(model__trainable="all", model__beside=("lstm",)), str(tmp_path / "run"))
    assert {child.name for child in (tmp_path / "run").iterdir()} <= {".lock"}

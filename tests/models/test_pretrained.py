"""torchvision's VGG16 here: its features and logits, which layers are taken when, and files that don't fit."""

import importlib.util
import json
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from eegjax.data.formats.weight_file import read_weights
from eegjax.errors import UserError
from eegjax.models.pretrained import IMAGENET_MEAN, IMAGENET_STD, load_vgg16
from eegjax.models.vgg import VGG16, VGG16Features
from eegjax.models.vgg_conv_lstm import VGG16ConvLSTM

CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of the convolutions in torchvision's vgg16().features
SHAPES = {
    **{f"features.{i}.weight": (CHANNELS[k + 1], CHANNELS[k], 3, 3) for k, i in enumerate(INDICES)},
    **{f"features.{i}.bias": (CHANNELS[k + 1],) for k, i in enumerate(INDICES)},
    **{"classifier.0.weight": (4096, 25088), "classifier.0.bias": (4096,)},
    **{"classifier.3.weight": (4096, 4096), "classifier.3.bias": (4096,)},
    **{"classifier.6.weight": (1000, 4096), "classifier.6.bias": (1000,)},
}


def zeros(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Arrays of any size that take no memory."""
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


def params_of(module: Any, *shape: int) -> Any:
    """The parameters' tree, every value -1: what is loaded differs, what is new doesn't."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(shape))["params"]
    return jax.tree.map(lambda leaf: np.broadcast_to(np.float32(-1), leaf.shape), shapes)


def new_layers(params: Any) -> set[str]:
    """The top-level layers that kept their new values."""
    return {name for name, tree in params.items() if all((leaf == -1).all() for leaf in jax.tree.leaves(tree))}


def same_shapes(one: Any, other: Any) -> bool:
    return jax.tree.map(lambda leaf: leaf.shape, one) == jax.tree.map(lambda leaf: leaf.shape, other)


@pytest.fixture
def golden(data_root: Path) -> tuple[ModuleType, dict[str, np.ndarray]]:
    """The rule that makes the golden weights, and what torchvision made of them."""
    folder = data_root.parent / "golden"
    if not (folder / "backbones.npz").is_file():
        pytest.skip("no torchvision outputs beside EEGJAX_DATA")
    spec = importlib.util.spec_from_file_location("goldens", folder / "make_backbone_goldens.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with np.load(folder / "backbones.npz", allow_pickle=False) as file:
        return module, {name.removeprefix("vgg16/"): file[name] for name in file.files if name.startswith("vgg16/")}


def old_torch_file(path: Path, state: dict[str, np.ndarray]) -> Path:
    """A file like torchvision's VGG16: consecutive pickles, then the storages; by hand, without torch."""

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def counts(*values: int) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    entries = []
    for name, array in state.items():
        identity = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(name) + text("cpu")
        storage = identity + b"J" + struct.pack("<i", array.size) + b"NtQ"
        strides = counts(*(stride // 4 for stride in array.strides))
        entries.append(
            text(name)
            + b"ctorch._utils\n_rebuild_tensor\n("
            + storage
            + b"K\0"
            + counts(*array.shape)
            + strides
            + b"tR"
        )
    magic = b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
    body = b"ccollections\nOrderedDict\n)R(" + b"".join(entries) + b"u"
    keys = b"](" + b"".join(map(text, state)) + b"e"
    with open(path, "wb") as file:
        for pickle in (magic, b"M\xe9\x03", b"}(" + text("little_endian") + b"\x88u", body, keys):
            file.write(b"\x80\x02" + pickle + b".")
        for array in state.values():
            file.write(struct.pack("<q", array.size) + array.tobytes())
    return path


def distance(found: Any, expected: np.ndarray) -> float:
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


@pytest.mark.slow
def test_torchvision_features_and_logits(golden, tmp_path):
    """To 1e-4 of the largest value; the features' weights go through both kinds of file."""
    rule, expected = golden
    shapes = {name: tuple(shape) for name, shape in json.loads(str(expected["state_dict_shapes"])).items()}
    assert shapes == SHAPES
    state = {name: rule.tensor(name, shape) for name, shape in shapes.items()}
    features = {name: array for name, array in state.items() if name.startswith("features")}
    save_file(features, tmp_path / "a.safetensors")
    files = [read_weights(tmp_path / "a.safetensors"), read_weights(old_torch_file(tmp_path / "a.pth", features))]
    assert all(np.array_equal(file[name], array) for file in files for name, array in features.items())

    module = VGG16(1000)
    images = rule.image("vgg16", tuple(expected["input_shape"])).transpose(0, 2, 3, 1)
    params = params_of(module, *images.shape)
    loaded = load_vgg16(params, {**state, **files[1]}, "vgg16.pth")
    assert same_shapes(params, loaded)
    assert not new_layers(loaded)

    @jax.jit
    def outputs(params: Any, images: Any) -> Any:
        return module.apply(
            {"params": params},
            images,
            capture_intermediates=lambda part, _: part.name == "features",
            mutable=["intermediates"],
        )

    logits, captured = outputs(loaded, images)
    pool5 = captured["intermediates"]["features"]["__call__"][0]
    assert distance(pool5.transpose(0, 3, 1, 2), expected["features"]) < 1e-4
    assert distance(logits, expected["logits"]) < 1e-4


def test_the_recurrent_network_takes_the_features_alone(caplog):
    features = {name: array for name, array in zeros(SHAPES).items() if name.startswith("features")}
    params = params_of(VGG16ConvLSTM(6), 1, 1, 32, 32, 3)
    for state in (features, zeros(SHAPES)):
        loaded = load_vgg16(params, state, "a.pth")
        assert same_shapes(params, loaded)
        assert new_layers(loaded) == {"conv_lstm", "head"}
    assert caplog.messages == ["a.pth: the features are loaded; all after them is newly initialised"] * 2


def test_features_alone_can_be_given_and_asked_for(caplog):
    """Neither needs the file's last layers; what isn't there isn't called new."""
    features = {name: array for name, array in zeros(SHAPES).items() if name.startswith("features")}
    params = params_of(VGG16(1000), 1, 224, 224, 3)
    alone = {"features": params["features"]}
    for state in (features, zeros(SHAPES)):
        loaded = load_vgg16(alone, state, "a.pth")
        assert same_shapes(alone, loaded)
        assert not new_layers(loaded)
    assert caplog.messages == []
    for state in (features, zeros(SHAPES)):
        assert new_layers(load_vgg16(params, state, "a.pth", features_only=True)) == {"fc6", "fc7", "head"}
    assert caplog.messages == ["a.pth: the features are loaded; all after them is newly initialised"] * 2


def test_another_number_of_classes_has_a_new_head(caplog):
    loaded = load_vgg16(params_of(VGG16(5), 1, 224, 224, 3), zeros(SHAPES), "a.pth")
    assert new_layers(loaded) == {"head"}
    assert "the head is newly initialised: the file has 1000 classes, this network 5" in caplog.text


@pytest.mark.parametrize("size", [64, 256])
def test_another_image_size_has_new_last_layers(size, caplog):
    loaded = load_vgg16(params_of(VGG16(1000), 1, size, size, 3), zeros(SHAPES), "a.pth")
    assert new_layers(loaded) == {"fc6", "fc7", "head"}
    assert f"7 x 7 maps (images of 224 pixels), this network's {size // 32} x {size // 32}" in caplog.text


def test_the_flattened_order_is_channels_rows_columns():
    place = np.arange(25088, dtype=np.float32)
    state = {**zeros(SHAPES), "classifier.0.weight": np.broadcast_to(place, (4096, 25088))}
    kernel = load_vgg16(params_of(VGG16(1000), 1, 224, 224, 3), state, "a.pth")["fc6"]["kernel"]
    row, column, channel = np.indices((7, 7, 512))
    assert np.array_equal(kernel[..., 17], channel * 49 + row * 7 + column)


def test_gray_is_the_same_as_gray_in_three_colours():
    rng = np.random.default_rng(0)
    state = {
        name: (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float16)
        for name, shape in SHAPES.items()
        if name.startswith("features")
    }
    gray = rng.normal(size=(2, 32, 32, 1)).astype(np.float32)
    outputs = []
    for n_channels in (1, 3):
        params = params_of(VGG16ConvLSTM(6), 1, 32, 32, n_channels)
        loaded = load_vgg16(params, state, "a.pth")
        assert same_shapes(params, loaded)
        weights = loaded["features"]
        assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(weights))
        outputs.append(jax.jit(VGG16Features().apply)({"params": weights}, np.repeat(gray, n_channels, -1)))
    largest = np.abs(outputs[0]).max()
    assert largest > 0.1
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=0, atol=1e-4 * largest)


def test_published_means_and_deviations():
    """torchvision's documentation of its ImageNet weights."""
    assert [f"{value:.3f}" for value in IMAGENET_MEAN] == ["0.485", "0.456", "0.406"]
    assert [f"{value:.3f}" for value in IMAGENET_STD] == ["0.229", "0.224", "0.225"]
    assert IMAGENET_MEAN.dtype == IMAGENET_STD.dtype == np.float32


def test_raw_images_have_the_effect_of_scaled_ones(golden):
    """0..255 by `raw` weights and rgb / 255 / (.229, .224, .225) by torchvision's own: the same pool5."""
    rule, _ = golden
    state = {name: rule.tensor(name, shape) for name, shape in SHAPES.items() if name.startswith("features")}
    params, gray = ({"features": params_of(VGG16Features(), 1, 32, 32, n)} for n in (3, 1))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    scaled = images / 255 / np.array([0.229, 0.224, 0.225], np.float32)
    apply = jax.jit(VGG16Features().apply)
    raw, plain = (load_vgg16(params, state, "a.pth", raw=raw)["features"] for raw in (True, False))
    assert same_shapes(params["features"], raw)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(raw)} == {"float32"}
    found, expected = apply({"params": raw}, images), apply({"params": plain}, scaled)
    assert np.abs(expected).max() > 0.1
    assert distance(found, expected) < 1e-5
    kernel = load_vgg16(gray, state, "a.pth", raw=True)["features"]["conv1_1"]["kernel"]
    np.testing.assert_allclose(kernel, raw["conv1_1"]["kernel"].sum(2, keepdims=True), rtol=1e-5, atol=1e-8)


def changed(without: str = "", **changes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return zeros({name: shape for name, shape in {**SHAPES, **changes}.items() if name != without})


RESNET = {"conv1.weight": (64, 3, 7, 7), "layer1.0.conv1.weight": (64, 64, 3, 3), "fc.weight": (1000, 512)}
WITH_BATCH_NORM = {"features.1.running_mean": (64,), "features.1.weight": (64,)}
WRONG = {
    "a missing key": (changed("features.28.bias"), r"1 \(features.28.bias\) missing, none of another network"),
    "a missing classifier": (changed("classifier.3.weight"), r"1 \(classifier.3.weight\) missing"),
    "another network": (zeros(RESNET), r"32 \(classifier.0.bias, .*, ...\) missing, 3 \(conv1.weight, fc.weight, "),
    "batch normalisation": (changed(**WITH_BATCH_NORM), r"none missing, 2 \(features.1.running_mean, features.1.weigh"),
    "nothing": ({}, r"32 \(.*\) missing, none of another"),
    "another filter size": (
        changed(**{"features.5.weight": (128, 64, 5, 5)}),
        r"features.5.weight has the shape \(128, 64, 5, 5\) and the type float32; expected \(128, 64, 3, 3\)",
    ),
    "another bias": (changed(**{"classifier.6.bias": (999,)}), r"classifier.6.bias has .*\(999,\).*expected \(1000,\)"),
    "another image size": (changed(**{"classifier.0.weight": (4096, 512)}), r"expected \(4096, 25088\)"),
    "another head": (changed(**{"classifier.6.weight": (1000, 9)}), r"expected \(any, 4096\)"),
    "a scalar": (changed(**{"features.0.bias": ()}), r"features.0.bias has the shape \(\)"),
    "whole numbers": (
        {**zeros(SHAPES), "features.0.weight": np.zeros((64, 3, 3, 3), np.int8)},
        r"features.0.weight has the shape \(64, 3, 3, 3\) and the type int8; expected .* floating type",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_files_of_another_network(what):
    state, found = WRONG[what]
    with pytest.raises(UserError, match=rf"^a.pth: .*{found}.*torchvision.models.vgg16$"):
        load_vgg16(params_of(VGG16(1000), 1, 64, 64, 3), state, "a.pth")


@pytest.mark.parametrize(
    ("fields", "n_channels", "found"),
    [
        ({"width": 0.5}, 3, "first layer has 64 channels, this network's 32; set config.model.width=1"),
        ({"batch_norm": True}, 3, "set config.model.batch_norm=false"),
        ({}, 2, "images of 3 or 1 channels, this network's have 2"),
    ],
)
@pytest.mark.parametrize("kind", [VGG16, VGG16ConvLSTM])
def test_networks_that_the_weights_do_not_fit(kind, fields, n_channels, found):
    with pytest.raises(UserError, match=f"^a.pth: .*{found}$"):
        load_vgg16(params_of(kind(5, **fields), 1, 32, 32, n_channels), zeros(SHAPES), "a.pth")

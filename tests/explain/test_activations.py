"""Activation maps against convolutions by hand, and against the networks' parts run one by one."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from scipy.signal import correlate2d

from eegjax.explain.activations import HIDDEN_STATE, compute_activation_maps, vgg16_layers
from eegjax.models.vgg import VGG16, VGG16Features
from eegjax.models.vgg_conv_lstm import ConvLSTM, VGG16ConvLSTM

WIDTH = 1 / 32
maps_of = jax.jit(compute_activation_maps, static_argnums=(0, 3))


def made(kind: type[nn.Module], *leading: int, batch_norm: bool = False):
    """(model, variables with biases of both signs, images [*leading, 32, 32, 1])."""
    model = kind(n_outputs=6, width=WIDTH, batch_norm=batch_norm)  # type: ignore[call-arg]
    rng = np.random.default_rng(0)
    images = rng.normal(size=(*leading, 32, 32, 1)).astype(np.float32)

    def draw(path, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if path[-1].key in ("var", "scale"):
            return rng.uniform(0.5, 2, leaf.shape).astype(np.float32)
        scale = 0.2 if leaf.ndim == 1 else np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return rng.normal(0, scale, leaf.shape).astype(np.float32)

    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return model, jax.tree_util.tree_map_with_path(draw, shapes), images


def convolved(x: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """[h, w, n] -> [h, w, m] with SciPy."""
    kernel = weights["kernel"]
    planes = [
        sum(correlate2d(x[..., c], kernel[:, :, c, k], "same") for c in range(x.shape[-1])) + weights["bias"][k]
        for k in range(kernel.shape[-1])
    ]
    return np.stack(planes, -1)


def test_layers_are_those_of_configuration_d():
    assert [layer[-7:] for layer in vgg16_layers()] == ["conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"]
    assert [layer[-7:] for layer in vgg16_layers(True)] == ["norm1_2", "norm2_2", "norm3_3", "norm4_3", "norm5_3"]


def test_vgg16():
    """The first stage matches SciPy; the stages halve; no map is negative."""
    model, variables, images = made(VGG16, 2)
    maps = maps_of(model, variables, images, ("features/conv1_1", *vgg16_layers()))
    weights = variables["params"]["features"]
    for image, first, second in zip(images, maps["features/conv1_1"], maps["features/conv1_2"], strict=True):
        x = np.maximum(convolved(image, weights["conv1_1"]), 0)
        assert (x == 0).mean() > 0.1  # or the test wouldn't see the ReLU
        np.testing.assert_allclose(first, x.mean(-1), rtol=1e-4, atol=1e-5)
        x = np.maximum(convolved(x, weights["conv1_2"]), 0)
        np.testing.assert_allclose(second, x.mean(-1), rtol=1e-4, atol=1e-5)
    assert [maps[layer].shape for layer in vgg16_layers()] == [(2, size, size) for size in (32, 16, 8, 4, 2)]
    for map_ in maps.values():
        assert map_.dtype == np.float32
        assert (map_ >= 0).all()
        assert map_.std() > 0


def test_normalised_layers_match_scipy():
    model, variables, images = made(VGG16, 1, batch_norm=True)
    (found,) = maps_of(model, variables, images, ("features/norm1_1",))["features/norm1_1"]
    weights, running = variables["params"]["features"], variables["batch_stats"]["features"]["norm1_1"]
    x = (convolved(images[0], weights["conv1_1"]) - running["mean"]) / np.sqrt(running["var"] + 1e-5)
    x = np.maximum(x * weights["norm1_1"]["scale"] + weights["norm1_1"]["bias"], 0)
    np.testing.assert_allclose(found, x.mean(-1), rtol=1e-4, atol=1e-5)


def test_sequences_keep_their_axes():
    """The features of a sequence are those of its images one by one; the hidden state is that of its part alone."""
    model, variables, images = made(VGG16ConvLSTM, 2, 3)
    layers = ("features/conv2_2", "features/conv5_3", HIDDEN_STATE)
    maps = maps_of(model, variables, images, layers)
    assert maps["features/conv2_2"].shape == (2, 3, 16, 16)
    features = VGG16Features(WIDTH)
    weights = {"params": variables["params"]["features"]}

    @jax.jit
    def run(images):
        return features.apply(weights, images, capture_intermediates=lambda one, _: one.name == "conv5_3")

    pooled, captured = run(images.reshape(6, 32, 32, 1))
    (output,) = captured["intermediates"]["conv5_3"]["__call__"]
    np.testing.assert_allclose(maps["features/conv5_3"][1, 2], np.maximum(output[5], 0).mean(-1), rtol=1e-4, atol=1e-6)

    sequence = np.asarray(pooled).reshape(2, 3, *pooled.shape[1:])
    states = jax.jit(ConvLSTM(sequence.shape[-1], 1).apply)({"params": variables["params"]["conv_lstm"]}, sequence)
    assert np.min(states) < 0 < np.max(states)
    np.testing.assert_allclose(maps[HIDDEN_STATE], np.abs(states).mean(-1), rtol=1e-4, atol=1e-6)

    single = maps_of(model, variables, images[:, 0], layers)  # one step needs no sequence axis
    for layer in layers:
        assert single[layer].ndim == 3
        np.testing.assert_allclose(single[layer], maps[layer][:, 0], rtol=1e-4, atol=1e-6)


def test_a_layer_that_is_not_there():
    model, variables, images = made(VGG16, 1)
    with pytest.raises(ValueError, match=r"no layer 'features/norm1_2'. Did you mean 'features/conv1_2'"):
        jax.eval_shape(lambda x: compute_activation_maps(model, variables, x, vgg16_layers(batch_norm=True)), images)

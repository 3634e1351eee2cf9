"""3D U-Net: its published sizes, a NumPy forward pass, its reach by hand, volumes over devices."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from volumes import assert_near, compiled, count, made, shapes, volumes

from eegjax.errors import UserError
from eegjax.models import layers
from eegjax.models.unet_3d import UNet3D

WIDTH = 1 / 16  # of the networks that are run: 4, 8 and 16 channels


# ---- sizes


@pytest.mark.parametrize(
    ("module", "published"),
    [
        (UNet3D(2), 16_315_650),
        (UNet3D(1), 16_315_585),
        (UNet3D(2, norm="group"), 16_318_756),
        (UNet3D(1, norm="group"), 16_318_691),
        # a transposed convolution keeps its channels: 8 c² + c for 512, 256 and 128
        (UNet3D(2, upsampling="transposed"), 16_315_650 + 2_097_664 + 524_544 + 131_200),
    ],
)
def test_published_parameter_counts(module, published):
    assert count(module, 1, 64, 64, 64, 1) == published


def test_an_eighth_of_the_width_and_two_levels_by_hand():
    pairs = ((1, 4), (4, 8), (8, 8), (8, 16), (24, 8), (8, 8))
    expected = sum(27 * inputs * outputs + outputs for inputs, outputs in pairs) + 8 * 3 + 3
    assert count(UNet3D(3, width=1 / 8, depth=2), 1, 4, 4, 4, 1) == expected


def test_grids_need_not_be_cubes():
    out = jax.eval_shape(UNet3D(2).init_with_output, jax.random.key(0), jnp.zeros((3, 8, 16, 24, 2)))[0]
    assert (out.shape, out.dtype) == ((3, 8, 16, 24, 2), jnp.float32)


@pytest.mark.parametrize("sides", [(4, 8, 8), (16, 16, 12), (17, 16, 16)])
def test_grids_that_do_not_fit_are_an_error(sides):
    named = (
        rf"U-Net with 4 levels .* at least 8 voxels a side, in multiples of 8; this one is {sides[0]} x {sides[1]} x"
    )
    with pytest.raises(UserError, match=named):
        shapes(UNet3D(2), 1, *sides, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 1}, "depth is 1; 3D U-Net has 2 to 4 levels"),
        ({"depth": 5}, "depth is 5; 3D U-Net has 2 to 4 levels"),
        ({"norm": "grup"}, "norm is 'grup'; there are none, group. Did you mean 'group'"),
        ({"upsampling": "linear"}, "upsampling is 'linear'; there are nearest, transposed"),
    ],
)
def test_other_settings_are_an_error(fields, message):
    with pytest.raises(UserError, match=message):
        shapes(UNet3D(2, **fields), 1, 16, 16, 16, 1)


# ---- values


def numpy_convs(x: np.ndarray, stage: Any) -> np.ndarray:
    for index in (1, 2):
        if f"norm_{index}" in stage:
            x = numpy_group_norm(x, stage[f"norm_{index}"])
        weights = stage[f"conv_{index}"]
        x = np.pad(x, ((0, 0), *[(1, 1)] * 3, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3, 3), (1, 2, 3))
        x = np.einsum("bzyxcijk,ijkco->bzyxo", windows, weights["kernel"], optimize=True) + weights.get("bias", 0)
        x = np.maximum(x, 0)
    return x


def numpy_group_norm(x: np.ndarray, weights: Any) -> np.ndarray:
    n_groups = 8 if x.shape[-1] % 8 == 0 else 1
    groups = x.reshape(len(x), -1, n_groups, x.shape[-1] // n_groups)
    mean, variance = groups.mean((1, 3), keepdims=True), groups.var((1, 3), keepdims=True)
    normed = ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    return normed * weights["scale"] + weights["bias"]


def numpy_unet(params: Any, x: np.ndarray, depth: int) -> np.ndarray:
    encoded = []
    for level in range(1, depth + 1):
        if level > 1:
            batch, size, *_, channels = x.shape
            x = x.reshape(batch, *[size // 2, 2] * 3, channels).max((2, 4, 6))
        x = numpy_convs(x, params[f"encoder_{level}"])
        encoded.append(x)
    for level in range(depth - 1, 0, -1):
        stage = params[f"decoder_{level}"]
        if "up" in stage:
            kernel = stage["up"]["kernel"][::-1, ::-1, ::-1]  # Flax's runs backwards
            up = np.einsum("bzyxc,klmco->bzkylxmo", x, kernel)
            x = up.reshape(*encoded[level - 1].shape[:4], -1) + stage["up"]["bias"]
        else:
            x = x.repeat(2, 1).repeat(2, 2).repeat(2, 3)
        x = numpy_convs(np.concatenate([encoded[level - 1], x], -1), stage)
    return x @ params["head"]["kernel"][0, 0, 0] + params["head"]["bias"]


@pytest.mark.parametrize("fields", [{}, {"norm": "group", "upsampling": "transposed"}])
def test_it_matches_numpy(fields):
    module, x = UNet3D(2, WIDTH, depth=3, **fields), volumes(2, 8)
    params = made(module, 8)
    exact = jax.tree.map(lambda leaf: leaf.astype(np.float64), params)
    expected = numpy_unet(exact, x.astype(np.float64), 3)
    assert expected.std((0, 1, 2, 3)).min() > 0.05
    assert np.abs(expected[0] - expected[1]).max() > 0.05
    assert_near(jax.jit(module.apply)({"params": params}, x), expected)


def test_upsampling_repeats():
    x = volumes(2, 3, 2)
    assert np.array_equal(layers.upsample(x, 2), x.repeat(2, 1).repeat(2, 2).repeat(2, 3))
    assert np.array_equal(layers.upsample(x[:, :, 0, 0], 3), x[:, :, 0, 0].repeat(3, 1))


# ---- properties


def test_it_sees_as_far_as_its_kernels_reach():
    """Of an even voxel p, halved q: p ± 2 is q ± 1, two kernels more q ± 3, that is p - 6 to p + 7, and two more."""
    module = UNet3D(1, 1 / 64, depth=2)
    params = jax.tree.map(np.abs, made(module, 24))
    x = np.abs(volumes(1, 24))
    seen = jax.jit(jax.grad(lambda x: module.apply({"params": params}, x)[0, 12, 12, 12, 0]))(x)[0, ..., 0]
    for axis in range(3):
        (places,) = np.nonzero(np.any(seen != 0, tuple({0, 1, 2} - {axis})))
        assert (places.min(), places.max()) == (12 - 8, 12 + 9)


@cache
def plain() -> tuple[UNet3D, Any, np.ndarray, Any]:
    """(two levels with normalisation, their parameters, two volumes, outputs and gradients)."""
    module, x = UNet3D(2, WIDTH, depth=2, norm="group"), volumes(2, 8)
    params = made(module, 8)
    return module, params, x, compiled(module)(params, x)


@pytest.mark.slow
def test_volumes_do_not_see_each_other():
    module, params, x, (out, _) = plain()
    spoilt = np.stack([x[0], np.full_like(x[0], np.nan)])
    found, _ = compiled(module)(params, spoilt)
    assert np.isnan(found[1]).all()
    assert_near(found[0], out[0], 1e-6)


def test_with_group_norm_neither_scale_nor_offset_of_a_volume_matters():
    module, params, x, (out, _) = plain()
    assert_near(compiled(module)(params, 30 * x - 7)[0], out, 1e-4)


@pytest.mark.slow
def test_remat_changes_no_number():
    _, params, x, expected = plain()
    again = UNet3D(2, WIDTH, depth=2, norm="group", remat=True)
    equations = jax.make_jaxpr(again.apply)({"params": params}, x).eqns
    assert sum("prevent_cse" in equation.params for equation in equations) == 3
    assert_near(compiled(again)(params, x), expected, 1e-6)


def test_a_gradient_reaches_every_parameter():
    _, params, _, (_, gradients) = plain()
    assert jax.tree.structure(params) == jax.tree.structure(gradients)
    for path, leaf in jax.tree.leaves_with_path(gradients):
        assert np.abs(leaf).max() > 1e-6, jax.tree_util.keystr(path)


@pytest.mark.slow
def test_bfloat16_computes_in_it_and_keeps_float32():
    _, params, x, (expected, _) = plain()
    half = UNet3D(2, WIDTH, depth=2, norm="group", dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes(half, *x.shape))} == {jnp.dtype("float32")}
    equations = [
        equation
        for equation in jax.make_jaxpr(half.apply)({"params": params}, x).eqns
        if equation.primitive.name == "conv_general_dilated"
    ]
    assert len(equations) == 7
    assert {v.aval.dtype for equation in equations for v in equation.invars} == {jnp.dtype("bfloat16")}
    out, gradients = compiled(half)(params, x)
    assert out.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype("float32")}
    assert np.sqrt(np.mean((out - expected) ** 2)) < 0.03 * expected.std()


@pytest.mark.parametrize("shape", [pytest.param((1, 4), marks=pytest.mark.slow), (2, 2)])
def test_a_volume_split_over_devices_gives_what_one_device_gives(shape):
    """The second of the two levels has four slabs."""
    module, params, x, expected = plain()
    mesh = jax.make_mesh(shape, ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    with jax.set_mesh(mesh):
        split = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data", "space")))
        out, gradients = compiled(module)(params, split)
    assert {shard.data.shape[:2] for shard in out.addressable_shards} == {(2 // shape[0], 8 // shape[1])}
    assert_near((out, gradients), expected)

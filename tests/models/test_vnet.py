"""V-Net: its published size, a NumPy forward pass, normalisation and skips by hand, volumes over devices."""

from functools import cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from volumes import assert_near, compiled, count, made, shapes, volumes

from eegjax.errors import UserError
from eegjax.models import layers
from eegjax.models.vnet import Left, VNet

WIDTH = 1 / 16  # of the networks that are run: 1, 2 and 4 channels down, 2 and 4 up


# ---- sizes


def test_published_parameter_counts():
    assert count(VNet(2), 1, 64, 64, 64, 1) == 82_026_089
    assert count(VNet(1), 1, 64, 64, 64, 1) == 82_022_084


def test_a_quarter_of_the_width_and_two_levels_by_hand():
    def conv(side: int, inputs: int, outputs: int) -> int:
        return side**3 * inputs * outputs + outputs

    left_1 = conv(5, 1, 4) + 2 * 4 + 1 + conv(1, 1, 4)
    left_2 = conv(2, 4, 8) + 1 + 2 * (conv(5, 8, 8) + 2 * 8 + 1) + conv(1, 8, 8)
    right_1 = conv(2, 8, 8) + 1 + conv(5, 4, 8) + 2 * 8 + 1 + conv(5, 16, 8) + 1
    module = VNet(3, width=0.25, depth=2)
    assert count(module, 1, 4, 4, 4, 1) == left_1 + left_2 + right_1 + conv(5, 8, 3) + conv(1, 3, 3)


def test_grids_need_not_be_cubes():
    out = jax.eval_shape(VNet(2).init_with_output, jax.random.key(0), jnp.zeros((3, 32, 48, 64, 2)))[0]
    assert (out.shape, out.dtype) == ((3, 32, 48, 64, 2), jnp.float32)


@pytest.mark.parametrize("sides", [(16, 16, 16), (32, 32, 40), (33, 32, 32)])
def test_grids_that_do_not_fit_are_an_error(sides):
    named = (
        rf"V-Net with 5 levels .* at least 32 voxels a side, in multiples of 16; this one is {sides[0]} x {sides[1]} x"
    )
    with pytest.raises(UserError, match=named):
        shapes(VNet(2), 1, *sides, 1)


@pytest.mark.parametrize("depth", [1, 6])
def test_depths_that_there_are_not_are_an_error(depth):
    with pytest.raises(UserError, match=rf"depth is {depth}; V-Net has 2 to 5 levels"):
        shapes(VNet(2, depth=depth), 1, 64, 64, 64, 1)


def test_four_levels_fit_on_sixteen_voxels():
    assert set(shapes(VNet(2, depth=4), 1, 16, 16, 16, 1)) == {
        *(f"left_{level}" for level in (1, 2, 3, 4)),
        *(f"right_{level}" for level in (1, 2, 3)),
        "last",
        "head",
    }


# ---- values


def numpy_conv(x: np.ndarray, weights: Any) -> np.ndarray:
    """Zero padding, stride 1."""
    reach = weights["kernel"].shape[0] // 2
    x = np.pad(x, ((0, 0), *[(reach, reach)] * 3, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weights["kernel"].shape[:3], (1, 2, 3))
    return np.einsum("bzyxcijk,ijkco->bzyxo", windows, weights["kernel"], optimize=True) + weights["bias"]


def numpy_prelu(x: np.ndarray, weights: Any) -> np.ndarray:
    return np.maximum(x, 0) + weights["negative_slope"] * np.minimum(x, 0)


def numpy_unit(x: np.ndarray, stage: Any, name: str) -> np.ndarray:
    x = numpy_conv(x, stage[f"conv_{name}"])
    x = (x - x.mean((1, 2, 3), keepdims=True)) / np.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)
    x = x * stage[f"norm_{name}"]["scale"] + stage[f"norm_{name}"]["bias"]
    return numpy_prelu(x, stage[f"prelu_{name}"])


def numpy_left(x: np.ndarray, stage: Any) -> np.ndarray:
    if "down" in stage:
        batch, depth, height, width, channels = x.shape
        blocks = x.reshape(batch, depth // 2, 2, height // 2, 2, width // 2, 2, channels)
        x = np.einsum("bzkylxmc,klmco->bzyxo", blocks, stage["down"]["kernel"]) + stage["down"]["bias"]
        x = numpy_prelu(x, stage["prelu_down"])
    skipped = x @ stage["skip"]["kernel"][0, 0, 0] + stage["skip"]["bias"]
    for index in range(1, 4):
        x = numpy_unit(x, stage, str(index)) if f"conv_{index}" in stage else x
    return x + skipped


def numpy_right(x: np.ndarray, encoded: np.ndarray, stage: Any) -> np.ndarray:
    kernel = stage["up"]["kernel"][::-1, ::-1, ::-1]  # Flax's runs backwards
    up = np.einsum("bzyxc,klmco->bzkylxmo", x, kernel).reshape(*encoded.shape[:4], -1) + stage["up"]["bias"]
    up = numpy_prelu(up, stage["prelu_up"])
    x = np.concatenate([up, numpy_unit(encoded, stage, "encoded")], -1)
    for index in range(1, 4):
        x = (
            numpy_prelu(numpy_conv(x, stage[f"conv_{index}"]), stage[f"prelu_{index}"])
            if f"conv_{index}" in stage
            else x
        )
    return x + up


def numpy_vnet(params: Any, x: np.ndarray, depth: int) -> np.ndarray:
    encoded = [x]
    for level in range(1, depth + 1):
        encoded.append(numpy_left(encoded[-1], params[f"left_{level}"]))
    x = encoded.pop()
    for level in range(depth - 1, 0, -1):
        x = numpy_right(x, encoded[level], params[f"right_{level}"])
    return numpy_conv(numpy_conv(x, params["last"]), params["head"])


def test_it_matches_numpy():
    module, x = VNet(2, WIDTH, depth=3), volumes(2, 8, 2)
    params = made(module, 8, 2)
    exact = jax.tree.map(lambda leaf: leaf.astype(np.float64), params)
    expected = numpy_vnet(exact, x.astype(np.float64), 3)
    assert expected.std((0, 1, 2, 3)).min() > 0.05
    assert np.abs(expected[0] - expected[1]).max() > 0.05
    assert_near(jax.jit(module.apply)({"params": params}, x), expected)


def test_instance_norm_leaves_every_volume_and_channel_with_mean_zero_and_variance_one():
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return layers.instance_norm(x, dtype=jnp.float32, name="norm")

    offsets = np.array([0, 100, 1000, -5])  # a fast variance would be noise at the third
    x = volumes(3, 6, 4) * np.array([1, 2, 3]).reshape(3, 1, 1, 1, 1) + offsets
    out, variables = Normed().init_with_output(jax.random.key(0), jnp.asarray(x, jnp.float32))
    assert jax.tree.map(lambda leaf: leaf.shape, variables["params"]["norm"]) == {"scale": (4,), "bias": (4,)}
    np.testing.assert_allclose(out.mean((1, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(out.var((1, 2, 3)), 1, atol=1e-3)


@pytest.mark.slow
def test_a_stage_whose_units_are_silent_hands_its_input_on():
    module, x = Left(3, 2, False, jnp.float32), volumes(2, 4, 3)
    params = module.init(jax.random.key(0), x)["params"]
    silent = {name: {"scale": jnp.zeros(3), "bias": jnp.zeros(3)} for name in ("norm_1", "norm_2")}
    identity = {"kernel": jnp.eye(3)[None, None, None], "bias": jnp.zeros(3)}
    np.testing.assert_allclose(module.apply({"params": {**params, **silent, "skip": identity}}, x), x, atol=1e-6)
    assert np.abs(module.apply({"params": {**params, "skip": identity}}, x) - x).max() > 0.1


def test_prelu_starts_at_a_quarter():
    params = shapes(VNet(2, WIDTH, depth=2), 1, 4, 4, 4, 1)
    slopes = [leaf.shape for path, leaf in jax.tree.leaves_with_path(params) if "slope" in jax.tree_util.keystr(path)]
    assert slopes == [()] * (1 + 3 + 3)

    class Bent(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return layers.prelu(x, name="prelu")

    out, _ = Bent().init_with_output(jax.random.key(0), jnp.array([-4.0, 8.0]))
    assert out.tolist() == [-1.0, 8.0]


# ---- properties


@cache
def plain() -> tuple[VNet, Any, np.ndarray, Any]:
    """(two levels, their parameters, two volumes, outputs and gradients)."""
    module, x = VNet(2, WIDTH, depth=2), volumes(2, 8)
    params = made(module, 8)
    return module, params, x, compiled(module)(params, x)


@pytest.mark.slow
def test_volumes_do_not_see_each_other():
    module, params, x, (out, _) = plain()
    spoilt = np.stack([x[0], np.full_like(x[0], np.nan)])
    found, _ = compiled(module)(params, spoilt)
    assert np.isnan(found[1]).all()
    assert_near(found[0], out[0], 1e-6)


@pytest.mark.slow
def test_remat_changes_no_number():
    _, params, x, expected = plain()
    again = VNet(2, WIDTH, depth=2, remat=True)
    equations = jax.make_jaxpr(again.apply)({"params": params}, x).eqns
    assert sum("prevent_cse" in equation.params for equation in equations) == 3
    assert_near(compiled(again)(params, x), expected, 1e-6)


def test_a_gradient_reaches_every_parameter_that_a_normalisation_does_not_take_away():
    _, params, _, (_, gradients) = plain()
    assert jax.tree.structure(params) == jax.tree.structure(gradients)
    for path, leaf in jax.tree.leaves_with_path(gradients):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        stage, layer = name.split("/")[:2]
        taken = name.endswith("bias") and layer.replace("conv", "norm") in params[stage] and layer.startswith("conv")
        assert (np.abs(leaf).max() < 1e-6) == taken, name


def test_bfloat16_computes_in_it_and_keeps_float32():
    _, params, x, (expected, _) = plain()
    half = VNet(2, WIDTH, depth=2, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes(half, *x.shape))} == {jnp.dtype("float32")}
    equations = [
        equation
        for equation in jax.make_jaxpr(half.apply)({"params": params}, x).eqns
        if equation.primitive.name == "conv_general_dilated"
    ]
    assert len(equations) == 2 + 4 + 3 + 2  # in the stages on the way down, up, and after them
    assert {v.aval.dtype for equation in equations for v in equation.invars} == {jnp.dtype("bfloat16")}
    out, gradients = compiled(half)(params, x)
    assert out.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype("float32")}
    assert np.sqrt(np.mean((out - expected) ** 2)) < 0.03 * expected.std()


@pytest.mark.parametrize("shape", [pytest.param((1, 4), marks=pytest.mark.slow), (2, 2)])
def test_a_volume_split_over_devices_gives_what_one_device_gives(shape):
    """The second level has four slabs: over four devices, a kernel of five reaches beyond the neighbours."""
    module, params, x, expected = plain()
    mesh = jax.make_mesh(shape, ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    with jax.set_mesh(mesh):
        split = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data", "space")))
        out, gradients = compiled(module)(params, split)
    assert {shard.data.shape[:2] for shard in out.addressable_shards} == {(2 // shape[0], 8 // shape[1])}
    assert_near((out, gradients), expected)


@pytest.mark.parametrize(
    ("module", "slabs", "shape"),
    [(layers.conv_transpose(32, (2, 2, 2)), 2, (1, 4)), (layers.conv(2, (5, 5, 5)), 4, (2, 2))],
)
def test_the_lowest_levels_gradient_is_right_on_several_devices(module, slabs, shape):
    """XLA's own split of so few slabs gives the input's gradient wrong by its own size."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, slabs, 2, 2, 32 if slabs == 2 else 2)).astype(np.float32)
    variables = module.init(jax.random.key(0), x)
    weight = rng.normal(size=(2, 4, *jax.eval_shape(module.apply, variables, x).shape[2:])).astype(np.float32)

    @jax.jit
    def both_ways(variables: Any, x: jax.Array, weight: jax.Array) -> Any:
        y, back = jax.vjp(lambda x: module.apply(variables, x), x)
        return y, *back(weight)

    expected = both_ways(variables, x, weight)
    mesh = jax.make_mesh(shape, ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    with jax.set_mesh(mesh):
        x = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        weight = jax.device_put(weight, NamedSharding(mesh, PartitionSpec("data", "space")))
        found = both_ways(variables, x, weight)
    assert_near(found, expected)

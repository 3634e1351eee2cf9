"""Volumes split along depth over devices: a training step gives what one device gives, and each holds its slabs."""

import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_study as tiny
from jax.sharding import AxisType, PartitionSpec

from eegjax.errors import UserError
from eegjax.models import operations
from eegjax.models.unet_3d import UNet3D
from eegjax.models.vnet import VNet
from eegjax.train import members, volume_losses
from eegjax.train import state as states
from eegjax.train.members import split_along_depth
from eegjax.train.step import make_train_step

SIZE, N = 16, 2  # voxels a side, volumes
MODELS = {"v_net": VNet(2, 1 / 16, depth=2), "u_net": UNet3D(2, 1 / 16, depth=2)}


def mesh_of(n_data, n_space):
    kinds, devices = (AxisType.Auto,) * 2, jax.devices()[: n_data * n_space]
    return jax.make_mesh((n_data, n_space), ("data", "space"), axis_types=kinds, devices=devices)


def inputs(stats, batch, key, train):
    """As a study of volumes does."""
    volumes, targets = split_along_depth(batch["volume"][..., None]), split_along_depth(batch["target"])
    return {"mask": batch["mask"], "inputs": volumes, "target": targets}


def loss(stats, logits, batch):
    # multiples of a quarter, whose sum over thousands of voxels is exact in whatever order
    return volume_losses.weighted_cross_entropy(logits, batch["target"], jnp.array([0.25, 1.0])), {}


@cache
def first(name):
    """A model's state before training, and a batch, of one member."""
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(1, N, SIZE, SIZE, SIZE)).astype(np.float32)
    batch = {"volume": volume, "target": rng.uniform(size=volume.shape) < 0.1, "mask": np.ones((1, N), bool)}
    variables = jax.jit(MODELS[name].init)(jax.random.PRNGKey(0), volume[0, :1, :, :, :, None])
    key, settings = jax.random.PRNGKey(1), {"averaging": False, "validating": False}
    return states.create(variables, {}, optax.sgd(0.1, momentum=0.9), key, **settings), batch


@cache
def trained(name, n_data, n_space):
    """The state after two steps, their metrics, and what was compiled."""
    mesh, (state, batch) = mesh_of(n_data, n_space), first(name)
    train = tiny.get_config(train__ema_decay=0.0).train
    step = make_train_step(MODELS[name], inputs, loss, optax.sgd(0.1, momentum=0.9), train)
    shardings = members.state_sharding(1, mesh), members.everywhere(mesh)
    spread = members.spread(lambda shared, *trees: step(*trees), 1, mesh)
    # XLA's own form on one device too, which compiles sooner than the fast one
    with jax.set_mesh(mesh), operations.use_form("plain"):
        state = members.stack([jax.device_get(state)], 1, shardings[0])
        batch = {key: members.put(value, members.batch_sharding(1, mesh)) for key, value in batch.items()}
        compiled = jax.jit(spread, out_shardings=shardings).lower(None, state, batch).compile()
        metrics = []
        for _ in range(2):
            state, sums = compiled(None, state, batch)
            metrics.append(jax.device_get(sums))
    return jax.device_get((state, metrics)), compiled.as_text()


@pytest.mark.parametrize("shape", [pytest.param((1, 4), marks=pytest.mark.slow), (2, 2)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_two_steps_on_slabs_equal_those_on_one_device(name, shape):
    """Loss, gradient norm, parameters, and the optimiser's memory, which is the gradients."""
    (state, metrics), _ = trained(name, *shape)
    (expected, expected_metrics), _ = trained(name, 1, 1)
    moved = jax.tree.map(lambda a, b: np.abs(a[0] - b).max(), expected.params, first(name)[0].params)
    assert max(jax.tree.leaves(moved)) > 1e-3
    tiny.assert_close(metrics, expected_metrics, 1e-5)
    tiny.assert_close(state, expected, 1e-5)


@pytest.mark.parametrize("shape", [pytest.param((1, 4), marks=pytest.mark.slow), (2, 2)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_a_device_convolves_its_slabs_and_takes_the_edges_from_its_neighbours(name, shape):
    text = trained(name, *shape)[1]
    convolved = {tuple(map(int, found.split(","))) for found in re.findall(r"= f32\[([\d,]+)\]\S* convolution\(", text)}
    sides = {sides[:-1] for sides in convolved}
    assert (N // shape[0], SIZE // shape[1], SIZE, SIZE) in sides
    assert (N // shape[0], SIZE // 2 // shape[1], SIZE // 2, SIZE // 2) in sides  # the second level
    assert not any(depth == SIZE for _, depth, *_ in sides)
    assert "collective-permute(" in text


def test_without_devices_along_depth_nothing_is_done():
    x = np.zeros((2, 3, 4))  # and no depth is refused
    assert split_along_depth(x) is x
    with jax.set_mesh(mesh_of(4, 1)):
        assert split_along_depth(x) is x


def test_members_keep_their_volumes_whole():
    """Inside the program of several members a device has its own, along both axes of the mesh."""
    mesh, x = mesh_of(2, 2), np.arange(2 * 2 * 3 * 5.0).reshape(2, 2, 3, 5)
    function = members.spread(lambda shared, one: split_along_depth(one) * 2, 2, mesh)
    with jax.set_mesh(mesh):
        lowered = jax.jit(function).lower(None, x)
        np.testing.assert_array_equal(lowered.compile()(None, x), 2 * x)


def test_under_vmap_depth_is_the_volume_s_own():
    x = np.arange(3 * 2 * 4 * 5.0).reshape(3, 2, 4, 5)
    with jax.set_mesh(mesh_of(2, 2)):
        y = jax.jit(jax.vmap(split_along_depth))(x)
    np.testing.assert_array_equal(y, x)
    assert y.sharding.spec == PartitionSpec(None, "data", "space")


def test_one_volume_on_two_shares_of_a_batch():
    """The first one, which decides a network's shapes, is alone."""
    x = np.arange(4 * 5.0).reshape(1, 4, 5)
    with jax.set_mesh(mesh_of(2, 2)):
        y = jax.jit(lambda x: split_along_depth(x) * 2)(x)
    np.testing.assert_array_equal(y, 2 * x)


def test_a_depth_that_the_devices_do_not_divide_is_refused():
    with (
        jax.set_mesh(mesh_of(1, 4)),
        pytest.raises(UserError, match=r"config\.run\.space is 4, which doesn't divide the 6 voxels .* the 4 devices"),
    ):
        jax.eval_shape(split_along_depth, np.zeros((2, 6, 8, 8)))

"""The inverse study's networks: what they see, what they learn from, what is made of their answers."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import Batch
from eegjax.data.splits import Fold
from eegjax.errors import check_choice
from eegjax.models import unet_3d, vnet
from eegjax.models.layers import DTYPES, dtype_of
from eegjax.models.unet_3d import UNet3D
from eegjax.models.vnet import VNet
from eegjax.run.study import Task
from eegjax.signal.minimum_norm import amplitudes
from eegjax.signal.sources import SourceSpace, simulate_sources
from eegjax.signal.voxels import scatter_to_voxels
from eegjax.studies.inverse.answers import record
from eegjax.studies.inverse.data import source
from eegjax.studies.inverse.samples import settings, snapshot, truth
from eegjax.train import memory, volume_losses
from eegjax.train.members import split_along_depth

MODELS = ("v_net", "u_net")
REGRESSION = ("mse", "l1")
LOSSES = ("cross_entropy", "dice", "focal", *REGRESSION)
INPUTS = ("electrodes", "eloreta")


def fit(config: ConfigDict, dataset: Dataset, fold: Fold) -> dict[str, Any]:
    """Nothing: samples are scaled one by one."""
    return {}


def inputs(config: ConfigDict) -> Callable[[Any, Batch, jax.Array | None, bool], Batch]:
    """Voltages -> [batch, n, n, n, 1] `inputs` in -1..1, the `target` [batch, n, n, n] in 0..1, and the `grid`.

    Inputs are the electrodes' voltages at their voxels, or the magnitude of the eLORETA estimate, each voxel's
    greatest. Both volumes are divided by their sample's greatest magnitude. A silent sample's target is 0.
    """
    data = config.data
    kind = config.inputs.kind
    check_choice("config.inputs.kind", kind, INPUTS)
    state = settings(config)
    at_peak = partial(snapshot, config)

    def volumes(values: jax.Array, voxels: jax.Array, collisions: str, side: int = data.dilation) -> jax.Array:
        """[batch, n_points] -> [batch, n, n, n]."""
        put = partial(scatter_to_voxels, n=data.n_voxels, collisions=collisions, side=side)
        return jax.vmap(put)(values, voxels)

    def draw(batch: Batch, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """New samples in training, else those of the seeds."""
        fixed = jax.vmap(partial(jax.random.fold_in, jax.random.PRNGKey(data.seed)))(batch["seed"])
        keys = fixed if key is None else jax.random.split(key, len(batch["seed"]))
        space = SourceSpace(*(batch[name] for name in SourceSpace._fields))
        samples = jax.vmap(lambda k, head, factor: simulate_sources(k, head, state, factor))(
            keys, space, batch["noise"]
        )
        return samples.voltages, truth(config, samples.moments, samples.centres, jnp)

    def make(stats: Any, batch: Batch, key: jax.Array | None, train: bool) -> Batch:
        # what the feed reads are windows of one row
        one = {name: leaf if name in ("mask", "seed") else leaf.squeeze(1) for name, leaf in batch.items()}
        # stored samples have either their voltages or what eLORETA makes of them
        voltages, wanted = (one.get("voltages"), one["truth"]) if "truth" in one else draw(one, key)
        if kind == "eloreta":
            seen = one["estimate"] if "estimate" in one else jax.vmap(amplitudes)(one["kernel"], at_peak(voltages, jnp))
            # sources lie closer than voxels: no cubes
            volume = volumes(_scaled(seen), one["nominal_voxels"], "max", side=1)
        else:
            volume = volumes(_scaled(at_peak(voltages, jnp)), one["electrode_voxels"], data.collisions)
        target = volumes(_scaled(wanted), one["source_voxels"], data.collisions)
        made = {"inputs": volume[..., None], "target": target}
        if "grid" in one:
            made["grid"] = one["grid"]
        return {"mask": one["mask"], **{name: split_along_depth(value) for name, value in made.items()}}

    return make


def _scaled(values: jax.Array) -> jax.Array:
    """[batch, n] divided by the greatest magnitude of each; zeros stay."""
    greatest = jnp.abs(values).max(-1, keepdims=True)
    return values / jnp.where(greatest > 0, greatest, 1)


def model(config: ConfigDict, dataset: Dataset) -> nn.Module:
    """The network named in the configuration.

    Raises:
        UserError: no such network or loss, not as many levels, or the grid can't be halved as often as it does.
    """
    name = config.model.name
    settings = config.model
    check_choice("config.model.name", name, MODELS)
    check_choice("config.train.precision", config.train.precision, DTYPES)
    check_choice("config.train.loss", config.train.loss, LOSSES)
    deepest = len(unet_3d.CHANNELS if name == "u_net" else vnet.LEVELS)
    own = {"width": settings.width, "depth": settings.depth or deepest, "remat": settings.remat}
    own["dtype"] = dtype_of(config.train.precision)
    n_outputs = 1 if config.train.loss in REGRESSION else 2
    network: nn.Module
    if name == "v_net":
        network = VNet(n_outputs, **own)
    else:
        network = UNet3D(n_outputs, norm=settings.norm, upsampling=settings.upsampling, **own)
    volume = jax.ShapeDtypeStruct((1, *[config.data.n_voxels] * 3, 1), jnp.float32)
    # nothing is computed: what doesn't fit is said before anything else of the run is trained
    jax.eval_shape(lambda key, x: network.init(key, x, train=False), jax.random.key(0), volume)
    return network


def loss(config: ConfigDict) -> Callable[[Any, Any, Batch], tuple[jax.Array, dict[str, jax.Array]]]:
    """The loss named in the configuration, over the voxels that can hold a source."""
    name = config.train.loss
    weights = tuple(config.train.class_weights)
    balance = config.train.class_balance

    def per_example(stats: Any, outputs: jax.Array, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
        target = batch["target"]
        grid = batch.get("grid")
        if name in REGRESSION:
            wanted = _with_centre(target * config.train.target_factor, target > 0, config.train.centre_value)
            return (volume_losses.mse if name == "mse" else volume_losses.l1)(outputs, wanted, grid), {}
        if name == "cross_entropy":
            of_class = jnp.asarray(weights) if weights else volume_losses.balanced_weights(target, grid) ** balance
            return volume_losses.weighted_cross_entropy(outputs, target, of_class, grid), {}
        return (volume_losses.soft_dice if name == "dice" else volume_losses.focal)(outputs, target, grid), {}

    return per_example


def _with_centre(wanted: jax.Array, is_source: jax.Array, value: float) -> jax.Array:
    """[batch, n, n, n] with a value around the grid's centre, in a ball that reaches to the nearest source voxel.

    The authors' code fills a ball with -20 like this, where it is told to; none of what they report was. Its radius is
    a whole number of voxels. Sources keep their values, and silent samples are left as they are.
    """
    if value == 0:
        return wanted
    n = wanted.shape[-1]
    axis = np.arange(n) - math.ceil(n / 2)  # the authors' centre
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).astype(np.float32)
    nearest = jnp.where(is_source, distance, jnp.inf).min((1, 2, 3), keepdims=True)
    inside = (distance <= jnp.floor(nearest)) & jnp.isfinite(nearest) & ~is_source
    return jnp.where(inside, value, wanted)


def predict(config: ConfigDict) -> Callable[[Any], jax.Array]:
    """[batch, n, n, n, c] -> [batch, n, n, n]: the source's probability, or its value."""
    if config.train.loss in REGRESSION:
        return lambda outputs: jnp.maximum(outputs[..., 0] / config.train.target_factor, 0)
    return lambda outputs: jax.nn.softmax(outputs, -1)[..., 1]


def shrink(config: ConfigDict, training: bool) -> dict[str, str]:
    """Values computed again for the gradient, and fewer voxels."""
    values = memory.values_of(training)
    found = {}
    if training and not config.model.remat and jax.default_backend() != "cpu":  # a CPU's compiler gains nothing by it
        found["--config.model.remat=True"] = f"fewer {values}"
    if config.data.n_voxels > 1:
        found[f"--config.data.n_voxels={config.data.n_voxels // 2}"] = f"about divides the {values} by eight"
    return found


TASK = Task(
    source=source,
    fit=fit,
    model=model,
    inputs=inputs,
    loss=loss,
    predict=predict,
    record=record,
    shrink=shrink,
    depth=lambda config: config.data.n_voxels,
)

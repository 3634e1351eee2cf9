"""3D U-Net: double convolutions on a grid that is halved and doubled again, with copies of equal resolution.

Çiçek et al., "3D U-Net: learning dense volumetric segmentation from sparse annotation" (2016), in the form that the
inverse-problem report trained: the upsampling is nearest neighbours rather than learned, and nothing is normalised.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from eegjax.errors import check_choice
from eegjax.models import layers

CHANNELS = (64, 128, 256, 512)  # of each level
NORMS = ("none", "group")
UPSAMPLINGS = ("nearest", "transposed")
KERNEL = (3, 3, 3)
HALF = (2, 2, 2)


def double_conv(x: jax.Array, features: Sequence[int], norm: str, dtype: Any) -> jax.Array:
    """Two convolutions with ReLU, each after its normalisation: [batch, *space, channels] -> [..., features[-1]]."""
    for index, n_features in enumerate(features, 1):
        if norm == "group":
            x = layers.group_norm(x, dtype=dtype, name=f"norm_{index}")
        conv = layers.conv(n_features, KERNEL, use_bias=norm == "none", dtype=dtype, name=f"conv_{index}")
        x = nn.relu(conv(x))
    return x


class Encoder(nn.Module):
    """A level on the way down: a max-pool after the first level, and convolutions to half the features and to all."""

    features: tuple[int, int]
    pooled: bool
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, *space, channels] -> [batch, *space or half of it, features[1]]."""
        x = layers.max_pool(x, HALF) if self.pooled else x
        return double_conv(x, self.features, self.norm, self.dtype)


class Decoder(nn.Module):
    """A level on the way up: what comes from below is doubled in size, put after the encoder's, and convolved."""

    features: int
    norm: str
    upsampling: str
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, encoded: jax.Array) -> jax.Array:
        """[batch, *half the space, channels] and [batch, *space, features] -> [batch, *space, features]."""
        if self.upsampling == "nearest":
            x = layers.upsample(x, 2)
        else:
            x = layers.conv_transpose(x.shape[-1], HALF, dtype=self.dtype, name="up")(x)
        x = jnp.concatenate([encoded, x], -1)
        return double_conv(x, (self.features, self.features), self.norm, self.dtype)


class UNet3D(nn.Module):
    """Logits or values per voxel: 16,315,650 parameters at two outputs, 16,315,585 at one, with one input channel.

    With `group` 16,318,756 and 16,318,691; with `transposed` 2,753,408 more.

    width: multiplies the channels of every level, each at least one.
    depth: levels, 2 to 4; the grid is halved from level to level, so its sides are multiples of 2 ** (depth - 1).
    norm: `none` as in the report; `group` is GroupNorm in eight groups before each convolution, which then has no bias.
    upsampling: `nearest` as in the report's code, or `transposed`: 2 x 2 x 2 transposed convolutions, as in its text.
    remat: stages are computed again for their gradients, and only their inputs are kept: 171 MB of values for a volume
        of 64 x 64 x 64 rather than 908, the same numbers, more time. On a CPU the compiler gains nothing by it.
    """

    n_outputs: int
    width: float = 1.0
    depth: int = 4
    norm: str = "none"
    upsampling: str = "nearest"
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Map a volume to a volume.

        Args:
            x: [batch, depth, height, width, n_channels] float32.
            train: of no effect, there is neither dropout nor a statistic of the batch.
            mask: [batch] bool, of no effect: no volume sees another.

        Returns:
            [batch, depth, height, width, n_outputs] float32.

        Raises:
            UserError: `x` can't be halved `depth` - 1 times, `depth` isn't two to four, `norm` is none of `NORMS`, or
                `upsampling` none of `UPSAMPLINGS`.
        """
        check_choice("norm", self.norm, NORMS)
        check_choice("upsampling", self.upsampling, UPSAMPLINGS)
        layers.check_grid(x.shape[1:-1], self.depth, len(CHANNELS), 1, "3D U-Net")
        encoder, decoder = (nn.remat(Encoder), nn.remat(Decoder)) if self.remat else (Encoder, Decoder)
        x = x.astype(self.dtype)
        encoded = []
        for level, channels in enumerate(CHANNELS[: self.depth], 1):
            half, whole = (layers.scale_channels(n, self.width) for n in (channels // 2, channels))
            x = encoder((half, whole), level > 1, self.norm, self.dtype, name=f"encoder_{level}")(x)
            encoded.append(x)
        for level in range(self.depth - 1, 0, -1):
            beside = encoded[level - 1]
            x = decoder(beside.shape[-1], self.norm, self.upsampling, self.dtype, name=f"decoder_{level}")(x, beside)
        return layers.conv(self.n_outputs, (1, 1, 1), dtype=self.dtype, name="head")(x).astype(jnp.float32)

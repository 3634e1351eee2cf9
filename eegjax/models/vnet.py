"""V-Net: residual stages of 5 x 5 x 5 convolutions, and convolutions instead of pools between them.

Milletari et al., "V-Net: fully convolutional neural networks for volumetric medical image segmentation" (2016), in the
form that the inverse-problem report trained: instance normalisation on the way down, and on the way up the encoder's
features are widened before they are put beside what comes from below.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from eegjax.models import layers

LEVELS = ((16, 1), (32, 2), (64, 3), (128, 3), (256, 3))  # (channels on the way down, convolutions); twice as many up
KERNEL = (5, 5, 5)
HALF = (2, 2, 2)
POINT = (1, 1, 1)


def conv_norm_prelu(x: jax.Array, features: int, dtype: Any, name: str) -> jax.Array:
    """Convolution, instance normalisation, PReLU: [batch, *space, channels] -> [batch, *space, features]."""
    # The normalisation takes the convolution's bias away again, but the report's parameter count has it.
    x = layers.conv(features, KERNEL, dtype=dtype, name=f"conv_{name}")(x)
    return layers.prelu(layers.instance_norm(x, dtype=dtype, name=f"norm_{name}"), name=f"prelu_{name}")


class Left(nn.Module):
    """A stage on the way down: half the size after the first one, then units, and the input added to the result."""

    features: int
    n_convs: int
    halved: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, *space, channels] -> [batch, *space or half of it, features]."""
        if self.halved:
            x = layers.conv(self.features, HALF, strides=2, padding="VALID", dtype=self.dtype, name="down")(x)
            x = layers.prelu(x, name="prelu_down")
        skipped = layers.conv(self.features, POINT, dtype=self.dtype, name="skip")(x)
        for index in range(1, self.n_convs + 1):
            x = conv_norm_prelu(x, self.features, self.dtype, str(index))
        return x + skipped


class Right(nn.Module):
    """A stage on the way up: twice the size, beside it the encoder's features, convolutions, and the former added."""

    features: int
    n_convs: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, encoded: jax.Array) -> jax.Array:
        """[batch, *half the space, channels] and [batch, *space, fewer] -> [batch, *space, features]."""
        up = layers.conv_transpose(self.features, HALF, dtype=self.dtype, name="up")(x)
        up = layers.prelu(up, name="prelu_up")
        x = jnp.concatenate([up, conv_norm_prelu(encoded, self.features, self.dtype, "encoded")], -1)
        for index in range(1, self.n_convs + 1):
            x = layers.conv(self.features, KERNEL, dtype=self.dtype, name=f"conv_{index}")(x)
            x = layers.prelu(x, name=f"prelu_{index}")
        return x + up


class VNet(nn.Module):
    """Logits or values per voxel: 82,026,089 parameters at two outputs, 82,022,084 at one, with one input channel.

    width: multiplies the channels of every level, each at least one.
    depth: levels, 2 to 5; the grid is halved from level to level, and two voxels a side must be left: of a single
        voxel, instance normalisation leaves nothing. At 16 x 16 x 16 four levels fit.
    remat: stages are computed again for their gradients, and only their inputs are kept: 68 MB of values for a volume
        of 64 x 64 x 64 rather than 536, the same numbers, more time. On a CPU the compiler gains nothing by it.
    """

    n_outputs: int
    width: float = 1.0
    depth: int = 5
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
            UserError: `x` can't be halved `depth` - 1 times with two voxels a side left, or `depth` isn't two to five.
        """
        layers.check_grid(x.shape[1:-1], self.depth, len(LEVELS), 2, "V-Net")
        left, right = (nn.remat(Left), nn.remat(Right)) if self.remat else (Left, Right)
        x = x.astype(self.dtype)
        encoded = []
        for level, (channels, n_convs) in enumerate(LEVELS[: self.depth], 1):
            features = layers.scale_channels(channels, self.width)
            x = left(features, n_convs, level > 1, self.dtype, name=f"left_{level}")(x)
            encoded.append(x)
        for level in range(self.depth - 1, 0, -1):
            channels, n_convs = LEVELS[level - 1]
            features = layers.scale_channels(2 * channels, self.width)
            x = right(features, n_convs, self.dtype, name=f"right_{level}")(x, encoded[level - 1])
        x = layers.conv(self.n_outputs, KERNEL, dtype=self.dtype, name="last")(x)
        return layers.conv(self.n_outputs, POINT, dtype=self.dtype, name="head")(x).astype(jnp.float32)

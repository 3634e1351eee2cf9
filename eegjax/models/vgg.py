"""VGG16, fully convolutional.

Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition" (2014), configuration D, in
the form of equation 1 of the sleep paper: the fully connected layers are convolutions.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from eegjax.models import layers

STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # (convolutions, channels), a max-pool after each


class VGG16Features(nn.Module):
    """The thirteen convolutions and five max-pools: [batch, height, width, channels] -> pool5.

    14,714,688 parameters at width 1 and three input channels. Each side shrinks 32-fold, rounded down.
    """

    width: float = 1.0
    batch_norm: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Compute pool5.

        Args:
            images: [batch, height, width, channels] float.
            train: batch statistics on, where there is batch normalisation.
            mask: [batch] bool, False for padded images.

        Returns:
            [batch, height // 32, width // 32, 512 * width], in `dtype`.

        Raises:
            ValueError: a side of `images` is below 32.
        """
        if min(images.shape[1:3]) < 32:
            raise ValueError(f"VGG16 halves an image five times: {images.shape[1:3]} is below 32 x 32")
        x = images.astype(self.dtype)
        for stage, (n_convs, channels) in enumerate(STAGES, 1):
            for index in range(1, n_convs + 1):
                name = f"{stage}_{index}"
                features = layers.scale_channels(channels, self.width)
                x = layers.conv(features, (3, 3), dtype=self.dtype, name=f"conv{name}")(x)
                if self.batch_norm:
                    x = layers.batch_norm(x, train, mask, dtype=self.dtype, name=f"norm{name}")
                x = nn.relu(x)
            x = layers.max_pool(x, (2, 2))
        return x


class VGG16(nn.Module):
    """Logits per image: features, two 4096-wide layers with dropout, and the head, all convolutions.

    134,285,126 parameters at six classes, 138,357,544 at a thousand (torchvision's), at width 1 and 224 x 224 x 3.
    The first of the last three layers is as large as pool5 (7 x 7 at 224), so the image size is fixed by training.

    on_maps: the input is pool5 already, a frozen backbone's features, computed once; the parameters are then those of
        the whole network without `features`.
    """

    n_outputs: int
    width: float = 1.0
    dropout: float = 0.5
    batch_norm: bool = False
    dtype: Any = jnp.float32
    on_maps: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Classify.

        Args:
            images: [..., height, width, n_channels] float, or pool5 [..., height / 32, width / 32, 512 * width] with
                `on_maps`; the leading axes (batch, or batch and sequence) are kept.
            train: dropout and batch statistics on.
            mask: [...] bool, False for padded images.

        Returns:
            [..., n_outputs] float32 logits.
        """
        leading = images.shape[:-3]
        x = images.reshape(-1, *images.shape[-3:])
        mask = None if mask is None else mask.reshape(-1)
        if not self.on_maps:
            x = VGG16Features(self.width, self.batch_norm, self.dtype, name="features")(x, train, mask)
        hidden = layers.scale_channels(4096, self.width)
        for name, kernel_size in (("fc6", x.shape[1:3]), ("fc7", (1, 1))):
            x = layers.conv(hidden, kernel_size, padding="VALID", dtype=self.dtype, name=name)(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
        x = layers.conv(self.n_outputs, (1, 1), padding="VALID", dtype=self.dtype, name="head")(x)
        return x.reshape(*leading, self.n_outputs).astype(jnp.float32)

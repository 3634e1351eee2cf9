"""The motor-imagery report's ResNet-1D: a ResNet-34 over time, without strides between its stages.

He et al., "Deep residual learning for image recognition" (2015), with one-dimensional convolutions.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from eegjax.errors import check_choice
from eegjax.models import layers

STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # (blocks, channels)
KERNELS = {"text": 3, "code": 1}  # samples
AVERAGED = 7  # samples of the average pool before the head
SMALLEST_N_TIMES = 25  # stem and max-pool halve it, rounded up: 13, 7


class BasicBlock(nn.Module):
    """Two convolutions and the way around them: [batch, n_times, channels] -> [batch, n_times, features]."""

    features: int
    kernel_size: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, mask: jax.Array | None) -> jax.Array:
        def normed(x: jax.Array, kernel_size: int, name: str) -> jax.Array:
            x = layers.conv(self.features, (kernel_size,), dtype=self.dtype, name=f"conv_{name}")(x)
            return layers.batch_norm(x, train, mask, dtype=self.dtype, name=f"norm_{name}")

        around = x if x.shape[-1] == self.features else normed(x, 1, "around")
        x = nn.relu(normed(x, self.kernel_size, "1"))
        return nn.relu(normed(x, self.kernel_size, "2") + around)


class ResNet1D(nn.Module):
    """Logits per trial: 7,735,876 parameters at 22 channels, 1000 samples and four classes.

    All but 7,236,160 of them are in the head, which sees every sample left. Unlike a ResNet's, its convolutions have
    biases and its stages no strides: it is this form that the report's fully connected layer of 124,928 inputs fits.

    stages: (blocks, channels) of each.
    variant: `text`, or `code`, whose convolutions are one sample wide by a slip: 3,050,052 parameters.
    """

    n_outputs: int
    variant: str = "text"
    stages: tuple[tuple[int, int], ...] = STAGES
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Classify.

        Args:
            x: [batch, n_times, n_chans] z-scores.
            train: batch statistics on.
            mask: [batch] bool, False for padded trials.

        Returns:
            [batch, n_outputs] float32 logits.

        Raises:
            UserError: `x` has fewer than `SMALLEST_N_TIMES` samples, or `variant` is none of `KERNELS`.
        """
        check_choice("variant", self.variant, tuple(KERNELS))
        layers.check_n_times(x.shape[1], SMALLEST_N_TIMES, "ResNet1D")
        x = x.astype(self.dtype)
        x = layers.conv(64, (7,), strides=2, padding=[(3, 3)], dtype=self.dtype, name="stem")(x)
        x = nn.relu(layers.batch_norm(x, train, mask, dtype=self.dtype, name="norm_stem"))
        x = layers.max_pool(jnp.pad(x, ((0, 0), (1, 1), (0, 0))), (3,), (2,))  # nothing is below a ReLU's zeros
        for stage, (n_blocks, features) in enumerate(self.stages, 1):
            for block in range(1, n_blocks + 1):
                name = f"block_{stage}_{block}"
                x = BasicBlock(features, KERNELS[self.variant], self.dtype, name=name)(x, train, mask)
        x = nn.avg_pool(x, (AVERAGED,), (1,))
        return layers.dense(self.n_outputs, dtype=self.dtype, name="head")(x.reshape(len(x), -1)).astype(jnp.float32)

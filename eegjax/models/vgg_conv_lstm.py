"""VGG16 + ConvLSTM: a convolutional LSTM over the pool5 maps of consecutive epochs (equation 2 of the sleep paper).

Shi et al., "Convolutional LSTM network" (2015), without peepholes, in the form that the paper names: one convolution
over input and state, and 1 added to the forget gate.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from eegjax.models import layers
from eegjax.models.vgg import VGG16Features


class ConvLSTM(nn.Module):
    """[batch, n_steps, height, width, channels] -> the hidden states, [batch, n_steps, height, width, features].

    The state starts at zero. At 512 channels in and out and a 7 x 7 filter it has 102,762,496 parameters.
    """

    features: int
    kernel_size: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """[batch, n_steps, height, width, channels] -> [batch, n_steps, height, width, features], in their dtype."""
        kernel = (self.kernel_size, self.kernel_size)
        gates = layers.conv(4 * self.features, kernel, dtype=self.dtype, name="gates")
        hidden = cell = jnp.zeros((inputs.shape[0], *inputs.shape[2:4], self.features), inputs.dtype)
        outputs = []
        # A Python loop: the gradient of a convolution inside lax.scan is many times slower on a CPU.
        for step in range(inputs.shape[1]):
            enter, candidate, forget, leave = jnp.split(gates(jnp.concatenate([inputs[:, step], hidden], -1)), 4, -1)
            cell = nn.sigmoid(forget + 1.0) * cell + nn.sigmoid(enter) * jnp.tanh(candidate)
            hidden = nn.sigmoid(leave) * jnp.tanh(cell)
            outputs.append(hidden)
        return jnp.stack(outputs, 1)


class VGG16ConvLSTM(nn.Module):
    """Logits per epoch of a sequence: VGG16 features, ConvLSTM, dropout, flatten, linear head.

    117,627,718 parameters at six classes, width 1 and 224 x 224 x 3.

    on_maps: the input is pool5 already, a frozen backbone's features, computed once; the parameters are then those of
        the whole network without `features`.
    n_cells: ConvLSTMs one above the other, dropout after each: the sleep paper's second approach.
    """

    n_outputs: int
    width: float = 1.0
    dropout: float = 0.5
    batch_norm: bool = False
    dtype: Any = jnp.float32
    on_maps: bool = False
    n_cells: int = 1

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Classify each epoch from itself and those before it.

        Args:
            images: [batch, n_steps, height, width, n_channels] float, or pool5 [batch, n_steps, height / 32,
                width / 32, 512 * width] with `on_maps`; without the sequence axis for one step.
            train: dropout and batch statistics on.
            mask: [batch, n_steps] or [batch] bool, False for padded images (at a sequence's end only).

        Returns:
            [batch, n_steps, n_outputs] or [batch, n_outputs] float32 logits.
        """
        leading = images.shape[:-3]
        x = images.reshape(-1, *images.shape[-3:])
        mask = None if mask is None else mask.reshape(-1)
        if not self.on_maps:
            x = VGG16Features(self.width, self.batch_norm, self.dtype, name="features")(x, train, mask)
        # The paper's 7 x 7 filter is as large as pool5 at 224; on smaller maps wider taps would see padding alone.
        kernel_size = min(7, 2 * max(x.shape[1:3]) - 1)
        x = x.reshape(leading[0], -1, *x.shape[1:]).astype(self.dtype)
        for number in range(1, self.n_cells + 1):
            name = "conv_lstm" if number == 1 else f"conv_lstm_{number}"
            x = ConvLSTM(layers.scale_channels(512, self.width), kernel_size, self.dtype, name=name)(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = x.reshape(*leading, -1)
        return layers.dense(self.n_outputs, dtype=self.dtype, name="head")(x).astype(jnp.float32)

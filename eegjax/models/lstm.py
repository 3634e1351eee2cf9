"""An LSTM on the raw signal, without images: what the sleep paper calls its third approach.

Hochreiter & Schmidhuber, "Long short-term memory" (1997), with the forget gate of Gers et al. (2000).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from eegjax.models import layers


class RawLSTM(nn.Module):
    """Logits per epoch: the signal in steps of a few samples, LSTMs over them, mean over time, linear head.

    1,094,662 parameters at six classes, width 1 (512 features), one cell and 20 samples per step.

    samples_per_step: samples that the LSTM sees at once; 20 are 0.2 s at 100 Hz. What is left at an epoch's end and
        fills no step is dropped.
    n_cells: LSTMs one above the other, dropout between them.
    """

    n_outputs: int
    width: float = 1.0
    n_cells: int = 1
    dropout: float = 0.5
    samples_per_step: int = 20
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, eeg: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Classify.

        Args:
            eeg: [..., n_times, n_chans] z-scores; the leading axes (batch, or batch and sequence) are kept.
            train: dropout on.
            mask: [...] bool, of no effect: no example sees another.

        Returns:
            [..., n_outputs] float32 logits.

        Raises:
            ValueError: `eeg` has fewer than `samples_per_step` samples.
        """
        n_steps = eeg.shape[-2] // self.samples_per_step
        if not n_steps:
            raise ValueError(f"{eeg.shape[-2]} samples are fewer than one step of {self.samples_per_step}")
        leading = eeg.shape[:-2]
        x = eeg[..., : n_steps * self.samples_per_step, :].reshape(-1, n_steps, self.samples_per_step * eeg.shape[-1])
        x = x.astype(self.dtype)
        features = layers.scale_channels(512, self.width)
        for number in range(1, self.n_cells + 1):
            if number > 1:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            cell = nn.OptimizedLSTMCell(features, dtype=self.dtype, name="lstm" if number == 1 else f"lstm_{number}")
            # Made like x, so that it is spread over devices as x is: a scan's state may not change its kind.
            state = jnp.zeros_like(x, shape=(len(x), features))
            x = nn.RNN(cell)(x, initial_carry=(state, state))  # type: ignore[assignment]
        x = nn.Dropout(self.dropout, deterministic=not train)(x.mean(1)).reshape(*leading, features)
        return layers.dense(self.n_outputs, dtype=self.dtype, name="head")(x).astype(jnp.float32)

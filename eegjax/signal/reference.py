"""What the voltage is measured against."""

from collections.abc import Sequence

import jax
import numpy as np

from eegjax.errors import check_choice


def reference_to_average(x: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """Measure against the mean of all channels: [..., n_chans] float -> [..., n_chans], in the same unit.

    The sum over channels is zero then.
    """
    return x - x.mean(axis=-1, keepdims=True)


def reference_to_channel(x: jax.Array | np.ndarray, ch_names: Sequence[str], reference: str) -> jax.Array | np.ndarray:
    """Measure against one channel, which becomes zero.

    Args:
        x: [..., n_chans] float, any unit.
        ch_names: names of the channels, in the order of `x`.
        reference: one of them.

    Returns:
        [..., n_chans] of the same dtype and unit.

    Raises:
        UserError: `reference` is none of `ch_names`.
    """
    check_choice("reference", reference, ch_names)
    index = list(ch_names).index(reference)
    return x - x[..., index : index + 1]

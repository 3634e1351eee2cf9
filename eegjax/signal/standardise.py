"""Standardising: by what went before, or by numbers fitted on training trials."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


@partial(jax.jit, static_argnames="init_block")
def exponential_moving_standardise(
    x: jax.Array | np.ndarray, factor_new: float = 1e-3, init_block: int = 1000, eps: float = 1e-4
) -> jax.Array:
    """Subtract a moving mean and divide by a moving standard deviation, each channel by itself.

    Schirrmeister et al., "Deep learning with convolutional neural networks for EEG decoding and visualization", Human
    Brain Mapping 38 (2017), as braindecode does it: weights fall by 1 - factor_new per sample into the past and sum
    to 1, the variance is the moving mean of (x_t - m_t)^2, and the first block is standardised by its own mean and
    standard deviation.

    Args:
        x: [..., n_times, n_chans] float32, µV. NaN is a sample that is missing: it stays NaN and enters no average.
        factor_new: weight of the newest sample, in 0..1.
        init_block: samples of the first block; 0 for none.
        eps: smallest standard deviation to divide by, µV.

    Returns:
        [..., n_times, n_chans] float32.
    """
    x = jnp.asarray(x, jnp.float32)
    block = x[..., : max(init_block, 1), :]
    # Nothing below depends on an offset, but float32 does: an electrode's may be a thousand times its EEG.
    x, block = (part - _mean(block) for part in (x, block))
    moved = x - _moving_mean(x, factor_new)
    moved = moved / jnp.maximum(eps, jnp.sqrt(_moving_mean(moved**2, factor_new)))
    block = block - _mean(block)
    block = block / jnp.maximum(eps, jnp.sqrt(_mean(block**2)))
    return moved.at[..., :init_block, :].set(block[..., :init_block, :])


def _mean(block: jax.Array) -> jax.Array:
    """[..., n_times, n_chans] -> [..., 1, n_chans]: the mean of what is no NaN, 0 where all is."""
    there = ~jnp.isnan(block)
    count = jnp.maximum(there.sum(axis=-2, keepdims=True), 1)
    return jnp.where(there, block, 0).sum(axis=-2, keepdims=True) / count


def _moving_mean(x: jax.Array, factor_new: float) -> jax.Array:
    """[..., n_times, n_chans] -> the mean of each sample and all before it, under weights that fall exponentially."""
    there = ~jnp.isnan(x)
    parts = jnp.stack([jnp.where(there, x, 0), there.astype(x.dtype)])

    # s_t = a_t s_(t-1) + b_t twice over is (a' a) s + (a' b + b'): associative, so that the device need not go sample
    # by sample
    def after(first: tuple[jax.Array, jax.Array], then: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return first[0] * then[0], then[0] * first[1] + then[1]

    decay = jnp.full((x.shape[-2], 1), 1 - factor_new, x.dtype)
    decay = jnp.broadcast_to(decay, (*(1,) * (parts.ndim - 2), *decay.shape))
    sums, weights = jax.lax.associative_scan(after, (decay, parts), axis=parts.ndim - 2)[1]
    return sums / weights


class Scale(NamedTuple):
    """Mean and standard deviation of training trials, of shapes that broadcast over [n_times, n_chans]."""

    mean: np.ndarray  # [1, n_chans] or [n_times, 1] float32, in the trials' unit
    sd: np.ndarray  # [1, n_chans] or [n_times, 1] float32, in the trials' unit, above 0


def fit_per_channel(trials: np.ndarray) -> Scale:
    """Fit one mean and one standard deviation per channel on training trials, [n_trials, n_times, n_chans] float."""
    return _fit(trials, (0, 1), "channel")


def fit_per_time_sample(trials: np.ndarray) -> Scale:
    """Fit one mean and one standard deviation per time sample, over trials and channels: the motor-imagery paper's.

    Of training trials alone, [n_trials, n_times, n_chans] float. It keeps the channels' offsets and gains apart, which
    a network can't undo from a single trial.
    """
    return _fit(trials, (0, 2), "time sample")


def _fit(trials: np.ndarray, over: tuple[int, int], each: str) -> Scale:
    if trials.ndim != 3:
        raise ValueError(f"found {trials.ndim} dimensions, expected [n_trials, n_times, n_chans]")
    mean = trials.mean(axis=over, dtype=np.float64, keepdims=True)[0]
    sd = trials.std(axis=over, dtype=np.float64, keepdims=True)[0]
    return Scale(mean.astype(np.float32), np.where(sd > 0, sd, 1).astype(np.float32))  # a constant one becomes zero


def z_score(trials: jax.Array | np.ndarray, scale: Scale) -> jax.Array | np.ndarray:
    """Standardise trials by what was fitted on training trials.

    Args:
        trials: [..., n_times, n_chans] float32, in the unit of what it was fitted on.
        scale: the mean and standard deviation to take.

    Returns:
        [..., n_times, n_chans] float32, z-scores.
    """
    return (trials - scale.mean) / scale.sd

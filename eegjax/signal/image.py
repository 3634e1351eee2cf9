"""Spectrograms become images on the device: equalisation, colour, crop in time, resize."""

import jax
import jax.numpy as jnp
import numpy as np

N_BINS = 4096


def equalise(image: jax.Array, n_levels: int = 255, upper: float | None = None) -> jax.Array:
    """Histogram equalisation: each level holds about the same share of the values.

    Args:
        image: [...] float32, at least 0; all values share one histogram (a whole night here).
        n_levels: number of levels of the result.
        upper: values above it saturate at the highest level, however many they are (1.0 is the sleep paper's, whose
            `histeq` expects values in 0..1); None spreads the histogram over the image's own range: none saturates.

    Returns:
        [...] uint8 in 0..n_levels - 1. A value's level is the rank of its bin's middle: monotone in the value.
    """
    top = jnp.max(image) if upper is None else jnp.float32(upper)
    scaled = jnp.clip(image / jnp.maximum(top, jnp.finfo(jnp.float32).tiny), 0, 1)
    bins = jnp.round(scaled * (N_BINS - 1)).astype(jnp.int32)
    counts = jnp.zeros(N_BINS, jnp.int32).at[bins.ravel()].add(1)
    middle = (
        jnp.cumsum(counts).astype(jnp.float32) - counts / 2
    )  # a bin's values are spread over it: its middle stands for it
    level = jnp.clip(jnp.floor(middle / image.size * n_levels), 0, n_levels - 1).astype(jnp.uint8)
    if upper is not None:
        level = level.at[-1].set(n_levels - 1)
    return level[bins]


def jet(n_levels: int = 255) -> np.ndarray:
    """[n_levels, 3] float32 in 0..1: MATLAB's `jet`, blue over cyan, yellow and red to dark red.

    Each colour is a trapezoid over the levels, its flanks a quarter of the map wide.
    """
    quarter = -(-n_levels // 4)
    centre = -(-quarter // 2) - (n_levels % 4 == 1) + (3 * quarter - 1) / 2  # of the green trapezoid, from level 1
    levels = np.arange(1, n_levels + 1)
    colours = [
        np.clip((1.5 * quarter - np.abs(levels - middle)) / quarter + 0.0, 0, 1)
        for middle in (centre + quarter + 0.5, centre + 0.5, centre - quarter + 0.5)
    ]
    return np.stack(colours, -1).astype(np.float32)


def colour(levels: jax.Array, table: np.ndarray) -> jax.Array:
    """Look levels up in a colour table: [...] uint8, by [n_levels, n_colours] -> [..., n_colours] float32."""
    return jnp.asarray(table)[levels.astype(jnp.int32)]


def crop_frames(frames: jax.Array, fraction: jax.Array, n_frames: int) -> jax.Array:
    """The `n_frames` frames that begin a fraction of a frame after the first, by linear interpolation.

    Args:
        frames: [..., n_frames + 1, n_freqs] any real dtype.
        fraction: [...] float32 in 0..1.

    Returns:
        [..., n_frames, n_freqs] float32.
    """
    frames = frames.astype(jnp.float32)
    weight = fraction[..., None, None].astype(jnp.float32)
    return (1 - weight) * frames[..., :n_frames, :] + weight * frames[..., 1 : n_frames + 1, :]


def resize(images: jax.Array, height: int, width: int) -> jax.Array:
    """Resize [..., h, w, n_channels] to [..., height, width, n_channels] float, linear, antialiased if smaller."""
    shape = (*images.shape[:-3], height, width, images.shape[-1])
    return jax.image.resize(images, shape, "linear", antialias=True)


def to_image(frames: jax.Array) -> jax.Array:
    """[..., n_frames, n_freqs] -> [..., n_freqs, n_frames, 1] of any dtype: time to the right, the highest on top."""
    return jnp.flip(jnp.swapaxes(frames, -1, -2), -2)[..., None]

"""What an autoencoder makes of its input."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eegjax.report.figures import _save

SATURATED = 99.0  # percentile of the originals' amplitudes above which the colour stays the same


def reconstruction_strip(
    path: str | Path,
    original: np.ndarray,
    reconstruction: np.ndarray,
    ch_names: Sequence[str],
    sfreq: float,
    unit: str,
    title: str,
    simulated: bool = False,
) -> None:
    """Draw trials as images of channels against time, their reconstructions below, all in one colour scale.

    Args:
        path: the PNG to write.
        original: [n_trials, n_times, n_chans] float, what the autoencoder was given; a few trials.
        reconstruction: [n_trials, n_times, n_chans] float, what it gave back.
        ch_names: [n_chans] names of the channels, the first on top.
        sfreq: samples per second.
        unit: of both, for the colour bar.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.

    Raises:
        ValueError: the two differ in shape.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    original = np.asarray(original, float)
    reconstruction = np.asarray(reconstruction, float)
    if original.shape != reconstruction.shape:
        raise ValueError(f"original {original.shape} and reconstruction {reconstruction.shape} should be alike")
    n_trials, n_times, n_chans = original.shape
    top = float(np.percentile(np.abs(original), SATURATED)) or 1.0
    figure = Figure(figsize=(1.9 + 2.5 * n_trials, 1.5 + 0.2 * n_chans), layout=ConstrainedLayoutEngine(w_pad=0.08))
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(2, n_trials, squeeze=False, sharex=True, sharey=True)
    for row, name, trials in zip(axes, ("original", "reconstruction"), (original, reconstruction), strict=True):
        row[0].set_ylabel(name, fontsize=10, fontweight="bold")
        for axis, trial in zip(row, trials, strict=True):
            extent = (0, n_times / sfreq, n_chans - 0.5, -0.5)
            image = axis.imshow(
                trial.T, extent=extent, aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-top, vmax=top
            )
            axis.set_yticks(range(n_chans), ch_names, fontsize=6)
            axis.tick_params(axis="y", length=0)
    figure.supxlabel("time in the trial (s)", fontsize=9)
    figure.colorbar(image, ax=axes, extend="both", label=unit, shrink=0.6).outline.set_visible(False)
    _save(figure, path, simulated)

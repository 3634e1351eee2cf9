"""Head maps: which channels matter."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eegjax.errors import UserError, did_you_mean
from eegjax.report.figures import BLACK, _save

MONTAGE = "spherical_1005"  # on a sphere left mirrors right, and nothing lies outside the drawn head


def topography(
    path: str | Path, values: np.ndarray, ch_names: Sequence[str], title: str, simulated: bool = False
) -> None:
    """Draw one value per channel, interpolated over a head seen from above, the nose on top.

    Positions are those of a spherical head; where no channel is near, nothing is drawn. Values that are nowhere
    negative are drawn from 0 in shades of one colour, others around 0 in two.

    Args:
        path: the PNG to write.
        values: [n_chans] float, the importance of each channel in any unit.
        ch_names: [n_chans] names of the 10-05 system in upper or lower case.
        title: above the figure.
        simulated: stamp the figure as made from simulated data.

    Raises:
        UserError: a channel has no place in the 10-05 system.
    """
    import mne
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    values = np.asarray(values, float)
    info = mne.create_info(_placed(ch_names), 1.0, "eeg")
    info.set_montage(MONTAGE, verbose="error")
    top = float(np.abs(values).max()) or 1.0
    signed = bool((values < 0).any())
    figure = Figure(figsize=(5.6, 4.9), layout="constrained")
    figure.suptitle(title, fontsize=12)
    axis = figure.subplots()
    image, _ = mne.viz.plot_topomap(
        values,
        info,
        axes=axis,
        show=False,
        names=list(ch_names),
        sensors=" ",  # a dot that isn't seen: it would lie under the name
        cmap="RdBu_r" if signed else "Reds",
        vlim=(-top if signed else 0.0, top),
        contours=0,
        image_interp="linear",  # smoother ones overshoot between channels, farthest where there is none
        extrapolate="local",
    )
    for text in axis.texts:
        text.set(fontsize=7, color=BLACK, path_effects=[withStroke(linewidth=1.8, foreground="white", alpha=0.7)])
    figure.colorbar(image, ax=axis, shrink=0.7, label="importance").outline.set_visible(False)
    _save(figure, path, simulated)


def _placed(ch_names: Sequence[str]) -> list[str]:
    """The names as the montage writes them."""
    import mne

    known = {name.lower(): name for name in mne.channels.make_standard_montage(MONTAGE).ch_names}
    for name in ch_names:
        if name.lower() not in known:
            near = did_you_mean(name, known.values())
            raise UserError(f"channel '{name}' has no place on the head: expected a name of the 10-05 system.{near}")
    return [known[name.lower()] for name in ch_names]

"""Volumes as MNE-Python's source estimates, for its own pictures and statistics."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegjax.files import write_aside
from eegjax.signal.voxels import Grid

if TYPE_CHECKING:
    import mne


def make_volume_estimate(
    volumes: np.ndarray, grid: Grid, mask: np.ndarray
) -> tuple["mne.VolSourceEstimate", "mne.SourceSpaces"]:
    """Make one estimate of volumes, a sample per "time" (1 s each, from 0).

    Args:
        volumes: [n_samples, n, n, n] float, any unit.
        grid: the voxels in head coordinates.
        mask: [n, n, n] bool: the voxels that are kept.

    Returns:
        The estimate, [n_kept, n_samples], and its source space: the centres of those voxels, in metres, in head
        coordinates; its `vertices` are their indices in it.
    """
    import mne

    voxels = np.argwhere(mask)
    centres_m = grid.to_mm(voxels) * 1e-3
    upwards = np.tile([0.0, 0.0, 1.0], (len(voxels), 1))  # a source space wants normals; these mean nothing
    with mne.use_log_level("error"):
        spaces = mne.setup_volume_source_space(pos={"rr": centres_m, "nn": upwards}, sphere_units="m")
        for space in spaces:
            space["coord_frame"] = mne.io.constants.FIFF.FIFFV_COORD_HEAD
        data = np.asarray(volumes)[:, mask].T
        estimate = mne.VolSourceEstimate(data, [np.arange(len(voxels))], tmin=0.0, tstep=1.0)
    return estimate, spaces


def write_volume_estimate(folder: Path, volumes: np.ndarray, grid: Grid, mask: np.ndarray) -> None:
    """Write `estimate-vl.stc` and `estimate-src.fif` into a folder.

    Args:
        folder: where they go.
        volumes: [n_samples, n, n, n] float, any unit.
        grid: the voxels in head coordinates.
        mask: [n, n, n] bool: the voxels that are kept.

    Raises:
        UserError: the disk is full or can't be written to.
    """
    import mne

    estimate, spaces = make_volume_estimate(volumes, grid, mask)

    def write(aside: Path) -> None:
        aside.mkdir()
        with mne.use_log_level("error"):
            estimate.save(str(aside / "estimate-vl.stc"), ftype="stc")
            spaces.save(aside / "estimate-src.fif")

    if folder.exists():
        shutil.rmtree(folder)
    write_aside(folder, write)

"""Signal processing: filters, references, standardisation, spectrograms and images, sources and voxels."""

from typing import TYPE_CHECKING

from eegjax import lazy

if TYPE_CHECKING:
    from eegjax.signal.alignment import align, fit_euclidean_alignment
    from eegjax.signal.filters import band_pass, notch
    from eegjax.signal.image import colour, crop_frames, equalise, jet, resize, to_image
    from eegjax.signal.minimum_norm import Operator, apply_operator, make_lcmv, make_operator
    from eegjax.signal.multitaper import Multitaper, multitaper_spectrogram
    from eegjax.signal.reference import reference_to_average, reference_to_channel
    from eegjax.signal.resampling import resample, upsample
    from eegjax.signal.sources import Patches, Sample, SourceSpace, Zones, make_source_space, simulate_sources
    from eegjax.signal.standardise import (
        Scale,
        exponential_moving_standardise,
        fit_per_channel,
        fit_per_time_sample,
        z_score,
    )
    from eegjax.signal.voxels import Grid, find_cube_centres, make_grid_mask, make_grids, scatter_to_voxels

__all__ = [
    "Grid",
    "Multitaper",
    "Operator",
    "Patches",
    "Sample",
    "Scale",
    "SourceSpace",
    "Zones",
    "align",
    "apply_operator",
    "band_pass",
    "colour",
    "crop_frames",
    "equalise",
    "exponential_moving_standardise",
    "find_cube_centres",
    "fit_euclidean_alignment",
    "fit_per_channel",
    "fit_per_time_sample",
    "jet",
    "make_grid_mask",
    "make_grids",
    "make_lcmv",
    "make_operator",
    "make_source_space",
    "multitaper_spectrogram",
    "notch",
    "reference_to_average",
    "reference_to_channel",
    "resample",
    "resize",
    "scatter_to_voxels",
    "simulate_sources",
    "to_image",
    "upsample",
    "z_score",
]

if not TYPE_CHECKING:  # or any name would do
    __getattr__, __dir__ = lazy.attach(__name__, __file__)

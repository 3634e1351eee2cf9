"""What a network has to beat: methods without learned features, on the same folds."""

from typing import TYPE_CHECKING

from eegjax import lazy

if TYPE_CHECKING:
    from eegjax.baselines.inverse import (
        Candidates,
        ForwardModel,
        Localised,
        Setting,
        estimate_sources,
        find_neighbours,
        find_peaks,
        localise,
        tune,
    )
    from eegjax.baselines.motor_imagery import csp_lda, tangent_space
    from eegjax.baselines.sleep import band_power_regression, band_powers, predict_majority, predict_nearest

__all__ = [
    "Candidates",
    "ForwardModel",
    "Localised",
    "Setting",
    "band_power_regression",
    "band_powers",
    "csp_lda",
    "estimate_sources",
    "find_neighbours",
    "find_peaks",
    "localise",
    "predict_majority",
    "predict_nearest",
    "tangent_space",
    "tune",
]

if not TYPE_CHECKING:  # or any name would do
    __getattr__, __dir__ = lazy.attach(__name__, __file__)

"""Numbers of predictions: metrics, their intervals, paired comparisons, nights, points in space."""

from typing import TYPE_CHECKING

from eegjax import lazy

if TYPE_CHECKING:
    from eegjax.evaluate.bootstrap import draw_blocks, draw_subjects, percentile_interval
    from eegjax.evaluate.by_subject import accuracy_by_subject, chance_bound, mean_sd
    from eegjax.evaluate.calibration import brier_score, calibration_curve, expected_calibration_error
    from eegjax.evaluate.classification import balanced_one_vs_all, confusion_matrix, log_loss, per_class, summarise
    from eegjax.evaluate.comparison import compare, sign_flip
    from eegjax.evaluate.localisation import (
        earth_movers_distance_mm,
        localisation_error_mm,
        peak_error_mm,
        roc_auc,
        spatial_dispersion_mm,
    )
    from eegjax.evaluate.night import certainty, night_statistics
    from eegjax.evaluate.paper_interval import compute_paper_interval
    from eegjax.evaluate.points import (
        area_under_curve,
        choose_threshold,
        cluster,
        count_matches,
        draw_random_points,
        f1_curve,
        f1_score,
        find_points,
        jitter_points,
        mean_and_sd,
        paired_interval,
    )
    from eegjax.evaluate.transitions import (
        correct_prior,
        count_transitions,
        decode_viterbi,
        estimate_transitions,
        smooth,
    )

__all__ = [
    "accuracy_by_subject",
    "area_under_curve",
    "balanced_one_vs_all",
    "brier_score",
    "calibration_curve",
    "certainty",
    "chance_bound",
    "choose_threshold",
    "cluster",
    "compare",
    "compute_paper_interval",
    "confusion_matrix",
    "correct_prior",
    "count_matches",
    "count_transitions",
    "decode_viterbi",
    "draw_blocks",
    "draw_random_points",
    "draw_subjects",
    "earth_movers_distance_mm",
    "estimate_transitions",
    "expected_calibration_error",
    "f1_curve",
    "f1_score",
    "find_points",
    "jitter_points",
    "localisation_error_mm",
    "log_loss",
    "mean_and_sd",
    "mean_sd",
    "night_statistics",
    "paired_interval",
    "peak_error_mm",
    "per_class",
    "percentile_interval",
    "roc_auc",
    "sign_flip",
    "smooth",
    "spatial_dispersion_mm",
    "summarise",
]

if not TYPE_CHECKING:  # or any name would do
    __getattr__, __dir__ = lazy.attach(__name__, __file__)

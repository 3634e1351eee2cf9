"""Sleep-EDF: whole-night EEG with hypnograms; what is read of it, where it is had, and nights simulated like it."""

from eegjax.data.sleep_edf.reader import (
    EPOCH_S,
    STAGES,
    Pair,
    crop_to_sleep,
    find_pairs,
    merge_to_aasm,
    read_recording,
)

__all__ = ["EPOCH_S", "STAGES", "Pair", "crop_to_sleep", "find_pairs", "merge_to_aasm", "read_recording"]

"""Data sets, their readers and simulators; folds that are closed; batches and how they get to the devices; heads."""

from typing import TYPE_CHECKING

from eegjax import lazy

if TYPE_CHECKING:
    from eegjax.data import bci_iv_2a, eegmmidb, sleep_edf
    from eegjax.data.dataset import Dataset, Part, open_dataset, prepare_dataset
    from eegjax.data.feed import (
        Feed,
        Sampler,
        Source,
        cut_window,
        draw_batch,
        gather,
        iterate_in_order,
        make_feed,
        prefetch,
    )
    from eegjax.data.formats.annotations import write_edf_annotations, write_epochs_tsv
    from eegjax.data.formats.edf_header import EdfHeader, EdfSignalHeader, read_edf_header
    from eegjax.data.formats.volume_estimate import write_volume_estimate
    from eegjax.data.formats.weight_file import read_weights
    from eegjax.data.heads.heads import Head, HeadSpec, list_heads, make_head, read_head, write_head
    from eegjax.data.recording import EegChannel, high_pass, read_eeg_channel
    from eegjax.data.signal_checks import check_eeg
    from eegjax.data.splits import (
        Fold,
        check_folds,
        choose_evenly,
        save_folds,
        split_by_block,
        split_by_group,
        split_by_names,
    )
    from eegjax.data.trials import Trials, check_trials, make_trial_table

__all__ = [
    "Dataset",
    "EdfHeader",
    "EdfSignalHeader",
    "EegChannel",
    "Feed",
    "Fold",
    "Head",
    "HeadSpec",
    "Part",
    "Sampler",
    "Source",
    "Trials",
    "bci_iv_2a",
    "check_eeg",
    "check_folds",
    "check_trials",
    "choose_evenly",
    "cut_window",
    "draw_batch",
    "eegmmidb",
    "gather",
    "high_pass",
    "iterate_in_order",
    "list_heads",
    "make_feed",
    "make_head",
    "make_trial_table",
    "open_dataset",
    "prefetch",
    "prepare_dataset",
    "read_edf_header",
    "read_eeg_channel",
    "read_head",
    "read_weights",
    "save_folds",
    "sleep_edf",
    "split_by_block",
    "split_by_group",
    "split_by_names",
    "write_edf_annotations",
    "write_epochs_tsv",
    "write_head",
    "write_volume_estimate",
]

if not TYPE_CHECKING:  # or any name would do
    __getattr__, __dir__ = lazy.attach(__name__, __file__)

"""What the numbers of a configuration may be: nonsense is said before anything is read, made or trained."""

import math
from typing import Any

from ml_collections import ConfigDict

from eegjax.errors import UserError, did_you_mean

ABOVE_0, BELOW_1, LARGEST = math.ulp(0.0), math.nextafter(1.0, 0.0), 2**31 - 1
BOUNDS: dict[str, tuple[float, float]] = {  # (least, largest), both allowed; a study without a field skips its row
    "seed": (0, LARGEST),
    "data.context_epochs": (0, 1000),
    "data.margin_s": (0, 1e6),
    "data.simulation.seed": (0, LARGEST),
    "data.simulation.n_subjects": (1, 100),
    "data.simulation.n_epochs": (40, 10_000),
    "data.sfreq": (1, 100_000),
    "data.l_freq_hz": (0, 100_000),
    "data.h_freq_hz": (0, 100_000),
    "data.notch_hz": (0, 100_000),
    "data.simulation.n_runs": (1, 20),
    "data.simulation.n_trials_per_run": (4, 400),
    "data.seed": (0, LARGEST),
    "data.n_heads": (1, 1000),
    "data.n_sources": (64, 20_000),
    "data.n_chans": (16, 256),
    "data.n_samples": (1, 9_000_000),
    "data.n_times": (1, 100_000),
    "data.n_voxels": (2, 256),
    "data.dilation": (1, 9),
    "data.left_out.n_sources": (64, 20_000),
    "data.left_out.n_samples": (1, 9_000_000),
    "data.patches.p_correlated": (0, 1),
    "data.patches.p_silent": (0, 1),
    "data.zones.n_active": (1, 20_000),
    "splits.test_share": (0, BELOW_1),
    "splits.validation_share": (0, BELOW_1),
    "model.depth": (0, 5),
    "inputs.upsample": (1, 16),
    "model.n_blocks": (1, 4),
    "model.vae.n_hidden": (1, 100_000),
    "model.vae.n_latent": (1, 100_000),
    "model.vae.n_decoder": (1, 100_000),
    "splits.n_test_subjects": (0, LARGEST),
    "splits.n_folds": (0, LARGEST),
    "splits.n_first": (0, LARGEST),
    "splits.n_validation_subjects": (0, LARGEST),
    "splits.n_blocks": (2, LARGEST),
    "inputs.size": (32, 4096),
    "model.width": (ABOVE_0, 64),
    "model.dropout": (0, BELOW_1),
    "model.sequence_epochs": (1, 10_000),
    "model.n_cells": (1, 100),
    "train.learning_rate": (ABOVE_0, 1e6),
    "train.warmup_steps": (0, LARGEST),
    "train.decay_per_epoch": (ABOVE_0, 1),
    "train.weight_decay": (0, 1e6),
    "train.clip_norm": (0, 1e9),
    "train.batch_size": (1, LARGEST),
    "train.accumulate_steps": (1, LARGEST),
    "train.n_epochs": (1, LARGEST),
    "train.n_seeds": (1, LARGEST),
    "train.ema_decay": (0, BELOW_1),
    "train.patience_epochs": (0, LARGEST),
    "train.max_bad_steps": (1, LARGEST),
    "train.max_loss": (0, math.inf),
    "train.class_balance": (0, 10),
    "train.target_factor": (ABOVE_0, 1e9),
    "train.centre_value": (-1e9, 0),
    "test.n_tuning": (1, LARGEST),
    "test.n_train_part": (0, LARGEST),
    "test.radius": (0, 1e6),
    "run.workers": (1, LARGEST),
    "run.log_every_steps": (1, LARGEST),
    "run.checkpoint_every_s": (0, 1e9),
    "run.resident_bytes": (0, 2**63),
    "run.members_at_once": (0, LARGEST),
    "run.members_bytes": (1, 2**63),
    "run.space": (1, LARGEST),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "data.crop": ("sleep", "lights"),
    "data.unscored": ("drop", "wake"),
    "model.pooling": ("flatten", "adaptive"),
    "model.variant": ("text", "code"),
    "train.balance": ("none", "under", "over"),
    "data.head": ("template", "sphere"),
    "data.target": ("centres", "sources"),
    "data.collisions": ("last", "max", "mean"),
    "test.unit": ("mm", "voxels"),
    "test.matching": ("hungarian", "greedy", "greedy_distinct"),
}


def check(config: ConfigDict) -> None:
    """Compare a configuration's numbers with `BOUNDS`, and words that no other place checks with `CHOICES`.

    Raises:
        UserError: a number outside, or none at all (`nan`); another word; a leak that only a paper's protocol may have.
    """
    for name, (least, largest) in BOUNDS.items():
        value = _value(config, name)
        if value is not None and not least <= value <= largest:
            low = "above 0" if least == ABOVE_0 else f"{least:g} or more"
            high = {BELOW_1: " and below 1", LARGEST: ""}.get(largest, f" and at most {largest:g}")
            raise UserError(f"config.{name} is {value}; expected {low}{high}: give --config.{name}=NUMBER")
    for name, words in CHOICES.items():
        word = _value(config, name)
        if word is not None and word not in words:
            raise UserError(f"config.{name} is '{word}'; there are {', '.join(words)}.{did_you_mean(word, words)}")
    if _value(config, "train.reuse_params_across_folds") and config.protocol != "paper":
        raise UserError(
            f"config.train.reuse_params_across_folds leaks: a fold would begin with weights that have learnt from its "
            f"test part; it is for protocol paper, this is {config.protocol}: "
            "give --config.train.reuse_params_across_folds=False"
        )


def _value(config: ConfigDict, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = None if value is None else value.get(part)
    return value

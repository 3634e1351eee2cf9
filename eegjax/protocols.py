"""What configurations share: their argument `protocol[,key=value...]`, and the fields that the engine reads."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from eegjax.errors import UserError, did_you_mean

Bounds = tuple[float, float]  # the least and the largest value, both allowed

ABOVE_0 = math.ulp(0.0)
BELOW_1 = math.nextafter(1.0, 0.0)
LARGEST = 2**31 - 1
BOUNDS: dict[str, Bounds] = {  # of the fields that every configuration has
    "seed": (0, LARGEST),
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
    "test.n_train_part": (0, LARGEST),
    "run.workers": (1, LARGEST),
    "run.log_every_steps": (1, LARGEST),
    "run.checkpoint_every_s": (0, 1e9),
    "run.resident_bytes": (0, 2**63),
    "run.members_at_once": (0, LARGEST),
    "run.members_bytes": (1, 2**63),
    "run.space": (1, LARGEST),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "train.balance": ("none", "under", "over"),
    "train.precision": ("float32", "bfloat16"),
    "train.optimizer": ("adam", "rmsprop", "sgd", "lbfgs"),
    "train.schedule": ("constant", "cosine", "exponential", "one_cycle"),
}


def parse(argument: str, protocols: Sequence[str], keys: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, str]]:
    """Read a configuration's argument.

    Args:
        argument: what stands after the colon of `--config=FILE:...`; empty means the first protocol.
        protocols: those the configuration has.
        keys: key -> the values it may take.

    Returns:
        The protocol, and the keys that were given.

    Raises:
        UserError: an unknown protocol, key or value.
    """
    protocol, *pairs = (argument or protocols[0]).split(",")
    _check("protocol", protocol, protocols)
    given = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"config: '{pair}' should be key=value; keys are {', '.join(keys)}")
        _check("key", key, list(keys))
        _check(f"value of {key}", value, keys[key])
        given[key] = value
    return protocol, given


def _check(what: str, word: str, allowed: Sequence[str]) -> None:
    if word not in allowed:
        raise UserError(f"config: no {what} '{word}'; there are {', '.join(allowed)}.{did_you_mean(word, allowed)}")


def train_settings() -> ConfigDict:
    """`config.train` of every study: what the engine reads, each field with its neutral value."""
    return ConfigDict(
        {
            "optimizer": "adam",  # rmsprop, sgd, lbfgs
            "learning_rate": 1e-3,
            "schedule": "constant",  # cosine, exponential, one_cycle
            "warmup_steps": 0,
            "decay_per_epoch": 1.0,  # of schedule="exponential"
            "weight_decay": 0.0,
            "decoupled_decay": True,  # of kernels, as AdamW has it; False: in the gradient, of all, as torch's Adam
            "clip_norm": 0.0,  # of the gradient; 0: not clipped
            "batch_size": 32,  # examples per step, sequences counted by their examples
            "accumulate_steps": 1,  # a batch in that many pieces, one after another
            "n_epochs": 1,
            "n_seeds": 1,
            "balance": "none",  # none, under, over: how an example is drawn
            "ema_decay": 0.0,  # of an average of the weights, which is what predicts; 0: none
            "patience_epochs": 0,  # without a better validation, after which training stops; 0: never
            "watch_test": False,  # the test part's loss after every epoch, if nothing is validated; it decides nothing
            "keep_epochs": (),  # after which weights are kept, as weights/epoch_N/, beside those at the end
            "max_bad_steps": 5,  # in a row without a finite loss and gradient, after which the run ends
            "max_loss": 0.0,  # the run ends at a larger one, and says why; 0: never
            "precision": "float32",  # bfloat16: of what is computed; weights and losses stay float32
            "reuse_params_across_folds": False,  # each fold goes on where the last one ended; as published, a leak
            "groups": {"all": {"pattern": ".", "rate": 1.0, "decay": 1.0, "frozen": False}},  # of parameters
        }
    )


def test_settings() -> ConfigDict:
    """`config.test` of every study: what the engine reads, each field with its neutral value."""
    return ConfigDict(
        {
            "dropout": False,  # leave it on, as some papers did
            "whole_batches": False,  # leave out the last, partial batch, as some papers did
            "train_part": False,  # predict the training part as well
            "n_train_part": 0,  # that many examples of it, evenly spread; 0: all
        }
    )


def read_field(config: ConfigDict, name: str) -> Any:
    """The value of a field, or a section, by its dotted name, such as `train.n_epochs`."""
    value: Any = config
    for part in name.split("."):
        value = value[part]
    return value


def run_settings() -> ConfigDict:
    """`config.run` of every study: what changes nothing in the results."""
    return ConfigDict(
        {
            "root": "runs",
            "workers": 2,
            "log_every_steps": 20,
            "checkpoint_every_s": 10.0,
            "tensorboard": True,
            "resident_bytes": 8_000_000_000,  # larger data streams from disk
            "members_at_once": 0,  # 0: one by one on a CPU, elsewhere as many as `members_bytes` of a device hold
            "members_bytes": 40_000_000_000,
            "space": 1,
            "compilation_cache": "",
        }
    )

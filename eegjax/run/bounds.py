"""What the values of a configuration may be: nonsense is said before anything is read, made or trained."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from eegjax import protocols
from eegjax.errors import UserError, check_choice
from eegjax.protocols import ABOVE_0, BELOW_1, LARGEST, Bounds


def check(config: ConfigDict, bounds: Mapping[str, Bounds], choices: Mapping[str, tuple[str, ...]]) -> None:
    """Compare a configuration's numbers and words with those that it may have.

    Args:
        config: of a run.
        bounds: of the study's own fields, dotted name -> (least, largest), both allowed; the engine's are added.
        choices: dotted name -> words, likewise.

    Raises:
        UserError: a number is outside or none at all (`nan`); a word is none of the choices; or a leak is asked for
            that only a paper's protocol may have.
    """
    for name, (least, largest) in {**protocols.BOUNDS, **bounds}.items():
        value = protocols.read_field(config, name)
        if not least <= value <= largest:
            low = "above 0" if least == ABOVE_0 else f"{least:g} or more"
            high = {BELOW_1: " and below 1", LARGEST: ""}.get(largest, f" and at most {largest:g}")
            raise UserError(f"config.{name} is {value}; expected {low}{high}: give --config.{name}=NUMBER")
    for name, words in {**protocols.CHOICES, **choices}.items():
        check_choice(f"config.{name}", protocols.read_field(config, name), words)
    if config.train.reuse_params_across_folds and config.protocol != "paper":
        raise UserError(
            f"config.train.reuse_params_across_folds leaks: a fold would begin with weights that have learnt from its "
            f"test part; it is for protocol paper, this is {config.protocol}: "
            "give --config.train.reuse_params_across_folds=False"
        )

"""The studies, by the name in their configuration: the one place that lists them."""

import importlib
from typing import TYPE_CHECKING

from eegjax.errors import check_choice

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from eegjax.run.study import Study

NAMES = ("sleep", "motor_imagery", "inverse")


def named(name: str) -> "Study":
    """The study of a name.

    Raises:
        UserError: no study has that name.
    """
    check_name(name, "config.study")
    return importlib.import_module(f"eegjax.studies.{name}.study").STUDY


def check_name(name: str, given_as: str) -> None:
    """Complain of a name that no study has.

    Raises:
        UserError: `name` is none of `NAMES`.
    """
    check_choice(given_as, name, NAMES)


def get_config(name: str, argument: str = "") -> "ConfigDict":
    """The configuration of a study, unlocked.

    Args:
        name: of the study, one of `NAMES`.
        argument: `protocol[,key=value...]`; empty means its first protocol.

    Raises:
        UserError: an unknown protocol, key or value.
    """
    return importlib.import_module(f"eegjax.studies.{name}.config").get_config(argument)

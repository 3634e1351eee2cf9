"""The folder of recordings, `config.data.root`: the demo has none, other protocols need one."""

from ml_collections import ConfigDict

from eegjax.errors import UserError


def needed(config: ConfigDict, recordings: str) -> str:
    """The root.

    Args:
        config: of the run.
        recordings: what it has to hold, and where that is had.

    Raises:
        UserError: it isn't set.
    """
    if not config.data.root:
        raise UserError(
            "config.data.root is not set: this protocol needs recordings; give --config.data.root=FOLDER with "
            f"{recordings}, or run the demo, which needs none: eegjax run {config.study}"
        )
    return config.data.root


def refuse(config: ConfigDict) -> None:
    """Complain of a root given to the demo.

    Raises:
        UserError: it is set.
    """
    if config.data.root:
        raise UserError(
            f"config.data.root is {config.data.root}, but the demo simulates its data and needs no folder; for what is "
            f"in one name a protocol: eegjax run {config.study}:standard"
        )

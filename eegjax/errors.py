"""The one error a user sees, and the one way to tell a user something."""

import difflib
import logging
from collections.abc import Iterable

logger = logging.getLogger("eegjax")


class UserError(Exception):
    """Something given to eegjax is wrong and can be mended by whoever gave it.

    The message is one line: which file or field, what was found, what was expected, how to mend it.
    The command line prints it as `error: ...` and exits with status 2.
    """


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest of the allowed words, or an empty string."""
    near = difflib.get_close_matches(word, list(allowed), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def check_choice(name: str, given: object, choices: Iterable[str]) -> None:
    """Raise one line that says which words there are, where something else was given.

    Args:
        name: what was given, as the user knows it: `config.model.name`, `--dataset`.
        given: its value.
        choices: the words allowed, in the order in which they are told.
    Raises:
        UserError: `given` is none of `choices`.
    """
    choices = list(choices)
    if given not in choices:
        raise UserError(f"{name} is '{given}'; there are {', '.join(choices)}.{did_you_mean(str(given), choices)}")


def note(message: str) -> None:
    """Tell the user something that changes what the numbers mean, without stopping."""
    logger.warning(message)

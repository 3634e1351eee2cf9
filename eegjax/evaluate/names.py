"""How the flat names of `metrics.json` are made of a number, its model and its task, and nowhere else."""

from collections.abc import Iterable

DIFFERENCE = "difference_to_"


def number_name(number: str, model: str = "", task: str = "") -> str:
    """The name of a model's number: `random_100_f1`, `left_right_eegnet_kappa`.

    Args:
        number: what was measured, such as `accuracy` or `accuracy_low`.
        model: its model; empty for the first, whose numbers have plain names.
        task: its task; empty for the first, and where there is one only.
    """
    return "_".join(word for word in (task, _in_names(model), number) if word)


def difference_name(model: str) -> str:
    """The number of the first model which is its difference to another one, first minus other."""
    return f"{DIFFERENCE}{_in_names(model)}"


def of_first(names: Iterable[str]) -> list[str]:
    """Those names that are numbers of the first model itself: of no other model, and no difference to one.

    Other models are told by their differences.
    """
    names = list(names)
    others = [name.removeprefix(DIFFERENCE) for name in names if name.startswith(DIFFERENCE)]
    return [name for name in names if not name.startswith((DIFFERENCE, *(f"{other}_" for other in others)))]


def _in_names(model: str) -> str:
    return model.replace(" ", "_")

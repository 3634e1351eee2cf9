"""What the sleep paper compares: the runs that its tables take."""

from typing import Any

STANDARD_ROWS: dict[str, dict[str, Any]] = {
    "current epoch": {},
    "current epoch, six stages": {"data.n_classes": 6},
    "two epochs before and after": {"data.context_epochs": 2},
    "two epochs before (causal)": {"data.context_epochs": 2, "data.causal": True},
}


def rows(protocol: str) -> dict[str, dict[str, Any]]:
    """The runs that the paper's tables need: one, or in `standard` one for each context and set of stages."""
    return STANDARD_ROWS if protocol == "standard" else {"": {}}

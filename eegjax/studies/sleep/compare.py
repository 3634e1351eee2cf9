"""What the sleep paper compares: the runs that its tables take."""

from typing import Any

from ml_collections import ConfigDict

from eegjax.run.rows import Rows

STANDARD_ROWS: dict[str, dict[str, Any]] = {
    "current epoch": {"data.n_classes": 5, "data.context_epochs": 0, "data.causal": False},
    "current epoch, six stages": {"data.n_classes": 6, "data.context_epochs": 0, "data.causal": False},
    "two epochs before and after": {"data.n_classes": 5, "data.context_epochs": 2, "data.causal": False},
    "two epochs before (causal)": {"data.n_classes": 5, "data.context_epochs": 2, "data.causal": True},
}


def rows(config: ConfigDict) -> Rows:
    """The runs that the paper's tables need: one, or in `standard` one for each context and set of stages."""
    return Rows(STANDARD_ROWS if config.protocol == "standard" else {"": {}})

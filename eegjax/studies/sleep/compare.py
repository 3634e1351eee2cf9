"""What the sleep paper compares: the runs that its tables take."""

from typing import Any

from ml_collections import ConfigDict

from eegjax.run.rows import Rows

STANDARD_ROWS: dict[str, dict[str, Any]] = {
    "current epoch": {},
    "current epoch, six stages": {"data.n_classes": 6},
    "two epochs before and after": {"data.context_epochs": 2},
    "two epochs before (causal)": {"data.context_epochs": 2, "data.causal": True},
}


def rows(config: ConfigDict) -> Rows:
    """The runs that the paper's tables need: one, or in `standard` one for each context and set of stages."""
    return Rows(STANDARD_ROWS if config.protocol == "standard" else {"": {}})

"""What the tests of figures share."""

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def saved(monkeypatch) -> list[Figure]:
    """The figures that were saved, still open to inspection."""
    kept: list[Figure] = []
    savefig = Figure.savefig

    def keep(figure: Figure, *args, **kwargs):
        kept.append(figure)
        savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept

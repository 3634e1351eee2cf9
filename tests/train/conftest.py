"""The tiny study beside this file becomes importable; its networks are compiled once for all tests that share them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import tiny_study as tiny

from eegjax.train.checkpoint import Checkpoints


@pytest.fixture(scope="session")
def network():
    """On four devices, without validation."""
    return tiny.make_network()


@pytest.fixture(scope="session")
def validating():
    """Stops a member after one validation without improvement, which its high rate makes likely."""
    settings = {"splits__n_validation_subjects": 1, "train__patience_epochs": 1, "train__n_epochs": 16}
    return tiny.make_network(**settings, train__learning_rate=0.3, train__schedule="constant")


@pytest.fixture(scope="session")
def whole(network, tmp_path_factory):
    """The first member, never stopped: its predictions and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return tiny.run(network, [0], folder), folder


@pytest.fixture
def opened(monkeypatch):
    """The checkpoints that are opened, so that a test can wait for their writing threads."""
    seen = []

    class Seen(Checkpoints):
        def __init__(self, *args):
            super().__init__(*args)
            seen.append(self)

    monkeypatch.setattr("eegjax.run.network.Checkpoints", Seen)
    yield seen
    for checkpoints in seen:
        checkpoints.close()

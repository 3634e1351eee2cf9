"""A network in PyTorch as its users run it, eager, contiguous: cross-entropy, Adam at 1e-5."""

from collections.abc import Callable
from typing import Any

import numpy as np

from eegjax.benchmarks.network import Network


def make(network: Network, batch: int) -> dict[str, Callable[[], Any]]:
    """`settings`; `logits` [batch, ..., classes]; `inference` and `training`, one step each."""
    import torch  # type: ignore[import-not-found]
    from torch import nn

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = network.in_torch(network.weights()).to(device)
    inputs, targets = (torch.from_numpy(array).to(device) for array in network.examples(batch))
    inputs = inputs.movedim(-1, 1).contiguous()
    optimizer = torch.optim.Adam(model.parameters(), 1e-5)

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def inference() -> np.ndarray:
        with torch.no_grad():
            return model(inputs).cpu().numpy()

    def training() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        wait()

    return {
        "settings": lambda: f"torch {torch.__version__}, eager, {device}, {torch.get_num_threads()} threads",
        "logits": lambda: np.moveaxis(inference(), 1, -1),
        "inference": inference,
        "training": training,
    }

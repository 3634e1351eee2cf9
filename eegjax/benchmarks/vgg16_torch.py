"""VGG16 in PyTorch as its users write it, eager, contiguous: no dropout, cross-entropy, Adam at 1e-5."""

from collections.abc import Callable
from typing import Any

import numpy as np

from eegjax.benchmarks.vgg16_weights import CHANNELS, LINEAR, examples, weights


def make(batch: int) -> dict[str, Callable[[], Any]]:
    """`settings`; `logits` [batch, 1000]; `inference` and `training`, one step each."""
    import torch  # type: ignore[import-not-found]
    from torch import nn

    device = "cuda" if torch.cuda.is_available() else "cpu"
    layers: list[Any] = []
    before = 3
    for channels in CHANNELS:
        layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(True)] if channels else [nn.MaxPool2d(2)]
        before = channels or before
    heads: list[Any] = []
    for n_in, n_out in LINEAR:
        heads += [nn.Linear(n_in, n_out), nn.ReLU(True), nn.Identity()]
    model = nn.Module()
    model.features, model.classifier = nn.Sequential(*layers), nn.Sequential(*heads[:-2])
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights().items()})
    model.to(device)
    images, labels = (torch.from_numpy(array).to(device) for array in examples(batch))
    images = images.permute(0, 3, 1, 2).contiguous()
    optimizer = torch.optim.Adam(model.parameters(), 1e-5)

    def apply() -> Any:
        return model.classifier(model.features(images).flatten(1))

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def inference() -> np.ndarray:
        with torch.no_grad():
            return apply().cpu().numpy()

    def training() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(apply(), labels).backward()
        optimizer.step()
        wait()

    return {
        "settings": lambda: f"torch {torch.__version__}, eager, {device}, {torch.get_num_threads()} threads",
        "logits": inference,
        "inference": inference,
        "training": training,
    }

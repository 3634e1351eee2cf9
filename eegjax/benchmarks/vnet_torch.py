"""V-Net as `eegjax.models.vnet` has it, in PyTorch as its users write it: volumes of [batch, channels, *space]."""

from collections.abc import Sequence

import torch  # type: ignore[import-not-found]
from torch import nn  # type: ignore[import-not-found]


class Left(nn.Module):
    """A stage on the way down: half the size, if need be, then units, and the input added to the result."""

    def __init__(self, before: int, features: int, n_convs: int, halved: bool) -> None:
        super().__init__()
        self.halve = nn.Sequential()
        if halved:
            self.halve.add_module("down", nn.Conv3d(before, features, 2, stride=2))
            self.halve.add_module("prelu_down", nn.PReLU())
            before = features
        self.skip = nn.Conv3d(before, features, 1)
        self.units = nn.Sequential()
        for index in range(1, n_convs + 1):
            add_unit(self.units, str(index), before, features)
            before = features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.halve(x)
        return self.units(x) + self.skip(x)


class Right(nn.Module):
    """A stage on the way up: twice the size, beside it the encoder's features, convolutions, and the former added."""

    def __init__(self, before: int, encoded: int, features: int, n_convs: int) -> None:
        super().__init__()
        self.enlarge = nn.Sequential()
        self.enlarge.add_module("up", nn.ConvTranspose3d(before, features, 2, stride=2))
        self.enlarge.add_module("prelu_up", nn.PReLU())
        self.widen = nn.Sequential()
        add_unit(self.widen, "encoded", encoded, features)
        self.convs = nn.Sequential()
        before = 2 * features
        for index in range(1, n_convs + 1):
            self.convs.add_module(f"conv_{index}", nn.Conv3d(before, features, 5, padding=2))
            self.convs.add_module(f"prelu_{index}", nn.PReLU())
            before = features

    def forward(self, x: torch.Tensor, encoded: torch.Tensor) -> torch.Tensor:
        up = self.enlarge(x)
        return self.convs(torch.cat([up, self.widen(encoded)], 1)) + up


def add_unit(stage: nn.Sequential, name: str, before: int, features: int) -> None:
    """Convolution, instance normalisation, PReLU."""
    stage.add_module(f"conv_{name}", nn.Conv3d(before, features, 5, padding=2))
    stage.add_module(f"norm_{name}", nn.InstanceNorm3d(features, affine=True))
    stage.add_module(f"prelu_{name}", nn.PReLU())


class VNet(nn.Module):
    """Two logits per voxel; levels as (channels on the way down, on the way up, convolutions)."""

    def __init__(self, levels: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        before = 1
        self.depth = len(levels)
        self.stages = nn.ModuleDict()
        for level, (features, _, n_convs) in enumerate(levels, 1):
            self.stages[f"left_{level}"] = Left(before, features, n_convs, level > 1)
            before = features
        for level in range(self.depth - 1, 0, -1):
            encoded, features, n_convs = levels[level - 1]
            self.stages[f"right_{level}"] = Right(before, encoded, features, n_convs)
            before = features
        self.last = nn.Conv3d(before, 2, 5, padding=2)
        self.head = nn.Conv3d(2, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        encoded = []
        for level in range(1, self.depth + 1):
            x = self.stages[f"left_{level}"](x)
            encoded.append(x)
        for level in range(self.depth - 1, 0, -1):
            x = self.stages[f"right_{level}"](x, encoded[level - 1])
        return self.head(self.last(x))

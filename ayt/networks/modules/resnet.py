"""ResNet (arXiv 1512.03385) of basic blocks, with a stem for small images."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ayt.networks.modules.feature_network import FeatureModule, require_halvings


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the first may halve the resolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + self.shortcut(x))


class ResNet(FeatureModule):
    """A 3x3 stem, groups of basic blocks (all but the first halve the resolution), mean over pixels, a linear layer.

    Args:
        resolution: height and width of the images.
        image_channels: of the images.
        outputs: numbers predicted per image.
        widths: channels of each group; the stem has as many as the first.
        blocks: basic blocks per group; 2 with four groups is ResNet-18.

    Raises:
        UserError: the resolution cannot be halved often enough.
    """

    def __init__(
        self,
        resolution: int = 32,
        image_channels: int = 3,
        outputs: int = 15,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: int = 2,
    ) -> None:
        super().__init__()
        require_halvings(widths, len(widths) - 1, resolution)
        self.conv1 = nn.Conv2d(image_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        inputs = widths[0]
        self._groups = [f"layer{index + 1}" for index in range(len(widths))]
        for name, width in zip(self._groups, widths, strict=True):
            first = BasicBlock(inputs, width, stride=1 if name == "layer1" else 2)
            self.add_module(name, nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(blocks - 1))))
            inputs = width
        self.linear = nn.Linear(inputs, outputs)

    def taps(self, x: Tensor) -> list[Tensor]:
        """The output (B, C', H', W') of each group, then the predictions (B, outputs)."""
        maps = self._maps(x)
        return [*maps, self.head(maps[-1].mean(dim=(2, 3)))]

    def embed(self, x: Tensor) -> Tensor:
        """The features (B, widths[-1]) that enter the linear layer."""
        return self._maps(x)[-1].mean(dim=(2, 3))

    def head(self, features: Tensor) -> Tensor:
        """Predict (B, outputs) from the result of `embed`."""
        predictions: Tensor = self.linear(features)
        return predictions

    def _maps(self, x: Tensor) -> list[Tensor]:
        x = F.relu(self.bn1(self.conv1(x)))
        maps = []
        for name in self._groups:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return maps

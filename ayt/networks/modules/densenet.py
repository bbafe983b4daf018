"""DenseNet (arXiv 1608.06993) with bottlenecks and compression, for small images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ayt.base.errors import UserError
from ayt.networks.modules.feature_network import FeatureModule

POOL = 4
"""Side of the last mean pool, in pixels."""


class Bottleneck(nn.Module):
    """1x1 convolution to four times the growth, 3x3 convolution to the growth, concatenated before the input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, growth + C, H, W)."""
        h = self.conv1(F.relu(self.bn1(x)))
        h = self.conv2(F.relu(self.bn2(h)))
        return torch.cat([h, x], dim=1)


class Transition(nn.Module):
    """1x1 convolution to fewer channels, 2x2 mean pool."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / 2, W / 2)."""
        return F.avg_pool2d(self.conv(F.relu(self.bn(x))), 2)


class DenseNet(FeatureModule):
    """Dense blocks with transitions between them; then batch norm, ReLU, 4x4 mean pool, linear.

    Args:
        resolution: height and width of the images; 4 pixels must remain after the transitions.
        image_channels: of the images.
        outputs: numbers predicted per image.
        growth: channels that each layer adds.
        blocks: layers of each dense block.
        compression: share of the channels that a transition keeps, rounded down.

    Raises:
        UserError: 4 pixels do not remain after the transitions.
    """

    def __init__(
        self,
        resolution: int = 32,
        image_channels: int = 3,
        outputs: int = 15,
        growth: int = 16,
        blocks: Sequence[int] = (3, 6, 12, 8),
        compression: float = 0.5,
    ) -> None:
        super().__init__()
        if resolution != POOL * 2 ** (len(blocks) - 1):
            raise UserError(
                f"blocks {list(blocks)}: {len(blocks) - 1} transitions need images of {POOL * 2 ** (len(blocks) - 1)} "
                f"pixels, not {resolution}"
            )
        width = 2 * growth
        self.conv1 = nn.Conv2d(image_channels, width, 3, padding=1, bias=False)
        self._depth = len(blocks)
        for index, count in enumerate(blocks, start=1):
            layers = [Bottleneck(width + layer * growth, growth) for layer in range(count)]
            self.add_module(f"dense{index}", nn.Sequential(*layers))
            width += count * growth
            if index < len(blocks):
                kept = int(width * compression)
                self.add_module(f"trans{index}", Transition(width, kept))
                width = kept
        self.bn = nn.BatchNorm2d(width)
        self.linear = nn.Linear(width, outputs)

    def taps(self, x: Tensor) -> list[Tensor]:
        """The output (B, C', H', W') of each transition and of the last pool, then the predictions (B, outputs)."""
        maps = self._maps(x)
        return [*maps, self.head(maps[-1].flatten(1))]

    def embed(self, x: Tensor) -> Tensor:
        """The features (B, d) that enter the linear layer."""
        return self._maps(x)[-1].flatten(1)

    def head(self, features: Tensor) -> Tensor:
        """Predict (B, outputs) from the result of `embed`."""
        predictions: Tensor = self.linear(features)
        return predictions

    def _maps(self, x: Tensor) -> list[Tensor]:
        x = self.conv1(x)
        maps = []
        for index in range(1, self._depth):
            x = self.get_submodule(f"trans{index}")(self.get_submodule(f"dense{index}")(x))
            maps.append(x)
        x = self.get_submodule(f"dense{self._depth}")(x)
        return [*maps, F.avg_pool2d(F.relu(self.bn(x)), POOL)]

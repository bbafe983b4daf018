"""VGG-style classifiers: VGG16 for 32x32 images by default, smaller ones by configuration."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ayt.base.errors import UserError
from ayt.networks.modules.feature_network import FeatureModule, require_halvings


class ConvBlock(nn.Module):
    """3x3 convolution, optional batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, batch_norm: bool, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-5) if batch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        x = self.conv(x)
        return F.relu(x if self.bn is None else self.bn(x))


class VGG(FeatureModule):
    """Stages of 3x3 convolutions that each halve the resolution at their end; mean over pixels; a linear layer.

    Args:
        resolution: height and width of the images.
        image_channels: of the images.
        outputs: numbers predicted per image.
        widths: channels of each stage.
        convs: convolutions of each stage.
        batch_norm: whether each convolution is followed by batch norm.
        pool: whether a 2x2 max-pool ends each stage; otherwise the stage's last convolution has stride 2.

    Raises:
        UserError: ``widths`` and ``convs`` differ in length, or the resolution cannot be halved often enough.
    """

    def __init__(
        self,
        resolution: int = 32,
        image_channels: int = 3,
        outputs: int = 15,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        convs: Sequence[int] = (2, 2, 3, 3, 3),
        batch_norm: bool = True,
        pool: bool = True,
    ) -> None:
        super().__init__()
        if len(widths) != len(convs):
            raise UserError(f"widths {list(widths)} and convs {list(convs)}: one entry per stage")
        require_halvings(widths, len(widths), resolution)
        self.layers = nn.ModuleDict()
        inputs = image_channels
        for stage, (width, count) in enumerate(zip(widths, convs, strict=True)):
            size = resolution >> stage
            for index in range(count):
                stride = 1 if pool or index < count - 1 else 2
                self.layers[f"{size}x{size}_block{index}"] = ConvBlock(inputs, width, batch_norm, stride)
                inputs = width
        self.layers["classifier"] = nn.Linear(inputs, outputs)
        self._convs = tuple(convs)
        self._pool = pool

    def taps(self, x: Tensor) -> list[Tensor]:
        """The map (B, C', H', W') at the end of each stage, then the predictions (B, outputs)."""
        maps = self._maps(x)
        return [*maps, self.head(maps[-1].mean(dim=(2, 3)))]

    def embed(self, x: Tensor) -> Tensor:
        """The features (B, widths[-1]) that enter the linear layer."""
        return self._maps(x)[-1].mean(dim=(2, 3))

    def head(self, features: Tensor) -> Tensor:
        """Predict (B, outputs) from the result of `embed`."""
        predictions: Tensor = self.layers["classifier"](features)
        return predictions

    def _maps(self, x: Tensor) -> list[Tensor]:
        blocks = iter(layer for name, layer in self.layers.items() if name != "classifier")
        maps = []
        for count in self._convs:
            for _ in range(count):
                x = next(blocks)(x)
            x = F.max_pool2d(x, 2) if self._pool else x
            maps.append(x)
        return maps

"""An autoencoder of images, whose encoder's features a distance can look at."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ayt.networks.modules.ddpmpp import group_norm, normalise
from ayt.networks.modules.feature_network import FeatureModule, require_halvings


class NormGELU(nn.Module):
    """Group norm, then GELU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return F.gelu(normalise(self.norm, x))


class PreactivationBlock(nn.Module):
    """Pre-activation residual block: x + conv(GELU(norm(conv(GELU(norm(x)))))).

    ``resample``: ``"down"`` halves the resolution by strides of 2, ``"up"`` doubles it by repeating pixels.
    """

    def __init__(self, inputs: int, outputs: int, resample: str | None = None) -> None:
        super().__init__()
        stride = 2 if resample == "down" else 1
        self.up = resample == "up"
        self.norm0 = NormGELU(inputs)
        self.conv0 = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.norm1 = NormGELU(outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs or resample else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W')."""
        if self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        h = self.conv1(self.norm1(self.conv0(self.norm0(x))))
        residual: Tensor = h + (x if self.skip is None else self.skip(x))
        return residual


class Autoencoder(FeatureModule):
    """Stages of residual blocks down to a latent image with batch norm, and the same back up.

    Each stage of the encoder but the first halves the resolution; the decoder mirrors it.

    Args:
        resolution: height and width of the images.
        image_channels: of the images.
        widths: channels of each stage.
        blocks: of each stage.
        latent: channels of the latent image.

    Attributes:
        latent_shape: (latent, H', W') of the latent image, whose numbers have unit variance over a batch: batch norm
            without scale or offset, so that noise of a given size cannot be evaded by larger numbers.

    Raises:
        UserError: the resolution cannot be halved often enough.
    """

    def __init__(
        self,
        resolution: int = 32,
        image_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: int = 2,
        latent: int = 32,
    ) -> None:
        super().__init__()
        halvings = len(widths) - 1
        require_halvings(widths, halvings, resolution)
        size = resolution >> halvings
        self.latent_shape = (latent, size, size)
        self.enter = nn.Conv2d(image_channels, widths[0], 3, padding=1)
        self.encoder = _stages(widths, blocks, "down")
        self.squeeze = nn.Sequential(NormGELU(widths[-1]), nn.Conv2d(widths[-1], latent, 1))
        self.latent_norm = nn.BatchNorm2d(latent, affine=False)
        self.expand = nn.Conv2d(latent, widths[-1], 1)
        self.decoder = _stages(widths[::-1], blocks, "up")
        self.leave = nn.Sequential(NormGELU(widths[0]), nn.Conv2d(widths[0], image_channels, 3, padding=1))

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) from images in [-1, 1], by way of their latents with noise (B, *latent_shape) added."""
        z = self.embed(x)
        return self.head(z if noise is None else z + noise.flatten(1))

    def taps(self, x: Tensor) -> list[Tensor]:
        """The map (B, C', H', W') at the end of each stage of the encoder."""
        maps, h = [], self.enter(x)
        for stage in self.encoder:
            h = stage(h)
            maps.append(h)
        return maps

    def embed(self, x: Tensor) -> Tensor:
        """The latents (B, latent H' W')."""
        z: Tensor = self.latent_norm(self.squeeze(self.taps(x)[-1]))
        return z.flatten(1)

    def head(self, features: Tensor) -> Tensor:
        """Decode latents to images (B, C, H, W)."""
        h = self.expand(features.view(-1, *self.latent_shape))
        for stage in self.decoder:
            h = stage(h)
        images: Tensor = self.leave(h)
        return images


def _stages(widths: Sequence[int], blocks: int, resample: str) -> nn.ModuleList:
    """Stages of so many blocks each; the first block of each but the first changes the resolution."""
    stages, inputs = nn.ModuleList(), widths[0]
    for stage, width in enumerate(widths):
        first = PreactivationBlock(inputs, width, resample if stage else None)
        stages.append(nn.Sequential(first, *(PreactivationBlock(width, width) for _ in range(blocks - 1))))
        inputs = width
    return stages

"""Small networks for points, which are stored as images (B, D, 1, 1) of one pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ayt.networks.modules.precond import RawNetwork


def as_images(points: Tensor) -> Tensor:
    """Points (B, D) as images (B, D, 1, 1) in float32."""
    return points.float()[:, :, None, None]


class PointDenoiser(RawNetwork):
    """The raw network F of `ayt.networks.modules.precond.EDMPrecond` for points: linear layers and SiLU.

    Args:
        coordinates: number of coordinates of a point.
        width: of the hidden layers.
        depth: number of hidden layers.
    """

    frequencies: Tensor

    def __init__(self, coordinates: int, width: int, depth: int) -> None:
        super().__init__()
        self.mask_shapes, self.dropout, self.classes = [], 0.0, 0
        # Only low frequencies, so that the few points at t = 80, where samples start, benefit from lower levels.
        self.register_buffer("frequencies", torch.tensor([0.5, 1.0, 2.0]))
        inputs = coordinates + 2 * len(self.frequencies)
        self.hidden = layers(inputs, width, depth)
        self.last = nn.Linear(width, coordinates)

    def forward(
        self,
        x: Tensor,
        noise_label: Tensor,
        augment_labels: Tensor | None = None,
        class_labels: Tensor | None = None,
        masks: Sequence[Tensor] = (),
    ) -> Tensor:
        """Map (B, D, 1, 1) and noise labels (B,) to (B, D, 1, 1); the other arguments only complete the signature."""
        phases = torch.outer(noise_label, self.frequencies)
        h = torch.cat([x.flatten(1), phases.cos(), phases.sin()], dim=1)
        for layer in self.hidden:
            h = F.silu(layer(h))
        raw: Tensor = self.last(h)
        return raw[:, :, None, None]


class PointFeatures(nn.Module):
    """Recognises transformations of points: linear layers and SiLU.

    Args:
        coordinates: of a point.
        outputs: numbers predicted per point.
        width: of the hidden layers.
        depth: how many there are.
    """

    def __init__(self, coordinates: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.hidden = layers(coordinates, width, depth)
        self.last = nn.Linear(width, outputs)

    def taps(self, x: Tensor) -> list[Tensor]:
        """The activations (B, C) of each layer for (B, D, 1, 1), the predictions last."""
        found = [x.flatten(1)]
        for layer in self.hidden:
            found.append(F.silu(layer(found[-1])))
        return [*found[1:], self.last(found[-1])]

    def forward(self, x: Tensor) -> Tensor:
        """The predictions (B, outputs)."""
        return self.taps(x)[-1]


def layers(inputs: int, width: int, depth: int) -> nn.ModuleList:
    """``depth`` linear layers of ``width``; the first has ``inputs`` inputs."""
    return nn.ModuleList(nn.Linear(width if index else inputs, width) for index in range(depth))

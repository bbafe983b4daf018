"""A dataset's images as uint8 tensors, kept entirely on the device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ayt.base.randomness import generator


@dataclass(frozen=True)
class Images:
    """A dataset in memory.

    Attributes:
        pixels: (N, C, H, W) uint8.
        labels: (N,) int64 class labels.
    """

    pixels: Tensor
    labels: Tensor

    @classmethod
    def of(cls, arrays: tuple[np.ndarray, np.ndarray]) -> Images:
        """From arrays of pixels and labels, on the host."""
        pixels, labels = arrays
        return cls(torch.from_numpy(pixels), torch.from_numpy(labels))

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: torch.device) -> Images:
        """The same dataset on a device."""
        return Images(self.pixels.to(device), self.labels.to(device))

    def batch(self, batch_size: int, seed: int, iteration: int) -> tuple[Tensor, Tensor]:
        """The images (B, C, H, W) in [-1, 1] and labels (B,) of one iteration.

        Each epoch is reshuffled and drawn without replacement; its last, incomplete batch is dropped.
        """
        return self.at(self.choose(batch_size, seed, iteration))

    def choose(self, batch_size: int, seed: int, iteration: int) -> Tensor:
        """Indices (B,) of the images of one iteration, on the dataset's device."""
        epoch, part = divmod(iteration, len(self) // batch_size)
        order = _order(len(self), seed, epoch, self.pixels.device)
        return order[part * batch_size : (part + 1) * batch_size]

    def at(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The images (B, C, H, W) in [-1, 1] at given indices, and their labels (B,)."""
        return to_float(self.pixels[chosen]), self.labels[chosen]


def to_float(pixels: Tensor) -> Tensor:
    """Map uint8 to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """Map [-1, 1] to uint8 by trunc(clip(127.5 x + 128, 0, 255))."""
    return (127.5 * x + 128).clamp(0, 255).to(torch.uint8)


@lru_cache(maxsize=2)
def _order(size: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    """A whole epoch's order, drawn on the host so that it is the same on every device, and copied once."""
    return torch.randperm(size, generator=generator(seed, epoch, "shuffle")).to(device)

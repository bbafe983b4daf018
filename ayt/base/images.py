"""Images of a dataset as tensors, kept whole on the device as uint8."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ayt.base.randomness import generator


@dataclass(frozen=True)
class Images:
    """A dataset.

    Attributes:
        pixels: (N, C, H, W) uint8.
        labels: (N,) int64 class labels.
    """

    pixels: Tensor
    labels: Tensor

    @classmethod
    def of(cls, arrays: tuple[np.ndarray, np.ndarray]) -> Images:
        """The images of a dataset's pixels and labels, on the host."""
        pixels, labels = arrays
        return cls(torch.from_numpy(pixels), torch.from_numpy(labels))

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: torch.device) -> Images:
        """The same dataset on a device."""
        return Images(self.pixels.to(device), self.labels.to(device))

    def batch(self, batch_size: int, seed: int, iteration: int) -> tuple[Tensor, Tensor]:
        """The images (B, C, H, W) in [-1, 1] and labels (B,) of one iteration.

        Each epoch is shuffled anew and gone through without replacement; its last, incomplete part is dropped.
        """
        epoch, part = divmod(iteration, len(self) // batch_size)
        order = _order(len(self), seed, epoch)
        chosen = order[part * batch_size : (part + 1) * batch_size].to(self.pixels.device)
        return to_float(self.pixels[chosen]), self.labels[chosen]


def to_float(pixels: Tensor) -> Tensor:
    """Map uint8 to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """Map [-1, 1] to uint8 by trunc(clip(127.5 x + 128, 0, 255))."""
    return (127.5 * x + 128).clamp(0, 255).to(torch.uint8)


@lru_cache(maxsize=2)
def _order(size: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(size, generator=generator(seed, epoch, "shuffle"))

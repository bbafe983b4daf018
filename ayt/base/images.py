"""A dataset's images as uint8 tensors, kept entirely on one device."""

from __future__ import annotations

import warnings
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
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # a memory map, perhaps
            return cls(torch.from_numpy(pixels), torch.from_numpy(labels))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.pixels.device

    def to(self, device: torch.device) -> Images:
        """The same dataset on a device."""
        return Images(self.pixels.to(device), self.labels.to(device))

    def batch(self, batch_size: int, seed: int, iteration: int) -> tuple[Tensor, Tensor]:
        """The images (B, C, H, W) in [-1, 1] and labels (B,) of one iteration.

        Each epoch is reshuffled and drawn without replacement; its last, incomplete batch is dropped.
        """
        return self.read((self.choose(batch_size, seed, iteration),))

    def choose(self, batch_size: int, seed: int, iteration: int) -> Tensor:
        """Indices (B,) of the images of one iteration, on the dataset's device."""
        epoch, part = divmod(iteration, len(self) // batch_size)
        order = _order(len(self), seed, epoch, self.pixels.device)
        return order[part * batch_size : (part + 1) * batch_size]

    def inputs(self, batch_size: int) -> tuple[Tensor, ...]:
        """Memory on the device for the indices of a batch."""
        return (torch.zeros(batch_size, dtype=torch.int64, device=self.device),)

    def fill(self, inputs: tuple[Tensor, ...], batch_size: int, seed: int, iteration: int) -> None:
        """Copy the indices of one iteration there."""
        inputs[0].copy_(self.choose(batch_size, seed, iteration))

    def read(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The images (B, C, H, W) in [-1, 1] and labels (B,) of what `fill` put there."""
        return to_float(self.pixels[inputs[0]]), self.labels[inputs[0]]


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

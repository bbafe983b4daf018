"""Datasets of small images, kept whole on the device as uint8."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor

from ayt.config.schema import Dataset
from ayt.randomness import generator

PHOTO_SIZE = 32
PHOTO_CELLS = (2, 3)
"""Each photograph is divided into 2 x 3 cells; photograph and cell of a crop's centre are its class."""


@dataclass(frozen=True)
class Images:
    """A dataset.

    Attributes:
        pixels: (N, C, H, W) uint8.
        labels: (N,) int64 class labels.
    """

    pixels: Tensor
    labels: Tensor

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


@lru_cache(maxsize=2)
def _order(size: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(size, generator=generator(seed, epoch, "shuffle"))


def load(dataset: Dataset) -> Images:
    """Load a dataset that is shipped inside scikit-learn."""
    return {"digits": _digits, "photos": _photos}[dataset.name](dataset)


def _digits(dataset: Dataset) -> Images:
    """1,797 handwritten digits, 8x8, one channel (UCI ML hand-written digits)."""
    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)
    return Images(torch.from_numpy(pixels)[:, None], torch.from_numpy(data.target).long())


def _photos(dataset: Dataset) -> Images:
    """Crops, 32x32, three channels, of two photographs at half their size; the same for every call."""
    random = np.random.default_rng(0)
    crops, labels = [], []
    photos = load_sample_images().images
    for index, photo in enumerate(photos):
        height, width = photo.shape[0] // 2, photo.shape[1] // 2
        half = photo[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
        count = dataset.crops // len(photos) + (index < dataset.crops % len(photos))
        tops = random.integers(0, height - PHOTO_SIZE + 1, count)
        lefts = random.integers(0, width - PHOTO_SIZE + 1, count)
        windows = np.lib.stride_tricks.sliding_window_view(half, (PHOTO_SIZE, PHOTO_SIZE), axis=(0, 1))
        crops.append(np.rint(windows[tops, lefts]).astype(np.uint8))  # (count, 3, 32, 32)
        rows = (tops + PHOTO_SIZE // 2) * PHOTO_CELLS[0] // height
        columns = (lefts + PHOTO_SIZE // 2) * PHOTO_CELLS[1] // width
        labels.append((index * PHOTO_CELLS[0] + rows) * PHOTO_CELLS[1] + columns)
    return Images(torch.from_numpy(np.concatenate(crops)), torch.from_numpy(np.concatenate(labels)).long())

"""Crops of two photographs that come with scikit-learn: colour images of CIFAR-10's size without a download."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from ayt.datasets.base import DATASETS, Arrays, Dataset

CELLS = (2, 3)
"""Each of the two photographs is divided into 2 x 3 cells; a crop's class is the photograph and cell of its centre."""


@DATASETS.register
class Photos(Dataset):
    """Crops, 32x32, three channels, of two photographs at half size; the same on every call."""

    name: ClassVar[str] = "photos"
    channels: ClassVar[int] = 3
    resolution: ClassVar[int] = 32
    classes: ClassVar[int] = 2 * CELLS[0] * CELLS[1]

    crops: Annotated[int, Field(ge=1, le=1_000_000)] = 6000
    """Number of crops."""

    @property
    def size(self) -> int:
        """Number of images."""
        return self.crops

    def load(self) -> Arrays:
        """Read the images."""
        from sklearn.datasets import load_sample_images

        random = np.random.default_rng(0)
        side = self.resolution
        crops, labels = [], []
        photos = load_sample_images().images
        for index, photo in enumerate(photos):
            height, width = photo.shape[0] // 2, photo.shape[1] // 2
            half = photo[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
            count = self.crops // len(photos) + (index < self.crops % len(photos))
            tops = random.integers(0, height - side + 1, count)
            lefts = random.integers(0, width - side + 1, count)
            windows = np.lib.stride_tricks.sliding_window_view(half, (side, side), axis=(0, 1))
            crops.append(np.rint(windows[tops, lefts]).astype(np.uint8))  # (count, 3, 32, 32)
            rows = (tops + side // 2) * CELLS[0] // height
            columns = (lefts + side // 2) * CELLS[1] // width
            labels.append((index * CELLS[0] + rows) * CELLS[1] + columns)
        return Arrays(np.concatenate(crops), np.concatenate(labels))

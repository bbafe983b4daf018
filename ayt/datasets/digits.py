"""Handwritten digits, shipped with scikit-learn."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ayt.datasets.base import DATASETS, Arrays, Dataset


@DATASETS.register
class Digits(Dataset):
    """1,797 handwritten digits, 8x8, one channel (UCI ML hand-written digits)."""

    name: ClassVar[str] = "digits"
    channels: ClassVar[int] = 1
    resolution: ClassVar[int] = 8
    classes: ClassVar[int] = 10

    @property
    def size(self) -> int:
        """How many images it has."""
        return 1797

    def load(self) -> Arrays:
        """Read the images."""
        from sklearn.datasets import load_digits

        data = load_digits()
        pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)
        return Arrays(pixels[:, None], data.target.astype(np.int64))

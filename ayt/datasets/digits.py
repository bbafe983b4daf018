"""Handwritten digits, shipped with scikit-learn."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import ClassVar

import numpy as np

from ayt.base.errors import UserError
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
        """Number of images."""
        return 1797

    def load(self) -> Arrays:
        """Read the images from the file that comes with scikit-learn, whose import would cost every job a second.

        Raises:
            UserError: scikit-learn is not installed, or its file is missing or damaged.
        """
        found = importlib.util.find_spec("sklearn")
        if found is None or found.origin is None:
            raise UserError("dataset digits: comes with scikit-learn, which is not installed")
        path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
        try:
            with gzip.open(path, "rt") as file:
                rows = np.loadtxt(file, delimiter=",", dtype=np.int64)
        except (OSError, EOFError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}); reinstall scikit-learn") from None
        if rows.shape != (self.size, 65):
            raise UserError(f"{path}: has {rows.shape} numbers instead of {(self.size, 65)}; reinstall scikit-learn")
        pixels = np.rint(rows[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
        return Arrays(pixels, rows[:, -1])

"""CIFAR-10's training set, read from its archive without extracting or executing anything."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, cast

import numpy as np

from ayt.base import arrays, paths
from ayt.base.errors import UserError
from ayt.datasets.base import DATASETS, Arrays, Dataset

BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
LARGEST_BATCH = 100_000_000
"""The largest batch file, in bytes; the real ones have 31 million."""

LARGEST_ARCHIVE = 400_000_000
"""The largest archive, in bytes after decompression; the real one has 186 million."""


@DATASETS.register
class Cifar10(Dataset):
    """50,000 colour images, 32x32, of ten classes: CIFAR-10's training set in the order of its archive."""

    name: ClassVar[str] = "cifar10"
    channels: ClassVar[int] = 3
    resolution: ClassVar[int] = 32
    classes: ClassVar[int] = 10
    archive: ClassVar[str | None] = name
    of_the_paper: ClassVar[bool] = True

    @property
    def size(self) -> int:
        """Number of images."""
        return 50_000

    def load(self) -> Arrays:
        """Read the prepared images.

        Raises:
            UserError: they were not prepared, or their file is damaged.
        """
        made_by = f"ayt prepare {self.name} ARCHIVE"
        found = arrays.read_arrays(paths.dataset(self.name), "pixels", "labels", made_by=made_by)
        return Arrays(found["pixels"], found["labels"].astype(np.int64))

    @classmethod
    def prepare(cls, archive: Path) -> Arrays:
        """Read the training set from ``cifar-10-python.tar.gz``.

        Raises:
            UserError: the archive is damaged, has members that extraction would put elsewhere, or is not CIFAR-10.
        """
        batches = _read_batches(archive)
        missing = [name for name in BATCHES if name not in batches]
        if missing:
            raise UserError(f"{archive}: not CIFAR-10 for Python: has no {', '.join(missing)}")
        data = [batches[name].get("data") for name in BATCHES]
        labels = [batches[name].get("labels") for name in BATCHES]
        if not all(
            isinstance(part, np.ndarray) and part.dtype == np.uint8 and part.shape[1:] == (3072,) for part in data
        ):
            raise UserError(f"{archive}: not CIFAR-10 for Python: data is not rows of 3072 bytes")
        if not all(isinstance(part, list) and all(label in range(10) for label in part) for part in labels):
            raise UserError(f"{archive}: not CIFAR-10 for Python: labels are not lists of 0 to 9")
        pixels = np.concatenate(cast(list[np.ndarray], data)).reshape(-1, 3, 32, 32)
        classes = np.array([label for part in cast(list[list[int]], labels) for label in part])
        size = cls().size
        if not len(pixels) == len(classes) == size:
            raise UserError(f"{archive}: has {len(pixels)} images and {len(classes)} labels, not {size}")
        return Arrays(pixels, classes.astype(np.int64))


def _read_batches(archive: Path) -> dict[str, dict[str, object]]:
    from ayt.foreign.archives import read_members
    from ayt.foreign.checkpoints import read_pickled_arrays

    members = read_members(archive, BATCHES, LARGEST_BATCH, LARGEST_ARCHIVE)
    return {name: read_pickled_arrays(content, f"{archive}: {name}") for name, content in members}

"""What a dataset is."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.base.kinds import Kind, Registry


class Arrays(NamedTuple):
    """The images of a dataset.

    Attributes:
        pixels: (N, C, H, W) uint8.
        labels: (N,) int64 class labels.
    """

    pixels: np.ndarray
    labels: np.ndarray


class Dataset(Kind):
    """What is learnt: facts that must be known before anything is loaded, and how it is loaded.

    Attributes:
        channels: 1 or 3.
        resolution: height and width.
        classes: that labels tell apart.
        archive: the asset that it is prepared from; None: a library ships it.
        of_the_paper: whether the paper's experiments are on it, so that published numbers can stand beside ours.
    """

    channels: ClassVar[int]
    resolution: ClassVar[int]
    classes: ClassVar[int]
    archive: ClassVar[str | None] = None
    of_the_paper: ClassVar[bool] = False

    @property
    @abstractmethod
    def size(self) -> int:
        """How many images it has."""

    @abstractmethod
    def load(self) -> Arrays:
        """Read the images.

        Raises:
            UserError: they were not prepared, or their file is damaged.
        """

    @classmethod
    def prepare(cls, archive: Path) -> Arrays:
        """Read the published archive.

        Raises:
            UserError: the dataset has none, or it is damaged or of other content.
        """
        raise UserError(f"{archive}: {cls.name} is not made from an archive")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.channels, self.resolution, self.resolution

    @property
    def files(self) -> list[Path]:
        """The files that `load` reads; none where a library ships the images."""
        return [paths.dataset(self.name)] if self.archive else []


DATASETS: Registry[Dataset] = Registry("dataset", key="name", package="ayt.datasets")

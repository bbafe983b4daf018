"""The base class of datasets."""

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
    """A dataset: the properties needed before anything is loaded, and how to load it.

    Attributes:
        channels: 1 or 3.
        resolution: height and width.
        classes: number of classes.
        archive: the asset that it is prepared from; None: it comes with a library.
        of_the_paper: whether the paper uses it, so that published numbers can be shown beside ours.
    """

    channels: ClassVar[int]
    resolution: ClassVar[int]
    classes: ClassVar[int]
    archive: ClassVar[str | None] = None
    of_the_paper: ClassVar[bool] = False

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of images."""

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
            UserError: the dataset has no archive, or the archive is damaged or something else.
        """
        raise UserError(f"{archive}: {cls.name} is not made from an archive")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.channels, self.resolution, self.resolution

    @property
    def files(self) -> list[Path]:
        """The files that `load` reads; none if the images come with a library."""
        return [paths.dataset(self.name)] if self.archive else []


DATASETS: Registry[Dataset] = Registry("dataset", key="name", package="ayt.datasets")

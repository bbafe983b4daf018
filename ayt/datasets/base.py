"""Facts about the datasets that must be known before anything is loaded."""

from __future__ import annotations

from typing import NamedTuple

from ayt.experiment.schema import Dataset


class Facts(NamedTuple):
    """Number of images, their shape and the number of classes."""

    size: int
    channels: int
    resolution: int
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.channels, self.resolution, self.resolution


def facts(dataset: Dataset) -> Facts:
    """The facts of one dataset, as `ayt.datasets.images.load` will find them."""
    if dataset.name == "digits":
        return Facts(size=1797, channels=1, resolution=8, classes=10)
    if dataset.name == "cifar10":
        return Facts(size=50_000, channels=3, resolution=32, classes=10)
    return Facts(size=dataset.crops, channels=3, resolution=32, classes=12)

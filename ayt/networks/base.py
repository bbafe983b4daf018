"""What denoisers and feature networks are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from ayt.base.kinds import Kind, Registry
from ayt.datasets.base import Dataset

if TYPE_CHECKING:
    from ayt.networks.modules.feature_network import FeatureModule
    from ayt.networks.modules.precond import EDMPrecond

NEEDS_WHOLE_BATCHES = "has batch norm, which needs a whole batch: train in one process, or choose batch_norm: false"
"""Of a network with batch norm whose batches several processes would share."""

Misfit = tuple[str, Any, str]
"""A key of the settings, its value, and why it cannot be."""


class Denoiser(Kind):
    """A network D(x; sigma) that removes noise; what consistency models and diffusion models are.

    Attributes:
        conditional: whether it is told an image's class.
    """

    conditional: bool = False
    """Whether the network is told the class of an image; it is then sampled with classes in equal shares."""

    @abstractmethod
    def build(self, dataset: Dataset, dropout: float) -> EDMPrecond:
        """The network for images of a dataset, with fresh weights from PyTorch's default generator."""

    def misfits(self, dataset: Dataset) -> Iterator[Misfit]:
        """Why the network cannot be built for images of a dataset."""
        yield from ()

    def classes(self, dataset: Dataset) -> int:
        """Classes that the network is told of; 0 where it is told none."""
        return dataset.classes if self.conditional else 0


class FeatureNetwork(Kind):
    """A network that maps images to numbers, and whose features on the way can be looked at.

    Attributes:
        has_maps: whether its features are maps of channels, (B, C, H, W), and not tokens.
    """

    has_maps: ClassVar[bool] = True

    @property
    def has_batch_norm(self) -> bool:
        """Whether images of a batch are normalised together in training, so that parts of it give other results."""
        return True

    @abstractmethod
    def build(self, dataset: Dataset, outputs: int) -> FeatureModule:
        """The network for images of a dataset, with fresh weights from PyTorch's default generator."""

    def misfits(self, dataset: Dataset) -> Iterator[Misfit]:
        """Why the network cannot be built for images of a dataset."""
        yield from ()


DENOISERS: Registry[Denoiser] = Registry("network", key="family", package="ayt.networks.denoisers")
FEATURE_NETWORKS: Registry[FeatureNetwork] = Registry("family", key="family", package="ayt.networks.classifiers")

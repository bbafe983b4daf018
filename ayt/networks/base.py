"""The base classes of denoisers and feature networks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ayt.base.kinds import Kind, Registry
from ayt.datasets.base import Dataset

if TYPE_CHECKING:
    from ayt.networks.modules.feature_network import FeatureModule
    from ayt.networks.modules.precond import EDMPrecond

NEEDS_WHOLE_BATCHES = "has batch norm, which needs a whole batch: train in one process, or choose batch_norm: false"
"""Of a network with batch norm whose batches several processes would share."""

Task = Literal["transformations", "labels", "reconstruction"]
"""What a feature network learns: the parameters of random transformations, class labels, or the images themselves."""

Misfit = tuple[str, Any, str]
"""A key of the settings, its value, and why it is not possible."""


class Denoiser(Kind):
    """A network D(x; sigma) that removes noise: a consistency model or a diffusion model.

    Attributes:
        conditional: whether it is conditioned on class labels.
    """

    conditional: bool = False
    """Whether the network is conditioned on class labels; samples then have all classes in equal shares."""

    @abstractmethod
    def build(self, dataset: Dataset, dropout: float) -> EDMPrecond:
        """Build the network for a dataset's images, with initial weights from PyTorch's default generator."""

    def misfits(self, dataset: Dataset) -> Iterator[Misfit]:
        """Yield the reasons why the network cannot be built for a dataset's images."""
        yield from ()

    def classes(self, dataset: Dataset) -> int:
        """The number of classes that the network is conditioned on; 0: unconditional."""
        return dataset.classes if self.conditional else 0


class FeatureNetwork(Kind):
    """A network that maps images to predictions and exposes its intermediate features.

    Attributes:
        has_maps: whether its features are channel maps, (B, C, H, W), rather than tokens.
        tasks: what it can learn.
    """

    has_maps: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = ("transformations", "labels")

    @property
    def has_batch_norm(self) -> bool:
        """Whether images of a batch are normalised together in training, so that parts of it give other results."""
        return True

    @abstractmethod
    def build(self, dataset: Dataset, outputs: int) -> FeatureModule:
        """Build the network for a dataset's images, with initial weights from PyTorch's default generator."""

    def misfits(self, dataset: Dataset) -> Iterator[Misfit]:
        """Yield the reasons why the network cannot be built for a dataset's images."""
        yield from ()


def find_odd_halvings(widths: list[int], halvings: int, dataset: Dataset) -> Iterator[Misfit]:
    """Yield the reason why a network with so many halvings cannot be built for a dataset's images, if there is one."""
    if dataset.resolution % 2**halvings:
        yield "widths", widths, f"{halvings} halvings do not divide the resolution {dataset.resolution}"


DENOISERS: Registry[Denoiser] = Registry("network", key="family", package="ayt.networks.denoisers")
FEATURE_NETWORKS: Registry[FeatureNetwork] = Registry("family", key="family", package="ayt.networks.classifiers")


def family_for(task: object) -> str | None:
    """The family of a feature network where an experiment names none: the usual one, or one that learns the task."""
    able = [name for name, kind in FEATURE_NETWORKS.kinds.items() if task in kind.tasks]
    return able[0] if able and FEATURE_NETWORKS.default not in able else FEATURE_NETWORKS.default

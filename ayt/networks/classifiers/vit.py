"""Vision transformers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from ayt.base.sections import Width
from ayt.datasets.base import Dataset
from ayt.networks.base import FEATURE_NETWORKS, FeatureNetwork, Misfit

if TYPE_CHECKING:
    from ayt.networks.modules.vit import ViT as Module


@FEATURE_NETWORKS.register
class ViT(FeatureNetwork):
    """A small vision transformer."""

    name: ClassVar[str] = "vit"
    has_maps: ClassVar[bool] = False

    patch: Width = 4
    """Side of a patch, in pixels."""
    dim: Width = 256
    """Size of a token; a multiple of 4, at least 8."""
    depth: Width = 3
    """Number of transformer blocks."""
    heads: Width = 8
    """Heads of each attention layer."""
    head_dim: Width = 64
    """Size of a head."""
    mlp: Width = 2048
    """Hidden size of each feed-forward layer."""

    @property
    def has_batch_norm(self) -> bool:
        """Whether images of a batch are normalised together in training."""
        return False

    def misfits(self, dataset: Dataset) -> Iterator[Misfit]:
        """Yield the reasons why the network cannot be built for a dataset's images."""
        if dataset.resolution % self.patch:
            yield "patch", self.patch, f"does not divide the resolution {dataset.resolution}"
        if self.dim % 4 or self.dim < 8:
            yield "dim", self.dim, "is not a multiple of 4, at least 8, as its positions need"

    def build(self, dataset: Dataset, outputs: int) -> Module:
        """Build the network for a dataset's images, with initial weights from PyTorch's default generator."""
        from ayt.networks.modules.vit import ViT as Module

        return Module(dataset.resolution, dataset.channels, outputs, **self.model_dump())

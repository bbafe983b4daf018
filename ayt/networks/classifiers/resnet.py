"""Residual networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ayt.base.sections import Width
from ayt.datasets.base import Dataset
from ayt.networks.base import FEATURE_NETWORKS, FeatureNetwork, Misfit, find_odd_halvings

if TYPE_CHECKING:
    from ayt.networks.modules.resnet import ResNet as Module


@FEATURE_NETWORKS.register
class ResNet(FeatureNetwork):
    """Groups of residual blocks; the defaults are ResNet-18 with a stem for 32x32."""

    name: ClassVar[str] = "resnet"

    widths: Annotated[list[Width], Field(min_length=1)] = [64, 128, 256, 512]
    """Channels of each group; every group but the first halves the resolution."""
    blocks: Width = 2
    """Residual blocks per group."""

    def misfits(self, dataset: Dataset) -> Iterator[Misfit]:
        """Yield the reasons why the network cannot be built for a dataset's images."""
        yield from find_odd_halvings(self.widths, len(self.widths) - 1, dataset)

    def build(self, dataset: Dataset, outputs: int) -> Module:
        """Build the network for a dataset's images, with initial weights from PyTorch's default generator."""
        from ayt.networks.modules.resnet import ResNet as Module

        return Module(dataset.resolution, dataset.channels, outputs, **self.model_dump())

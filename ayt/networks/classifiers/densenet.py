"""Densely connected networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ayt.base.sections import Width
from ayt.datasets.base import Dataset
from ayt.networks.base import FEATURE_NETWORKS, FeatureNetwork, Misfit

if TYPE_CHECKING:
    from ayt.networks.modules.densenet import DenseNet as Module

LAST_PIXELS = 4
"""Side of the last map, in pixels; each transition between blocks halves the side."""


@FEATURE_NETWORKS.register
class DenseNet(FeatureNetwork):
    """Bottleneck DenseNet."""

    name: ClassVar[str] = "densenet"

    growth: Width = 16
    """Channels that each layer adds."""
    blocks: Annotated[list[Width], Field(min_length=1)] = [3, 6, 12, 8]
    """Layers of each dense block."""
    compression: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the channels that a transition keeps."""

    def misfits(self, dataset: Dataset) -> Iterator[Misfit]:
        """Yield the reasons why the network cannot be built for a dataset's images."""
        wanted = LAST_PIXELS * 2 ** (len(self.blocks) - 1)
        if dataset.resolution != wanted:
            problem = f"so many blocks need images of {wanted} pixels, not {dataset.resolution}"
            yield "blocks", self.blocks, problem

    def build(self, dataset: Dataset, outputs: int) -> Module:
        """Build the network for a dataset's images, with initial weights from PyTorch's default generator."""
        from ayt.networks.modules.densenet import DenseNet as Module

        return Module(dataset.resolution, dataset.channels, outputs, **self.model_dump())

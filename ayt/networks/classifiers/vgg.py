"""VGG-style networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from ayt.base.sections import Width
from ayt.datasets.base import Dataset
from ayt.networks.base import FEATURE_NETWORKS, FeatureNetwork, Misfit, find_odd_halvings

if TYPE_CHECKING:
    from ayt.networks.modules.vgg import VGG as Module


@FEATURE_NETWORKS.register
class VGG(FeatureNetwork):
    """Stages of 3x3 convolutions; the defaults are the paper's network (VGG16 for 32x32)."""

    name: ClassVar[str] = "vgg"
    by_default: ClassVar[bool] = True

    widths: Annotated[list[Width], Field(min_length=1)] = [64, 128, 256, 512, 512]
    """Channels of each stage; each stage halves the resolution at its end."""
    convs: Annotated[list[Width], Field(min_length=1)] = [2, 2, 3, 3, 3]
    """Convolutions of each stage."""
    batch_norm: bool = True
    """Whether each convolution is followed by batch norm."""
    pool: bool = True
    """Whether max-pooling halves the resolution; otherwise each stage's last convolution does."""

    @model_validator(mode="after")
    def _same_length(self) -> VGG:
        if len(self.widths) != len(self.convs):
            raise ValueError(f"widths has {len(self.widths)} entries, convs {len(self.convs)}: one entry per stage")
        return self

    @property
    def has_batch_norm(self) -> bool:
        """Whether images of a batch are normalised together in training."""
        return self.batch_norm

    def misfits(self, dataset: Dataset) -> Iterator[Misfit]:
        """Yield the reasons why the network cannot be built for a dataset's images."""
        yield from find_odd_halvings(self.widths, len(self.widths), dataset)

    def build(self, dataset: Dataset, outputs: int) -> Module:
        """Build the network for a dataset's images, with initial weights from PyTorch's default generator."""
        from ayt.networks.modules.vgg import VGG as Module

        return Module(dataset.resolution, dataset.channels, outputs, **self.model_dump())

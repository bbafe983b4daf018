"""Autoencoders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from ayt.base.sections import Width
from ayt.datasets.base import Dataset
from ayt.networks.base import FEATURE_NETWORKS, FeatureNetwork, Misfit, Task, find_odd_halvings

if TYPE_CHECKING:
    from ayt.networks.modules.autoencoder import Autoencoder as Module


@FEATURE_NETWORKS.register
class Autoencoder(FeatureNetwork):
    """Pre-activation residual blocks with group norm, down to a small latent image and up again.

    It learns `task: reconstruction`; distances look at the encoder.
    """

    name: ClassVar[str] = "autoencoder"
    tasks: ClassVar[tuple[Task, ...]] = ("reconstruction",)

    widths: Annotated[list[Width], Field(min_length=1)] = [64, 128, 256, 512]
    """Channels of each stage, multiples of 4, and above 128 of 32; each stage but the first halves the resolution."""
    blocks: Width = 2
    """Residual blocks of each stage."""
    latent: Width = 32
    """Channels of the latent image."""

    @model_validator(mode="after")
    def _whole_groups(self) -> Autoencoder:
        if any(width % (32 if width > 128 else 4) for width in self.widths):
            raise ValueError(f"widths {self.widths}: each must be a multiple of 4, and of 32 above 128, for group norm")
        return self

    def misfits(self, dataset: Dataset) -> Iterator[Misfit]:
        """Why the network cannot be built for images of a dataset."""
        yield from find_odd_halvings(self.widths, len(self.widths) - 1, dataset)

    def build(self, dataset: Dataset, outputs: int) -> Module:
        """The network for images of a dataset, with fresh weights from PyTorch's default generator.

        Images are what it puts out, whatever ``outputs`` says.
        """
        from ayt.networks.modules.autoencoder import Autoencoder as Module

        return Module(dataset.resolution, dataset.channels, **self.model_dump())

"""The DDPM++ U-Net of EDM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from ayt.base.sections import Width
from ayt.datasets.base import Dataset
from ayt.networks.base import DENOISERS, Denoiser, Misfit

if TYPE_CHECKING:
    from ayt.networks.modules.precond import EDMPrecond


@DENOISERS.register
class DDPMpp(Denoiser):
    """The DDPM++ U-Net; the defaults are EDM's network for CIFAR-10 (55.7M parameters)."""

    name: ClassVar[str] = "ddpmpp"
    by_default: ClassVar[bool] = True

    channels: Width = 128
    """Channels of the first stage."""
    channel_mult: Annotated[list[Width], Field(min_length=1)] = [2, 2, 2]
    """Multiplier of `channels` at each resolution, from the finest; each halves the one before."""
    blocks: Width = 4
    """Residual blocks per resolution in the encoder; the decoder has one more per resolution."""
    attention: list[Width] = [16]
    """Resolutions with self-attention."""

    @model_validator(mode="after")
    def _whole_groups(self) -> DDPMpp:
        # Group norms have groups of 4 channels, and at most 32 groups; skips make stages twice as wide.
        unit = 4 if 2 * self.channels * max(self.channel_mult) <= 128 else 32
        if self.channels % unit:
            raise ValueError(f"channels {self.channels} is not a multiple of {unit}, as its group norms need")
        return self

    def misfits(self, dataset: Dataset) -> Iterator[Misfit]:
        """Yield the reasons why the network cannot be built for a dataset's images."""
        halvings = len(self.channel_mult) - 1
        if dataset.resolution % 2**halvings:
            problem = f"{halvings} halvings do not divide the resolution {dataset.resolution} of {dataset.name}"
            yield "channel_mult", self.channel_mult, problem

    def build(self, dataset: Dataset, dropout: float) -> EDMPrecond:
        """Build the network for a dataset's images, with initial weights from PyTorch's default generator."""
        from ayt.networks.modules.ddpmpp import DDPMpp as Module
        from ayt.networks.modules.precond import EDMPrecond

        sizes = self.model_dump(exclude={"conditional"})
        classes = self.classes(dataset)
        return EDMPrecond(Module(dataset.resolution, dataset.channels, **sizes, dropout=dropout, classes=classes))

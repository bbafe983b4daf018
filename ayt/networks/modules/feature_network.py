"""The interface of feature networks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from ayt.base.errors import UserError


def require_halvings(widths: Sequence[int], halvings: int, resolution: int) -> None:
    """Raise UserError unless images of this resolution can be halved so often."""
    if resolution % 2**halvings:
        raise UserError(f"widths {list(widths)}: {halvings} halvings do not divide resolution {resolution}")


class FeatureModule(nn.Module):
    """A network from images to predictions that exposes its features."""

    def forward(self, x: Tensor) -> Tensor:
        """Predict (B, outputs) from (B, C, H, W) in [-1, 1]."""
        return self.head(self.embed(x))

    @abstractmethod
    def taps(self, x: Tensor) -> list[Tensor]:
        """The features at each tapped layer, the predictions (B, outputs) last."""

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """The features (B, d) that enter the last layer."""

    @abstractmethod
    def head(self, features: Tensor) -> Tensor:
        """Predict (B, outputs) from the result of `embed`."""

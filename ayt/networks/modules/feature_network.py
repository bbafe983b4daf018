"""The interface of feature networks."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


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

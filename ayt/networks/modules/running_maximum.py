"""Labels of different sizes, scaled alike by the largest that were seen."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RunningMaximum(nn.Module):
    """Divides each label by the largest magnitude of it in all batches so far, this one included.

    Args:
        labels: how many there are.

    Attributes:
        maximum: (L,) the largest magnitudes; 0 where a label was never another.
    """

    maximum: Tensor

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.register_buffer("maximum", torch.zeros(labels))

    def forward(self, labels: Tensor) -> Tensor:
        """Labels (B, L) to labels in [-1, 1]; what was always 0 stays 0."""
        torch.maximum(self.maximum, labels.detach().abs().amax(0), out=self.maximum)
        return labels / torch.where(self.maximum > 0, self.maximum, 1)

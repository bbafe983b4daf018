"""A learned weight of each noise level in a loss, trained beside the network that the loss is of."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LogWeight(nn.Module):
    """w(t), by which a loss becomes e^w(t) loss - w(t): at its minimum e^w(t) is one over the mean loss at t.

    Linear in Fourier features of ln(t) / 4, sqrt(2) cos(2 pi (f ln(t) / 4 + b)) with f ~ N(0, 1) and b ~ U(0, 1), fixed
    (EDM2, arXiv 2312.02696). It begins at 0: all noise levels weigh the same.

    Args:
        features: how many.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, features: int = 128) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * torch.randn(features))
        self.register_buffer("phases", 2 * math.pi * torch.rand(features))
        self.linear = nn.Linear(features, 1, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, t: Tensor) -> Tensor:
        """The weights w (B,) of noise levels t (B,), above 0."""
        features = 2**0.5 * (t.log()[:, None] / 4 * self.frequencies + self.phases).cos()
        w: Tensor = self.linear(features)
        return w.squeeze(1)

"""Inception Score (arXiv 1606.03498)."""

from __future__ import annotations

import torch
from torch import Tensor


class Predictions:
    """A network's class predictions for many images, gathered batch by batch in float64.

    Their Inception Score is exp(E KL(p(y|x) || p(y))).

    It is computed over all samples at once. The common way, the mean over ten parts, gives lower scores: each part
    estimates p(y) from a tenth of the samples, so scores are comparable only at equal numbers of samples.

    Args:
        classes: number of classes of the network.
        device: where the sums are kept.
    """

    def __init__(self, classes: int, device: torch.device | str = "cpu") -> None:
        self._n = 0
        self._sum = torch.zeros(classes, dtype=torch.float64, device=device)
        self._negative_entropy = torch.zeros((), dtype=torch.float64, device=device)

    def update(self, logits: Tensor) -> None:
        """Add (B, classes) logits."""
        log_p = logits.double().log_softmax(1)
        self._n += len(logits)
        self._sum += log_p.exp().sum(0)
        self._negative_entropy += (log_p.exp() * log_p).sum()

    @property
    def value(self) -> float:
        """The score, from 1 to the number of classes."""
        mean = self._sum / self._n
        # E KL(p(y|x) || p(y)) is the entropy of the mean minus the mean entropy; 0 ln 0 counts as 0.
        return float((self._negative_entropy / self._n + torch.special.entr(mean).sum()).exp())

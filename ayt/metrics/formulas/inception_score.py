"""Inception Score (arXiv 1606.03498)."""

from __future__ import annotations

import torch
from torch import Tensor


class Predictions:
    """What a network predicts of the classes of many images, gathered batch by batch in float64.

    Their Inception Score is exp(E KL(p(y|x) || p(y))).

    Over all samples at once. The common way, ten parts and the mean of their scores, is lower: each part estimates
    p(y) from a tenth of the samples, so scores are comparable at an equal number of samples only.

    Args:
        classes: of the network.
        device: where the sums are kept.
    """

    def __init__(self, classes: int, device: torch.device | str = "cpu") -> None:
        self._n = 0
        self._sum = torch.zeros(classes, dtype=torch.float64, device=device)
        self._negative_entropy = torch.zeros((), dtype=torch.float64, device=device)

    def update(self, logits: Tensor) -> None:
        """Take (B, classes) logits."""
        log_p = logits.double().log_softmax(1)
        self._n += len(logits)
        self._sum += log_p.exp().sum(0)
        self._negative_entropy += (log_p.exp() * log_p).sum()

    @property
    def value(self) -> float:
        """The score, from 1 to the number of classes."""
        mean = self._sum / self._n
        # E KL(p(y|x) || p(y)) is the entropy of the mean less the mean entropy; 0 ln 0 counts as 0.
        return float((self._negative_entropy / self._n + torch.special.entr(mean).sum()).exp())

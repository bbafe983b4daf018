"""Frechet distance between two sets of features taken as Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor

from ayt.errors import UserError


class FeatureStatistics:
    """Mean and covariance of features, gathered batch by batch in float64.

    Args:
        dimension: numbers in each feature vector.
        device: where the sums are kept.
    """

    def __init__(self, dimension: int, device: torch.device | str = "cpu") -> None:
        self.n = 0
        self._sum = torch.zeros(dimension, dtype=torch.float64, device=device)
        self._products = torch.zeros(dimension, dimension, dtype=torch.float64, device=device)

    def update(self, features: Tensor) -> None:
        """Take (B, d) features."""
        features = features.double()
        self.n += len(features)
        self._sum += features.sum(0)
        self._products += features.T @ features

    @property
    def mean(self) -> Tensor:
        """(d,) float64."""
        return self._sum / self.n

    @property
    def covariance(self) -> Tensor:
        """(d, d) float64, unbiased.

        Raises:
            UserError: fewer than two samples.
        """
        if self.n < 2:
            raise UserError(f"a covariance needs at least 2 samples, not {self.n}")
        return (self._products - self.n * torch.outer(self.mean, self.mean)) / (self.n - 1)


def frechet_distance(mu1: Tensor, sigma1: Tensor, mu2: Tensor, sigma2: Tensor) -> float:
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2), in float64.

    Args:
        mu1: (d,) mean.
        sigma1: (d, d) covariance, singular or not.
        mu2: (d,) mean.
        sigma2: (d, d) covariance.

    Raises:
        UserError: shapes differ, or a number is not finite.
    """
    if mu1.shape != mu2.shape or sigma1.shape != sigma2.shape or sigma1.shape != (len(mu1), len(mu1)):
        shapes = [tuple(part.shape) for part in (mu1, sigma1, mu2, sigma2)]
        raise UserError(f"statistics do not fit together: shapes {shapes}")
    mu1, sigma1, mu2, sigma2 = (part.double() for part in (mu1, sigma1, mu2, sigma2))
    if not all(torch.isfinite(part).all() for part in (mu1, sigma1, mu2, sigma2)):
        raise UserError("statistics of features are not finite")
    # The trace of the root is the sum of the singular values of S1^1/2 S2^1/2. Singular values of 0 come out as
    # rounding error; as roots of eigenvalues they would come out as the root of rounding error.
    cross = torch.linalg.svdvals(_root(sigma1) @ _root(sigma2)).sum()
    return float((mu1 - mu2).square().sum() + sigma1.trace() + sigma2.trace() - 2 * cross)


def _root(sigma: Tensor) -> Tensor:
    """The symmetric root of a covariance; eigenvalues within rounding of 0 count as 0."""
    values, vectors = torch.linalg.eigh(sigma)
    # Those above 0 too: the root would make 1e-8 of 1e-16 and add it to the trace.
    rounding = values[-1] * len(values) * torch.finfo(values.dtype).eps
    root: Tensor = (vectors * torch.where(values > rounding, values, 0).sqrt()) @ vectors.T
    return root

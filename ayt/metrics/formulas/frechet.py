"""Frechet distance between two sets of features, treated as Gaussians."""

from __future__ import annotations

import torch
from scipy.linalg import lapack
from torch import Tensor

from ayt.base.errors import UserError


class FeatureStatistics:
    """Mean and covariance of features, gathered batch by batch in float64.

    Sums are taken about the first batch's mean: if features are far from 0 and close together, sums about 0 would lose
    the digits that determine the covariance.

    Args:
        dimension: size of a feature vector.
        device: where the sums are kept.
    """

    def __init__(self, dimension: int, device: torch.device | str = "cpu") -> None:
        self.n = 0
        self._centre = torch.zeros(dimension, dtype=torch.float64, device=device)
        self._sum = torch.zeros_like(self._centre)
        self._products = torch.zeros(dimension, dimension, dtype=torch.float64, device=device)

    def update(self, features: Tensor) -> None:
        """Add (B, d) features."""
        features = features.double()
        if not self.n:
            self._centre = features.mean(0)
        self.n += len(features)
        features = features - self._centre
        self._sum += features.sum(0)
        self._products.addmm_(features.T, features)

    @property
    def mean(self) -> Tensor:
        """(d,) float64."""
        return self._centre + self._sum / self.n

    @property
    def covariance(self) -> Tensor:
        """(d, d) float64, unbiased.

        Raises:
            UserError: fewer than two samples.
        """
        if self.n < 2:
            raise UserError(f"a covariance needs at least 2 samples, not {self.n}")
        return (self._products - torch.outer(self._sum, self._sum / self.n)) / (self.n - 1)


def frechet_distance(mu1: Tensor, sigma1: Tensor, mu2: Tensor, sigma2: Tensor) -> float:
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2), in float64 on the CPU.

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
        raise UserError(f"statistics do not match: shapes {shapes}")
    mu1, sigma1, mu2, sigma2 = (part.double().cpu() for part in (mu1, sigma1, mu2, sigma2))
    if not all(torch.isfinite(part).all() for part in (mu1, sigma1, mu2, sigma2)):
        raise UserError("statistics of features are not finite")
    # The trace of the root is the sum of the singular values of A^T B for any S1 = A A^T, S2 = B B^T. So triangular
    # factors suffice, at a fraction of the cost of the symmetric root, and zero singular values come out as rounding
    # error: as roots of eigenvalues they would come out as the root of rounding error.
    cross = torch.linalg.svdvals(_factor(sigma1).T @ _factor(sigma2)).sum()
    return float((mu1 - mu2).square().sum() + sigma1.trace() + sigma2.trace() - 2 * cross)


def _factor(sigma: Tensor) -> Tensor:
    """A (d, r) with sigma = A A^T, r its rank within rounding: Cholesky's factor with pivots (LAPACK's pstrf)."""
    if not sigma.any():
        return sigma[:, :1]
    # In column order, as LAPACK expects; a covariance is symmetric.
    lower, pivots, rank, _ = lapack.dpstrf(sigma.numpy().T, lower=1)
    factor = torch.zeros_like(sigma)
    factor[torch.from_numpy(pivots).long() - 1] = torch.from_numpy(lower).tril()
    return factor[:, :rank]

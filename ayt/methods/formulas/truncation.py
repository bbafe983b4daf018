"""Truncated consistency models (TCM, arXiv 2410.14895): two networks, one for each side of a noise level t'.

The trained network is used from noise level t' up, the frozen one of the first stage below it.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import special
from torch import Tensor

from ayt.networks.modules.precond import Denoise

KNOTS = 4096
"""Size of the table that `TruncatedStudentT` interpolates: enough for an error of 1e-10 in ln t."""


class TruncatedStudentT:
    """Draws t with ln t = mean + std X, X Student-t with ``df`` degrees of freedom, truncated to low <= t <= high.

    By inversion, X = F^-1(F(a) + u (F(b) - F(a))) with u uniform. F^-1 has no closed form: it is interpolated,
    cubically in asinh(X / sqrt(df)) and with its exact slopes, on the device that draws.

    Args:
        df: degrees of freedom, above 0; the fewer, the heavier the tails.
        mean: location of ln t.
        std: scale of ln t.
        low: smallest t, above 0.
        high: largest t.
    """

    def __init__(self, df: float, mean: float, std: float, low: float, high: float) -> None:
        self._df, self._mean, self._std = df, mean, std
        ends = (np.log([low, high]) - mean) / std
        first, last = np.arcsinh(ends / df**0.5).tolist()
        s = np.linspace(first, last, KNOTS)
        x = df**0.5 * np.sinh(s)
        log_density = (
            special.gammaln((df + 1) / 2)
            - special.gammaln(df / 2)
            - 0.5 * np.log(df * np.pi)
            - (df + 1) / 2 * np.log1p(x**2 / df)
        )
        slope = 1 / (np.exp(log_density) * df**0.5 * np.cosh(s))
        self._table = torch.from_numpy(np.stack([special.stdtr(df, x), s, slope]))

    def log_t(self, u: Tensor) -> Tensor:
        """Logarithms of t in float64, from uniforms ``u`` in [0, 1]."""
        if self._table.device != u.device:
            self._table = self._table.to(u.device)
        F, s, slope = self._table
        p = F[0] + u.double() * (F[-1] - F[0])
        above = torch.searchsorted(F, p).clamp(1, len(F) - 1)
        below = above - 1
        width = F[above] - F[below]
        y = (p - F[below]) / width
        # Cubic Hermite interpolation between two knots.
        rise = y**2 * (3 - 2 * y)
        bend = y * (1 - y) * ((1 - y) * slope[below] - y * slope[above])
        found = s[below] + rise * (s[above] - s[below]) + width * bend
        log_t: Tensor = self._mean + self._std * self._df**0.5 * found.sinh()
        return log_t

    def __call__(self, z: Tensor) -> Tensor:
        """Noise levels t with the shape and type of standard normals ``z``, where u = Phi(z)."""
        return self.log_t(torch.special.ndtr(z.double())).exp().to(z.dtype)


def combine(student: Denoise, teacher: Denoise, boundary: float) -> Denoise:
    """D(x; t) of the student where t >= ``boundary``, of the teacher below; each runs only if some t needs it."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        above = sigma >= boundary
        if above.all():
            return student(x, sigma)
        if not above.any():
            return teacher(x, sigma)
        return torch.where(above[:, None, None, None], student(x, sigma), teacher(x, sigma))

    return denoise


def select(student: Denoise, teacher: Denoise, boundary: float) -> Denoise:
    """Like `combine`, but both run on all images, so that nothing waits for a GPU."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        above = (sigma >= boundary)[:, None, None, None]
        return torch.where(above, student(x, sigma), teacher(x, sigma))

    return denoise


def boundary_samples(ranks: Tensor, size: int, share: float) -> Tensor:
    """Which images are boundary samples, (B,) bool: the first floor(size * share) of the batch in a random order.

    Args:
        ranks: (B,) of the images in that order, from 0.
        size: of the whole batch.
        share: of boundary samples.
    """
    return ranks < int(size * share)


def separate_means(w: Tensor, is_boundary: Tensor, size: int, share: float, boundary_weight: float) -> Tensor:
    """Weights (B,) with which a mean over the batch is mean(others) + ``boundary_weight`` * mean(boundary samples).

    Args:
        w: (B,) weights of the pairs.
        is_boundary: (B,), from `boundary_samples`.
        size: of the whole batch.
        share: of boundary samples.
        boundary_weight: of their mean.
    """
    count = int(size * share)
    return w * torch.where(is_boundary, boundary_weight * size / max(count, 1), size / (size - count))

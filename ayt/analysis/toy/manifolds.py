"""Exactly known manifolds: sums of waves, whose derivatives, tangents and nearest points can be computed.

Everything is in float64, so that they add no error to what is measured against them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ayt.networks.modules.precond import SIGMA_DATA

GRID = 1024
"""Number of points in the initial grid search for the nearest one."""

NEWTON_STEPS = 30


@dataclass(frozen=True)
class Manifold:
    """The points e(u) whose coordinates, taken in pairs as complex numbers, are sum_n a_n exp(i k_n . u).

    ``u`` (..., m) are the point's parameters, angles; e(u) is (..., D): the real parts, then the imaginary ones.

    Attributes:
        frequencies: the k_n, whole numbers, (N, m).
        amplitudes: the a_n of each pair, (N, D / 2).
    """

    frequencies: Tensor
    amplitudes: Tensor

    @property
    def dimension(self) -> int:
        """Dimension of the manifold, m."""
        return self.frequencies.shape[1]

    @property
    def coordinates(self) -> int:
        """Dimension of the surrounding space, D."""
        return 2 * self.amplitudes.shape[1]

    def embed(self, u: Tensor) -> Tensor:
        """The points (..., D) at parameters (..., m)."""
        return self._waves(u, 0).flatten(-1)

    def derivative(self, u: Tensor) -> Tensor:
        """Derivative of `embed` with respect to the parameters, (..., D, m)."""
        return self._waves(u, 1)

    def second_derivative(self, u: Tensor) -> Tensor:
        """Second derivative of `embed` with respect to the parameters, (..., D, m, m)."""
        return self._waves(u, 2)

    def tangent_basis(self, u: Tensor) -> Tensor:
        """Orthonormal columns (..., D, m) that span the tangent space."""
        Q: Tensor = torch.linalg.qr(self.derivative(u)).Q
        return Q

    def nearest(self, x: Tensor) -> Tensor:
        """The parameters (B, m) of the points nearest to x (B, D); one of them if several are equally near.

        Takes the best point of a grid, then Newton's method to rounding error. Steps are shortened until they descend,
        and the curvature is made positive, so that neither can lead away from the nearest point.
        """
        x = x.double()
        u = self._nearest_of_grid(x)
        length = torch.ones(len(x), 1, dtype=x.dtype, device=x.device)
        for _ in range(NEWTON_STEPS):
            step = length * self._newton_step(x, u)
            if step.abs().max() < 1e-15:
                break
            trial = u - step
            # Close to the minimum the distance no longer distinguishes points, and Newton's step is right.
            better = self._square_distance(x, trial) <= self._square_distance(x, u) + 1e-14
            u = torch.where(better, trial, u)
            length = torch.where(better, 1.0, length / 4)
        return u

    def distance(self, x: Tensor) -> Tensor:
        """Distance of x (B, D) to the nearest point, (B,)."""
        return self._square_distance(x.double(), self.nearest(x))[:, 0].sqrt()

    def _waves(self, u: Tensor, order: int) -> Tensor:
        """The derivative of order ``order``, (..., D, m, ...), with ``order`` axes of size m."""
        k, a = self.frequencies.to(u), self.amplitudes.to(u)
        phases = u @ k.T + order * math.pi / 2  # differentiating a wave shifts its phase by a right angle
        for _ in range(order):
            a = a[..., None] * k.view(len(k), *(1,) * (a.ndim - 1), -1)
        return torch.cat([torch.tensordot(wave, a, 1) for wave in (phases.cos(), phases.sin())], dim=u.ndim - 1)

    def _nearest_of_grid(self, x: Tensor) -> Tensor:
        side = round(GRID ** (1 / self.dimension))
        axis = 2 * math.pi / side * torch.arange(side, dtype=x.dtype, device=x.device)
        grid = torch.cartesian_prod(*[axis] * self.dimension).view(-1, self.dimension)
        return grid[torch.cdist(x, self.embed(grid)).argmin(1)]

    def _square_distance(self, x: Tensor, u: Tensor) -> Tensor:
        """Squared distance of x to the points at u, (B, 1)."""
        squared: Tensor = (x - self.embed(u)).square().sum(1, keepdim=True)
        return squared

    def _newton_step(self, x: Tensor, u: Tensor) -> Tensor:
        """H^-1 g of half the squared distance, with absolute eigenvalues of H; (B, m)."""
        offset, J = self.embed(u) - x, self.derivative(u)
        gradient = torch.einsum("bd,bdm->bm", offset, J)
        H = J.mT @ J + torch.einsum("bd,bdmn->bmn", offset, self.second_derivative(u))
        values, vectors = torch.linalg.eigh(H)
        rotated = torch.einsum("bmn,bm->bn", vectors, gradient) / values.abs().clamp(min=1e-9)
        return torch.einsum("bmn,bn->bm", vectors, rotated)


def share_along(v: Tensor, basis: Tensor) -> Tensor:
    """The share |P v|^2 / |v|^2 of the energy of v (B, D) in the space of orthonormal columns (B, D, m): (B,).

    NaN where v is 0.
    """
    along = torch.einsum("bd,bdm->bm", v, basis)
    return along.square().sum(1) / v.square().sum(1)


def waves(*pairs: dict[tuple[int, ...], float]) -> Manifold:
    """The manifold with these amplitudes by frequency, scaled to the assumed standard deviation of data."""
    frequencies = sorted({k for pair in pairs for k in pair})
    a = torch.tensor([[pair.get(k, 0.0) for pair in pairs] for k in frequencies], dtype=torch.float64)
    # A wave of amplitude a has variance a^2 / 2 in each of its two coordinates.
    spread = (a.square().sum() / (2 * len(pairs))).sqrt()
    return Manifold(torch.tensor(frequencies, dtype=torch.float64), a * SIGMA_DATA / spread)


def circle() -> Manifold:
    """The simplest: a circle in the plane."""
    return waves({(1,): 1.0})


def curve() -> Manifold:
    """A closed curve in the plane, r(u) = 1 + 0.3 cos 3u up to scale: three bulges with dents between them."""
    return waves({(1,): 1.0, (4,): 0.15, (-2,): 0.15})


def surface() -> Manifold:
    """A torus in eight dimensions, bent in all of them.

    The pairs, up to scale: (1 + 0.3 cos v) exp(iu), (1 + 0.3 cos u) exp(iv), 0.6 exp(i(u + v)), 0.4 exp(i(u - v)).
    """
    return waves(
        {(1, 0): 1.0, (1, 1): 0.15, (1, -1): 0.15},
        {(0, 1): 1.0, (1, 1): 0.15, (-1, 1): 0.15},
        {(1, 1): 0.6},
        {(1, -1): 0.4},
    )


MANIFOLDS = {"curve": curve, "surface": surface}

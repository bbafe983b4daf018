"""Neighbourhood metrics: do samples lie among real images, and real images among samples?

Improved precision and recall (arXiv 1904.06991), density and coverage (arXiv 2002.09797).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ayt.base.errors import UserError
from ayt.metrics.formulas.feature_sets import FeatureSet

BLOCK = 512
"""Rows of distances computed at a time, to bound memory."""


K_PRECISION, K_DENSITY = 3, 5
LARGEST_K = max(K_PRECISION, K_DENSITY)


class Neighbourhoods(NamedTuple):
    """Four numbers, all better if higher.

    Attributes:
        precision: share of samples within the neighbourhood of a real image.
        recall: share of real images within the neighbourhood of a sample.
        density: average number of real images' neighbourhoods that contain a sample, divided by k; may exceed 1.
        coverage: share of real images whose neighbourhood contains a sample.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(
    features: Tensor, reference: Tensor, k_precision: int = K_PRECISION, k_density: int = K_DENSITY
) -> Neighbourhoods:
    """Compare two sets of features by neighbourhoods: balls that reach to the k-th nearest neighbour in the same set.

    Args:
        features: (n, d) of samples.
        reference: (m, d) of real images.
        k_precision: k of precision and recall.
        k_density: k of density and coverage.

    Raises:
        UserError: a set has at most k features.
    """
    k = max(k_precision, k_density)
    if min(len(features), len(reference)) <= k:
        sizes = f"{len(features)} and {len(reference)}"
        raise UserError(
            f"precision, recall, density and coverage need more than {k} features on each side, not {sizes}"
        )
    return _compare(features, reference, radii(reference, reference, k), k_precision, k_density)


def neighbourhoods(samples: FeatureSet, real: FeatureSet) -> Neighbourhoods:
    """`precision_recall_density_coverage` of the kept features of two sets, computed once for all four metrics.

    All are NaN if a set keeps too few features.
    """
    if min(len(samples.kept), len(real.kept)) <= LARGEST_K:
        return Neighbourhoods(*[math.nan] * 4)

    def compute() -> Neighbourhoods:
        real_radii = real.derive("radii", lambda: radii(real.kept, real.kept, LARGEST_K))
        return _compare(samples.kept, real.kept, real_radii, K_PRECISION, K_DENSITY)

    return samples.derive("neighbourhoods", compute)


def _compare(
    features: Tensor, reference: Tensor, real_radii: Tensor, k_precision: int, k_density: int
) -> Neighbourhoods:
    """Compare two sets, given the `radii` of real images."""
    fake_radii = radii(features, reference, max(k_precision, k_density))
    fake, real = (_centre(part, reference) for part in (features, reference))
    precise, dense = (torch.zeros((), dtype=torch.int64, device=real.device) for _ in range(2))
    recalled, covered = (torch.zeros(len(real), dtype=torch.bool, device=real.device) for _ in range(2))
    for rows, distances in _blocks(fake, real):
        precise += (distances <= real_radii[:, k_precision - 1]).any(1).sum()
        within = distances <= real_radii[:, k_density - 1]
        dense += within.sum()
        covered |= within.any(0)
        recalled |= (distances <= fake_radii[rows, k_precision - 1, None]).any(0)
    return Neighbourhoods(
        precision=int(precise) / len(fake),
        recall=recalled.double().mean().item(),
        density=int(dense) / (k_density * len(fake)),
        coverage=covered.double().mean().item(),
    )


def radii(points: Tensor, reference: Tensor, k: int) -> Tensor:
    """Squared distances (n, k) from each point to its k nearest others, ascending; ``reference``: see `_centre`."""
    points = _centre(points, reference)
    return torch.cat([distances.topk(k + 1, largest=False).values[:, 1:] for _, distances in _blocks(points, points)])


def _centre(points: Tensor, reference: Tensor) -> Tensor:
    """Points relative to the mean of real images: a common shift changes no distance but avoids loss of digits."""
    return points.double() - reference.double().mean(0)


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances (rows, len(b)) between rows of ``a`` and all of ``b``."""
    squares = b.square().sum(1)
    for start in range(0, len(a), BLOCK):
        rows = slice(start, min(start + BLOCK, len(a)))
        part = a[rows]
        yield rows, (part.square().sum(1, keepdim=True) + squares - 2 * part @ b.T).clamp(min=0)

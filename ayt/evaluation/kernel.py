"""Kernel Inception Distance (arXiv 1801.01401)."""

from __future__ import annotations

import torch
from torch import Tensor

from ayt.base.errors import UserError
from ayt.base.randomness import generator

SUBSETS = 100
SUBSET_SIZE = 1000


def kid(
    features: Tensor, reference: Tensor, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = 0
) -> float:
    """Mean over random subsets of the unbiased squared MMD with the kernel (x . y / d + 1)^3, in float64.

    Args:
        features: (n, d) of samples.
        reference: (m, d) of real images.
        subsets: how many are drawn.
        subset_size: of each, drawn without replacement; at most n and m.
        seed: of the subsets.

    Returns:
        The distance, which for equal distributions is 0 on average and may be slightly negative.

    Raises:
        UserError: fewer than two features on a side.
    """
    size = min(subset_size, len(features), len(reference))
    if size < 2:
        raise UserError(f"KID needs at least 2 features of samples and of real images, not {size}")
    source = generator(seed, 0, "KID")
    total = 0.0
    for _ in range(subsets):
        x = features[torch.randperm(len(features), generator=source)[:size]].double()
        y = reference[torch.randperm(len(reference), generator=source)[:size]].double()
        total += _mmd(x, y)
    return total / subsets


def _mmd(x: Tensor, y: Tensor) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy between two sets of equal size."""
    size, dimension = x.shape
    within = torch.zeros((), dtype=x.dtype)
    for part in (x, y):
        k = (part @ part.T / dimension + 1) ** 3
        within = within + (k.sum() - k.trace()) / (size * (size - 1))
    across = ((x @ y.T / dimension + 1) ** 3).mean()
    return float(within - 2 * across)

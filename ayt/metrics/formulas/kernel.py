"""Kernel Inception Distance (arXiv 1801.01401)."""

from __future__ import annotations

import torch
from torch import Tensor

from ayt.base.errors import UserError
from ayt.base.randomness import generator
from ayt.metrics.formulas.feature_sets import FeatureSet

SUBSETS = 100
SUBSET_SIZE = 1000
BLOCK = 1000
"""Rows of the kernel matrix computed at a time, to bound memory."""


def kid(
    features: Tensor, reference: Tensor, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = 0
) -> float:
    """Mean over random subsets of the unbiased squared MMD with the kernel (x . y / d + 1)^3, in float64.

    Args:
        features: (n, d) of samples.
        reference: (m, d) of real images.
        subsets: number of subsets.
        subset_size: size of each, drawn without replacement; at most n and m.
        seed: seed of the subsets.

    Returns:
        The distance; for equal distributions it is 0 on average and may be slightly negative.

    Raises:
        UserError: fewer than two features on either side.
    """
    size = _subset_size(len(features), len(reference), subset_size)
    sides = ((features, "samples"), (reference, "real"))
    x, y = (choose_subsets(len(side), size, subsets, seed, name).to(side.device) for side, name in sides)
    return _mean_mmd(
        mean_within(features, x, size), mean_within(reference, y, size), kernel_sums(features, reference, x, y), size
    )


def kid_of_sets(samples: FeatureSet, real: FeatureSet) -> float:
    """`kid` of the kept features of two sets; the part that depends only on real images is computed once."""
    size = _subset_size(len(samples.kept), len(real.kept), SUBSET_SIZE)
    sides = ((samples.kept, "samples"), (real.kept, "real"))
    x, y = (choose_subsets(len(side), size, SUBSETS, 0, name).to(side.device) for side, name in sides)
    within_real = real.derive(("KID", size), lambda: mean_within(real.kept, y, size))
    return _mean_mmd(mean_within(samples.kept, x, size), within_real, kernel_sums(samples.kept, real.kept, x, y), size)


def choose_subsets(count: int, size: int, subsets: int, seed: int, side: str) -> Tensor:
    """Random subsets of ``size`` out of ``count`` features, (subsets, count): 1 for members, 0 elsewhere."""
    source = generator(seed, 0, f"KID, {side}")
    chosen = torch.zeros(subsets, count, dtype=torch.float64)
    for row in chosen:
        row[torch.randperm(count, generator=source)[:size]] = 1
    return chosen


def kernel_sums(a: Tensor, b: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """For each subset, (subsets,), the sum of the kernel over its pairs of a (n, d) and b (m, d)."""
    total = torch.zeros(len(in_a), dtype=torch.float64, device=a.device)
    b = b.double()
    for start in range(0, len(a), BLOCK):
        rows = slice(start, start + BLOCK)
        k = (a[rows].double() @ b.T / a.shape[1] + 1) ** 3
        total += ((in_a[:, rows] @ k) * in_b).sum(1)
    return total


def mean_within(a: Tensor, in_a: Tensor, size: int) -> Tensor:
    """For each subset, (subsets,), the mean of the kernel over pairs of distinct features of one set."""
    diagonal = (a.double().square().sum(1) / a.shape[1] + 1) ** 3
    return (kernel_sums(a, a, in_a, in_a) - in_a @ diagonal) / (size * (size - 1))


def _mean_mmd(within_a: Tensor, within_b: Tensor, across: Tensor, size: int) -> float:
    """Mean of unbiased estimates of the squared maximum mean discrepancy."""
    return float((within_a + within_b - 2 * across / size**2).mean())


def _subset_size(samples: int, real: int, subset_size: int) -> int:
    size = min(subset_size, samples, real)
    if size < 2:
        raise UserError(f"KID needs at least 2 features of samples and of real images, not {size}")
    return size

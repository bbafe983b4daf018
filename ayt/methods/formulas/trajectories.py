"""Trajectories of a diffusion model from noise to data, and a loss for networks that map each point to the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ayt.methods.formulas.losses import LossOutput
from ayt.networks.modules.precond import Denoise

if TYPE_CHECKING:
    from ayt.features.distance import Distance


def log_snr_levels(steps: int, high: float, low: float) -> list[float]:
    """``steps`` + 1 noise levels from ``high`` to ``low``, evenly spaced on a log scale."""
    return [high * (low / high) ** (i / steps) for i in range(steps + 1)]


@torch.no_grad()
def dpm_solver(D: Denoise, x: Tensor, levels: Sequence[float]) -> list[Tensor]:
    """Follow the probability flow by DPM-Solver++ (multistep, second order; arXiv 2211.01095).

    From noise level s to n, with h = ln(s / n): x <- (n / s) x + (1 - n / s) D', where D' = D(x; s) extrapolated along
    the step by the difference to the D of the step before, D' = D + h / (2 h_before) (D - D_before).

    Args:
        D: the diffusion model's denoiser.
        x: images (B, C, H, W) with noise of the first level.
        levels: decreasing noise levels, above 0.

    Returns:
        x at each level, the first included.
    """
    states, before, h_before = [x], None, 1.0
    for s, n in pairwise(levels):
        found, h = D(states[-1], torch.full((len(x),), s, device=x.device, dtype=x.dtype)), math.log(s / n)
        mixed = found if before is None else found + (found - before) * (h / (2 * h_before))
        states.append((n / s) * states[-1] + (1 - n / s) * mixed)
        before, h_before = found, h
    return states


def trajectory_loss(D: Denoise, states: Sequence[Tensor], levels: Sequence[float], distance: Distance) -> LossOutput:
    """The mean distance between D at all points of trajectories, except their ends, and those ends.

    Args:
        D: the denoiser in training, bound to as many images as there are points.
        states: of trajectories at each level, (T, C, H, W) each.
        levels: their noise levels.
        distance: between images.
    """
    *points, end = states
    x = torch.cat(points)
    sigma = torch.cat([torch.full((len(end),), level, device=x.device, dtype=x.dtype) for level in levels[:-1]])
    found = distance(D(x, sigma), end.repeat(len(points), 1, 1, 1)).mean()
    return LossOutput(found, found.detach())

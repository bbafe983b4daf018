"""Sampling from consistency models in a few steps, and from diffusion models in many."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

SIGMA_MAX = 80.0
SIGMA_MIN = 0.002


def step(network: nn.Module, x: Tensor, s: float, n: float) -> Tensor:
    """One Euler step x + (x - D(x; s)) / s (n - s) from noise level s to n along the trajectory of D."""
    sigma = torch.full((len(x),), s, device=x.device, dtype=x.dtype)
    D: Tensor = network(x, sigma)
    return x + (x - D) * ((n - s) / s)


@torch.no_grad()
def sample(
    network: nn.Module,
    noise: Tensor,
    mids: Sequence[float] = (),
    convention: Literal["ayt", "ect"] = "ayt",
    sigma_max: float = SIGMA_MAX,
    sigma_min: float = SIGMA_MIN,
) -> Tensor:
    """Sample images (B, C, H, W), in about [-1, 1].

    Args:
        network: D(x; sigma), in eval mode.
        noise: standard normals (1 + len(mids), B, C, H, W), one draw for each step.
        mids: noise levels between the steps, falling.
        convention: ``ayt``: each step ends at ``sigma_min`` and noise of variance mid^2 - sigma_min^2 leads to the
            next level; ``ect``: each step ends at the denoised image, and noise of variance mid^2 is added.
        sigma_max: noise level of the start.
        sigma_min: noise level of the end.
    """
    end = sigma_min if convention == "ayt" else 0.0
    x = step(network, sigma_max * noise[0], sigma_max, end)
    for mid, eps in zip(mids, noise[1:], strict=True):
        x = step(network, x + (mid**2 - end**2) ** 0.5 * eps, mid, end)
    return x


@torch.no_grad()
def euler(network: nn.Module, noise: Tensor, steps: int) -> Tensor:
    """Sample a diffusion model deterministically: (B, C, H, W) normals to images, along levels `euler_levels`."""
    levels = euler_levels(steps)
    x = SIGMA_MAX * noise
    for s, n in pairwise(levels):
        x = step(network, x, s, n)
    return x


def euler_levels(steps: int, rho: float = 7.0) -> list[float]:
    """``steps`` noise levels from 80 to 0.002, evenly spaced in the power 1/rho, then 0 (EDM, equation 5)."""
    ends = torch.tensor([SIGMA_MAX, SIGMA_MIN], dtype=torch.float64) ** (1 / rho)
    levels = torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64) ** rho
    return [*levels.tolist(), 0.0]


def to_uint8(x: Tensor) -> Tensor:
    """Map [-1, 1] to uint8 by trunc(clip(127.5 x + 128, 0, 255))."""
    return (127.5 * x + 128).clamp(0, 255).to(torch.uint8)

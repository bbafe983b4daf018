"""Sampling from consistency models in a few steps, and from diffusion models in many."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from ayt.base.randomness import image_noise
from ayt.methods.formulas.objective import Sampled
from ayt.networks.modules.precond import Denoise
from ayt.plan.anchors import Heun
from ayt.plan.evaluations import Sampling

SIGMA_MAX = 80.0
SIGMA_MIN = 0.002


def step(D: Denoise, x: Tensor, s: float, n: float) -> Tensor:
    """One Euler step x + (x - D(x; s)) / s (n - s) from noise level s to n along the trajectory of D."""
    sigma = torch.full((len(x),), s, device=x.device, dtype=x.dtype)
    return x + (x - D(x, sigma)) * ((n - s) / s)


@torch.no_grad()
def sample(
    D: Denoise,
    noise: Tensor,
    mids: Sequence[float] = (),
    convention: Literal["ayt", "ect"] = "ayt",
    sigma_max: float = SIGMA_MAX,
    sigma_min: float = SIGMA_MIN,
) -> Tensor:
    """Sample images (B, C, H, W), in about [-1, 1].

    Args:
        D: the denoiser, in eval mode.
        noise: standard normals (1 + len(mids), B, C, H, W), one draw per step.
        mids: noise levels between the steps, decreasing.
        convention: ``ayt``: each step ends at ``sigma_min``, and noise of variance mid^2 - sigma_min^2 leads to the
            next level; ``ect``: each step ends at the denoised image, and noise of variance mid^2 is added.
        sigma_max: noise level at the start.
        sigma_min: noise level at the end.
    """
    end = sigma_min if convention == "ayt" else 0.0
    x = step(D, sigma_max * noise[0], sigma_max, end)
    for mid, eps in zip(mids, noise[1:], strict=True):
        x = step(D, x + (mid**2 - end**2) ** 0.5 * eps, mid, end)
    return x


@torch.no_grad()
def euler(D: Denoise, noise: Tensor, steps: int) -> Tensor:
    """Sample a diffusion model deterministically: (B, C, H, W) normals to images, along levels `euler_levels`."""
    levels = euler_levels(steps)
    x = SIGMA_MAX * noise
    for s, n in pairwise(levels):
        x = step(D, x, s, n)
    return x


@torch.no_grad()
def heun(D: Denoise, noise: Tensor, steps: int) -> Tensor:
    """Sample a diffusion model deterministically: (B, C, H, W) normals to images, along levels `euler_levels`.

    Each step follows the mean of the slopes at its two ends; the last, to noise level 0, is an Euler step (EDM,
    algorithm 1).
    """
    levels = euler_levels(steps)
    x = SIGMA_MAX * noise
    for s, n in pairwise(levels):
        slope = _slope(D, x, s)
        if n > 0:
            slope = (slope + _slope(D, x + slope * (n - s), n)) / 2
        x = x + slope * (n - s)
    return x


def _slope(D: Denoise, x: Tensor, s: float) -> Tensor:
    """dx/ds of the trajectory of D at noise level s (EDM, equation 3)."""
    return (x - D(x, torch.full((len(x),), s, device=x.device, dtype=x.dtype))) / s


def euler_levels(steps: int, rho: float = 7.0) -> list[float]:
    """``steps`` noise levels from 80 to 0.002, evenly spaced in the power 1/rho, then 0 (EDM, equation 5)."""
    ends = torch.tensor([SIGMA_MAX, SIGMA_MIN], dtype=torch.float64) ** (1 / rho)
    levels = torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64) ** rho
    return [*levels.tolist(), 0.0]


@torch.no_grad()
def draw_samples(
    network: Sampled,
    sampling: Sampling | Heun,
    repeat: int,
    places: range,
    shape: tuple[int, ...],
    classes: int,
    device: torch.device,
) -> Tensor:
    """Sample images (B, C, H, W), in about [-1, 1].

    An image's noise and class depend only on its index, the repeat and the seed, not on the network or on which other
    images are sampled with it.

    Args:
        network: maps class labels to the denoiser, in eval mode.
        sampling: how to sample; diffusion models use Heun's method, from the same initial noise as the others.
        repeat: from 0.
        places: indices of the images, from 0, contiguous.
        shape: (C, H, W).
        classes: number of classes of a conditional network, sampled in turn; 0: unconditional.
        device: the device to sample on.
    """
    D = network(_labels(places, classes, device))
    if isinstance(sampling, Heun):
        return heun(D, _noise(sampling.seed, repeat, 0, places, shape, device), sampling.steps)
    noise = [_noise(sampling.seed, repeat, k, places, shape, device) for k in range(sampling.steps)]
    return sample(D, torch.stack(noise), sampling.mids, sampling.convention)


@torch.no_grad()
def draw_diffusion_samples(
    network: Sampled, steps: int, seed: int, places: range, shape: tuple[int, ...], classes: int, device: torch.device
) -> Tensor:
    """Sample images (B, C, H, W) of a diffusion model by `euler`, from the same initial noise as `draw_samples`.

    Each image is thus the end of the trajectory that a consistency model should reach in one step.

    Args:
        network: maps class labels to the denoiser, in eval mode.
        steps: number of Euler steps.
        seed: of the noise.
        places: indices of the images, from 0, contiguous.
        shape: (C, H, W).
        classes: number of classes of a conditional network, sampled in turn; 0: unconditional.
        device: the device to sample on.
    """
    D = network(_labels(places, classes, device))
    return euler(D, _noise(seed, 0, 0, places, shape, device), steps)


def _labels(places: range, classes: int, device: torch.device) -> Tensor | None:
    return torch.arange(places.start, places.stop, device=device) % classes if classes else None


def _noise(seed: int, repeat: int, step: int, places: range, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return image_noise(seed, 0, f"sampling, repeat {repeat}, step {step}", places.start, places.stop, shape, device)

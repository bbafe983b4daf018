"""Images that are noised and denoised once, as a denoiser leaves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from ayt.networks.modules.precond import Denoise

SIGMA_MIN, SIGMA_MAX = 0.002, 0.5
"""Noise levels are uniform up to the second, and those below the first are raised to it."""


def denoise_some(
    images: Tensor, labels: Tensor, denoiser: Callable[[Tensor], Denoise], p: float, uniform: Tensor, eps: Tensor
) -> tuple[Tensor, Tensor]:
    """Noise images to random levels sigma ~ U(0, 0.5), at least 0.002, and denoise them once, with probability p.

    Args:
        images: (B, C, H, W) in about [-1, 1].
        labels: (B,) their classes.
        denoiser: classes (B,) to D(x; sigma).
        p: probability for each image, in [0, 1].
        uniform: (2, B) uniforms in [0, 1) on the host, for the levels and for whether they are applied. On the host, as
            only the images that are denoised go through the network.
        eps: standard normals of the images' shape.

    Returns:
        The images, and sigma (B,), 0 where an image is as it was.
    """
    sigma = (SIGMA_MAX * uniform[0]).clamp(min=SIGMA_MIN)
    chosen = (uniform[1] < p).nonzero().squeeze(1)
    found, strength = images.clone(), torch.zeros_like(sigma).to(images.device)
    if len(chosen):
        levels, chosen = sigma[chosen].to(images.device), chosen.to(images.device)
        with torch.no_grad():
            noisy = images[chosen] + levels[:, None, None, None] * eps[chosen]
            found[chosen] = denoiser(labels[chosen])(noisy, levels)
        strength[chosen] = levels
    return found, strength

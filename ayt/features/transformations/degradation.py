"""Degradations: blur, mixup with another image, noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 5
"""Radius of the blur's 11 x 11 window."""


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of (B, C, H, W) by (B,) standard deviations in pixels, reflecting at the edges; 0: none.

    The normalised 11 x 11 kernel is the product of two normalised 1-D kernels, applied one after the other.
    """
    batch, channels, height, width = images.shape
    distance = torch.arange(-RADIUS, RADIUS + 1, device=images.device, dtype=images.dtype)
    # At sigma = 0 any tiny positive number will do: all weights but the middle one then underflow to exactly 0.
    width_of_bell = sigma.clamp(min=1e-2)[:, None]
    kernel = torch.exp(-0.5 * (distance / width_of_bell).square())
    kernel = kernel / kernel.sum(1, keepdim=True)  # (B, 11)
    kernel = kernel[:, None].expand(batch, channels, -1).reshape(batch * channels, 1, 1, -1)
    flat = F.pad(images, (RADIUS,) * 4, mode="reflect").reshape(1, batch * channels, height + 10, width + 10)
    flat = F.conv2d(flat, kernel, groups=batch * channels)
    flat = F.conv2d(flat, kernel.transpose(2, 3), groups=batch * channels)
    return flat.reshape(images.shape)


def add_noise_and_mixup(images: Tensor, share: Tensor | None, strength: Tensor | None, z: Tensor | None) -> Tensor:
    """Apply both changes to each image, each computed from the original image.

    Mixup: ``share`` of the way to its partner, the image at the mirrored position in the batch. Noise: a vector of
    length ``strength`` * sqrt(C H W) in the direction z.
    """
    result = images
    if share is not None:
        result = result + share[:, None, None, None] * (images.flip(0) - images)
    if strength is not None and z is not None:
        length = strength * z[0].numel() ** 0.5 / torch.linalg.vector_norm(z.flatten(1), dim=1)
        result = result + length[:, None, None, None] * z
    return result

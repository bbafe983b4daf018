"""Geometric transformations: one affine map per image, resampled with a wavelet's low-pass filter."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
"""Decomposition low-pass filter of the symlet with six vanishing moments; sums to sqrt(2)."""

MARGIN = 3
"""The filter's reach on each side in pixels of the original resolution: a quarter of its taps."""


def apply_geometry(images: Tensor, w: dict[str, Tensor]) -> Tensor:
    """Scale, rotate, stretch and translate (B, C, H, W) images by the parameters w; unchanged if w has none of these.

    w should be on the host, wherever the images are: the size of the padding depends on it.
    Images whose parameters are all 0 are still resampled, which changes them by about 1e-5.
    """
    A = affine(w, *images.shape[2:])
    return images if A is None else _resample(images, A)


def affine(w: dict[str, Tensor], height: int, width: int) -> Tensor | None:
    """Homogeneous maps (B, 3, 3) from output to input pixels: origin at the centre, x right, y down; None if no map."""
    maps = []
    if "scale" in w:
        shrink = torch.exp2(-0.2 * w["scale"])
        maps.append(_diagonal(shrink, shrink))
    if "rotate" in w:
        maps.append(_rotation(w["rotate"]))
    if "aniso" in w:
        strength, axis = w["aniso"]
        stretch = torch.exp2(0.2 * strength)
        maps.append(_rotation(-axis) @ _diagonal(1 / stretch, stretch) @ _rotation(axis))
    if "translate" in w:
        right, down = w["translate"]
        maps.append(_translation(-0.125 * width * right, -0.125 * height * down))
    if not maps:
        return None
    A = maps[0]
    for part in maps[1:]:
        A = A @ part
    return A


def padding(A: Tensor, height: int, width: int) -> tuple[int, int, int, int]:
    """Padding in pixels that the batch needs left, right, above, below; at most size - 1 (the limit of reflection)."""
    cx, cy = (width - 1) / 2, (height - 1) / 2
    corners = A.new_tensor([[-cx, cx, cx, -cx], [-cy, -cy, cy, cy], [1, 1, 1, 1]])
    x, y, _ = (A @ corners).unbind(1)
    reach = torch.stack([-x.min() - cx, x.max() - cx, -y.min() - cy, y.max() - cy]) + 2 * MARGIN
    # Tensor sizes depend on these numbers. The maps are on the host, so this does not wait for a GPU.
    x0, x1, y0, y1 = (max(0.0, value) for value in reach.tolist())
    return (
        math.ceil(min(x0, width - 1)),
        math.ceil(min(x1, width - 1)),
        math.ceil(min(y0, height - 1)),
        math.ceil(min(y1, height - 1)),
    )


def normalise_maps(A: Tensor, pads: tuple[int, int, int, int], height: int, width: int) -> Tensor:
    """The maps (B, 2, 3) for `torch.nn.functional.affine_grid` at twice the resolution, after padding."""
    x0, x1, y0, y1 = pads
    # The constant maps are multiplied on the host first, which leaves few small products and copies to a GPU.
    before = _scale(1 / (width + x0 + x1), 1 / (height + y0 + y1)) @ _scale(1, 1, -0.5, -0.5) @ _scale(2, 2)
    before = before @ _scale(1, 1, (x0 - x1) / 2, (y0 - y1) / 2)
    after = _scale(0.5, 0.5) @ _scale(1, 1, 0.5, 0.5) @ _scale(width + 2 * MARGIN, height + 2 * MARGIN)
    return (before[:2].to(A) @ A) @ after.to(A)


def _resample(images: Tensor, A: Tensor) -> Tensor:
    height, width = images.shape[2:]
    pads = padding(A, height, width)
    theta = normalise_maps(A, pads, height, width).to(images)
    images = _upsample(F.pad(images, pads, mode="reflect"))
    size = [*images.shape[:2], 2 * (height + 2 * MARGIN), 2 * (width + 2 * MARGIN)]
    grid = F.affine_grid(theta, size, align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return _downsample(images)[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]


def _upsample(images: Tensor) -> Tensor:
    """Twice the resolution: zeros between pixels, convolved with sym6."""
    return _apply_along_both_axes(images, _upsampling)


def _downsample(images: Tensor) -> Tensor:
    """Half the resolution: correlated with sym6."""
    return _apply_along_both_axes(images, _downsampling)


def _apply_along_both_axes(images: Tensor, matrix: Callable[[int, torch.device, torch.dtype], Tensor]) -> Tensor:
    """Apply an axis's matrix to columns and rows: faster than per-channel convolutions."""
    height, width = images.shape[2:]
    images = images @ matrix(width, images.device, images.dtype).T
    images = images.transpose(2, 3) @ matrix(height, images.device, images.dtype).T
    return images.transpose(2, 3)


@lru_cache(maxsize=256)
def _upsampling(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(2 size, size)."""
    taps = torch.tensor(SYM6, device=device, dtype=dtype)
    pixels = torch.eye(size, device=device, dtype=dtype)
    return F.conv_transpose1d(pixels[:, None], taps[None, None], stride=2, padding=5)[:, 0].T.contiguous()


@lru_cache(maxsize=256)
def _downsampling(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(size / 2, size)."""
    taps = torch.tensor(SYM6, device=device, dtype=dtype)
    pixels = torch.eye(size, device=device, dtype=dtype)
    return F.conv1d(pixels[:, None], taps[None, None], stride=2, padding=5)[:, 0].T.contiguous()


def _rows(*rows: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _rotation(angle: Tensor) -> Tensor:
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return _rows((c, -s, zero), (s, c, zero), (zero, zero, one))


def _diagonal(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=-1))


def _translation(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _rows((one, zero, x), (zero, one, y), (zero, zero, one))


def _scale(scale_x: float, scale_y: float, x: float = 0.0, y: float = 0.0) -> Tensor:
    return torch.tensor([[scale_x, 0, x], [0, scale_y, y], [0, 0, 1]], dtype=torch.float64)

"""Colour transformations: one affine map of colour space per image."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def apply_colour(images: Tensor, w: dict[str, Tensor]) -> Tensor:
    """Change (B, 1 or 3, H, W) images by the parameters w; unchanged if w has none of these.

    Brightness adds 0.2 w, contrast multiplies by 2^(0.5 w), hue rotates by w about the grey axis, saturation
    multiplies the component off that axis by 2^w; in this order. Grey images get the map's effect on grey.
    """
    some = next((w[name] for name in ("brightness", "contrast", "hue", "saturation") if name in w), None)
    if some is None:
        return images
    grey_axis = some.new_full((3, 3), 1 / 3)  # projects onto (1, 1, 1)
    identity = torch.eye(3, dtype=some.dtype, device=some.device)
    matrix = identity.expand(len(some), 3, 3)
    offset = some.new_zeros(len(some), 3, 1)
    if "brightness" in w:
        offset = offset + 0.2 * w["brightness"][:, None, None]
    if "contrast" in w:
        gain = torch.exp2(0.5 * w["contrast"])[:, None, None]
        matrix, offset = gain * matrix, gain * offset
    if "hue" in w:
        turn = _turn(w["hue"], identity, grey_axis)
        matrix, offset = turn @ matrix, turn @ offset
    if "saturation" in w:
        stretch = grey_axis + (identity - grey_axis) * torch.exp2(w["saturation"])[:, None, None]
        matrix, offset = stretch @ matrix, stretch @ offset
    if images.shape[1] == 1:
        matrix, offset = matrix.sum(2).mean(1)[:, None, None], offset.mean(1, keepdim=True)
    return (matrix @ images.flatten(2) + offset).reshape(images.shape)


def _turn(angle: Tensor, identity: Tensor, grey_axis: Tensor) -> Tensor:
    """Rotations (B, 3, 3) about (1, 1, 1) / sqrt(3) (Rodrigues' formula)."""
    a = 1 / math.sqrt(3)
    cross = identity.new_tensor([[0, -a, a], [a, 0, -a], [-a, a, 0]])
    c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return c * identity + (1 - c) * grey_axis + s * cross

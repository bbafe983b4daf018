"""The unknown tangent space of the data manifold at an image, estimated in two ways.

From the data: the leading directions of an image's nearest neighbours in the dataset (local PCA). From transformations:
the derivatives of geometric and colour transformations at the identity. Degradations leave the manifold.

Neither is exact. In finite data, neighbours are far away, so local PCA also picks up the manifold's curvature, and it
depends on the number of neighbours and of directions kept; a network's image may lie off the manifold. Transformations
span only a few directions, and not all of them preserve every dataset (a rotated 6 is a 9).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ayt.base.images import Images, to_float
from ayt.features.groups import names_for
from ayt.features.transformations.colour import apply_colour
from ayt.features.transformations.geometry import apply_geometry

BLOCK = 512
"""Images of the dataset compared at a time, to bound memory and reuse it for the next ones."""

NULL = 1e-3
"""Directions shorter than this share of the longest are dropped."""

STEP = 0.01
"""Step of the central differences, in units of the parameters: moves every pixel by less than half a pixel."""


def nearest(images: Tensor, data: Images, count: int) -> tuple[Tensor, Tensor]:
    """The nearest images of a dataset: indices and L2 distances, (B, count) each, nearest first.

    Args:
        images: (B, C, H, W) in [-1, 1], on the dataset's device.
        data: the dataset.
        count: how many, at most the dataset's size.
    """
    flat = images.flatten(1)
    distances = flat.new_empty(len(flat), 0)
    index = torch.empty(len(flat), 0, dtype=torch.long, device=flat.device)
    for start in range(0, len(data), BLOCK):
        others = to_float(data.pixels[start : start + BLOCK]).flatten(1).to(flat)
        places = torch.arange(start, start + len(others), device=flat.device).expand(len(flat), -1)
        distances = torch.cat([distances, torch.cdist(flat, others)], dim=1)
        index = torch.cat([index, places], dim=1)
        distances, order = distances.topk(min(count, distances.shape[1]), dim=1, largest=False)
        index = index.gather(1, order)
    return index, distances


def neighbour_space(images: Tensor, data: Images, neighbours: int, dimensions: int) -> Tensor:
    """Local PCA: the ``dimensions`` leading directions of the nearest neighbours about their mean, a `basis`.

    Args:
        images: (B, C, H, W) in [-1, 1], on the dataset's device.
        data: the dataset.
        neighbours: of each image, above ``dimensions``.
        dimensions: directions kept.
    """
    index, _ = nearest(images, data, neighbours)
    found = to_float(data.pixels[index.flatten()]).to(images).reshape(len(images), neighbours, -1)
    return basis(found - found.mean(1, keepdim=True), dimensions)


def transformation_space(images: Tensor) -> Tensor:
    """The span of `transformation_directions`, a `basis`."""
    return basis(transformation_directions(images).flatten(2))


def transformation_directions(images: Tensor) -> Tensor:
    """Derivatives of (B, C, H, W) images by the parameters of geometric and colour transformations at 0.

    Central differences, (B, D, C, H, W): scale, rotation, anisotropy along the axes and between them, translation to
    the right and down, brightness, contrast, and on colour images hue and saturation.
    """
    rows = []
    for name, direction in _parameters(images.shape[1]):
        # On the host, as `apply_geometry` prefers; both signs in one batch, so that they get the same padding.
        steps = STEP * torch.tensor([1.0, -1.0], dtype=images.dtype).repeat_interleave(len(images))
        if name == "aniso":
            w = torch.stack([steps, torch.full_like(steps, direction[1])])
        elif name == "translate":
            w = torch.stack([part * steps for part in direction])
        else:
            w = steps
        moved = apply_geometry(torch.cat([images, images]), {name: w})  # each ignores parameters that it does not know
        ahead, behind = apply_colour(moved, {name: w.to(images.device)}).chunk(2)
        rows.append((ahead - behind) / (2 * STEP))
    return torch.stack(rows, dim=1)


def _parameters(channels: int) -> list[tuple[str, tuple[float, ...]]]:
    """The transformations that keep images on the manifold, with one or two parameter directions each."""
    directions: dict[str, list[tuple[float, ...]]] = {
        "aniso": [(1.0, 0.0), (1.0, math.pi / 4)],
        "translate": [(1.0, 0.0), (0.0, 1.0)],
    }
    names = names_for("geo_clr", channels)
    return [(name, direction) for name in names for direction in directions.get(name, [(1.0,)])]


def basis(vectors: Tensor, dimensions: int | None = None) -> Tensor:
    """Orthonormal leading directions (B, d, n) of (B, m, n) vectors; missing directions are rows of zeros."""
    _, lengths, rows = torch.linalg.svd(vectors, full_matrices=False)
    there = (lengths > NULL * lengths[:, :1]).to(rows)
    leading: Tensor = (rows * there[..., None])[:, :dimensions]
    return leading


def dimension(space: Tensor) -> Tensor:
    """The number of directions of each (B, d, n) `basis`, (B,)."""
    return space.square().sum((1, 2)).round()


def share(v: Tensor, space: Tensor) -> Tensor:
    """|P v|^2 / |v|^2 for v (B, C, H, W) and the projection P onto the span of a `basis`, (B,); 0 where v is 0.

    For random directions it is on average the number of dimensions divided by the number of pixel values.
    """
    flat = v.flatten(1)
    inside = (space @ flat[..., None]).square().sum((1, 2))
    total = flat.square().sum(1)
    return inside / torch.where(total > 0, total, 1)

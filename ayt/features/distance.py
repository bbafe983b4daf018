"""Distances between images in the features of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

Distance = Callable[[Tensor, Tensor], Tensor]
"""From two batches of images (B, C, H, W) in [-1, 1] to their distances (B,)."""

Module = TypeVar("Module", bound=nn.Module)


class Tapped(Protocol):
    """A network that exposes its intermediate features."""

    def taps(self, x: Tensor) -> list[Tensor]:
        """The features of (B, C, H, W) images at each tapped layer, the predictions last."""


def freeze(network: Module) -> Module:
    """Put a network into eval mode and disable its parameters' gradients, as a distance requires; returns it."""
    return network.eval().requires_grad_(False)


def ph(d: Tensor, e: float, dim: tuple[int, ...]) -> Tensor:
    """Pseudo-Huber norm sqrt(sum d^2 + e^2) - e over ``dim``; smooth at 0."""
    return (d.square().sum(dim) + e**2).sqrt() - e


def feature_distance(taps_a: Sequence[Tensor], taps_b: Sequence[Tensor], e: float = 1e-5) -> Tensor:
    """Sum over layers and channels of `ph` over pixels, (B,).

    ``taps_*``: maps (B, C, H, W); vectors (B, C), treated as maps of one pixel; or tokens (B, N, C), where `ph` is
    taken over the channels of each token.
    """
    total = torch.zeros(len(taps_a[0]), device=taps_a[0].device, dtype=taps_a[0].dtype)
    for a, b in zip(taps_a, taps_b, strict=True):
        total = total + ph((a - b).flatten(2) if a.ndim > 2 else (a - b)[..., None], e, (2,)).sum(1)
    return total


def mfd(network: Tapped, e: float = 1e-5) -> Distance:
    """Manifold feature distance: `feature_distance` of the network's taps. The network should be frozen by `freeze`."""

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return feature_distance(network.taps(a), network.taps(b), e)

    return distance


def all_features(network: Tapped) -> Callable[[Tensor], Tensor]:
    """A function from images (B, C, H, W) to all of the network's taps, flattened and concatenated, (B, F)."""

    def features(images: Tensor) -> Tensor:
        return torch.cat([tap.flatten(1) for tap in network.taps(images)], dim=1)

    return features


def lpips_like(network: Tapped) -> Distance:
    """LPIPS's formula (arXiv 1801.03924) without its learnt weights, on any network; it should be frozen by `freeze`.

    At each max-pool's output: features scaled to unit length over channels, squared difference, sum over channels,
    mean over pixels; then summed over layers.
    """

    def unit(features: Tensor) -> Tensor:
        return features / (features.square().sum(1, keepdim=True) + 1e-10).sqrt()

    def distance(a: Tensor, b: Tensor) -> Tensor:
        pairs = zip(network.taps(a)[:-1], network.taps(b)[:-1], strict=True)
        terms = [(unit(x) - unit(y)).square().sum(1).mean(dim=(1, 2)) for x, y in pairs]
        return torch.stack(terms).sum(0)

    return distance

"""The tangents of a consistency model, and the direction that AYT uses instead.

A trajectory is t -> x_t = x + t eps with image x and noise eps fixed; its tangent is d D(x_t; t) / dt, the change of
the model's output along it. The gradient of ECT's loss with respect to D_t is its finite difference at unit length,
(D_t - D_r) / |D_t - D_r|_2; that of AYT's is `direction` in MFD. Both are gradients: training moves D_t against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ayt.base.errors import UserError
from ayt.base.images import Images, to_float
from ayt.base.randomness import generator
from ayt.features.distance import Distance
from ayt.methods.base import Method
from ayt.methods.formulas.continuous import tangent
from ayt.methods.formulas.losses import consistency_pair, direction
from ayt.networks.modules.precond import Denoise

OTHERS = 4
"""Number of random partners of each image."""


class Points(NamedTuple):
    """The images and noise of an analysis.

    Attributes:
        places: (K,) indices of the images in the dataset, on the host.
        others: (K, OTHERS) indices of random other images of the dataset, on the host.
        x: the images (K, C, H, W) in [-1, 1].
        labels: their class labels (K,).
        eps: standard normals of their shape.
    """

    places: Tensor
    others: Tensor
    x: Tensor
    labels: Tensor
    eps: Tensor


def choose_points(data: Images, count: int, seed: int) -> Points:
    """Draw ``count`` images of a dataset without replacement, partners and noise; the same on every device.

    Raises:
        UserError: the dataset is smaller.
    """
    if count > len(data):
        raise UserError(f"cannot use {count} images: the dataset has {len(data)}")
    places = torch.randperm(len(data), generator=generator(seed, 0, "analysis, images"))[:count]
    # Offsets from 1 to size - 1: never the image itself.
    further = torch.randint(1, len(data), (count, OTHERS), generator=generator(seed, 0, "analysis, partners"))
    on_device = places.to(data.pixels.device)
    x = to_float(data.pixels[on_device])
    eps = torch.randn(x.shape, generator=generator(seed, 0, "analysis, noise"))
    return Points(places, (places[:, None] + further) % len(data), x, data.labels[on_device], eps.to(x.device))


def unit(v: Tensor) -> Tensor:
    """v_i / |v_i|_2 for (B, C, H, W); 0 stays 0."""
    lengths = torch.linalg.vector_norm(v.flatten(1), dim=1)
    return v / torch.where(lengths > 0, lengths, 1)[:, None, None, None]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between (B, C, H, W) each, (B,); 0 where one is 0."""
    return (unit(a) * unit(b)).flatten(1).sum(1)


def pair_at(D: Denoise, points: Points, t: float, method: Method, stage: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """D_t, D_r (K, C, H, W) of all points at one noise level, t and r (K,): as in training, but without dropout."""
    t_all = points.x.new_full((len(points.x),), t)
    r = method.pair_with(t_all, stage)
    with torch.no_grad():
        D_t, D_r = consistency_pair(D, points.x, t_all, r, points.eps)
    return D_t, D_r, t_all, r


def differentiate(D: Denoise, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """The tangent d D(x + t eps; t) / dt, (B, C, H, W), exact up to rounding.

    A Jacobian-vector product in forward mode along (eps, 1).

    Args:
        D: the denoiser, bound to the images' labels.
        x: images (B, C, H, W) in [-1, 1].
        eps: standard normals of the images' shape.
        t: (B,) noise levels, above 0.
    """
    return tangent(D, x + t[:, None, None, None] * eps, eps, t)


def measure_tangents(
    D: Denoise, points: Points, noise_levels: Sequence[float], method: Method, stage: int, distance: Distance
) -> dict[str, np.ndarray]:
    """Take all three tangents at each noise level.

    The 1e-5 floor of `direction` applies to a gradient with a factor of 1 / K here, 1 / batch size in training.

    Args:
        D: the denoiser, bound to the points' labels, of their type and device.
        points: images and noise.
        noise_levels: t, above 0.
        method: determines r from t.
        stage: of the schedule.
        distance: MFD.

    Returns:
        ``x`` (K, C, H, W) in [-1, 1] and ``index`` (K,); ``t``, ``r`` (T,).
        ``x_t``, ``D_t`` and, at unit length, ``difference`` (D_t - D_r) / (t - r), ``derivative`` and ``feature``,
        AYT's direction: (T, K, C, H, W) each.
        ``difference_norm``, ``derivative_norm``: lengths of the first two before scaling, in pixel values per unit of
        noise level; ``cosine_derivative``, ``cosine_feature``: cosines between the difference and the other two: (T, K)
        each.
    """
    rows: dict[str, list[Tensor]] = {}
    for noise_level in noise_levels:
        D_t, D_r, t, r = pair_at(D, points, noise_level, method, stage)
        difference = (D_t - D_r) / (t - r)[:, None, None, None]
        exact = differentiate(D, points.x, points.eps, t)
        feature, _ = direction(D_t, D_r, distance)
        row = {
            "t": t[0],
            "r": r[0],
            "x_t": points.x + noise_level * points.eps,
            "D_t": D_t,
            "difference": unit(difference),
            "derivative": unit(exact),
            "feature": unit(feature),
            "difference_norm": torch.linalg.vector_norm(difference.flatten(1), dim=1),
            "derivative_norm": torch.linalg.vector_norm(exact.flatten(1), dim=1),
            "cosine_derivative": cosine(difference, exact),
            "cosine_feature": cosine(difference, feature),
        }
        for name, values in row.items():
            rows.setdefault(name, []).append(values)
    found = {name: torch.stack(values).detach().cpu().numpy() for name, values in rows.items()}
    return {"index": points.places.numpy(), "x": points.x.cpu().numpy(), **found}

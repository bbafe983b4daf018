"""Random transformations of images, and the labels that a classifier learns to predict from the result.

Each is applied to an image with probability p; if it is not applied, its label is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ayt.features.groups import check_names
from ayt.features.transformations.colour import apply_colour
from ayt.features.transformations.degradation import add_noise_and_mixup, blur
from ayt.features.transformations.geometry import apply_geometry
from ayt.features.transformations.table import (
    TransformationDraws,
    draw,
    parameters,
)

__all__ = ["TransformationDraws", "draw", "transform"]


def transform(
    images: Tensor, draws: TransformationDraws, p: float, names: tuple[str, ...], magnitude: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """Transform a batch.

    Args:
        images: (B, C, H, W) in [-1, 1], one or three channels; H and W above 5.
        draws: the result of `draw` for these names.
        p: probability of each transformation, in [0, 1].
        names: the transformations, a subset of ``GROUPS["geo_clr_deg"]``.
        magnitude: a factor, or (B,) factors, for all strengths; 1 in training.

    Returns:
        The transformed images, not clamped, and the labels (B, L) in the order of `label_names`.

    Raises:
        UserError: a name is unknown.
    """
    check_names(names)
    w, labels = parameters(draws, p, names, magnitude)
    images = apply_geometry(images, w)
    w = {name: value.to(images.device) for name, value in w.items()}
    images = apply_colour(images, w)
    if "blur" in w:
        images = blur(images, w["blur"])
    images = add_noise_and_mixup(images, w.get("mixup"), w.get("noise"), draws.get("noise", {}).get("z"))
    return images, torch.cat(labels, dim=1).to(images.device)

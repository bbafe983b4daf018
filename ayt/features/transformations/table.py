"""The transformations: their random draws, and the parameters and labels computed from these."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TransformationDraws = dict[str, dict[str, Tensor]]
"""Raw random numbers by transformation and kind: ``w``, ``z`` standard normal, ``beta`` from Beta(1, 3), the others
uniform in [0, 1); ``u`` decides whether the transformation is applied."""

_NORMAL = {"scale", "aniso", "translate", "brightness", "contrast", "saturation"}


def draw(
    names: tuple[str, ...],
    shape: tuple[int, ...],
    generator: torch.Generator,
    noise: torch.Generator | None = None,
) -> TransformationDraws:
    """Draw for a batch of images of ``shape`` (B, C, H, W).

    Everything is drawn on the generator's device, preferably the host (see `apply_geometry`). Noise images are drawn
    with the generator ``noise``, on the images' device; if absent, with the first one.
    """
    noise = noise or generator
    size, device = shape[0], generator.device

    def uniform() -> Tensor:
        return torch.rand(size, generator=generator, device=device)

    def normal(*dimensions: int) -> Tensor:
        return torch.randn(*dimensions, generator=generator, device=device)

    draws: TransformationDraws = {}
    for name in names:
        values: dict[str, Tensor] = {}
        if name == "mixup":
            values["beta"] = 1 - (1 - uniform()) ** (1 / 3)  # the inverse of Beta(1, 3)'s distribution function
        elif name in _NORMAL:
            values["w"] = normal(2, size) if name == "translate" else normal(size)
        else:
            values["w01"] = uniform()
        if name == "aniso":
            values["r01"] = uniform()
        values["u"] = uniform()
        if name == "aniso":
            values["ur"] = uniform()
        if name == "noise":
            values["z"] = torch.randn(*shape, generator=noise, device=noise.device)
        draws[name] = values
    return draws


def parameters(
    draws: TransformationDraws, p: float, names: tuple[str, ...], magnitude: Tensor | float
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The parameters w of each transformation, 0 where it is not applied, and the labels (B, 1 or 2) of each.

    w is (B,); (2, B) for ``translate`` (right, down) and ``aniso`` (strength, axis).
    """
    w: dict[str, Tensor] = {}
    labels: list[Tensor] = []
    for name in names:
        values = draws[name]
        if "beta" in values:
            strength = 0.5 * values["beta"]
        elif "w" in values:
            strength = values["w"]
        else:
            unit = values["w01"]
            strength = {"blur": 3 * unit, "noise": 0.5 * unit}.get(name, math.pi * (2 * unit - 1))
        strength = torch.where(values["u"] < p, strength * magnitude, 0.0)
        if name in ("rotate", "hue"):
            parts = [strength.cos() - 1, strength.sin()]
        elif name == "aniso":
            axis = torch.where(values["ur"] < 0.5, math.pi * (2 * values["r01"] - 1) * magnitude, 0.0)
            parts = [strength * axis.cos(), strength * axis.sin()]
            strength = torch.stack([strength, axis])
        elif name == "translate":
            parts = [strength[0], strength[1]]
        else:
            parts = [strength]
        w[name] = strength
        labels.append(torch.stack(parts, dim=1))
    return w, labels

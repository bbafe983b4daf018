"""Consistency training in the limit r -> t: training moves the output along its tangent on a trajectory."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from ayt.methods.formulas.losses import LossOutput, average
from ayt.networks.modules.precond import Denoise

Embed = Callable[[Tensor], Tensor]
"""From images (B, C, H, W) to the features (B, F) that are compared."""


def tangent(D: Denoise, x_t: Tensor, v: Tensor, t: Tensor, embed: Embed | None = None) -> Tensor:
    """The derivative of D(x_t + s v; t + s) with respect to s at 0, exact up to rounding and without gradient.

    A Jacobian-vector product in forward mode along (v, 1).

    Args:
        D: the denoiser.
        x_t: noisy images (B, C, H, W).
        v: of their shape: their velocity dx_t / dt.
        t: (B,) noise levels, above 0.
        embed: features of the output to differentiate; None: the output itself.

    Returns:
        The output's shape, or (B, F) with ``embed``.
    """

    def output(x: Tensor, t: Tensor) -> Tensor:
        return embed(D(x, t)) if embed else D(x, t)

    with warnings.catch_warnings(), torch.no_grad():
        # PyTorch itself calls the deprecated function; its versions differ in the kind of warning.
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
        found: Tensor = torch.func.jvp(output, (x_t, t), (v, torch.ones_like(t)))[1]
    return found


@torch.no_grad()
def velocity(D: Denoise, x_t: Tensor, t: Tensor) -> Tensor:
    """The velocity dx_t / dt = (x_t - D(x_t; t)) / t of a diffusion model's probability flow, without gradient.

    Args:
        D: its denoiser.
        x_t: noisy images (B, C, H, W).
        t: (B,) noise levels, above 0.
    """
    return (x_t - D(x_t, t)) / t[:, None, None, None]


def normalise_tangent(g: Tensor, c: float) -> tuple[Tensor, Tensor]:
    """The tangents g / (rms(g) + c) of g (B, ...), and rms(g), the root mean square over each sample, (B,)."""
    rms = g.flatten(1).square().mean(1).sqrt()
    return g / (rms + c).reshape(-1, *[1] * (g.ndim - 1)), rms


def tangent_loss(output: Tensor, g: Tensor, w: Tensor, c: float, size: int | None = None) -> LossOutput:
    """Move the output against its normalised tangent: mean_i w_i <output_i, g_i / (rms(g_i) + c)>.

    The loss's value is not informative: watch the distance, the mean rms of the tangents.

    Args:
        output: (B, ...), with gradient.
        g: its tangents, of its shape, without.
        w: (B,) weights.
        c: added to the root mean square, so that short tangents are not stretched.
        size: of the whole batch, if this is a part.
    """
    direction, rms = normalise_tangent(g, c)
    return LossOutput(average(w * (output * direction).flatten(1).sum(1), size), average(rms, size))

"""Losses of consistency training, which make D_t = D(x_t; t) and D_r = stopgrad D(x_r; r) agree.

All are averages over the batch, weighted by w (`weight`). The distance that gives a direction is an argument. A
batch may come in parts: the losses of its parts, each given the ``size`` of the whole, add up to the loss of the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from ayt.base.branches import begin
from ayt.methods.formulas.schedules import ramp

if TYPE_CHECKING:
    from ayt.features.distance import Distance
    from ayt.networks.modules.precond import Denoise

DIRECTION_FLOOR = 1e-5
"""A gradient with a norm below this is divided by this value rather than scaled to length 1."""


Weighting = Literal["difference", "root", "c_out", "c_out_squared", "one"]
"""Weights of a pair: 1 / (t - r), 1 / sqrt(t - r), 1 / c_out(t), 1 / c_out(t)^2, or 1."""


class LossOutput(NamedTuple):
    """A scalar to differentiate, and the mean distance between D_t and D_r to watch, without gradient."""

    loss: Tensor
    distance: Tensor


class Loss(Protocol):
    """The loss of a method."""

    def __call__(self, D_t: Tensor, D_r: Tensor, w: Tensor, iteration: int, size: int | None = None) -> LossOutput:
        """Compare D_t, D_r (B, C, H, W), weighted by w (B,); ``size``: of the whole batch, if this is a part."""


def weight(t: Tensor, r: Tensor, weighting: Weighting = "difference", sigma_data: float = 0.5) -> Tensor:
    """The weight of pairs (t, r) of noise levels, as `Weighting` says; c_out(t) = t s / sqrt(t^2 + s^2).

    Args:
        t: (B,), above 0.
        r: (B,), below t.
        weighting: which formula.
        sigma_data: s, the assumed standard deviation of the data.
    """
    if weighting == "one":
        return torch.ones_like(t)
    if weighting.startswith("c_out"):
        c_out = t * sigma_data / (t**2 + sigma_data**2).sqrt()
        return 1 / (c_out if weighting == "c_out" else c_out**2)
    return 1 / (t - r if weighting == "difference" else (t - r).sqrt())


def pseudo_huber(D_t: Tensor, D_r: Tensor, c: float = 0.0) -> Tensor:
    """sqrt(|D_t - D_r|_2^2 + c^2) - c for each sample, (B,).

    With c = 0 it is the L2 norm, whose gradient at D_t = D_r is defined as 0 (that of the root would be NaN).
    """
    difference = (D_t - D_r).flatten(1)
    if c == 0:
        norm: Tensor = torch.linalg.vector_norm(difference, dim=1)
        return norm
    return (difference.square().sum(1) + c**2).sqrt() - c


def l1(D_t: Tensor, D_r: Tensor) -> Tensor:
    """Sum of absolute differences for each sample, (B,)."""
    return (D_t - D_r).abs().flatten(1).sum(1)


def l2(D_t: Tensor, D_r: Tensor) -> Tensor:
    """Sum of squared differences for each sample, (B,)."""
    return (D_t - D_r).square().flatten(1).sum(1)


def average(values: Tensor, size: int | None) -> Tensor:
    """The contribution of (B,) values to the average over a batch of ``size``; None: they are the whole batch."""
    return values.sum() / (size or len(values))


def direction(
    D_t: Tensor, D_r: Tensor, distance: Distance, w: Tensor | None = None, size: int | None = None
) -> tuple[Tensor, Tensor]:
    """The direction g (B, C, H, W) in which D_t moves away from D_r fastest, and the distances (B,), without gradient.

    g_i = G_i / max(|G_i|_2, 1e-5), G the gradient of the batch mean of ``distance``, or of w * distance, with respect
    to D_t. Training moves D_t along -g.
    """
    point = D_t.detach().requires_grad_()
    with torch.enable_grad():
        distances = distance(point, D_r)
        (G,) = torch.autograd.grad(average(distances if w is None else w * distances, size), point)
    norms = torch.linalg.vector_norm(G.flatten(1), dim=1).clamp(min=DIRECTION_FLOOR)
    return G / norms[:, None, None, None], distances.detach()


def proximal(
    D_t: Tensor, D_r: Tensor, w: Tensor, distance: Distance, weighted: bool, size: int | None = None
) -> LossOutput:
    """Take the `direction` from a distance and the length from w: mean_i w_i 1/2 |D_t - stopgrad(D_t - g)|^2.

    ``weighted``: g is for w * distance. The loss's value does not depend on the network: watch the distance.
    """
    g, distances = direction(D_t, D_r, distance, w if weighted else None, size)
    target = D_t.detach() - g
    loss = average(w * 0.5 * (D_t - target).square().flatten(1).sum(1), size)
    return LossOutput(loss, average(distances, size))


def ect_loss(c: float = 0.0) -> Loss:
    """ECT: mean_i w_i (sqrt(|D_t - D_r|_2^2 + c^2) - c)."""

    def loss(D_t: Tensor, D_r: Tensor, w: Tensor, iteration: int, size: int | None = None) -> LossOutput:
        distances = pseudo_huber(D_t, D_r, c)
        return LossOutput(average(w * distances, size), average(distances.detach(), size))

    return loss


def distance_loss(distance: Distance, weighted: bool) -> Loss:
    """`proximal` in a distance: AYT with MFD (not ``weighted``); L1, L2, LPIPS (``weighted``)."""

    def loss(D_t: Tensor, D_r: Tensor, w: Tensor, iteration: int, size: int | None = None) -> LossOutput:
        return proximal(D_t, D_r, w, distance, weighted, size)

    return loss


def hybrid_loss(c: float, distance: Distance, lambda_: float, ramp_iterations: int) -> Loss:
    """ECT's loss + lambda * `ramp` * AYT's loss; the distance to watch is AYT's."""
    ect, ayt = ect_loss(c), distance_loss(distance, weighted=False)

    def loss(D_t: Tensor, D_r: Tensor, w: Tensor, iteration: int, size: int | None = None) -> LossOutput:
        pixels, features = ect(D_t, D_r, w, iteration, size), ayt(D_t, D_r, w, iteration, size)
        share = lambda_ * ramp(iteration, ramp_iterations)
        return LossOutput(pixels.loss + share * features.loss, features.distance)

    return loss


def consistency_pair(
    D: Denoise, x_0: Tensor, t: Tensor, r: Tensor, eps: Tensor, target: Denoise | None = None
) -> tuple[Tensor, Tensor]:
    """D_t, with gradient, and D_r, without, from one noise; each (B, C, H, W).

    x_t = x_0 + t eps and x_r = x_0 + r eps; D_r = x_0 where r = 0.

    Args:
        D: the denoiser, bound to one dropout mask for both passes.
        x_0: images (B, C, H, W) in [-1, 1].
        t: (B,) noise levels, above 0.
        r: (B,) noise levels, 0 <= r < t.
        eps: standard normals of the images' shape.
        target: the network that gives D_r; None: the denoiser.
    """
    positive = r > 0
    # ln 0 would make the network's output NaN: where r = 0 the pass runs at t and its result is not used.
    r_safe = torch.where(positive, r, t)
    x_r = x_0 + r_safe[:, None, None, None] * eps

    @torch.no_grad()
    def earlier() -> Tensor:
        return (target or D)(x_r, r_safe)

    output = begin(earlier, x_0)
    D_t = D(x_0 + t[:, None, None, None] * eps, t)
    D_r = torch.where(positive[:, None, None, None], output(), x_0)
    return D_t, D_r


def denoising_loss(
    D: Denoise, x_0: Tensor, sigma: Tensor, eps: Tensor, size: int | None = None, sigma_data: float = 0.5
) -> LossOutput:
    """EDM's loss: mean over batch and elements of lambda |D(x_0 + sigma eps; sigma) - x_0|^2.

    lambda = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2; the distance to watch is the mean squared error.
    ``size`` is that of the whole batch, if this is a part of it.
    """
    errors = (D(x_0 + sigma[:, None, None, None] * eps, sigma) - x_0).square().flatten(1).mean(1)
    lambda_ = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return LossOutput(average(lambda_ * errors, size), average(errors.detach(), size))

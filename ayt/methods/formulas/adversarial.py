"""ECT's loss with a discriminator C, which is trained to distinguish images of the dataset from the denoiser's."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ayt.methods.formulas.losses import LossOutput, average, pseudo_huber

Critic = Callable[[Tensor], Tensor]
"""C: from images (B, C, H, W) in [-1, 1] to logits (B, 1), high if it takes them for images of the dataset."""

FLOOR = 1e-5
"""Added to the mean magnitude of the discriminator's gradient before dividing ECT's by it."""


def scaled_gradient(
    g: Tensor, g_adv: Tensor, share: float, total: Callable[[Tensor], Tensor], size: int | None = None
) -> Tensor:
    """The gradient lambda g_adv, lambda = share mean|g| / (mean|g_adv| + 1e-5), means over all numbers of a batch.

    Args:
        g: gradient (B, C, H, W) of one loss of the batch.
        g_adv: that of the other.
        share: mean magnitude of the second, relative to the first.
        total: sums over the processes that share the batch, in place.
        size: of the whole batch, if this is a part.
    """
    sums = total(torch.stack([g.abs().sum(), g_adv.abs().sum()]))
    magnitude, magnitude_adv = sums / ((size or len(g)) * g[0].numel())
    lambda_: Tensor = share * magnitude / (magnitude_adv + FLOOR)
    return lambda_ * g_adv


def generator_loss(
    D_t: Tensor,
    D_r: Tensor,
    w: Tensor,
    C: Critic,
    c: float,
    share: float,
    total: Callable[[Tensor], Tensor],
    size: int | None = None,
) -> LossOutput:
    """ECT's loss, with lambda g_adv added to its gradient g with respect to D_t (`scaled_gradient`).

    g_adv is the gradient of the batch mean of softplus(-C(D_t)); C is not trained by it. The value is ECT's.

    Args:
        D_t: (B, C, H, W), with gradient.
        D_r: of its shape, without.
        w: (B,) weights of ECT's loss.
        C: the discriminator.
        c: of the pseudo-Huber distance.
        share: as in `scaled_gradient`, and so the others.
        total: sums over the processes that share the batch.
        size: of the whole batch, if this is a part.
    """
    point = D_t.detach().requires_grad_()
    with torch.enable_grad():
        distances = pseudo_huber(point, D_r, c)
        loss = average(w * distances, size)
        (g,) = torch.autograd.grad(loss, point)
        (g_adv,) = torch.autograd.grad(average(F.softplus(-C(point)).squeeze(1), size), point)
    along = g + scaled_gradient(g, g_adv, share, total, size)
    return LossOutput(loss.detach() + (along * (D_t - point.detach())).sum(), average(distances.detach(), size))


def discriminator_loss(C: Critic, real: Tensor, fake: Tensor, penalty: float, size: int | None = None) -> Tensor:
    """Batch mean of softplus(-C(real)) + softplus(C(fake)) + penalty |dC(real) / d real|_2^2.

    Args:
        C: the discriminator.
        real: images (B, C, H, W) of the dataset.
        fake: the denoiser's, of this shape; it is not trained by this loss.
        penalty: of the squared slope at real images (R1, arXiv 1801.04406, there with a half before it).
        size: of the whole batch, if this is a part.
    """
    point = real.detach().requires_grad_()
    logits = C(point)
    (slope,) = torch.autograd.grad(logits.sum(), point, create_graph=True)
    errors = (F.softplus(-logits) + F.softplus(C(fake.detach()))).squeeze(1)
    return average(errors + penalty * slope.square().flatten(1).sum(1), size)

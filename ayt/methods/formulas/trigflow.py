"""Continuous-time consistency models in TrigFlow (sCM, arXiv 2410.11081), written for EDM's denoiser.

TrigFlow's time is an angle a in (0, pi/2): y = cos(a) x_0 + sin(a) z with z ~ N(0, s^2 I), where s = sigma_data. With
t = s tan(a) and z = s eps, it is EDM's x_t = x_0 + t eps on another scale, y = cos(a) x_t. The consistency function is
the denoiser, f(y, a) = D(x_t; t), and EDM's preconditioning is TrigFlow's, f = cos(a) y - s sin(a) F, since
c_skip x_t = cos(a) y and c_out = s sin(a); only F is the negative of EDM's. So EDM's weights can be used directly as
the start, and trained weights are sampled, scored and exported like EDM's.

A velocity v = dx_t/dt is dy/da = s v / cos(a) - sin(a) x_t, because dt/da = s / cos(a)^2. For v = eps this is the
paper's cos(a) z - sin(a) x_0, of training; for v = (x_t - D_teacher) / t its s F_teacher, of distillation. In

    g = -cos(a)^2 (s F - dy/da) - h cos(a) sin(a) (y + s dF/da),

which is cos(a) df/da where the warm-up h is 1, the first part is p = s cos(a) (v - (x_t - D) / t). The sum for h = 1 is
q = (s / cos(a)) dD(x_t; t)/dt, the derivative along v; so g = p + h (q - p), and s / cos(a) = sqrt(t^2 + s^2).
"""

from __future__ import annotations

from torch import Tensor

from ayt.methods.formulas.continuous import normalise_tangent
from ayt.methods.formulas.losses import LossOutput, average
from ayt.networks.modules.precond import SIGMA_DATA, scalings


def trigflow_tangent(
    D_t: Tensor, derivative: Tensor, x_t: Tensor, v: Tensor, t: Tensor, warmup: float, sigma_data: float = SIGMA_DATA
) -> Tensor:
    """The tangent g = p + warmup (q - p) of the paper's algorithm 1, (B, C, H, W), before it is normalised.

    p = s^2 / sqrt(t^2 + s^2) (v - (x_t - D_t) / t) and q = sqrt(t^2 + s^2) dD/dt, with s = ``sigma_data``.

    Args:
        D_t: D(x_t; t) of the network in training, (B, C, H, W), without gradient.
        derivative: dD/dt along v, of its shape: `tangent`'s.
        x_t: noisy images.
        v: their velocity dx_t / dt.
        t: (B,) noise levels, above 0.
        warmup: h, from 0 to 1, the factor of the part with the network's derivative.
        sigma_data: assumed standard deviation of the data.
    """
    T = t[:, None, None, None]
    total = (T**2 + sigma_data**2).sqrt()
    p = (v - (x_t - D_t) / T) * (sigma_data**2 / total)
    q = derivative * total
    return p + (q - p) * warmup


def trigflow_loss(
    D_t: Tensor,
    g: Tensor,
    t: Tensor,
    c: float,
    w: Tensor | None = None,
    size: int | None = None,
    sigma_data: float = SIGMA_DATA,
) -> LossOutput:
    """Move F along its normalised tangent: the mean of e^w l - w over the batch.

    l is the mean of (F - stopgrad(F) - g / (rms(g) + c))^2 over an image, F = (c_skip x_t - D_t) / c_out TrigFlow's raw
    network. The value depends only on the tangents and w: watch the distance, the mean rms of the tangents.

    Args:
        D_t: (B, C, H, W), with gradient.
        g: `trigflow_tangent`'s, of its shape, without.
        t: (B,) noise levels, above 0.
        c: added to the root mean square, so that short tangents are not stretched.
        w: (B,) learned log weights, with gradient: `LogWeight`'s of t; None: 0.
        size: of the whole batch, if this is a part.
        sigma_data: assumed standard deviation of the data.
    """
    direction, rms = normalise_tangent(g, c)
    _, c_out, _, _ = scalings(t, sigma_data)
    moved = (D_t.detach() - D_t) / c_out[:, None, None, None]
    errors = (moved - direction).square().flatten(1).mean(1)
    weighted = errors if w is None else w.exp() * errors - w
    return LossOutput(average(weighted, size), average(rms, size))

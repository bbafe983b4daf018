"""Times t and r of consistency training (ECT, arXiv 2406.14548; TCM, arXiv 2410.14895)."""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
from torch import Tensor

from ayt.base.recorded import Recorded


def lognormal_t(
    z: Tensor, mean: float = -1.1, std: float = 2.0, low: float | None = None, high: float | None = None
) -> Tensor:
    """Noise levels t with ln t ~ N(mean, std^2), from standard normals ``z``.

    With ``low`` or ``high`` the distribution is truncated there by inversion: ln t has the same quantile in the
    truncated distribution as z in the normal one. Without them, t is not truncated.
    """
    if low is None and high is None:
        return (mean + std * z).exp()
    # Host numbers, so that nothing is copied to a GPU.
    a = _normal_below(math.log(low), mean, std) if low else 0.0
    b = _normal_below(math.log(high), mean, std) if high else 1.0
    x = torch.special.ndtri(a + torch.special.ndtr(z.double()) * (b - a))
    t: Tensor = (mean + std * x).exp().to(z.dtype)
    return t


def _normal_below(value: float, mean: float, std: float) -> float:
    """The probability that a normal number lies below a value."""
    return 0.5 * math.erfc((mean - value) / (std * 2**0.5))


def t_to_r(
    t: Tensor,
    q: float = 256.0,
    stage: int = 0,
    k: float = 8.0,
    b: float = 1.0,
    n: Literal["sigmoid", "const"] = "sigmoid",
    max_ratio: float | None = None,
    min_r: float = 0.0,
) -> Tensor:
    """The earlier noise level r = max(min_r, t (1 - n(t) (1 - ratio))) that t is paired with.

    Args:
        t: noise levels, above 0.
        q: above 1, ratio = 1 - q^-(stage+1); the larger, the closer r is to t.
        stage: from 0.
        k: height of n(t) = 1 + k sigmoid(-b t).
        b: steepness of n(t).
        n: ``sigmoid`` as above, or ``const`` for n(t) = 1.
        max_ratio: upper limit of the ratio; None: no limit.
        min_r: lower limit of r.

    Returns:
        r of t's shape, at most t if ``min_r`` is. In float32, r equals t where n(t) / q^(stage+1) is below 6e-8
        (for q = 256, from stage 3 on): the weight 1 / (t - r) is then infinite.
    """
    steepness = 1 + k * (-b * t).sigmoid() if n == "sigmoid" else 1.0
    if max_ratio is not None and 1 - max_ratio > q ** -(stage + 1):
        return (t * (1 - steepness * (1 - max_ratio))).clamp(min=min_r)
    return (t * (1 - steepness / q ** (stage + 1))).clamp(min=min_r)


def stage_at(iteration: int, stage_iterations: int | None) -> int:
    """The stage of an iteration, both counted from 0; ``stage_iterations`` None: a single stage."""
    if isinstance(iteration, Recorded):
        return iteration.constant(lambda at: stage_at(at, stage_iterations))
    return iteration // stage_iterations if stage_iterations else 0


def ramp(iteration: int, length: int) -> float:
    """Rises linearly to 1 over ``length`` iterations: min(1, (iteration + 1) / length); 1 where length is 0."""
    if isinstance(iteration, Recorded):
        return cast(float, iteration.scalar(lambda at: ramp(at, length)))  # a tensor used like a number
    return min(1.0, (iteration + 1) / length) if length else 1.0

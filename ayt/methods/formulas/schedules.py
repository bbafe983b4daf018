"""Times t and r of consistency training (ECT, arXiv 2406.14548)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor


def lognormal_t(z: Tensor, mean: float = -1.1, std: float = 2.0) -> Tensor:
    """Noise levels t with ln t ~ N(mean, std^2), from standard normals ``z``; not truncated."""
    return (mean + std * z).exp()


def t_to_r(
    t: Tensor,
    q: float = 256.0,
    stage: int = 0,
    k: float = 8.0,
    b: float = 1.0,
    n: Literal["sigmoid", "const"] = "sigmoid",
) -> Tensor:
    """The earlier noise level r = max(0, t (1 - n(t) / q^(stage+1))) that t is compared with.

    Args:
        t: noise levels, above 0.
        q: above 1; the larger, the closer r is to t.
        stage: from 0.
        k: height of n(t) = 1 + k sigmoid(-b t).
        b: steepness of n(t).
        n: ``sigmoid`` as above, or ``const`` for n(t) = 1.

    Returns:
        r of t's shape, 0 <= r <= t. In float32, r equals t where n(t) / q^(stage+1) is below 6e-8 (for q = 256,
        from stage 3 on): the weight 1 / (t - r) is then infinite.
    """
    steepness = 1 + k * (-b * t).sigmoid() if n == "sigmoid" else 1.0
    return (t * (1 - steepness / q ** (stage + 1))).clamp(min=0)


def stage_at(iteration: int, stage_iterations: int | None) -> int:
    """The stage of an iteration, both counted from 0; ``stage_iterations`` None: one stage for ever."""
    return iteration // stage_iterations if stage_iterations else 0


def ramp(iteration: int, length: int) -> float:
    """Rises linearly to 1 over ``length`` iterations: min(1, (iteration + 1) / length); 1 where length is 0."""
    return min(1.0, (iteration + 1) / length) if length else 1.0

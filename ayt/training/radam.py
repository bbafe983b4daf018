"""RAdam (arXiv 1908.03265) without weight decay, in a few multi-tensor operations on any device.

Once the second moment's variance is tractable, RAdam's step is, but for its size, Adam's without bias correction, which
is Adam's after endlessly many steps: so PyTorch's fused Adam does it, in one pass over memory. The first iterations'
steps are written out.

All weights have the same step count, known to the host, so an iteration's schedule is just a few numbers. They may also
be tensors, filled before each replay of a recorded iteration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

BETA_1, BETA_2 = 0.9, 0.999
EPS = 1e-8
LIMIT = 2 / (1 - BETA_2) - 1
TRACTABLE = 5.0
"""Length of the approximated moving average above which the second moment's variance is tractable."""


class StepSizes(NamedTuple):
    """What the update depends on besides the gradients with moments m and v: numbers or 0-dim tensors.

    Attributes:
        step: factor of m / (sqrt(v) + eps) if the variance of v is tractable, or else of m.
        shares: shares of the new weights in each of their moving averages.
        tractable: whether it is.
    """

    step: float | Tensor
    shares: tuple[float | Tensor, ...]
    tractable: bool

    @property
    def numbers(self) -> tuple[float | Tensor, ...]:
        """All but the last, in one tuple."""
        return self.step, *self.shares


def step_sizes(iteration: int, lr: float, shares: tuple[float, ...]) -> StepSizes:
    """The step sizes of an iteration, counted from 0, both corrected for the moments' bias.

    With k = iteration + 1, rho_inf = 2 / (1 - beta_2) - 1 and rho = rho_inf - 2 k beta_2^k / (1 - beta_2^k), m's is
    lr / (1 - beta_1^k) where rho <= 5; else it is that times r sqrt(1 - beta_2^k) / (sqrt(v) + eps) with the
    rectification r^2 = (rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho).
    """
    k = iteration + 1
    step = lr / (1 - BETA_1**k)
    if not tractable(iteration):
        return StepSizes(step, shares, tractable=False)
    rho = _length(k)
    rectification = (rho - 4) * (rho - 2) * LIMIT / ((LIMIT - 4) * (LIMIT - 2) * rho)
    return StepSizes(step * math.sqrt(rectification * (1 - BETA_2**k)), shares, tractable=True)


def tractable(iteration: int) -> bool:
    """Whether the second moment's variance is tractable in an iteration, counted from 0: rho > 5."""
    return _length(iteration + 1) > TRACTABLE


def _length(k: int) -> float:
    return LIMIT - 2 * k * BETA_2**k / (1 - BETA_2**k)


class Moments:
    """RAdam's moments of some weights, and its update of them.

    Attributes:
        first: moving averages of the gradients, of the weights' shapes.
        second: moving averages of their squares.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = list(parameters)
        self.first = [torch.zeros_like(parameter) for parameter in self._parameters]
        self.second = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._endless = [torch.full((), 2.0**30, device=parameter.device) for parameter in self._parameters[:1]]

    @torch.no_grad()
    def step(self, sizes: StepSizes) -> None:
        """Update the weights that have a gradient, in place."""
        lists = zip(self._parameters, self.first, self.second, strict=True)
        known = [(weight, weight.grad, m, v) for weight, m, v in lists if weight.grad is not None]
        if not known:
            return
        parameters, gradients, first, second = (list(tensors) for tensors in zip(*known, strict=True))
        if sizes.tractable:
            update: Any = torch._fused_adam_  # its annotations do not allow for either kind of learning rate
            settings = {"lr": sizes.step, "beta1": BETA_1, "beta2": BETA_2, "eps": EPS, "weight_decay": 0.0}
            steps = self._endless * len(parameters)
            update(parameters, gradients, first, second, [], steps, **settings, amsgrad=False, maximize=False)
            return
        torch._foreach_lerp_(first, gradients, 1 - BETA_1)
        torch._foreach_mul_(second, BETA_2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - BETA_2)
        torch._foreach_sub_(parameters, torch._foreach_mul(first, sizes.step))

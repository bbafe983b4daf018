"""What consistency training and distillation in TrigFlow have in common (sCM, arXiv 2410.11081)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from ayt.base.sections import Finite, Positive, Whole
from ayt.methods.continuous import Continuous

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ayt.base.randomness import Draws
    from ayt.datasets.base import Dataset
    from ayt.methods.formulas.losses import LossOutput
    from ayt.methods.formulas.objective import Objective, Work

    Flow = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """From x_t (B, C, H, W), t (B,), the noise in x_t and class labels (B,) to the velocity dx_t / dt."""


class TrigFlow(Continuous):
    """Continuous-time consistency training in TrigFlow, from weights of EDM by the change of variables t = s tan(a)."""

    t_mean: Finite = -1.0
    """Mean of ln t."""
    t_std: Positive = 1.4
    """Standard deviation of ln t."""
    tangent_warmup: Whole = 10_000
    """Iterations over which the part of the tangent with the network's derivative is scaled up linearly from 0."""
    adaptive: bool = True
    """Whether a weight per noise level is learned too, as in the paper; otherwise all noise levels weigh the same."""

    def auxiliary_modules(self, dataset: Dataset) -> dict[str, Callable[[], nn.Module]]:
        """The module of the learned log weight per noise level, if it is learned."""
        from ayt.networks.modules.noise_weight import LogWeight

        return {"log_weight": LogWeight} if self.adaptive else {}

    @abstractmethod
    def flow(self, work: Work) -> Flow:
        """The velocity along which the tangent is taken."""

    def objective(self, work: Work) -> Objective:
        """`trigflow_loss`, with one dropout mask for both passes."""
        from ayt.methods.formulas.continuous import tangent
        from ayt.methods.formulas.schedules import ramp
        from ayt.methods.formulas.trigflow import trigflow_loss, trigflow_tangent

        flow, log_weight = self.flow(work), work.auxiliary.get("log_weight")

        def objective(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
            t, eps = self.draw_t(draws), draws.normal("noise", *images.shape[1:])
            x_t = images + t[:, None, None, None] * eps
            v = flow(x_t, t, eps, labels)
            derivative = tangent(work.differentiable_denoiser(labels, draws), x_t, v, t)
            D_t = work.denoiser(labels, draws)(x_t, t)
            warmup = ramp(draws.iteration, self.tangent_warmup)
            g = trigflow_tangent(D_t.detach(), derivative, x_t, v, t, warmup)
            return trigflow_loss(D_t, g, t, self.c, log_weight(t) if log_weight else None, draws.size)

        return objective

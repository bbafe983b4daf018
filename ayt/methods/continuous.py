"""What the continuous-time methods of consistency training have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from ayt.base.sections import Positive
from ayt.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from ayt.base.randomness import Draws
    from ayt.methods.formulas.continuous import Embed
    from ayt.methods.formulas.losses import LossOutput
    from ayt.methods.formulas.objective import Objective, Work

SCHEDULE = {"q", "max_ratio", "min_r", "n", "k", "b", "stage_iterations", "weighting"}
"""Settings of pairs (t, r), which these methods do not use."""


class Continuous(Method):
    """Consistency training in the limit r -> t: the output moves against its normalised tangent along a trajectory."""

    c: Positive = 0.1
    """Constant in the normalisation of a tangent g: g / (rms(g) + c)."""

    def unhashed_fields(self) -> set[str]:
        """The fields that do not affect results; without pairs, these include their schedule."""
        return super().unhashed_fields() | SCHEDULE

    def misfits(self) -> Iterator[tuple[str, Any, str]]:
        """None: nothing depends on the length of training."""
        yield from ()


class Distillation(Continuous):
    """Continuous-time consistency distillation: the output moves against its tangent along the teacher's trajectory.

    The teacher is the diffusion model that training starts from, frozen. The weight is 1 / t.
    """

    needs_diffusion: ClassVar[bool] = True

    def embedding(self, work: Work) -> Embed | None:
        """The features of the output that are compared; None: its pixels."""
        return None

    def objective(self, work: Work) -> Objective:
        """`tangent_loss` along the teacher's velocity (x_t - D_teacher) / t, with one dropout mask for both passes."""
        from ayt.methods.formulas.continuous import tangent, tangent_loss, velocity

        start, embed = work.frozen_denoiser("start"), self.embedding(work)

        def objective(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
            t = self.draw_t(draws)
            x_t = images + t[:, None, None, None] * draws.normal("noise", *images.shape[1:])
            v = velocity(start(labels), x_t, t)
            g = tangent(work.differentiable_denoiser(labels, draws), x_t, v, t, embed)
            D_t = work.denoiser(labels, draws)(x_t, t)
            return tangent_loss(embed(D_t) if embed else D_t, g, 1 / t, self.c, draws.size)

        return objective

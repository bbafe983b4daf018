"""Continuous-time consistency distillation in TrigFlow (sCD, arXiv 2410.11081)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ayt.methods.base import METHODS
from ayt.methods.trigflow import TrigFlow

if TYPE_CHECKING:
    from ayt.methods.formulas.objective import Work
    from ayt.methods.trigflow import Flow


@METHODS.register
class Scd(TrigFlow):
    """Continuous-time consistency distillation in TrigFlow: along the probability flow of the frozen start."""

    name: ClassVar[str] = "scd"
    usual_label: ClassVar[str] = "sCD"
    needs_diffusion: ClassVar[bool] = True

    def flow(self, work: Work) -> Flow:
        """The frozen start's velocity (x_t - D) / t."""
        from ayt.methods.formulas.continuous import velocity

        start = work.frozen_denoiser("start")
        return lambda x_t, t, eps, labels: velocity(start(labels), x_t, t)

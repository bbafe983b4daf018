"""Continuous-time consistency training in TrigFlow (sCT, arXiv 2410.11081)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ayt.methods.base import METHODS
from ayt.methods.trigflow import TrigFlow

if TYPE_CHECKING:
    from ayt.methods.formulas.objective import Work
    from ayt.methods.trigflow import Flow


@METHODS.register
class Sct(TrigFlow):
    """Continuous-time consistency training in TrigFlow: along each image's own noise."""

    name: ClassVar[str] = "sct"
    usual_label: ClassVar[str] = "sCT"

    def flow(self, work: Work) -> Flow:
        """The noise in x_t."""
        return lambda x_t, t, eps, labels: eps

"""Easy Consistency Tuning (arXiv 2406.14548)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ayt.base.sections import NonNegative
from ayt.methods.base import METHODS, Method

if TYPE_CHECKING:
    from ayt.methods.formulas.losses import Loss
    from ayt.methods.formulas.objective import Work


@METHODS.register
class Ect(Method):
    """Easy Consistency Tuning: the pseudo-Huber distance of pixels."""

    name: ClassVar[str] = "ect"
    usual_label: ClassVar[str] = "ECT"
    is_reference: ClassVar[bool] = True

    c: NonNegative = 0.0
    """c of the pseudo-Huber distance sqrt(|d|^2 + c^2) - c."""

    def pair_loss(self, work: Work) -> Loss:
        """The weighted pseudo-Huber distance."""
        from ayt.methods.formulas.losses import ect_loss

        return ect_loss(self.c)

"""Unit steps along the gradient of the L1 distance of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ayt.methods.base import METHODS, Method

if TYPE_CHECKING:
    from ayt.methods.formulas.losses import Loss
    from ayt.methods.formulas.objective import Work


@METHODS.register
class L1(Method):
    """Unit steps along the gradient of the L1 distance of pixels."""

    name: ClassVar[str] = "l1"
    usual_label: ClassVar[str] = "L1"

    def pair_loss(self, work: Work) -> Loss:
        """`proximal` in this distance, weighted."""
        from ayt.methods.formulas import losses

        return losses.distance_loss(losses.l1, weighted=True)

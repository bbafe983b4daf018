"""Unit steps along the gradient of the squared L2 distance of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ayt.methods.base import METHODS, Method

if TYPE_CHECKING:
    from ayt.methods.formulas.losses import Loss
    from ayt.methods.formulas.objective import Work


@METHODS.register
class L2(Method):
    """Unit steps along the gradient of the squared L2 distance of pixels."""

    name: ClassVar[str] = "l2"
    usual_label: ClassVar[str] = "L2"

    def pair_loss(self, work: Work) -> Loss:
        """`proximal` in this distance, weighted."""
        from ayt.methods.formulas import losses

        return losses.distance_loss(losses.l2, weighted=True)

"""Align Your Tangent (arXiv 2510.00658)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from ayt.base.sections import UNNAMED, Name
from ayt.methods.base import METHODS, Method
from ayt.methods.training import ClassifierNeed

if TYPE_CHECKING:
    from ayt.methods.formulas.losses import Loss
    from ayt.methods.formulas.objective import Work


@METHODS.register
class Ayt(Method):
    """Align Your Tangent: unit steps along the gradient of the manifold feature distance."""

    name: ClassVar[str] = "ayt"
    usual_label: ClassVar[str] = "AYT"

    classifier: Annotated[Name, UNNAMED] = "transformations"
    """The transformation classifier whose features are compared."""

    def upstream(self) -> dict[str, ClassifierNeed]:
        """The transformation classifier."""
        return {"classifier": ClassifierNeed(self.classifier, "transformations")}

    def pair_loss(self, work: Work) -> Loss:
        """`proximal` in the manifold feature distance, not weighted."""
        from ayt.features.distance import mfd
        from ayt.methods.formulas.losses import distance_loss

        return distance_loss(work.compile(mfd(work.feature_network("classifier"))), weighted=False)

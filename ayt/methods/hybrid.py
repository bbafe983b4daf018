"""ECT's loss and AYT's together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ayt.base.sections import UNNAMED, Name, NonNegative, Whole
from ayt.methods.base import METHODS, Method
from ayt.methods.training import ClassifierNeed

if TYPE_CHECKING:
    from ayt.methods.formulas.losses import Loss
    from ayt.methods.formulas.objective import Work


@METHODS.register
class Hybrid(Method):
    """ECT's loss + lambda * ramp * AYT's loss."""

    name: ClassVar[str] = "hybrid"
    usual_label: ClassVar[str] = "ECT + AYT"

    classifier: Annotated[Name, UNNAMED] = "transformations"
    """The transformation classifier of AYT's distance."""
    c: NonNegative = 0.0
    """c of ECT's pseudo-Huber distance."""
    lambda_: Annotated[float, Field(gt=0, allow_inf_nan=False, alias="lambda")] = 1.0
    """Weight of AYT's loss."""
    ramp: Whole = 5000
    """Iterations over which the weight of AYT's loss rises from 0."""

    def upstream(self) -> dict[str, ClassifierNeed]:
        """The transformation classifier."""
        return {"classifier": ClassifierNeed(self.classifier, "transformations")}

    def pair_loss(self, work: Work) -> Loss:
        """The sum of both."""
        from ayt.features.distance import mfd
        from ayt.methods.formulas.losses import hybrid_loss

        return hybrid_loss(self.c, work.compile(mfd(work.feature_network("classifier"))), self.lambda_, self.ramp)

"""Continuous-time consistency distillation in the features of a transformation classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from ayt.base.sections import UNNAMED, Name
from ayt.methods.base import METHODS
from ayt.methods.continuous import Distillation
from ayt.methods.training import ClassifierNeed

if TYPE_CHECKING:
    from ayt.methods.formulas.continuous import Embed
    from ayt.methods.formulas.objective import Work


@METHODS.register
class CcdAyt(Distillation):
    """Continuous-time consistency distillation along the tangent of the features that AYT's distance looks at.

    Samples are weighted one by one, as the formula means; the authors' release averages the weights away.
    """

    name: ClassVar[str] = "ccd_ayt"
    usual_label: ClassVar[str] = "CCD + AYT"

    classifier: Annotated[Name, UNNAMED] = "transformations"
    """The transformation classifier that the features are of."""

    def upstream(self) -> dict[str, ClassifierNeed]:
        """The transformation classifier."""
        return {"classifier": ClassifierNeed(self.classifier, "transformations")}

    def embedding(self, work: Work) -> Embed:
        """The features at all tapped layers, beside each other."""
        from ayt.features.distance import all_features

        return all_features(work.feature_network("classifier"))

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
    """Continuous-time consistency distillation along the tangent of the features that AYT's distance compares.

    Samples are weighted individually, as in the formula; in the authors' release the weights are averaged out.
    """

    name: ClassVar[str] = "ccd_ayt"
    usual_label: ClassVar[str] = "CCD + AYT"

    classifier: Annotated[Name, UNNAMED] = "transformations"
    """The transformation classifier whose features are used."""

    def upstream(self) -> dict[str, ClassifierNeed]:
        """The transformation classifier."""
        return {"classifier": ClassifierNeed(self.classifier, "transformations")}

    def embedding(self, work: Work) -> Embed:
        """The features at all tapped layers, concatenated."""
        from ayt.features.distance import all_features

        return all_features(work.feature_network("classifier"))

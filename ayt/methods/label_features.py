"""An LPIPS-like distance in a network trained on class labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from ayt.base.sections import UNNAMED, Name
from ayt.methods.base import METHODS, Method
from ayt.methods.training import ClassifierNeed

if TYPE_CHECKING:
    from ayt.methods.formulas.losses import Loss
    from ayt.methods.formulas.objective import Work


@METHODS.register
class LabelFeatures(Method):
    """Unit steps along an LPIPS-like distance in a class-label network's features; not LPIPS itself."""

    name: ClassVar[str] = "label_features"
    usual_label: ClassVar[str] = "class-label features"

    classifier: Annotated[Name, UNNAMED] = "labels"
    """The class-label network whose features are compared."""

    def upstream(self) -> dict[str, ClassifierNeed]:
        """The class-label network, whose features must be channel maps."""
        return {"classifier": ClassifierNeed(self.classifier, "labels", maps=True)}

    def pair_loss(self, work: Work) -> Loss:
        """`proximal` in the distance, weighted."""
        from ayt.features.distance import lpips_like
        from ayt.methods.formulas.losses import distance_loss

        return distance_loss(work.compile(lpips_like(work.feature_network("classifier"))), weighted=True)

"""AYT's step in the features of an autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from ayt.base.sections import UNNAMED, Name
from ayt.methods.base import METHODS, Method
from ayt.methods.training import ClassifierNeed

if TYPE_CHECKING:
    from ayt.methods.formulas.losses import Loss
    from ayt.methods.formulas.objective import Work


@METHODS.register
class AutoencoderFeatures(Method):
    """AYT's unit steps, in the feature distance of an autoencoder's encoder, trained without transformations."""

    name: ClassVar[str] = "autoencoder_features"
    usual_label: ClassVar[str] = "autoencoder features"

    classifier: Annotated[Name, UNNAMED] = "reconstruction"
    """The autoencoder whose features are compared."""

    def upstream(self) -> dict[str, ClassifierNeed]:
        """The autoencoder."""
        return {"classifier": ClassifierNeed(self.classifier, "reconstruction")}

    def pair_loss(self, work: Work) -> Loss:
        """`proximal` in the distance of the maps at the ends of the encoder's stages, not weighted."""
        from ayt.features.distance import mfd
        from ayt.methods.formulas.losses import distance_loss

        return distance_loss(work.compile(mfd(work.feature_network("classifier"))), weighted=False)

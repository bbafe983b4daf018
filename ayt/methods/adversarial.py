"""ECT with a discriminator that is trained at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from ayt.base.sections import UNNAMED, Name, NonNegative, Positive
from ayt.methods.base import METHODS, Method
from ayt.methods.training import AuxiliaryNeed

if TYPE_CHECKING:
    from torch import Tensor

    from ayt.base.randomness import Draws
    from ayt.methods.formulas.losses import LossOutput
    from ayt.methods.formulas.objective import Objective, Work


@METHODS.register
class Adversarial(Method):
    """ECT with a discriminator's gradient added to its own; both are trained at once, with the same learning rate."""

    name: ClassVar[str] = "adversarial"
    usual_label: ClassVar[str] = "ECT + adversarial"
    # The scale of one gradient depends on both, over the whole batch.
    accumulates: ClassVar[bool] = False

    c: NonNegative = 0.0
    """c of ECT's pseudo-Huber distance."""
    discriminator: Annotated[Name, UNNAMED] = "transformations"
    """The classifier whose architecture the discriminator has, with one output and newly initialised weights."""
    share: Positive = 0.1
    """Mean magnitude of the discriminator's gradient relative to ECT's, with respect to D_t."""
    penalty: NonNegative = 10.0
    """Weight of the penalty on the discriminator's squared gradient at images of the dataset."""

    def auxiliary(self) -> dict[str, AuxiliaryNeed]:
        """The discriminator."""
        return {"discriminator": AuxiliaryNeed(self.discriminator, outputs=1, key="discriminator")}

    def objective(self, work: Work) -> Objective:
        """`generator_loss` of the pair D_t, D_r, and `discriminator_loss` of the images and D_t."""
        from ayt.methods.formulas.adversarial import discriminator_loss, generator_loss
        from ayt.methods.formulas.losses import consistency_pair
        from ayt.methods.formulas.schedules import stage_at

        C = work.auxiliary_network("discriminator")

        def objective(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
            t = self.draw_t(draws)
            r = self.pair_with(t, stage_at(draws.iteration, self.stage_iterations))
            eps = draws.normal("noise", *images.shape[1:])
            D_t, D_r = consistency_pair(work.denoiser(labels, draws), images, t, r, eps)
            found = generator_loss(D_t, D_r, self.weigh(t, r), C, self.c, self.share, work.total, draws.size)
            its_own = discriminator_loss(C, images, D_t, self.penalty, draws.size)
            return found._replace(loss=found.loss + its_own)

        return objective

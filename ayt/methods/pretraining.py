"""Training of a diffusion model, if no published checkpoint is the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from ayt.base.sections import UNNAMED, Count, Finite, Fraction, Positive, Whole
from ayt.methods.training import Average, Decaying, Stage

if TYPE_CHECKING:
    from ayt.methods.formulas.objective import Objective, Work


class Pretraining(Decaying):
    """A diffusion model trained with EDM's denoising loss."""

    name: ClassVar[str] = "pretrain"
    stage: ClassVar[Stage] = "pretrain"

    iterations: Annotated[Count, UNNAMED] = 200_000
    batch_size: Annotated[Count, UNNAMED] = 512
    """Images per batch."""
    lr: Positive = 1e-3
    warmup: Whole = 200
    decay: bool = True
    """The learning rate falls linearly to 0 at the end, so that another number of iterations makes another run."""
    ema: Average = 0.999
    dropout: Fraction = 0.13
    """Probability of dropping a feature inside residual blocks."""
    sigma_mean: Finite = -1.2
    """Mean of ln sigma."""
    sigma_std: Positive = 1.2
    """Standard deviation of ln sigma."""
    seed: Annotated[Whole, UNNAMED] = 0
    """Seed of initial weights, shuffling and noise."""

    def objective(self, work: Work) -> Objective:
        """EDM's denoising loss."""
        from ayt.methods.formulas.objective import denoising

        return denoising(work, self.sigma_mean, self.sigma_std)

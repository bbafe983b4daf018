"""Training between a diffusion model and consistency training (consistency mid-training, CMT, ICLR 2026)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import model_validator

from ayt.base import paths
from ayt.base.sections import UNNAMED, Count, Fraction, Name, Positive, Whole
from ayt.methods.training import Average, ClassifierNeed, Decaying, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from ayt.base.randomness import Draws
    from ayt.methods.formulas.losses import LossOutput
    from ayt.methods.formulas.objective import Objective, Work

SIGMA_MAX, SIGMA_MIN = 80.0, 0.002
"""Noise levels of a trajectory's ends."""


class MidTraining(Decaying):
    """Mid-training: mapping each point of the diffusion model's trajectories to its end, before consistency training.

    The defaults are the paper's for CIFAR-10. After it, ECT has ``q: 4096`` there, and 100,000 iterations.
    """

    name: ClassVar[str] = "mid_train"
    stage: ClassVar[Stage] = "mid_train"
    # A trajectory's points must be in the same part of the batch.
    divisible: ClassVar[bool] = False

    iterations: Annotated[Count, UNNAMED] = 300_000
    batch_size: Annotated[Count, UNNAMED] = 512
    """Points per iteration, from batch_size / points trajectories."""
    lr: Positive = 2e-4
    decay: bool = True
    """The learning rate falls linearly to 0 at the end, so that another number of iterations makes another run."""
    ema: Average = 0.999
    dropout: Fraction = 0.2
    """Probability of dropping a feature inside residual blocks."""
    distance: Literal["perceptual", "features"] = "perceptual"
    """LPIPS (VGG16) as published, or the manifold feature distance."""
    classifier: Annotated[Name, UNNAMED] = "transformations"
    """For `features`: the transformation classifier whose features are compared."""
    points: Count = 16
    """Points per trajectory, evenly spaced in the logarithm of the noise level, not counting its end."""
    seed: Annotated[Whole, UNNAMED] = 0
    """Seed of everything random."""

    @model_validator(mode="after")
    def _whole_trajectories(self) -> MidTraining:
        if self.batch_size % self.points:
            raise ValueError(f"points {self.points} does not divide batch_size {self.batch_size}")
        return self

    def upstream(self) -> dict[str, ClassifierNeed]:
        """The transformation classifier, if the distance uses one."""
        return {"classifier": ClassifierNeed(self.classifier, "transformations")} if self.distance == "features" else {}

    @property
    def files(self) -> list[Path]:
        """Files of published networks that it uses."""
        return [paths.VGG16] if self.distance == "perceptual" else []

    def objective(self, work: Work) -> Objective:
        """`trajectory_loss` on trajectories of the start, from images with noise of level 80."""
        from ayt.features.distance import mfd
        from ayt.features.lpips import lpips
        from ayt.methods.formulas.trajectories import dpm_solver, log_snr_levels, trajectory_loss

        start, levels = work.frozen_denoiser("start"), log_snr_levels(self.points, SIGMA_MAX, SIGMA_MIN)
        through_classifier = self.distance == "features"
        distance = mfd(work.feature_network("classifier")) if through_classifier else lpips(paths.VGG16, work.device)
        distance = work.compile(distance)

        def objective(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
            count = len(images) // self.points
            noise = draws.normal("noise", *images.shape[1:])[:count]
            states = dpm_solver(start(labels[:count]), images[:count] + SIGMA_MAX * noise, levels)
            D = work.denoiser(labels[:count].repeat(self.points), draws)
            return trajectory_loss(D, states, levels, distance)

        return objective

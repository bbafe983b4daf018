"""The second stage of truncated consistency models (TCM, arXiv 2410.14895)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ayt.base.sections import UNNAMED, Count, Finite, Fraction, Name, NonNegative, Positive, Whole
from ayt.methods.base import METHODS, Method
from ayt.methods.training import Average, ClassifierNeed, RunNeed

if TYPE_CHECKING:
    from torch import Tensor

    from ayt.base.randomness import Draws
    from ayt.methods.formulas.losses import Loss, LossOutput
    from ayt.methods.formulas.objective import Objective, Sampled, Work


@METHODS.register
class Tcm(Method):
    """Training at noise levels above t', against a frozen first stage; the defaults are the paper's for CIFAR-10.

    The first stage is a run of another method of the experiment, whose averaged weights are start and teacher. In the
    paper it is ECT with ``q: 2``, ``stage_iterations: 25000``, ``max_ratio: 0.999``, ``t_min: 0.002``, ``t_max: 80``,
    ``min_r: 1e-6`` and ``c: 1e-8``, 250,000 iterations at batch size 512; the second stage's batch size is 1024.
    """

    name: ClassVar[str] = "tcm"
    usual_label: ClassVar[str] = "TCM"
    sampled_with: ClassVar[tuple[str, ...]] = ("start",)

    teacher: Annotated[Name, UNNAMED] = "ect"
    """The method whose run serves as the first stage."""
    teacher_batch_size: Annotated[Count | None, UNNAMED] = None
    """Batch size of that run; absent: this run's."""
    teacher_seed: Annotated[Whole | None, UNNAMED] = None
    """Seed of that run; absent: this run's."""
    teacher_iteration: Annotated[Count | None, UNNAMED] = None
    """The first stage's snapshot; absent: its last."""
    teacher_ema: Annotated[Average | None, UNNAMED] = None
    """One of that run's averages; absent: the first it lists."""
    distance: Literal["pixels", "features"] = "pixels"
    """ECT's pseudo-Huber distance of pixels, or AYT's step in the manifold feature distance."""
    c: NonNegative = 1e-8
    """For `pixels`: c of the pseudo-Huber distance."""
    classifier: Annotated[Name, UNNAMED] = "transformations"
    """For `features`: the transformation classifier whose features are compared."""
    t_boundary: Positive = 1.0
    """t': the trained network is used from this noise level up, the first stage below it."""
    boundary_share: Fraction = 0.25
    """Share of the batch that are boundary samples: at t', with the first stage's output as their target."""
    boundary_weight: NonNegative = 0.1
    """Weight of the boundary samples' mean loss, relative to the others' mean loss."""
    df: Positive = 0.01
    """Degrees of freedom of X in ln t = t_mean + t_std X, with X Student-t, truncated to [t', t_max]."""
    iterations: Annotated[Count, UNNAMED] = 200_000
    lr: Positive = 5e-5
    t_mean: Finite = 0.0
    t_std: Positive = 0.2
    t_max: Positive | None = 80.0
    q: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 1000.0
    """The ratio stays at 1 - 1 / q."""
    min_r: NonNegative = 1e-6

    @model_validator(mode="before")
    @classmethod
    def _above_the_boundary(cls, given: object) -> object:
        # Noise levels are drawn from t' on: it is not a separate setting.
        if isinstance(given, dict) and given.get("t_min") is None:
            return {**given, "t_min": given.get("t_boundary", cls.model_fields["t_boundary"].default)}
        return given

    @model_validator(mode="after")
    def _some_noise_levels(self) -> Tcm:
        # Replaces the base method's check, whose message would name t_min: here that is t_boundary.
        if not 0.002 < self.t_boundary < (self.t_max or 0):
            raise ValueError(f"t_boundary {self.t_boundary:g} must lie between 0.002 and t_max {self.t_max or 0:g}")
        if self.t_min != self.t_boundary:
            raise ValueError(f"t_min {self.t_min:g}: noise levels are drawn from t_boundary {self.t_boundary:g} on")
        if self.min_r >= self.t_boundary:
            raise ValueError(f"min_r {self.min_r:g} must lie below t_boundary {self.t_boundary:g}")
        return self

    def unhashed_fields(self) -> set[str]:
        """The fields that do not affect results; ``t_min`` repeats ``t_boundary``."""
        return super().unhashed_fields() | {"t_min"}

    def misfits(self) -> Iterator[tuple[str, Any, str]]:
        """Keys whose values are impossible for these iterations or batches, with their values and the reason."""
        yield from super().misfits()
        for batch_size in self.batch_sizes:
            if self.boundary_share and batch_size * self.boundary_share < 1:
                reason = f"no sample of a batch of {batch_size} would be a boundary sample; raise it, or set 0"
                yield "boundary_share", self.boundary_share, reason

    def upstream(self) -> dict[str, ClassifierNeed]:
        """The transformation classifier, if the distance uses one."""
        needed = {"classifier": ClassifierNeed(self.classifier, "transformations")}
        return needed if self.distance == "features" else {}

    def starts_from(self) -> RunNeed:
        """The first stage."""
        chosen = self.teacher_batch_size, self.teacher_seed, self.teacher_iteration, self.teacher_ema
        return RunNeed(self.teacher, *chosen, key="teacher")

    def sampled_denoiser(self, work: Work) -> Sampled:
        """Both networks combined, each on its side of t'."""
        from ayt.methods.formulas.truncation import combine

        student, teacher = work.bound_denoiser, work.frozen_denoiser("start")
        return lambda labels: combine(student(labels), teacher(labels), self.t_boundary)

    def pair_loss(self, work: Work) -> Loss:
        """ECT's or AYT's loss."""
        from ayt.features.distance import mfd
        from ayt.methods.formulas.losses import distance_loss, ect_loss

        if self.distance == "pixels":
            return ect_loss(self.c)
        return distance_loss(work.compile(mfd(work.feature_network("classifier"))), weighted=False)

    def objective(self, work: Work) -> Objective:
        """The loss of pairs above t', with the first stage's output as target at the boundary and for r below it."""
        from ayt.methods.formulas.losses import consistency_pair
        from ayt.methods.formulas.schedules import stage_at
        from ayt.methods.formulas.truncation import (
            TruncatedStudentT,
            boundary_samples,
            select,
            separate_means,
        )

        assert self.t_max is not None
        draw_t = TruncatedStudentT(self.df, self.t_mean, self.t_std, self.t_boundary, self.t_max)
        compare, start, share = self.pair_loss(work), work.teacher("start"), self.boundary_share

        def objective(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
            is_boundary = boundary_samples(draws.ranks("boundary"), draws.size, share)
            # Rounding must not move a noise level below t'.
            t = draw_t(draws.normal("t")).clamp(min=self.t_boundary).masked_fill(is_boundary, self.t_boundary)
            r = self.pair_with(t, stage_at(draws.iteration, self.stage_iterations))
            D, teacher = work.denoiser(labels, draws), start(labels, draws)
            # r is below t' for all boundary samples: their targets are the teacher's.
            target = select(D, teacher, self.t_boundary)
            eps = draws.normal("noise", *images.shape[1:])
            D_t, D_r = consistency_pair(D, images, t, r, eps, target)
            w = separate_means(self.weigh(t, r), is_boundary, draws.size, share, self.boundary_weight)
            return compare(D_t, D_r, w, draws.iteration, draws.size)

        return objective

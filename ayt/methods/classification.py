"""Training of a feature network: to recognise transformations or class labels, or to reconstruct images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import model_validator

from ayt.base.sections import UNNAMED, Count, NonNegative, Positive, Probability, Whole
from ayt.datasets.base import Dataset
from ayt.features.groups import Group, label_names, names_for
from ayt.methods.training import Average, Decaying, Stage
from ayt.networks.base import Task

if TYPE_CHECKING:
    from torch import nn

    from ayt.methods.formulas.objective import Objective, Work


class ClassifierTraining(Decaying):
    """A feature network's training; the defaults are those of the paper's transformation classifier.

    Those of its authors' autoencoder differ only in the average.
    """

    name: ClassVar[str] = "classifier"
    stage: ClassVar[Stage] = "classifier"
    # A batch's images are padded by what all of them need, mixed, and normalised together.
    divisible: ClassVar[bool] = False
    # Transformations are drawn on the host.
    recordable: ClassVar[bool] = False

    task: Task = "transformations"
    """What it learns to predict: the parameters of random transformations, class labels, or (`reconstruction`) the
    images themselves."""
    group: Group = "geo_clr_deg"
    """For `transformations`: the group it learns to recognise."""
    probability: Probability = 0.15
    """Probability that each transformation is applied."""
    ramp: Whole | None = None
    """Iterations over which that probability rises from 0; absent: an eighth of all iterations."""
    denoised: bool = False
    """For `transformations`: whether images are also noised to a level of up to 0.5 and denoised once by the diffusion
    model, with an additional label; each label is then divided by the largest seen so far."""
    iterations: Annotated[Count, UNNAMED] = 400_000
    batch_size: Annotated[Count, UNNAMED] = 512
    """Images per batch."""
    lr: Positive = 1e-4
    decay: bool = False
    ema: Average = 0.0
    """Decay of the exponential moving average of the weights, per iteration; 0: no averaging. Or ``{power: 0.05}``: an
    average whose window grows with training. For `reconstruction` the default is 0.9999."""
    noise: NonNegative = 0.05
    """For `reconstruction`: standard deviation of the noise added to the latents, whose own is 1, in training."""
    seed: Annotated[Whole, UNNAMED] = 0
    """Seed of initial weights, shuffling and transformations."""

    @model_validator(mode="before")
    @classmethod
    def _whole_ramp(cls, given: object) -> object:
        # The length depends on the iterations, which a record may lack.
        if isinstance(given, dict) and given.get("ramp") is None and _transforms(given.get("task")):
            iterations = given.get("iterations", cls.model_fields["iterations"].default)
            return {**given, "ramp": iterations // 8} if isinstance(iterations, int) else given
        return given

    @model_validator(mode="before")
    @classmethod
    def _usual_average(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("task") == "reconstruction" and "ema" not in given:
            return {**given, "ema": 0.9999}
        return given

    @model_validator(mode="after")
    def _denoised_transformations(self) -> ClassifierTraining:
        if self.denoised and not _transforms(self.task):
            raise ValueError(f"denoised is for the task transformations, not {self.task}")
        return self

    def unhashed_fields(self) -> set[str]:
        """The fields that do not affect results: those of other tasks."""
        meaningless = set() if _transforms(self.task) else {"group", "probability", "ramp"}
        meaningless |= set() if self.task == "reconstruction" else {"noise"}
        return super().unhashed_fields() | meaningless | (set() if self.denoised else {"denoised"})

    @property
    def stem(self) -> str:
        """The prefix of its runs' names."""
        return f"classifier_{self.recognises or self.task}{'_denoised' if self.denoised else ''}"

    @property
    def recognises(self) -> str | None:
        """The group of transformations that it recognises; None: it learns something else."""
        return self.group if _transforms(self.task) else None

    def outputs(self, dataset: Dataset) -> int:
        """Numbers that the network predicts per image; for `reconstruction`, per pixel."""
        if self.recognises is None:
            return dataset.classes if self.task == "labels" else dataset.channels
        return len(label_names(names_for(self.recognises, dataset.channels))) + self.denoised

    def auxiliary_modules(self, dataset: Dataset) -> dict[str, Callable[[], nn.Module]]:
        """The module that scales the labels, if they are scaled."""
        from ayt.networks.modules.running_maximum import RunningMaximum

        return {"scale": partial(RunningMaximum, self.outputs(dataset))} if self.denoised else {}

    def objective(self, work: Work) -> Objective:
        """Mean squared error of the transformations' parameters, cross-entropy of class labels, or `reconstruction`."""
        from ayt.methods.formulas.objective import classes, recognition, reconstruction

        if self.task == "reconstruction":
            return reconstruction(work, self.noise)
        if self.recognises is None:
            return classes(work)
        return recognition(work, self.recognises, self.probability, self.ramp or 0, self.denoised)


def _transforms(task: object) -> bool:
    """Whether a task, the default where there is none, is to recognise transformations."""
    return task in (None, "transformations")

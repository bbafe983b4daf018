"""Training of a feature network: to recognise transformations, or class labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import model_validator

from ayt.base.sections import UNNAMED, Count, Positive, Probability, Whole
from ayt.datasets.base import Dataset
from ayt.features.groups import Group, label_names, names_for
from ayt.methods.training import Average, Decaying, Stage

if TYPE_CHECKING:
    from ayt.methods.formulas.objective import Objective, Work


class ClassifierTraining(Decaying):
    """A feature network's training; the defaults are those of the paper's transformation classifier."""

    name: ClassVar[str] = "classifier"
    stage: ClassVar[Stage] = "classifier"
    # A batch's images are padded by what all of them need, mixed, and normalised together.
    divisible: ClassVar[bool] = False
    # Transformations are drawn on the host.
    recordable: ClassVar[bool] = False

    task: Literal["transformations", "labels"] = "transformations"
    """What it learns to predict: the parameters of random transformations, or class labels."""
    group: Group = "geo_clr_deg"
    """For `transformations`: the group it learns to recognise."""
    probability: Probability = 0.15
    """Probability that each transformation is applied."""
    ramp: Whole | None = None
    """Iterations over which that probability rises from 0; absent: an eighth of all iterations."""
    iterations: Annotated[Count, UNNAMED] = 400_000
    batch_size: Annotated[Count, UNNAMED] = 512
    """Images per batch."""
    lr: Positive = 1e-4
    ema: Average = 0.0
    decay: bool = False
    seed: Annotated[Whole, UNNAMED] = 0
    """Seed of initial weights, shuffling and transformations."""

    @model_validator(mode="before")
    @classmethod
    def _whole_ramp(cls, given: object) -> object:
        # The length follows from the iterations, which a record may not have.
        if isinstance(given, dict) and given.get("ramp") is None and given.get("task") != "labels":
            iterations = given.get("iterations", cls.model_fields["iterations"].default)
            return {**given, "ramp": iterations // 8} if isinstance(iterations, int) else given
        return given

    def unhashed_fields(self) -> set[str]:
        """The fields that do not affect results; class labels need no transformations."""
        meaningless = {"group", "probability", "ramp"} if self.task == "labels" else set()
        return super().unhashed_fields() | meaningless

    @property
    def stem(self) -> str:
        """The prefix of its runs' names."""
        return f"classifier_{self.group if self.task == 'transformations' else self.task}"

    @property
    def recognises(self) -> str | None:
        """The group of transformations that it recognises; None: class labels."""
        return self.group if self.task == "transformations" else None

    def outputs(self, dataset: Dataset) -> int:
        """Numbers that the network predicts for each image."""
        if self.recognises is None:
            return dataset.classes
        return len(label_names(names_for(self.recognises, dataset.channels)))

    def objective(self, work: Work) -> Objective:
        """Mean squared error of the transformations' parameters, or cross-entropy of class labels."""
        from ayt.methods.formulas.objective import classes, recognition

        if self.recognises is None:
            return classes(work)
        return recognition(work, self.recognises, self.probability, self.ramp or 0)

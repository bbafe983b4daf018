"""What an experiment file may say of what comes out: figures, tables, toy experiments, and every default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ayt.base.sections import Choices, Count, Fraction, Metric, Name, Positive, Section, Whole, check_divides


class Figure(Section):
    """What figures share."""

    title: str = ""


class ScoreFigure(Figure):
    """What figures of scores share."""

    metric: Metric | None = None
    """Absent: the first of the evaluation's."""
    steps: list[Count] = []
    """Empty: all."""
    methods: list[str] = []
    """Empty: all."""
    batch_sizes: list[Count] = []
    """Empty: all."""


class FinalFigure(ScoreFigure):
    """Scores at the end of training by method and batch size."""

    kind: Literal["final"]


class CurvesFigure(ScoreFigure):
    """Scores over iterations."""

    kind: Literal["curves"]
    band: Literal["seeds", "repeats"] = "seeds"
    """What the bands span: seeds (none where there is one), or sampling runs of all seeds."""
    reference: str | None = None
    """The method that the others' speed is compared with; absent: `ect`, if it is shown."""


class SamplesFigure(Figure):
    """Samples of all runs at their end from the same noise."""

    kind: Literal["samples"]
    steps: Count = 1
    methods: list[str] = []
    """Empty: all."""
    seed: Whole | None = None
    """Of the runs that are shown; absent: each method's first."""
    columns: Count = 10


class TransformationsFigure(Figure):
    """The data, each transformation, and how well the classifier recognises it."""

    kind: Literal["transformations"]
    classifier: Name = "transformations"


Times = Annotated[list[Positive], Field(min_length=1), Choices]


class TangentsFigure(Figure):
    """For some images and noise levels: the noisy image, its denoised one, the tangents of pixels and of features."""

    kind: Literal["tangents"]
    method: str = "ayt"
    """Whose network; of several batch sizes the largest, of several seeds the first, unless the next keys say."""
    batch_size: Count | None = None
    seed: Whole | None = None
    classifier: Name = "transformations"
    images: Count = 64
    """Of which the first few are shown; cosines are means over all."""
    times: Times = [0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 80.0]
    """Noise levels t."""


class OscillationFigure(Figure):
    """Tangents of a trajectory over further training from the end: how they turn, how far along the data they point."""

    kind: Literal["oscillation"]
    methods: list[str] = []
    """Empty: all."""
    batch_size: Count | None = None
    """Absent: the smallest that each method has."""
    seed: Whole | None = None
    """Absent: each method's first."""
    iterations: Annotated[int, Field(ge=2)] = 64
    """Trained beyond the end; nothing of them is kept."""
    images: Count = 16
    times: Times = [0.2, 1.0, 5.0]
    neighbours: Annotated[int, Field(ge=2)] = 32
    """Images of the dataset next to the output, whose principal components are taken for the manifold's directions."""
    dimensions: Count = 8
    """How many of these."""


class ManifoldFigure(Figure):
    """A classifier's feature distance against the distance of images: real pairs, transformations, noise."""

    kind: Literal["manifold"]
    classifier: Name = "transformations"
    images: Annotated[int, Field(ge=2)] = 256


class Toy(Section):
    """Consistency models of points on a manifold that is known exactly, in the distance of pixels and of features."""

    manifold: Literal["curve", "surface"] = "curve"
    """A closed curve in the plane, or a surface in eight dimensions."""
    seeds: Annotated[list[Whole], Field(min_length=1), Choices] = [0, 1, 2]
    batch_size: Count = 128
    iterations: Count = 2000
    """Of each consistency model."""
    lr: Positive = 2e-3
    ema: Fraction = 0.99
    width: Count = 128
    """Of the layers of all networks."""
    depth: Count = 4
    pretrain_iterations: Count = 2000
    """Of the diffusion model that they start from."""
    classifier_iterations: Count = 3000
    """Of the feature network."""
    measure_every: Count = 100
    """Iterations between measurements of the tangents."""

    @model_validator(mode="after")
    def _whole_measurements(self) -> Toy:
        check_divides(self.measure_every, self.iterations, "measure_every", "iterations")
        return self


class ToyFigure(Figure):
    """A toy experiment: energy of the tangents along and across its manifold, and pictures of their flow."""

    kind: Literal["toy"]
    toy: Name


AnyFigure = Annotated[
    CurvesFigure
    | FinalFigure
    | SamplesFigure
    | TransformationsFigure
    | TangentsFigure
    | OscillationFigure
    | ManifoldFigure
    | ToyFigure,
    Field(discriminator="kind"),
]


class Table(Section):
    """What tables share."""

    title: str = ""


class _ChosenScores(Table):
    metric: Metric | None = None
    """Absent: the first of the evaluation's."""
    methods: list[str] = []
    """Empty: all."""
    batch_sizes: list[Count] = []
    """Empty: all."""


class ScoreTable(_ChosenScores):
    """The scores at the end of training, by method and batch size."""

    kind: Literal["scores"] = "scores"


class MethodsTable(_ChosenScores):
    """Scores at the end of training and, in columns of their own with their sources, what others have published."""

    kind: Literal["methods"]


class PublishedTable(Table):
    """FIDs that others have published on the dataset, with their sources."""

    kind: Literal["published"]


class SpeedTable(_ChosenScores):
    """How much faster than a reference method the others reach the scores that it ends with."""

    kind: Literal["speed"]
    reference: str = "ect"
    """A method of the experiment."""


class ReachTable(_ChosenScores):
    """Iterations that each method needs to reach given scores."""

    kind: Literal["reach"]
    targets: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1), Choices]
    """Values of the metric."""


class CostTable(Table):
    """What training cost: hours, images seen, memory; the classifier's and the start's own cost included."""

    kind: Literal["cost"]


AnyTable = Annotated[
    ScoreTable | MethodsTable | PublishedTable | SpeedTable | ReachTable | CostTable, Field(discriminator="kind")
]

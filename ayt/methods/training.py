"""What every training run has, whatever it trains."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from ayt.base.kinds import Kind
from ayt.base.sections import UNNAMED, Count, Fraction, Positive, Section, Whole, check_divides

if TYPE_CHECKING:
    from torch import nn

    from ayt.methods.formulas.objective import Objective, Sampled, Work

Stage = Literal["pretrain", "classifier", "mid_train", "train"]


@dataclass(frozen=True)
class ClassifierNeed:
    """A method needs one of the experiment's classifiers.

    Attributes:
        name: as the experiment calls it.
        task: that it must have been trained for.
        maps: whether its features must be maps of channels.
        key: of the method's settings that names it.
    """

    name: str
    task: Literal["transformations", "labels"]
    maps: bool = False
    key: str = "classifier"


@dataclass(frozen=True)
class RunNeed:
    """A method starts from a run of another of the experiment's methods.

    Attributes:
        name: of the method.
        batch_size: of the run; None: the same.
        seed: of the run; None: the same.
        iteration: of the snapshot; None: the last.
        key: of the method's settings that names it.
    """

    name: str
    batch_size: int | None
    seed: int | None
    iteration: int | None
    key: str


@dataclass(frozen=True)
class AuxiliaryNeed:
    """A method trains a network of its own beside the denoiser, from fresh weights.

    Attributes:
        name: of the experiment's classifier whose network it has; the weights of that one play no part.
        outputs: numbers that it predicts for each image.
        key: of the method's settings that names it.
    """

    name: str
    outputs: int
    key: str


class PowerAverage(Section):
    """A moving average whose memory grows with training (EDM2, arXiv 2312.02696): its profile is a power function."""

    power: Annotated[float, Field(gt=0, lt=0.28)]
    """Width (standard deviation) of the profile, relative to the length of training: 0.01 to 0.2 are usual."""


Average = Annotated[
    Annotated[Fraction, Tag("[decay]")] | Annotated[PowerAverage, Tag("[power]")],
    Discriminator(lambda given: "[power]" if isinstance(given, dict | PowerAverage) else "[decay]"),
]


class Training(Kind):
    """What every training run has.

    Attributes:
        stage: ``pretrain`` for diffusion models, ``classifier`` for feature networks, ``mid_train`` between diffusion
            and consistency models, ``train`` for consistency models.
        sampled_with: the roles of the networks upstream that it is sampled with, beside the one that it trains.
        divisible: whether a batch may be given in parts, whose losses add up to the whole batch's.
        accumulates: whether gradients may be summed over parts of a batch that go through the network in turn
            (`execution.microbatch`); where not, it is refused.
        recordable: whether an iteration does the same operations each time and never asks the host, so that a GPU may
            record it once and replay it.
    """

    stage: ClassVar[Stage]
    sampled_with: ClassVar[tuple[str, ...]] = ()
    divisible: ClassVar[bool] = True
    accumulates: ClassVar[bool] = True
    recordable: ClassVar[bool] = True

    iterations: Annotated[Count, UNNAMED]
    """Of the optimiser."""
    segment: Annotated[Count | None, UNNAMED] = None
    """Iterations trained by one job; absent: all."""
    lr: Positive
    """Learning rate of RAdam."""
    warmup: Whole = 0
    """Iterations over which the learning rate rises linearly from 0."""
    ema: Average = 0.0
    """Decay of the exponential moving average of the weights, for each iteration; 0: the weights themselves. Or
    ``{power: 0.05}``: an average over a share of the training so far."""
    precision: Literal["fp32", "tf32", "bf16"] = "tf32"
    """`tf32`: PyTorch's default on a GPU, convolutions in TF32 and matrix products in float32, as in the paper; `fp32`:
    everything in float32; `bf16`: the trained network in bfloat16, weights and losses in float32."""

    @model_validator(mode="after")
    def _whole_segments(self) -> Training:
        check_divides(self.segment, self.iterations, "segment", "iterations")
        return self

    @property
    def stem(self) -> str:
        """What the names of its runs begin with."""
        return self.name

    @property
    def decay_iterations(self) -> int | None:
        """Iterations after which the learning rate has fallen to 0; None: it does not fall."""
        return None

    @property
    def root_decay_iterations(self) -> int | None:
        """Iterations after which the learning rate falls with the root of their number; None: it does not."""
        return None

    def upstream(self) -> dict[str, ClassifierNeed]:
        """The classifiers that it needs, by the roles that they have in it."""
        return {}

    def auxiliary(self) -> dict[str, AuxiliaryNeed]:
        """The networks that it trains beside the denoiser, by the roles that they have in it."""
        return {}

    def auxiliary_modules(self) -> dict[str, Callable[[], nn.Module]]:
        """What it trains beside the denoiser that follows from its settings alone: what builds each, by roles."""
        return {}

    @property
    def files(self) -> list[Path]:
        """Published networks that it looks through."""
        return []

    def sampled_denoiser(self, work: Work) -> Sampled:
        """The denoiser as it is sampled and scored: class labels (B,) to D(x; sigma)."""
        return work.bound_denoiser

    @abstractmethod
    def objective(self, work: Work) -> Objective:
        """What is minimised: images, labels and random numbers to a loss."""


class Decaying(Training):
    """A training whose learning rate may fall to 0 at its end: another number of iterations is then another run."""

    decay: bool
    """Whether the learning rate falls linearly to 0 at the end."""

    def unhashed_fields(self) -> set[str]:
        """The fields that change no result."""
        return super().unhashed_fields() - ({"iterations"} if self.decay else set())

    @property
    def decay_iterations(self) -> int | None:
        """Iterations after which the learning rate has fallen to 0; None: it does not fall."""
        return self.iterations if self.decay else None

"""What all training runs have in common, whatever they train."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from ayt.base.kinds import Kind
from ayt.base.sections import UNNAMED, Count, Fraction, Positive, Section, Whole, check_divides, find_repeated
from ayt.datasets.base import Dataset
from ayt.networks.base import Task

if TYPE_CHECKING:
    from torch import nn

    from ayt.methods.formulas.objective import Objective, Sampled, Work

Stage = Literal["pretrain", "classifier", "mid_train", "train"]


@dataclass(frozen=True)
class ClassifierNeed:
    """A method needs one of the experiment's classifiers.

    Attributes:
        name: its name in the experiment.
        task: what it must have been trained for.
        maps: whether its features must be channel maps, (B, C, H, W).
        key: the method's setting that names it.
    """

    name: str
    task: Task
    maps: bool = False
    key: str = "classifier"


@dataclass(frozen=True)
class AuxiliaryNeed:
    """A method trains another network alongside the denoiser, from initial weights.

    Attributes:
        name: the experiment's classifier whose architecture it has; that classifier's weights are not used.
        outputs: how many numbers it predicts per image.
        key: the method's setting that names it.
    """

    name: str
    outputs: int
    key: str


class PowerAverage(Section):
    """A moving average whose window grows with training (EDM2, arXiv 2312.02696): its profile is a power function."""

    power: Annotated[float, Field(gt=0, lt=0.28)]
    """Width (standard deviation) of the profile, relative to the length of training: 0.01 to 0.2 are usual."""


Average = Annotated[
    Annotated[Fraction, Tag("[decay]")] | Annotated[PowerAverage, Tag("[power]")],
    Discriminator(lambda given: "[power]" if isinstance(given, dict | PowerAverage) else "[decay]"),
]
"""A constant decay per iteration, 0 for no averaging, or a power-function average."""


def average_name(average: float | PowerAverage) -> str:
    """An average's name in paths, tables and commands: ``0.9999``, ``power0.05``."""
    return f"power{average.power:.15g}" if isinstance(average, PowerAverage) else f"{average:.15g}"


def _several(averages: list[Any]) -> list[Any]:
    names = [average_name(average) for average in averages]
    for name in find_repeated(names):
        raise ValueError(f"{name} is listed twice")
    if len(names) > 1 and average_name(0.0) in names:
        raise ValueError("0 keeps no average; remove it, or give it alone")
    return averages


Averages = Annotated[
    Annotated[Fraction, Tag("[decay]")]
    | Annotated[PowerAverage, Tag("[power]")]
    | Annotated[list[Average], Field(min_length=1), AfterValidator(_several), Tag("[list]")],
    Discriminator(
        lambda given: (
            "[list]" if isinstance(given, list) else "[power]" if isinstance(given, dict | PowerAverage) else "[decay]"
        )
    ),
    # A single average is the same setting, however it is written.
    AfterValidator(lambda given: given[0] if isinstance(given, list) and len(given) == 1 else given),
]
"""One average, or several of the same training run."""


@dataclass(frozen=True)
class RunNeed:
    """A method starts from a run of another of the experiment's methods.

    Attributes:
        name: of the method.
        batch_size: of the run; None: the same.
        seed: of the run; None: the same.
        iteration: of the snapshot; None: the last.
        ema: of the run's averages; None: the first.
        key: the method's setting that names it.
    """

    name: str
    batch_size: int | None
    seed: int | None
    iteration: int | None
    ema: float | PowerAverage | None
    key: str


class Training(Kind):
    """Settings that every training run has.

    Attributes:
        stage: ``pretrain`` for diffusion models, ``classifier`` for feature networks, ``mid_train`` between diffusion
            and consistency models, ``train`` for consistency models.
        sampled_with: the roles of upstream networks needed for sampling, besides the trained one.
        divisible: whether a batch may be processed in parts whose losses add up to the whole batch's.
        accumulates: whether gradients may be accumulated over parts of a batch (`execution.microbatch`, which is
            refused otherwise).
        recordable: whether every iteration performs the same operations and never synchronises with the host, so that
            a GPU can record it once and replay it.
    """

    stage: ClassVar[Stage]
    sampled_with: ClassVar[tuple[str, ...]] = ()
    divisible: ClassVar[bool] = True
    accumulates: ClassVar[bool] = True
    recordable: ClassVar[bool] = True

    iterations: Annotated[Count, UNNAMED]
    """Training iterations (optimiser steps)."""
    segment: Annotated[Count | None, UNNAMED] = None
    """Iterations per job; absent: one job trains them all."""
    lr: Positive
    """Learning rate of RAdam."""
    warmup: Whole = 0
    """Iterations over which the learning rate rises linearly from 0."""
    ema: Averages = 0.0
    """Decay of the exponential moving average of the weights, per iteration; 0: no averaging. Or ``{power: 0.05}``: an
    average whose window grows with training."""
    precision: Literal["fp32", "tf32", "bf16"] = "tf32"
    """`tf32`: PyTorch's GPU default, convolutions in TF32 and matrix products in float32, as in the paper; `fp32`:
    everything in float32; `bf16`: the network in training in bfloat16, weights and losses in float32."""

    @model_validator(mode="after")
    def _whole_segments(self) -> Training:
        check_divides(self.segment, self.iterations, "segment", "iterations")
        return self

    @property
    def averages(self) -> list[float | PowerAverage]:
        """The averages of the weights, at least one; other runs start from the first."""
        return self.ema if isinstance(self.ema, list) else [self.ema]

    @property
    def average_names(self) -> tuple[str, ...]:
        """The averages' names, in order: ``0.9999``, ``power0.05``."""
        return tuple(map(average_name, self.averages))

    @property
    def stem(self) -> str:
        """The prefix of its runs' names."""
        return self.name

    @property
    def decay_iterations(self) -> int | None:
        """Iterations after which the learning rate has fallen to 0; None: it does not fall."""
        return None

    @property
    def root_decay_iterations(self) -> int | None:
        """Iterations after which the learning rate falls as 1 / sqrt(iteration); None: it does not."""
        return None

    def upstream(self) -> dict[str, ClassifierNeed]:
        """The classifiers that it needs, by role."""
        return {}

    def auxiliary(self) -> dict[str, AuxiliaryNeed]:
        """The networks that it trains alongside the denoiser, by role."""
        return {}

    def auxiliary_modules(self, dataset: Dataset) -> dict[str, Callable[[], nn.Module]]:
        """Builders, by role, of modules trained alongside the denoiser that depend on its settings only."""
        return {}

    @property
    def files(self) -> list[Path]:
        """Files of published networks that its loss uses."""
        return []

    def sampled_denoiser(self, work: Work) -> Sampled:
        """The denoiser used for sampling and scoring: a function from class labels (B,) to D(x; sigma)."""
        return work.bound_denoiser

    @abstractmethod
    def objective(self, work: Work) -> Objective:
        """The function that is minimised: from images, labels and random numbers to a loss."""


class Decaying(Training):
    """Training whose learning rate may fall to 0 at its end; the number of iterations is then part of a run's name."""

    decay: bool
    """Whether the learning rate falls linearly to 0 at the end."""

    def unhashed_fields(self) -> set[str]:
        """The fields that do not affect results."""
        return super().unhashed_fields() - ({"iterations"} if self.decay else set())

    @property
    def decay_iterations(self) -> int | None:
        """Iterations after which the learning rate has fallen to 0; None: it does not fall."""
        return self.iterations if self.decay else None

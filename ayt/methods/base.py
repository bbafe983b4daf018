"""The base class of consistency training methods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ayt.base.kinds import Registry
from ayt.base.sections import (
    UNNAMED,
    Count,
    Counts,
    Finite,
    Fraction,
    Line,
    NonNegative,
    Positive,
    Seeds,
    check_divides,
)
from ayt.methods.stopping import Stop
from ayt.methods.training import Averages, RunNeed, Stage, Training

if TYPE_CHECKING:
    from torch import Tensor

    from ayt.base.randomness import Draws
    from ayt.methods.formulas.losses import Loss
    from ayt.methods.formulas.objective import Objective, Work


class Method(Training):
    """One way of consistency training; the defaults are the paper's settings for CIFAR-10.

    A method whose loss compares two outputs D_t and D_r of the network defines `pair_loss`; any other defines
    `objective`.

    Attributes:
        usual_label: its name in figures and tables, unless ``label`` says otherwise.
        needs_diffusion: whether its start must be a diffusion model, which serves as its teacher.
        is_reference: whether it is the default reference for comparisons of speed.
    """

    stage: ClassVar[Stage] = "train"
    usual_label: ClassVar[str]
    needs_diffusion: ClassVar[bool] = False
    is_reference: ClassVar[bool] = False
    needs_colour: ClassVar[bool] = False

    label: Annotated[Line | None, UNNAMED] = None
    """Its name in figures and tables; absent: the method's usual name."""
    batch_sizes: Annotated[Counts, UNNAMED]
    """Batch sizes; one run per batch size and seed."""
    seeds: Annotated[Seeds, UNNAMED] = [0]
    """Seeds of shuffling, noise levels, noise and dropout; one run per seed."""
    snapshot_every: Annotated[Count | None, UNNAMED] = None
    """Iterations between snapshots; absent: one at the end of each segment."""
    iterations: Annotated[Count, UNNAMED] = 400_000
    stop: Annotated[Stop | None, UNNAMED] = None
    """When to give up on a badly performing training run; absent: never. It does not affect the weights up to there."""
    lr: Positive = 1e-4
    lr_decay: Count | None = None
    """The learning rate is lr / sqrt(max(iteration / lr_decay, 1)); absent: constant."""
    ema: Averages = 0.9999
    """Decay of the exponential moving average of the weights, per iteration; 0: no averaging. Or ``{power: 0.05}``: an
    average whose window grows with training. Or a list of these: one training run keeps all, with snapshots and scores
    of each. Figures and tables show the first unless they say otherwise; later stages start from it."""
    dropout: Fraction = 0.2
    """Probability of dropping a feature inside residual blocks."""
    t_mean: Finite = -1.1
    """Mean of ln t."""
    t_std: Positive = 2.0
    """Standard deviation of ln t."""
    t_min: Positive | None = None
    """The smallest noise level that is drawn; absent: no limit."""
    t_max: Positive | None = None
    """The largest noise level that is drawn; absent: no limit."""
    q: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 256.0
    """r = max(min_r, t (1 - n(t) (1 - ratio))), ratio = 1 - q^-(stage + 1)."""
    max_ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Upper limit of the ratio; absent: no limit."""
    min_r: NonNegative = 0.0
    """Lower limit of r."""
    n: Literal["sigmoid", "const"] = "sigmoid"
    """`sigmoid`: n(t) = 1 + k sigmoid(-b t); `const`: n(t) = 1."""
    k: NonNegative = 8.0
    """Height of n(t)."""
    b: NonNegative = 1.0
    """Steepness of n(t)."""
    stage_iterations: Count | None = None
    """Iterations per stage; absent: one stage for the whole run."""
    weighting: Literal["difference", "root", "c_out", "c_out_squared", "one"] = "difference"
    """Weight of a pair: 1 / (t - r), 1 / sqrt(t - r), 1 / c_out(t), 1 / c_out(t)^2, or 1."""

    @model_validator(mode="after")
    def _whole_snapshots(self) -> Method:
        check_divides(self.snapshot_every, self.segment or self.iterations, "snapshot_every", "segment")
        return self

    @model_validator(mode="after")
    def _some_noise_levels(self) -> Method:
        if self.t_min and self.t_max and self.t_min >= self.t_max:
            raise ValueError(f"t_min {self.t_min:g} is not below t_max {self.t_max:g}")
        if self.min_r and self.min_r >= (self.t_min or 0):
            raise ValueError(f"min_r {self.min_r:g} needs a t_min above it")
        return self

    @property
    def root_decay_iterations(self) -> int | None:
        """Iterations after which the learning rate falls as 1 / sqrt(iteration); None: it does not."""
        return self.lr_decay

    def starts_from(self) -> RunNeed | None:
        """The run of another method whose weights it starts from; None: the experiment's start."""
        return None

    def misfits(self) -> Iterator[tuple[str, Any, str]]:
        """Keys whose values are impossible for this many iterations, with their values and the reason."""
        last = (self.iterations - 1) // self.stage_iterations if self.stage_iterations else 0
        if self.max_ratio is None and self.q ** -(last + 1) < 2.0**-23:
            reason = f"q {self.q:g} makes r equal t in float32 and the weight 1 / (t - r) infinite"
            yield "stage_iterations", self.stage_iterations, f"reaches stage {last}, where {reason}"

    def draw_t(self, draws: Draws) -> Tensor:
        """Noise levels (B,) of a batch: lognormal, truncated to [``t_min``, ``t_max``]."""
        from ayt.methods.formulas.schedules import lognormal_t

        return lognormal_t(draws.normal("t"), self.t_mean, self.t_std, self.t_min, self.t_max)

    def pair_with(self, t: Tensor, stage: int) -> Tensor:
        """The earlier noise levels r that t (B,) is paired with."""
        from ayt.methods.formulas.schedules import t_to_r

        return t_to_r(t, self.q, stage, self.k, self.b, self.n, self.max_ratio, self.min_r)

    def weigh(self, t: Tensor, r: Tensor) -> Tensor:
        """The weights (B,) of pairs of noise levels."""
        from ayt.methods.formulas.losses import weight

        return weight(t, r, self.weighting)

    def pair_loss(self, work: Work) -> Loss | None:
        """The loss that makes D_t and D_r agree; None: the method compares no such pair."""
        return None

    def objective(self, work: Work) -> Objective:
        """The function that is minimised: from images, labels and random numbers to a loss."""
        from ayt.methods.formulas.objective import consistency

        return consistency(self, work)


METHODS: Registry[Method] = Registry("method", key="loss", package="ayt.methods")


def base_name(method: str) -> str:
    """A method's name in the experiment, without the variant of a sweep."""
    return method.split(" ", maxsplit=1)[0]

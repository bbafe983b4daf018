"""What a method of consistency training is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ayt.base.kinds import Registry
from ayt.base.sections import UNNAMED, Count, Counts, Finite, Fraction, NonNegative, Positive, Seeds, check_divides
from ayt.methods.training import Stage, Training

if TYPE_CHECKING:
    from ayt.methods.formulas.losses import Loss
    from ayt.methods.formulas.objective import Objective, Work


class Method(Training):
    """One way of consistency training; the defaults are the paper's settings for CIFAR-10.

    A method whose loss compares two outputs D_t and D_r of the network defines `pair_loss`; any other defines
    `objective`.

    Attributes:
        usual_label: how figures and tables call it, unless ``label`` says otherwise.
        is_reference: whether others' speed is compared with it where nothing else is said.
    """

    stage: ClassVar[Stage] = "train"
    usual_label: ClassVar[str]
    is_reference: ClassVar[bool] = False
    needs_colour: ClassVar[bool] = False

    label: Annotated[str | None, UNNAMED] = None
    """How figures and tables call it; absent: the method's usual name."""
    batch_sizes: Annotated[Counts, UNNAMED]
    seeds: Annotated[Seeds, UNNAMED] = [0]
    snapshot_every: Annotated[Count | None, UNNAMED] = None
    """Iterations between snapshots; absent: one at the end of each segment."""
    iterations: Annotated[Count, UNNAMED] = 400_000
    lr: Positive = 1e-4
    ema: Fraction = 0.9999
    dropout: Fraction = 0.2
    t_mean: Finite = -1.1
    """Mean of ln t."""
    t_std: Positive = 2.0
    q: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 256.0
    """r = t (1 - n(t) / q^(stage + 1))."""
    n: Literal["sigmoid", "const"] = "sigmoid"
    k: NonNegative = 8.0
    b: NonNegative = 1.0
    stage_iterations: Count | None = None
    """Iterations for which a stage lasts; absent: one stage for the whole run."""

    @model_validator(mode="after")
    def _whole_snapshots(self) -> Method:
        check_divides(self.snapshot_every, self.segment or self.iterations, "snapshot_every", "segment")
        return self

    def misfits(self) -> Iterator[tuple[str, Any, str]]:
        """Keys whose values cannot be for so many iterations, with their values and why."""
        last = (self.iterations - 1) // self.stage_iterations if self.stage_iterations else 0
        if self.q ** -(last + 1) < 2.0**-23:
            reason = f"q {self.q:g} makes r equal t in float32 and the weight 1 / (t - r) infinite"
            yield "stage_iterations", self.stage_iterations, f"reaches stage {last}, where {reason}"

    def pair_loss(self, work: Work) -> Loss | None:
        """What D_t and D_r are made to agree by; None: the method compares no such pair."""
        return None

    def objective(self, work: Work) -> Objective:
        """What is minimised: images, labels and random numbers to a loss."""
        from ayt.methods.formulas.objective import consistency

        return consistency(self, work)


METHODS: Registry[Method] = Registry("method", key="loss", package="ayt.methods")


def base_name(method: str) -> str:
    """The experiment's name of a method, without the variant of a sweep."""
    return method.split(" ", maxsplit=1)[0]

"""When to give up on a badly performing training run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import model_validator

from ayt.base.sections import Count, Finite, Section


class Stop(Section):
    """When to give up on a badly performing training run; scores are checked between segments."""

    metric: str | None = None
    """One of `evaluation.metrics`; absent: the first. Where a run keeps several averages, its first is looked at."""
    steps: Count | None = None
    """Sampling steps of the scores that are checked; absent: the first of `evaluation.steps`."""
    worse_than: Finite | None = None
    """Stop if the last snapshot's score is worse than this, or not finite."""
    plateau: Count | None = None
    """Stop if none of this many latest snapshots scored better than the best before them."""
    after: Count | None = None
    """Iterations before which no score stops a training run; absent: scores count from the first segment's end."""
    diverged: bool = False
    """Stop if the loss or its gradient is not finite, which is a failure otherwise."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> Stop:
        if not self.by_score and not self.diverged:
            raise ValueError("does not say when; set worse_than, plateau or diverged: true")
        meaningless = [key for key in ("metric", "steps", "after") if getattr(self, key) is not None]
        if meaningless and not self.by_score:
            raise ValueError(f"{meaningless[0]} means nothing without worse_than or plateau")
        return self

    @property
    def by_score(self) -> bool:
        """Whether scores can stop a training run."""
        return self.worse_than is not None or self.plateau is not None

    def decide(
        self, scores: Sequence[tuple[int, float | None]], metric: str, better: Literal["lower", "higher"]
    ) -> str | None:
        """Why a training run is stopped after its last snapshot; None: it continues.

        Args:
            scores: iteration and score of each snapshot so far, at least one, in order; None if not finite.
            metric: its name in reasons.
            better: whether lower or higher scores are better.
        """
        iteration, last = scores[-1]
        if iteration < (self.after or 0):
            return None
        sign = 1 if better == "lower" else -1
        if self.worse_than is not None:
            if last is None:
                return f"{metric} is not finite"
            if sign * last > sign * self.worse_than:
                return f"{metric} is {last:.4g}, worse than {self.worse_than:g}"
        if self.plateau is not None and len(scores) > self.plateau:
            best_before = min(_ordered(scores[: -self.plateau], sign), default=None)
            best_since = min(_ordered(scores[-self.plateau :], sign), default=None)
            if best_since is None or (best_before is not None and best_since >= best_before):
                known = "" if best_before is None else f" on {sign * best_before:.4g}"
                return f"{metric} has not improved{known} in {self.plateau} snapshot{'s' if self.plateau > 1 else ''}"
        return None


def _ordered(scores: Sequence[tuple[int, float | None]], sign: int) -> Iterator[float]:
    """The finite scores as numbers of which the lowest is the best."""
    return (sign * score for _, score in scores if score is not None)

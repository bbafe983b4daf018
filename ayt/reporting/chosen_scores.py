"""What figures and tables of scores have in common: the choice of scores to show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.base.sections import Count
from ayt.experiment.outputs import Figure, Mistakes, Output
from ayt.metrics.base import METRICS, DenoisingMetric
from ayt.reporting.averages import Chosen, choose_averages, names_of, shown_averages
from ayt.reporting.wording import say_which

if TYPE_CHECKING:
    import pandas as pd

    from ayt.experiment.schema import Experiment
    from ayt.plan.plan import Plan
    from ayt.plan.runs import Run


MEASURED = (
    "each snapshot's averaged weights sample images, several times with different noise; the samples are compared with"
    " the dataset in the features of a network. The name of the metric says which: only in Inception features is it an"
    " FID. All methods are sampled from the same noise."
)
NOT_SHOWN = (
    "what more seeds would show: where the caption calls a difference within the spread over seeds, no ordering can be"
    " read from it. Scores of a training run that failed are crosses, and the caption names it; so it does one that was"
    " stopped because it did badly, whose last score has a ring."
)
"""The report's text beside figures of scores."""


class ChosenScores(Output):
    """A figure or table of scores.

    Attributes:
        one_value: whether it shows one value per snapshot and number of steps.
    """

    one_value: ClassVar[bool] = False

    metric: str | None = None
    """The metric to show; absent: the first of the evaluation's."""
    methods: list[str] = []
    """Methods to show; empty: all."""
    batch_sizes: list[Count] = []
    """Batch sizes to show; empty: all."""
    ema: Chosen = "first"
    """Averages to show of runs that keep several: the `first` each lists, `all`, or those given here as in
    ``training.ema``. Labels name them unless it is `first`."""

    def check(self, mistakes: Mistakes) -> None:
        """Report what does not fit the experiment."""
        experiment = mistakes.experiment
        mistakes.require_known("metric", [self.metric] if self.metric else [], experiment.evaluation.metrics)
        mistakes.require_methods(self.methods)
        mistakes.require_known("batch_sizes", self.batch_sizes, experiment.batch_sizes())
        kept = [name for key in self.shown_methods(experiment) for name in experiment.methods[key].average_names]
        mistakes.require_known("ema", names_of(self.ema) or [], dict.fromkeys(kept))
        metric = METRICS.get(self.shown_metric(experiment))
        several = metric is not None and issubclass(metric, DenoisingMetric) and len(experiment.evaluation.denoise) > 1
        if self.one_value and several:
            problem = "has a value for each of evaluation.denoise, and the table shows one; choose another metric"
            mistakes.report("metric", self.shown_metric(experiment), problem)

    def inputs(self, plan: Plan) -> list[Path]:
        """The files that it is made from."""
        return [paths.scores_table(plan.experiment.name)]

    def shown_metric(self, experiment: Experiment) -> str:
        """The name of the metric that it shows."""
        return self.metric or experiment.evaluation.metrics[0]

    def shown_methods(self, experiment: Experiment) -> list[str]:
        """The methods that it shows, each variant of a sweep separately."""
        return experiment.choose_methods(self.methods)

    def usual_reference(self, experiment: Experiment) -> str | None:
        """The default reference for comparisons of speed; None if it is not shown."""
        shown = self.shown_methods(experiment)
        return next((name for name in shown if experiment.methods[name].is_reference), None)

    def read_rows(self, plan: Plan, place: str) -> tuple[pd.DataFrame, str]:
        """The rows of ``scores.csv`` that it shows, and a note of what is missing of them, failed or was stopped.

        ``stopped``, a column more, says whether the row's run was stopped before its end.

        Args:
            plan: the experiment's plan.
            place: the results folder with the scores: the experiment's name, or `paths.partial_name`.

        Raises:
            UserError: the scores were not gathered, or there are none.
        """
        from ayt.plan.stops import find_stop
        from ayt.reporting.scores import read_failure, read_scores
        from ayt.reporting.summaries import DAGGER

        table = read_scores(paths.scores_table(place))
        table = table[
            (table["key"] == self.shown_metric(plan.experiment))
            & table["method"].isin(self.shown_methods(plan.experiment))
            & (table["batch_size"].isin(self.batch_sizes) if self.batch_sizes else True)
        ]
        table = choose_averages(table, plan, self.ema)
        if table.empty:
            raise UserError("no score of it is there yet")
        missing, failed, stops = [], [], {}
        for method, run in plan.choose_runs(self.methods):
            if self.batch_sizes and run.record.batch_size not in self.batch_sizes:
                continue
            shown = shown_averages(method, run, self.ema)
            there = table[table["method"].isin([each.method for each in shown]) & (table["run"] == run.name)]
            if stopped := find_stop(plan, run):
                stops[run.name] = f"{run.title} ({stopped.text})"
            wanted = len(shown) * self._count_scores(plan, run)
            if len(there) < wanted:
                missing.append(f"{run.title} ({len(there)} of {wanted} scores)")
            if there["mean"].isna().any():
                _, reason = read_failure(run.folder)
                failed.append(f"{run.title} ({reason})" if reason else run.title)
        notes = (
            say_which("Not there yet", missing),
            say_which("Failed", failed),
            say_which(f"Given up, and scored there ({DAGGER} in tables, a ring in figures)", list(stops.values())),
        )
        return table.assign(stopped=table["run"].isin(list(stops))), " ".join(note for note in notes if note)

    def _count_scores(self, plan: Plan, run: Run) -> int:
        """How many scores of each average of a run by the metric the experiment asks for."""
        from ayt.plan.stops import list_reached

        metric = self.shown_metric(plan.experiment)
        denoising = [score for score in plan.denoising_scores_of(run.name) if score.metric.name == metric]
        return len({snapshot.iteration for snapshot in list_reached(plan, run)}) * len(
            denoising or plan.scores_of(run.name)
        )


class ScoreFigure(ChosenScores, Figure):
    """A figure of scores."""

    section: ClassVar[str] = "Scores"

    steps: list[Count] = []
    """Numbers of sampling steps to show; empty: all."""

    def check(self, mistakes: Mistakes) -> None:
        """Report what does not fit the experiment."""
        super().check(mistakes)
        mistakes.require_known("steps", self.steps, mistakes.experiment.evaluation.steps)

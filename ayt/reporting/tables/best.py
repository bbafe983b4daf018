"""Table of the best snapshots, chosen and judged on different samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ayt.experiment.outputs import TABLES, Description, Mistakes, Table
from ayt.reporting.averages import shown_averages
from ayt.reporting.chosen_scores import ChosenScores

if TYPE_CHECKING:
    import pandas as pd

    from ayt.plan.evaluations import DenoisingScore, Score
    from ayt.plan.plan import Plan
    from ayt.plan.runs import Run

CHOSEN, LAST = "chosen", "last"
"""The snapshot of a run that a row is about."""


class Judged(NamedTuple):
    """A snapshot with the scores of its sampling runs.

    Attributes:
        iteration: of the snapshot.
        first: the score by which it may be chosen; None: it is not finite.
        others: the mean of the others, by which it is judged; None: one is not finite.
    """

    iteration: int
    first: float | None
    others: float | None


@TABLES.register
class Best(ChosenScores, Table):
    """The best snapshot of each run beside the last: chosen by the first sampling run, judged by the others."""

    name: ClassVar[str] = "best"
    one_value: ClassVar[bool] = True
    description: ClassVar[Description] = Description(
        shown="the score of each run's best snapshot, and of its last.",
        measured="the snapshot is chosen by the first sampling run of each, and judged by the other sampling runs, with"
        " other noise: the lowest of many noisy numbers would be too low.",
        not_shown="that a choice among more snapshots has more to choose from: methods with different numbers of"
        " snapshots are not on a par.",
        in_the_paper="no table of its own.",
    )

    def check(self, mistakes: Mistakes) -> None:
        """Report what does not fit the experiment."""
        super().check(mistakes)
        if mistakes.experiment.evaluation.repeats < 2:
            problem = "chooses by one sampling run and judges by others; set evaluation.repeats to 2 or more"
            mistakes.report(TABLES.key, self.name, problem)

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Write what the scores that are there say."""
        import pandas as pd

        rows, note = self.read_rows(plan, place)
        better, metric = str(rows["better"].iloc[0]), str(rows["metric"].iloc[0])
        found = [
            (shown.label, run.record.batch_size, run.record.seed, steps, which, judged.iteration, judged.others)
            for method, run in plan.choose_runs(self.methods)
            if not self.batch_sizes or run.record.batch_size in self.batch_sizes
            for shown in shown_averages(method, run, self.ema)
            for steps, snapshots in self._judge_snapshots(plan, run, shown.average)
            for which, judged in choose_snapshots(snapshots, better)
        ]
        columns = ["label", "batch_size", "seed", "steps", "snapshot", "iteration", "mean"]
        tabulate_best(pd.DataFrame(found, columns=columns).astype({"mean": float}), out, self.title, metric, note)

    def _judge_snapshots(self, plan: Plan, run: Run, average: str) -> Iterator[tuple[int, list[Judged]]]:
        """The snapshots of an average of a run that were scored, for each number of steps."""
        from ayt.plan.scored import read_score
        from ayt.plan.stops import list_reached

        metric = self.shown_metric(plan.experiment)
        for shown in plan.shown_scores(run.name):
            if shown.metric.name != metric:
                continue
            score: Score | DenoisingScore = shown.record
            iterations = [snapshot.iteration for snapshot in list_reached(plan, run) if snapshot.average == average]
            files = [(iteration, score.result(run.folder, iteration, average)) for iteration in iterations]
            there = [(iteration, read_score(path)[metric]["values"]) for iteration, path in files if path.exists()]
            if there:
                yield shown.steps, [judge(iteration, values) for iteration, values in there]


def judge(iteration: int, values: list[float | None]) -> Judged:
    """A snapshot from its scores by two or more sampling runs, None where one is not finite."""
    first, *others = values
    finite = [value for value in others if value is not None]
    return Judged(iteration, first, sum(finite) / len(finite) if len(finite) == len(others) else None)


def choose_snapshots(snapshots: list[Judged], better: str) -> Iterator[tuple[str, Judged]]:
    """The best snapshot by the first sampling run, the earliest of equals, if one is finite; and the last.

    Args:
        snapshots: of a run, at least one, in order.
        better: ``lower`` or ``higher``.
    """
    sign = 1 if better == "lower" else -1
    finite = [(sign * snapshot.first, snapshot) for snapshot in snapshots if snapshot.first is not None]
    if finite:
        yield CHOSEN, min(finite, key=lambda pair: pair[0])[1]
    yield LAST, snapshots[-1]


def tabulate_best(table: pd.DataFrame, out: Path, title: str, metric: str, note: str = "") -> None:
    """Write a table of chosen and last snapshots.

    Args:
        table: a row for each run, number of steps and snapshot: ``label``, ``batch_size``, ``seed``, ``steps``,
            ``snapshot`` (``chosen`` or ``last``), ``iteration``, ``mean`` (NaN: not finite).
        out: where to, without ending.
        title: of the table.
        metric: what was measured.
        note: what is missing or failed; empty if nothing.
    """
    from ayt.reporting.summaries import choose_digits, format_mean
    from ayt.reporting.table_files import write_table
    from ayt.reporting.wording import plural

    keys = ["label", "batch_size", "snapshot", "steps"]
    grouped = table.groupby(keys, sort=False).agg(
        mean=("mean", "mean"),
        std=("mean", "std"),
        seeds=("seed", "nunique"),
        failed=("mean", lambda values: int(values.isna().sum())),
        low=("iteration", "min"),
        high=("iteration", "max"),
    )
    found = grouped.reset_index()
    digits = choose_digits(found["mean"])
    texts = []
    for _, row in found.iterrows():
        at = f"{row['low']:,}" if row["low"] == row["high"] else f"{row['low']:,} to {row['high']:,}"
        texts.append(f"{format_mean(row['mean'], row['std'], row['seeds'], row['failed'], digits)} (at {at})")
    rows = [f"{row['label']}, batch {row['batch_size']}, {row['snapshot']}" for _, row in found.iterrows()]
    columns = [plural(int(steps), "step") for steps in found["steps"]]
    cells = found.assign(row=rows, column=columns, text=texts).pivot_table(
        index="row", columns="column", values="text", aggfunc="first", sort=False, fill_value="–"
    )
    caption = (
        f"{metric} of the last snapshot of each run, and of one chosen by its first sampling run; both as the other"
        " sampling runs judge them. Mean ± standard deviation over seeds, and the iterations of the snapshots."
    )
    write_table(out, table, cells, title, caption, note)

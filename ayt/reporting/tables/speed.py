"""Table of speed-ups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ayt.base.errors import UserError
from ayt.base.sections import ABSENT, choices
from ayt.experiment.outputs import TABLES, Description, Mistakes, Table
from ayt.reporting.chosen_scores import ChosenScores

if TYPE_CHECKING:
    import pandas as pd

    from ayt.plan.plan import Plan


@TABLES.register
class Speed(ChosenScores, Table):
    """How much faster the other methods reach the final scores of a reference method."""

    name: ClassVar[str] = "speed"
    one_value: ClassVar[bool] = True
    description: ClassVar[Description] = Description(
        shown="how many times fewer iterations a method needs for the score that the reference ends with, over all"
        " pairs of runs at the same batch size.",
        measured="on straight lines between scored snapshots. A pair in which the score is not reached counts as 0; ≥"
        " marks bounds.",
        not_shown="time. An iteration of one method may cost more than one of another; the table of cost says"
        " how much.",
        in_the_paper="its claim of faster convergence.",
    )

    reference: str | None = None
    """A method of the experiment; absent: the usual one."""

    def check(self, mistakes: Mistakes) -> None:
        """Report what does not fit the experiment."""
        super().check(mistakes)
        shown = self.shown_methods(mistakes.experiment)
        if self.reference is None and self.usual_reference(mistakes.experiment) is None:
            mistakes.report("reference", ABSENT, f"is missing; {choices('', shown)}")
        elif self.reference is not None and self.reference not in shown:
            mistakes.report("reference", self.reference, f"no such method; {choices(self.reference, shown)}")

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Write the speed-ups in the scores that are there."""
        scores, note = self.read_rows(plan, place)
        reference = self.reference or self.usual_reference(plan.experiment) or ""
        tabulate_speed_ups(scores, out, self.title, reference, note)


def tabulate_speed_ups(scores: pd.DataFrame, out: Path, title: str, reference: str, note: str = "") -> None:
    """Write a table of how much faster than ``reference`` its last scores are reached.

    Args:
        scores: rows of ``scores.csv`` of one metric.
        out: where to, without ending.
        title: of the table.
        reference: the method that others are compared with.
        note: what is missing or failed; empty if nothing.

    Raises:
        UserError: no method shares a batch size with the reference.
    """
    from ayt.reporting.speed_up import speed_ups
    from ayt.reporting.summaries import describe_sampling
    from ayt.reporting.table_files import name_column, write_table

    table = speed_ups(scores, reference)
    if table.empty:
        raise UserError(f"{out.name}: no method shares a batch size with {reference!r}, whose scores are the aim")
    columns = [name_column(steps, size) for steps, size in zip(table["steps"], table["batch_size"], strict=True)]
    named = table.assign(text=[_format_speed_up(row) for _, row in table.iterrows()], column=columns)
    order = named.sort_values(["steps", "batch_size"])["column"].unique()
    cells = named.pivot_table(
        index="label", columns="column", values="text", aggfunc="first", sort=False, fill_value="–"
    )[order]
    label = scores.loc[scores["method"] == reference, "label"].iloc[0]
    caption = (
        f"How many times fewer iterations than {label} needs to reach the {table['metric'].iloc[0]} that it ends with:"
        " median (lowest to highest) over pairs of runs, and in how many pairs it was reached; not reached counts as 0."
        f" ≥: in some pairs at the first scored snapshot already; ≤: in some {label} was there at its first; ≈: both."
        f" Runs of {label} whose last score is not finite are left out. {describe_sampling(scores)}."
    )
    write_table(out, table, cells, title, caption, note)


def _format_speed_up(row: pd.Series[Any]) -> str:
    from ayt.reporting.speed_up import format_bound

    if not row["pairs"]:
        return "reference failed"
    if not row["reached"]:
        return f"0 of {row['pairs']}"
    sign = format_bound(row["at_least"], row["at_most"])
    return f"{sign}{row['median']:.1f}× ({row['low']:.1f}–{row['high']:.1f}), {row['reached']} of {row['pairs']}"

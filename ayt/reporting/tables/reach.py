"""Table of the iterations that given scores take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from ayt.base.errors import UserError
from ayt.base.sections import Choices, Finite
from ayt.experiment.outputs import TABLES, Description, Table
from ayt.reporting.chosen_scores import ChosenScores

if TYPE_CHECKING:
    import pandas as pd

    from ayt.plan.plan import Plan


@TABLES.register
class Reach(ChosenScores, Table):
    """Iterations that each method needs to reach given scores."""

    name: ClassVar[str] = "reach"
    one_value: ClassVar[bool] = True
    description: ClassVar[Description] = Description(
        shown="the iterations after which runs reach given scores.",
        measured="on straight lines between scored snapshots; a score that is there at the first of them gives a"
        " bound.",
        not_shown="runs that do not get there, but for their number.",
        in_the_paper="its claim of faster convergence.",
    )

    targets: Annotated[list[Finite], Field(min_length=1), Choices]
    """Target values of the metric."""

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Write what the scores that are there say."""
        scores, note = self.read_rows(plan, place)
        tabulate_reaching(scores, out, self.title, self.targets, note)


def tabulate_reaching(scores: pd.DataFrame, out: Path, title: str, targets: Sequence[float], note: str = "") -> None:
    """Write a table of the iterations after which runs reach given scores.

    Args:
        scores: rows of ``scores.csv`` of one metric.
        out: where to, without ending.
        title: of the table.
        targets: the scores.
        note: what is missing or failed; empty if nothing.

    Raises:
        UserError: there are no scores.
    """
    from ayt.reporting.speed_up import iterations_reaching
    from ayt.reporting.summaries import describe_sampling
    from ayt.reporting.table_files import write_table
    from ayt.reporting.wording import plural

    if scores.empty:
        raise UserError("there are no scores")
    table = iterations_reaching(scores, targets)
    sign = "≥" if scores["better"].iloc[0] == "higher" else "≤"
    metric = str(scores["metric"].iloc[0])
    columns = [
        f"{plural(steps, 'step')}, {sign} {target:g}"
        for steps, target in zip(table["steps"], table["target"], strict=True)
    ]
    rows = [f"{label}, batch {size}" for label, size in zip(table["label"], table["batch_size"], strict=True)]
    text = [_format_reached(row) for _, row in table.iterrows()]
    cells = table.assign(row=rows, column=columns, text=text).pivot_table(
        index="row", columns="column", values="text", aggfunc="first", sort=False, fill_value="–"
    )
    caption = (
        f"Iterations after which {metric} is {sign} the value: median (lowest to highest) over the runs that reach it,"
        f" on straight lines between scored snapshots, and how many do. ≤: some at the first scored snapshot already."
        f" {describe_sampling(scores)}."
    )
    write_table(out, table, cells, title, caption, note)


def _format_reached(row: pd.Series[Any]) -> str:
    if not row["reached"]:
        return f"0 of {row['runs']}"
    sign = "≤ " if row["at_first"] else ""
    spread = "" if row["reached"] == 1 else f" ({row['low']:,.0f}–{row['high']:,.0f})"
    return f"{sign}{row['median']:,.0f}{spread}, {row['reached']} of {row['runs']}"

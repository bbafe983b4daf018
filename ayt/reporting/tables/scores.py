"""Table of scores at the end of training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ayt.experiment.outputs import TABLES, Description
from ayt.reporting.anchors import AnchoredTable

if TYPE_CHECKING:
    import pandas as pd

    from ayt.plan.plan import Plan


@TABLES.register
class Scores(AnchoredTable):
    """The scores at the end of training, by method and batch size."""

    name: ClassVar[str] = "scores"
    by_default: ClassVar[bool] = True
    description: ClassVar[Description] = Description(
        shown="scores at the end of training, mean and standard deviation over seeds; the best of each column is bold.",
        measured="from samples of the averaged weights, all methods from the same noise. Only in Inception features is"
        " a Fréchet distance an FID.",
        not_shown="whether a difference within the spread is one. The standard deviation is over seeds, and missing"
        " where there is one.",
        in_the_paper="its tables of scores by method and batch size.",
    )

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Write the scores that are there."""
        scores, note = self.read_rows(plan, place)
        anchors, missing = self.read_anchors(plan)
        tabulate_scores(scores, out, self.title, " ".join(part for part in (note, missing) if part), anchors)


def tabulate_scores(
    scores: pd.DataFrame, out: Path, title: str, note: str = "", anchors: pd.DataFrame | None = None
) -> None:
    """Write a table of final scores; the best of each column is bold.

    Args:
        scores: rows of ``scores.csv``.
        out: where to, without ending.
        title: of the table.
        note: what is missing or failed; empty if nothing.
        anchors: as `AnchoredTable.read_anchors` gives; None: there are none. None of them is bold.

    Raises:
        UserError: there are no scores.
    """
    from ayt.reporting.anchors import NOT_TRAINED
    from ayt.reporting.summaries import describe_better, describe_end, describe_sampling, final_scores
    from ayt.reporting.table_files import write_table

    table = final_scores(scores)
    cells, best = _cells(table)
    caption = (
        f"{', '.join(table['metric'].unique())} {describe_end(table)}, mean ± standard deviation over seeds;"
        f" {describe_sampling(scores)}. {describe_better(table)}"
    )
    if anchors is not None and len(anchors):
        table, cells = _add_anchors(table, cells, anchors)
        caption += f" {NOT_TRAINED}"
    write_table(out, table, cells, title, caption, note, best)


def _add_anchors(table: pd.DataFrame, cells: pd.DataFrame, anchors: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The numbers and the text with rows for anchors, in columns of their own: no batch size says how they came."""
    import pandas as pd

    from ayt.reporting.anchors import mark
    from ayt.reporting.summaries import choose_digits, format_mean

    digits = choose_digits(table["mean"])
    rows = anchors.assign(
        label=[mark(label) for label in anchors["label"]], seeds=1, failed=anchors["mean"].isna().astype(int)
    )
    table = pd.concat([table, rows.rename(columns={"iterations": "iteration"})], ignore_index=True)
    counts = ["batch_size", "steps", "nfe", "seeds", "failed", "iteration", "images"]
    for _, row in rows.iterrows():
        text = format_mean(row["mean"], float("nan"), 1, row["failed"], digits)
        cells.loc[row["label"], f"nfe {row['nfe']}"] = text
    return table.astype(dict.fromkeys(counts, "Int64")), cells.fillna("–")


def _cells(table: pd.DataFrame) -> tuple[pd.DataFrame, frozenset[tuple[str, str]]]:
    """The table as text, methods down and batch sizes across, and which cells are the best of their column."""
    from ayt.reporting.summaries import choose_digits, format_mean
    from ayt.reporting.table_files import name_column

    several = table["metric"].nunique() > 1
    columns = [
        f"{metric}, {name_column(steps, size)}" if several else name_column(steps, size)
        for steps, size, metric in zip(table["steps"], table["batch_size"], table["metric"], strict=True)
    ]
    digits = choose_digits(table["mean"])
    text = [
        format_mean(row["mean"], row["std"], row["seeds"], row["failed"], digits, row["stopped"])
        for _, row in table.iterrows()
    ]
    table = table.assign(column=columns, text=text)
    order = table.sort_values(["metric", "steps", "batch_size"])["column"].unique()
    cells = table.pivot_table(
        index="label", columns="column", values="text", aggfunc="first", sort=False, fill_value="–"
    )[order]
    whole = table[table["failed"] == 0]  # a mean over what is left of some runs is no merit
    merit = whole["mean"].where(whole["better"] == "higher", -whole["mean"])
    best = whole.loc[merit.groupby(whole["column"]).idxmax()]
    return cells, frozenset(zip(best["label"], best["column"], strict=True))

"""Table of measured and published scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ayt.experiment.outputs import TABLES, Description
from ayt.reporting.anchors import AnchoredTable

if TYPE_CHECKING:
    import pandas as pd

    from ayt.plan.plan import Plan


@TABLES.register
class Methods(AnchoredTable):
    """Scores at the end of training and, in separate columns with their sources, what others have published."""

    name: ClassVar[str] = "methods"
    one_value: ClassVar[bool] = True
    description: ClassVar[Description] = Description(
        shown="what was measured here and, in a column of its own with its source, what others have published.",
        measured="as the table of scores. Published numbers are as their authors print them and come from other code,"
        " machines and, where a row says so, other networks.",
        not_shown="a comparison of the two where the metric is not FID.",
        in_the_paper="its main table.",
    )

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Write the scores that are there, and what is published."""
        from ayt.reporting.published import fids

        scores, note = self.read_rows(plan, place)
        anchors, missing = self.read_anchors(plan)
        notes = " ".join(part for part in (note, missing) if part)
        tabulate_methods(scores, fids(plan.experiment.dataset), out, self.title, notes, anchors)


def tabulate_methods(
    scores: pd.DataFrame,
    published: pd.DataFrame,
    out: Path,
    title: str,
    note: str = "",
    anchors: pd.DataFrame | None = None,
) -> None:
    """Write a table of our final scores and, in columns of their own, of published FIDs with their sources.

    A row is a method at a batch size, a number of iterations and of network evaluations for one image (``nfe``): a
    published number stands beside ours where all four are the same. What was scored without being trained here says so;
    the one published number of its name with as many evaluations stands beside it.

    Args:
        scores: rows of ``scores.csv`` of one metric.
        published: as `ayt.reporting.published.fids` gives; empty where nothing is published on the dataset.
        out: where to, without ending.
        title: of the table.
        note: what is missing or failed; empty if nothing.
        anchors: as `AnchoredTable.read_anchors` gives; None: there are none.

    Raises:
        UserError: there are no scores.
    """
    import pandas as pd

    from ayt.reporting.anchors import NOT_TRAINED
    from ayt.reporting.published import METRIC
    from ayt.reporting.summaries import choose_digits, describe_sampling, final_scores, format_mean
    from ayt.reporting.table_files import write_table

    final = final_scores(scores)
    keys = ["method", "batch_size", "iterations", "nfe"]
    ours = final.rename(columns={"label": "method", "iteration": "iterations", "steps": "nfe"})
    ours = ours[[*keys, "mean", "std", "seeds", "failed", "stopped"]].rename(
        columns={"mean": "measured", "std": "measured_std"}
    )
    theirs = published.rename(columns={"fid": "published"}).astype({"nfe": int})
    whole = {"batch_size": "Int64", "iterations": "Int64", "seeds": "Int64", "failed": "Int64", "stopped": "Int64"}
    beside = ours.merge(theirs, on=keys, how="left")
    others = theirs.merge(ours, on=keys, how="left")
    others = others[others["seeds"].isna()][beside.columns]
    rows, matched = _match_anchors(anchors, others)
    table = pd.concat([beside, *rows, others.drop(index=matched)], ignore_index=True).astype(whole)
    metric, digits = str(final["metric"].iloc[0]), choose_digits(final["mean"])
    cells = pd.DataFrame(
        {
            "batch size": [_format_count(value) for value in table["batch_size"]],
            "iterations": [_format_count(value) for value in table["iterations"]],
            "nfe": table["nfe"].astype(str),
            f"measured {metric}": [
                format_mean(row["measured"], row["measured_std"], row["seeds"], row["failed"], digits, row["stopped"])
                if row["seeds"] > 0
                else "–"
                for _, row in table.fillna({"seeds": 0, "stopped": 0}).iterrows()
            ],
            f"published {METRIC}": ["–" if pd.isna(value) else f"{value:.2f}" for value in table["published"]],
            "published network": table["network"].fillna("–"),
            "source": table["source"].fillna("–"),
        }
    ).set_axis(table["method"])
    caption = (
        f"Measured here: mean ± standard deviation over seeds of {metric}; {describe_sampling(scores)}. Published: as"
        " their authors print them, not measured here. nfe: evaluations of the network for one image."
    )
    if rows:
        caption += f" {NOT_TRAINED}"
    if published.empty:
        caption += f" On {scores['dataset'].iloc[0]} nothing is published."
    write_table(out, table, cells, title, caption, note)


def _match_anchors(anchors: pd.DataFrame | None, published: pd.DataFrame) -> tuple[list[pd.DataFrame], list[int]]:
    """The rows of anchors, each with its published number where there is one, and which of these they are."""
    import pandas as pd

    from ayt.reporting.anchors import mark

    rows: list[pd.DataFrame] = []
    matched: list[int] = []
    for _, anchor in anchors.iterrows() if anchors is not None else ():
        same = published[(published["method"] == anchor["label"]) & (published["nfe"] == anchor["nfe"])]
        if not pd.isna(anchor["iterations"]):
            same = same[(same["iterations"] == anchor["iterations"]).fillna(False)]
        one = len(same) == 1
        row = same.iloc[:1] if one else pd.DataFrame([{}], columns=published.columns)
        measured = {"measured": anchor["mean"], "seeds": 1, "failed": int(pd.isna(anchor["mean"]))}
        iterations = row["iterations"] if one else anchor["iterations"]
        rows.append(row.assign(method=mark(anchor["label"]), nfe=anchor["nfe"], iterations=iterations, **measured))
        matched += same.index.tolist() if one else []
    return rows, matched


def _format_count(value: Any) -> str:
    import pandas as pd

    return "–" if pd.isna(value) else f"{value:,}"

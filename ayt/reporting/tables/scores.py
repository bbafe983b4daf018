"""Tables of scores, speed and cost: CSV, Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ayt.base.errors import UserError
from ayt.reporting.score_plots import at_end, better, sampling_note
from ayt.base.files import write_text
from ayt.reporting.pages import table_page
from ayt.reporting.speed_up import bound, reaching, speed_ups

GREEK = ("alpha", "beta", "gamma", "epsilon", "kappa", "lambda", "mu", "sigma")
SUFFIXES = ("csv", "md", "tex", "html")
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "≈": r"$\approx$",
    "→": r"$\to$",
    **{letter: rf"$\{name}$" for letter, name in zip("αβγεκλμσ", GREEK, strict=True)},
}


def final_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds at the end of training, by method, batch size and steps.

    The standard deviation is missing where there is one seed. ``failed`` is how many seeds have no finite score; the
    mean is that of the others.

    Raises:
        UserError: there are no scores.
    """
    if scores.empty:
        raise UserError("there are no scores")
    grouped = at_end(scores).groupby(["label", "batch_size", "steps", "metric", "better"], sort=False)
    return grouped.agg(
        mean=("mean", "mean"),
        std=("mean", "std"),
        seeds=("seed", "nunique"),
        failed=("mean", lambda values: int(values.isna().sum())),
        iteration=("iteration", "max"),
        images=("images", "max"),
    ).reset_index()


def write(scores: pd.DataFrame, out: Path, title: str, note: str = "") -> None:
    """Write a table of final scores; the best of each column is bold.

    Args:
        scores: rows of ``scores.csv``.
        out: where to, without ending.
        title: of the table.
        note: what is missing or failed; empty if nothing.

    Raises:
        UserError: there are no scores.
    """
    table = final_scores(scores)
    cells, best = _cells(table)
    ends = sorted(table["iteration"].unique())
    when = f"{ends[0]:,}" if len(ends) == 1 else f"{ends[0]:,} to {ends[-1]:,}"
    metric = ", ".join(table["metric"].unique())
    caption = (
        f"{metric} after {when} iterations, mean ± standard deviation over seeds; {sampling_note(scores)}."
        f" {better(table)}"
    )
    _write(out, table, cells, best, title, caption, note)


def write_published(published: pd.DataFrame, out: Path, title: str) -> None:
    """Write a table of FIDs as others have published them.

    Args:
        published: as `ayt.reporting.published.fids` gives.
        out: where to, without ending.
        title: of the table.

    Raises:
        UserError: nothing is published on the dataset.
    """
    if published.empty:
        raise UserError(f"{out.name}: no FID is published on this dataset")
    text = published.assign(fid=[f"{fid:.2f}" for fid in published["fid"]]).astype(object)
    cells = text.where(published.notna(), "–").set_index("method").astype(str)
    caption = "As their authors print them; not measured here. nfe: evaluations of the network for one image."
    _write(out, published, cells, set(), title, caption)


def write_methods(scores: pd.DataFrame, published: pd.DataFrame, out: Path, title: str, note: str = "") -> None:
    """Write a table of our final scores and, in columns of their own, of published FIDs with their sources.

    A row is a method at a batch size, a number of iterations and of network evaluations for one image (``nfe``): a
    published number stands beside ours where all four are the same.

    Args:
        scores: rows of ``scores.csv`` of one metric.
        published: as `ayt.reporting.published.fids` gives; empty where nothing is published on the dataset.
        out: where to, without ending.
        title: of the table.
        note: what is missing or failed; empty if nothing.

    Raises:
        UserError: there are no scores.
    """
    final = final_scores(scores)
    keys = ["method", "batch_size", "iterations", "nfe"]
    ours = final.rename(columns={"label": "method", "iteration": "iterations", "steps": "nfe"})
    ours = ours[[*keys, "mean", "std", "seeds", "failed"]].rename(columns={"mean": "measured", "std": "measured_std"})
    theirs = published.rename(columns={"fid": "published"}).astype({"nfe": int})
    whole = {"batch_size": "Int64", "iterations": "Int64", "seeds": "Int64", "failed": "Int64"}
    beside = ours.merge(theirs, on=keys, how="left")
    others = theirs.merge(ours, on=keys, how="left")
    others = others[others["seeds"].isna()][beside.columns]
    table = pd.concat([beside, others], ignore_index=True).astype(whole)
    metric, digits = str(final["metric"].iloc[0]), _digits(final["mean"])
    cells = pd.DataFrame(
        {
            "batch size": [_whole(value) for value in table["batch_size"]],
            "iterations": [_whole(value) for value in table["iterations"]],
            "nfe": table["nfe"].astype(str),
            f"measured {metric}": [
                _mean(row["measured"], row["measured_std"], row["seeds"], row["failed"], digits)
                if row["seeds"] > 0
                else "–"
                for _, row in table.fillna({"seeds": 0}).iterrows()
            ],
            "published FID": ["–" if pd.isna(value) else f"{value:.2f}" for value in table["published"]],
            "published network": table["network"].fillna("–"),
            "source": table["source"].fillna("–"),
        }
    ).set_axis(table["method"])
    caption = (
        f"Measured here: mean ± standard deviation over seeds of {metric}; {sampling_note(scores)}. Published: as their"
        " authors print them, not measured here. nfe: evaluations of the network for one image."
    )
    if published.empty:
        caption += f" On {scores['dataset'].iloc[0]} nothing is published."
    _write(out, table, cells, set(), title, caption, note)


def write_speed_ups(scores: pd.DataFrame, out: Path, title: str, reference: str, note: str = "") -> None:
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
    table = speed_ups(scores, reference)
    if table.empty:
        raise UserError(f"{out.name}: no method shares a batch size with {reference!r}, whose scores are the aim")
    text = [_speed_up(row) for _, row in table.iterrows()]
    columns = [_column(steps, size, None) for steps, size in zip(table["steps"], table["batch_size"], strict=True)]
    order = table.assign(column=columns).sort_values(["steps", "batch_size"])["column"].unique()
    cells = table.assign(text=text, column=columns).pivot_table(
        index="label", columns="column", values="text", aggfunc="first", sort=False, fill_value="–"
    )[order]
    label = scores.loc[scores["method"] == reference, "label"].iloc[0]
    caption = (
        f"How many times fewer iterations than {label} needs to reach the {table['metric'].iloc[0]} that it ends with:"
        " median (lowest to highest) over pairs of runs, and in how many pairs it was reached; not reached counts as 0."
        f" ≥: in some pairs at the first scored snapshot already; ≤: in some {label} was there at its first; ≈: both."
        f" Runs of {label} whose last score is not finite are left out. {sampling_note(scores)}."
    )
    _write(out, table, cells, set(), title, caption, note)


def write_reaching(scores: pd.DataFrame, out: Path, title: str, targets: Sequence[float], note: str = "") -> None:
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
    if scores.empty:
        raise UserError("there are no scores")
    table = reaching(scores, targets)
    sign = "≥" if scores["better"].iloc[0] == "higher" else "≤"
    metric = str(scores["metric"].iloc[0])
    columns = [
        f"{steps} {'step' if steps == 1 else 'steps'}, {sign} {target:g}"
        for steps, target in zip(table["steps"], table["target"], strict=True)
    ]
    rows = [f"{label}, batch {size}" for label, size in zip(table["label"], table["batch_size"], strict=True)]
    cells = table.assign(row=rows, column=columns, text=[_reached(row) for _, row in table.iterrows()]).pivot_table(
        index="row", columns="column", values="text", aggfunc="first", sort=False, fill_value="–"
    )
    caption = (
        f"Iterations after which {metric} is {sign} the value: median (lowest to highest) over the runs that reach it,"
        f" on straight lines between scored snapshots, and how many do. ≤: some at the first scored snapshot already."
        f" {sampling_note(scores)}."
    )
    _write(out, table, cells, set(), title, caption, note)


def write_cost(costs: pd.DataFrame, out: Path, title: str, note: str = "") -> None:
    """Write a table of what training cost.

    Args:
        costs: as `ayt.reporting.costs.costs` gives.
        out: where to, without ending.
        title: of the table.
        note: what is missing or failed; empty if nothing.

    Raises:
        UserError: nothing was trained yet.
    """
    if costs.empty:
        raise UserError("nothing was trained yet")
    unit = "GPUs" if (costs["gpus"] > 0).all() else "CPU" if (costs["gpus"] == 0).all() else "GPUs or CPU"
    cells = pd.DataFrame(
        {
            "batch size": costs["batch_size"].astype(str),
            "runs": costs["runs"].astype(str),
            "images seen": [f"{images:,.0f}" for images in costs["images"]],
            "run": _hours(costs["hours"]),
            "classifier": _hours(costs["classifier_hours"]),
            "start": _hours(costs["start_hours"]),
            "total": _hours(costs["total_hours"]),
            "peak memory": [
                "–" if pd.isna(memory) else f"{memory / 1000:.2f} GB" for memory in costs["peak_memory_mb"]
            ],
        }
    ).set_axis(costs["label"])
    caption = (
        f"Time of one run on its {unit} (on several GPUs, the sum of theirs), mean over seeds: its own training, that"
        " of its feature network, that of the weights it starts from (– where there is none, or it was published), and"
        " their sum. What several runs share is counted in full for each, though it is trained once. Time is images"
        " seen by images per second in the training logs, whatever else the machine was doing: jobs that ran side by"
        " side slowed each other. Scoring is not counted. Peak memory: of one process, on its GPU if it has one."
    )
    _write(out, costs, cells, set(), title, caption, note)


def write_missing(out: Path, title: str, reason: str) -> None:
    """Write what stands in a table's place until it can be made: why it is not."""
    cells = pd.DataFrame({"reason": [reason]}, index=["not made yet"])
    _write(out, pd.DataFrame({"missing": [reason]}), cells, set(), title, "")


def _hours(values: pd.Series[Any]) -> list[str]:
    return [_duration(3600 * hours) for hours in values]


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "–"
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.2g} s"


def _whole(value: Any) -> str:
    return "–" if pd.isna(value) else f"{value:,}"


def _reached(row: pd.Series[Any]) -> str:
    if not row["reached"]:
        return f"0 of {row['runs']}"
    sign = "≤ " if row["at_first"] else ""
    spread = "" if row["reached"] == 1 else f" ({row['low']:,.0f}–{row['high']:,.0f})"
    return f"{sign}{row['median']:,.0f}{spread}, {row['reached']} of {row['runs']}"


def _speed_up(row: pd.Series[Any]) -> str:
    if not row["pairs"]:
        return "reference failed"
    if not row["reached"]:
        return f"0 of {row['pairs']}"
    sign = bound(row["at_least"], row["at_most"])
    return f"{sign}{row['median']:.1f}× ({row['low']:.1f}–{row['high']:.1f}), {row['reached']} of {row['pairs']}"


def _cells(table: pd.DataFrame) -> tuple[pd.DataFrame, set[tuple[str, str]]]:
    """The table as text, methods down and batch sizes across, and which cells are the best of their column."""
    table = table.assign(
        column=[
            _column(steps, size, metric if table["metric"].nunique() > 1 else None)
            for steps, size, metric in zip(table["steps"], table["batch_size"], table["metric"], strict=True)
        ]
    )
    order = table.sort_values(["metric", "steps", "batch_size"])["column"].unique()
    digits = _digits(table["mean"])
    text = [_mean(row["mean"], row["std"], row["seeds"], row["failed"], digits) for _, row in table.iterrows()]
    cells = table.assign(text=text).pivot_table(
        index="label", columns="column", values="text", aggfunc="first", sort=False, fill_value="–"
    )[order]
    whole = table[table["failed"] == 0]  # a mean over what is left of some runs is no merit
    merit = whole["mean"].where(whole["better"] == "higher", -whole["mean"])
    best = whole.loc[merit.groupby(whole["column"]).idxmax()]
    return cells, set(zip(best["label"], best["column"], strict=True))


def _digits(values: pd.Series[Any]) -> int:
    """Decimals that such values are written with."""
    return 2 if values.abs().max() >= 1 else 4


def _mean(mean: float, std: float, seeds: int, failed: int, digits: int) -> str:
    """``62.64 ± 25.34``; failures are said."""
    if failed == seeds:
        return "failed"
    text = f"{mean:.{digits}f}" if pd.isna(std) else f"{mean:.{digits}f} ± {std:.{digits}f}"
    return f"{text}, {failed} of {seeds} failed" if failed else text


def _column(steps: int, size: int, metric: str | None) -> str:
    column = f"{steps} {'step' if steps == 1 else 'steps'}, batch {size}"
    return f"{metric}, {column}" if metric else column


def _write(
    out: Path,
    table: pd.DataFrame,
    cells: pd.DataFrame,
    best: set[tuple[str, str]],
    title: str,
    caption: str,
    note: str = "",
) -> None:
    """Write a table with all endings: its numbers as CSV, its text, best cells bold, in the others."""
    caption = " ".join(part for part in (caption, note) if part)
    titled = f"{title}. {caption}" if title else caption
    files = {
        "csv": table.to_csv(index=False, lineterminator="\n"),
        "md": _markdown(cells, best, titled),
        "tex": _latex(cells, best, titled),
    }
    for suffix, text in files.items():
        write_text(out.with_suffix(f".{suffix}"), text)
    write_text(out.with_suffix(".html"), table_page(out.name, title, caption, cells, best, files))


def _markdown(cells: pd.DataFrame, best: set[tuple[str, str]], caption: str) -> str:
    lines = [f"| method | {' | '.join(cells.columns)} |", f"|---|{'---:|' * len(cells.columns)}"]
    for label, row in cells.iterrows():
        parts = [f"**{value}**" if (label, column) in best else value for column, value in row.items()]
        lines.append(f"| {str(label).replace('|', chr(92) + '|')} | {' | '.join(parts)} |")
    return "\n".join([*lines, "", caption, ""])


def _latex(cells: pd.DataFrame, best: set[tuple[str, str]], caption: str) -> str:
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_escape(caption)}}}",
        f"\\begin{{tabular}}{{l{'r' * len(cells.columns)}}}",
        "\\toprule",
        " & ".join(["method", *map(_escape, cells.columns)]) + r" \\",
        "\\midrule",
    ]
    for label, row in cells.iterrows():
        parts = [
            f"\\textbf{{{_escape(value)}}}" if (label, column) in best else _escape(value)
            for column, value in row.items()
        ]
        lines.append(" & ".join([_escape(str(label)), *parts]) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""])


def _escape(text: object) -> str:
    return "".join(LATEX_ESCAPES.get(character, character) for character in str(text))

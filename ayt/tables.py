"""Tables of scores: CSV, Markdown and LaTeX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ayt.errors import UserError
from ayt.figures.scores import at_end, better, sampling_note
from ayt.files import write_text
from ayt.speed import speed_ups

SUFFIXES = ("csv", "md", "tex")
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
}


def final_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds at the end of training, by method, batch size and steps.

    The standard deviation is missing where there is one seed.

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
        iteration=("iteration", "first"),
        images=("images", "first"),
    ).reset_index()


def write(scores: pd.DataFrame, out: Path, title: str) -> None:
    """Write ``out`` with the endings csv, md and tex; the best of each column is bold.

    Args:
        scores: rows of ``scores.csv``.
        out: where to, without ending.
        title: of the table.

    Raises:
        UserError: there are no scores.
    """
    table = final_scores(scores)
    cells, best = _cells(table)
    ends = sorted(table["iteration"].unique())
    when = f"{ends[0]:,}" if len(ends) == 1 else f"{ends[0]:,} to {ends[-1]:,}"
    metric = ", ".join(table["metric"].unique())
    caption = f"{title}. " if title else ""
    caption += f"{metric} after {when} iterations, mean ± standard deviation over seeds; {sampling_note(scores)}. "
    caption += better(table)
    write_text(out.with_suffix(".csv"), table.to_csv(index=False, lineterminator="\n"))
    write_text(out.with_suffix(".md"), _markdown(cells, best, caption))
    write_text(out.with_suffix(".tex"), _latex(cells, best, caption))


def write_published(published: pd.DataFrame, out: Path, title: str) -> None:
    """Write ``out`` with the endings csv, md and tex: FIDs as others have published them.

    Args:
        published: as `ayt.published.fids` gives.
        out: where to, without ending.
        title: of the table.

    Raises:
        UserError: nothing is published on the dataset.
    """
    if published.empty:
        raise UserError(f"{out.name}: no FID is published on this dataset")
    text = published.assign(fid=[f"{fid:.2f}" for fid in published["fid"]]).astype(object)
    cells = text.where(published.notna(), "–").set_index("method").astype(str)
    caption = f"{title}. " if title else ""
    caption += "As their authors print them; not measured here. nfe: evaluations of the network for one image."
    write_text(out.with_suffix(".csv"), published.to_csv(index=False, lineterminator="\n"))
    write_text(out.with_suffix(".md"), _markdown(cells, set(), caption))
    write_text(out.with_suffix(".tex"), _latex(cells, set(), caption))


def write_speed_ups(scores: pd.DataFrame, out: Path, title: str, reference: str) -> None:
    """Write ``out`` with the endings csv, md and tex: how much faster than ``reference`` its last scores are reached.

    Args:
        scores: rows of ``scores.csv`` of one metric.
        out: where to, without ending.
        title: of the table.
        reference: the method that others are compared with.

    Raises:
        UserError: no method shares a batch size with the reference.
    """
    table = speed_ups(scores, reference)
    if table.empty:
        raise UserError(f"{out.name}: no method was trained at a batch size of {reference!r}, whose scores are the aim")
    text = [_speed_up(row) for _, row in table.iterrows()]
    columns = [_column(steps, size, None) for steps, size in zip(table["steps"], table["batch_size"], strict=True)]
    order = table.assign(column=columns).sort_values(["steps", "batch_size"])["column"].unique()
    cells = table.assign(text=text, column=columns).pivot_table(
        index="label", columns="column", values="text", aggfunc="first", sort=False, fill_value="–"
    )[order]
    label = scores.loc[scores["method"] == reference, "label"].iloc[0]
    caption = f"{title}. " if title else ""
    caption += (
        f"How many times fewer iterations than {label} needs to reach the {table['metric'].iloc[0]} that it ends with:"
        " median (lowest to highest) over pairs of runs, and in how many pairs it was reached; not reached counts as 0."
        f" ≥: in some pairs at the first scored snapshot already. {sampling_note(scores)}."
    )
    write_text(out.with_suffix(".csv"), table.to_csv(index=False, lineterminator="\n"))
    write_text(out.with_suffix(".md"), _markdown(cells, set(), caption))
    write_text(out.with_suffix(".tex"), _latex(cells, set(), caption))


def _speed_up(row: pd.Series[Any]) -> str:
    if not row["reached"]:
        return f"0 of {row['pairs']}"
    sign = "≥ " if row["at_least"] else ""
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
    digits = 2 if table["mean"].abs().max() >= 1 else 4
    text = [
        f"{mean:.{digits}f}" if pd.isna(std) else f"{mean:.{digits}f} ± {std:.{digits}f}"
        for mean, std in zip(table["mean"], table["std"], strict=True)
    ]
    cells = table.assign(text=text).pivot_table(
        index="label", columns="column", values="text", aggfunc="first", sort=False, fill_value="–"
    )[order]
    merit = table["mean"].where(table["better"] == "higher", -table["mean"])
    best = table.loc[merit.groupby(table["column"]).idxmax()]
    return cells, set(zip(best["label"], best["column"], strict=True))


def _column(steps: int, size: int, metric: str | None) -> str:
    column = f"{steps} {'step' if steps == 1 else 'steps'}, batch {size}"
    return f"{metric}, {column}" if metric else column


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

"""Writing tables: numbers as CSV, text as Markdown, LaTeX and a page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ayt.base.files import write_text
from ayt.reporting.escapes import csv, markdown
from ayt.reporting.latex import escape
from ayt.reporting.pages import table_page
from ayt.reporting.wording import plural


def write_table(
    out: Path,
    table: pd.DataFrame,
    cells: pd.DataFrame,
    title: str,
    caption: str,
    note: str = "",
    best: frozenset[tuple[str, str]] = frozenset(),
) -> None:
    """Write ``out`` with the suffixes csv, md, tex and html.

    Args:
        out: the output path, without suffix.
        table: the numbers.
        cells: the text; the index is the first column.
        title: of the table; empty: none.
        caption: its caption.
        note: what is missing or failed; empty if nothing.
        best: row and column of the bold cells.
    """
    caption = " ".join(part for part in (caption, note) if part)
    titled = f"{title}. {caption}" if title else caption
    files = {
        "csv": csv(table),
        "md": _format_markdown(cells, best, titled),
        "tex": _format_latex(cells, best, titled),
    }
    for suffix, text in files.items():
        write_text(out.with_suffix(f".{suffix}"), text)
    write_text(out.with_suffix(".html"), table_page(out.name, title, caption, cells, best, files))


def write_placeholder(out: Path, title: str, reason: str) -> None:
    """Write a placeholder until a table can be made, saying why it is missing."""
    cells = pd.DataFrame({"reason": [reason]}, index=["not made yet"])
    write_table(out, pd.DataFrame({"missing": [reason]}), cells, title, "")


def name_column(steps: int, size: int) -> str:
    """The name of the column for a number of sampling steps and a batch size."""
    return f"{plural(steps, 'step')}, batch {size}"


def _format_markdown(cells: pd.DataFrame, best: frozenset[tuple[str, str]], caption: str) -> str:
    heads = ["method", *(markdown(column) for column in cells.columns)]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * len(cells.columns)}"]
    for label, row in cells.iterrows():
        texts = {column: markdown(str(value)) for column, value in row.items()}
        parts = [f"**{text}**" if (label, column) in best else text for column, text in texts.items()]
        lines.append(f"| {' | '.join([markdown(str(label)), *parts])} |")
    return "\n".join([*lines, "", markdown(caption), ""])


def _format_latex(cells: pd.DataFrame, best: frozenset[tuple[str, str]], caption: str) -> str:
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{escape(caption)}}}",
        f"\\begin{{tabular}}{{l{'r' * len(cells.columns)}}}",
        "\\toprule",
        " & ".join(["method", *map(escape, map(str, cells.columns))]) + r" \\",
        "\\midrule",
    ]
    for label, row in cells.iterrows():
        parts = [
            f"\\textbf{{{escape(str(value))}}}" if (label, column) in best else escape(str(value))
            for column, value in row.items()
        ]
        lines.append(" & ".join([escape(str(label)), *parts]) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""])

"""How tables are written: numbers as CSV, text as Markdown, LaTeX and a page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ayt.base.files import write_text
from ayt.reporting.pages import table_page
from ayt.reporting.wording import plural

GREEK = ("alpha", "beta", "gamma", "epsilon", "kappa", "lambda", "mu", "sigma")
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


def write_table(
    out: Path,
    table: pd.DataFrame,
    cells: pd.DataFrame,
    title: str,
    caption: str,
    note: str = "",
    best: frozenset[tuple[str, str]] = frozenset(),
) -> None:
    """Write ``out`` with the endings csv, md, tex and html.

    Args:
        out: where to, without ending.
        table: the numbers.
        cells: the text; the index is the first column.
        title: of the table; empty: none.
        caption: what is in it.
        note: what is missing or failed; empty if nothing.
        best: row and column of the cells that are bold.
    """
    caption = " ".join(part for part in (caption, note) if part)
    titled = f"{title}. {caption}" if title else caption
    files = {
        "csv": table.to_csv(index=False, lineterminator="\n"),
        "md": _format_markdown(cells, best, titled),
        "tex": _format_latex(cells, best, titled),
    }
    for suffix, text in files.items():
        write_text(out.with_suffix(f".{suffix}"), text)
    write_text(out.with_suffix(".html"), table_page(out.name, title, caption, cells, best, files))


def write_placeholder(out: Path, title: str, reason: str) -> None:
    """Write what stands in a table's place until it can be made: why it is not."""
    cells = pd.DataFrame({"reason": [reason]}, index=["not made yet"])
    write_table(out, pd.DataFrame({"missing": [reason]}), cells, title, "")


def name_column(steps: int, size: int) -> str:
    """What the column of a number of sampling steps and a batch size is called."""
    return f"{plural(steps, 'step')}, batch {size}"


def _format_markdown(cells: pd.DataFrame, best: frozenset[tuple[str, str]], caption: str) -> str:
    lines = [f"| method | {' | '.join(cells.columns)} |", f"|---|{'---:|' * len(cells.columns)}"]
    for label, row in cells.iterrows():
        parts = [f"**{value}**" if (label, column) in best else value for column, value in row.items()]
        lines.append(f"| {str(label).replace('|', chr(92) + '|')} | {' | '.join(parts)} |")
    return "\n".join([*lines, "", caption, ""])


def _format_latex(cells: pd.DataFrame, best: frozenset[tuple[str, str]], caption: str) -> str:
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

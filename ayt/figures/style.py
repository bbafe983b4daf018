"""How figures look, and how they are written."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ayt.errors import UserError
from ayt.files import write_text, written_beside

WIDTH = 7.0
"""Inches: the text width of a two-column paper."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
"""Okabe and Ito's palette, told apart with every kind of colour blindness."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))

RC: Any = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
}
SUFFIXES = ("pdf", "png", "csv")


def new_figure(height: float) -> Figure:
    """A figure of the text's width; make it inside ``rc_context(RC)``."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    return figure


def finish(figure: Figure, out: Path, title: str, caption: str, table: pd.DataFrame) -> None:
    """Write ``out`` with the endings pdf, png and csv: the figure, and the numbers that it shows.

    The same figure gives the same bytes: no dates are written.
    """
    if title:
        figure.suptitle(title, fontsize=9.5)
    if caption:
        figure.supxlabel("\n".join(textwrap.wrap(caption, 125)), fontsize=7, color="#333333", x=0.01, ha="left")
    for suffix, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        with written_beside(out.with_suffix(f".{suffix}")) as beside:
            figure.savefig(beside, dpi=200, metadata=metadata)
    write_text(out.with_suffix(".csv"), table.to_csv(index=False, lineterminator="\n"))


def plural(count: int, thing: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def require(scores: pd.DataFrame, steps: list[int]) -> None:
    """Raise UserError unless there are scores at each of these numbers of steps."""
    for number in steps:
        if not (scores["steps"] == number).any():
            present = ", ".join(map(str, sorted(scores["steps"].unique()))) or "none"
            raise UserError(f"no scores with {number} sampling steps; there are scores with: {present}")

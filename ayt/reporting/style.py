"""The look of figures, and how they are written."""

from __future__ import annotations

import textwrap
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter

from ayt.base.files import write_beside, write_text
from ayt.reporting.escapes import csv, mathtext, strip_mathtext
from ayt.reporting.fonts import use_fonts_with_all_characters
from ayt.reporting.pages import figure_page

WIDTH = 7.0
"""The text width of a two-column paper, in inches."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
"""Okabe and Ito's palette, distinguishable with every kind of colour blindness."""

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
DPI = 200


TITLE = 9.5
"""Size of a title, in points."""

LINE, SHORT = 0.117, 5
"""Height of a line of a caption, in inches, and lines that figures have room for."""


def new_figure(height: float) -> Figure:
    """A figure of text width; create it inside ``rc_context(RC)``."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    return figure


def scale_logarithmically(panel: Axes, which: str) -> None:
    """Make the axis ``which``, ``"x"`` or ``"y"``, logarithmic; what is not positive is left out.

    Ticks are at 1, 2 and 5 times powers of 10, as plain numbers; where that would be many, at powers of 10.
    """
    axis, scale = (panel.xaxis, panel.set_xscale) if which == "x" else (panel.yaxis, panel.set_yscale)
    scale("log", nonpositive="mask")
    axis.set_major_locator(_LogTicks())
    axis.set_major_formatter(_LogNumbers())
    axis.set_minor_formatter(NullFormatter())


class _LogTicks(LogLocator):
    def tick_values(self, vmin: float, vmax: float) -> Any:
        self.set_params(subs=(1, 2, 5) if _few(vmin, vmax) else (1,))
        return super().tick_values(vmin, vmax)


class _LogNumbers(LogFormatterSciNotation):
    def __call__(self, x: float, pos: int | None = None) -> str:
        assert self.axis
        if _few(*self.axis.get_view_interval()):
            return f"{x:g}"
        return str(super().__call__(x, pos))


def _few(low: float, high: float) -> bool:
    """Whether a logarithmic axis has room for numbers between powers of 10."""
    low, high = sorted((low, high))
    return high < 300 * low


def show_row(panel: Axes, images: np.ndarray, label: str) -> None:
    """Show images side by side, with pixels as squares, a gap in between, and a label on the left.

    Args:
        panel: the panel to draw in.
        images: (n, 1 or 3, H, W) uint8.
        label: of the row.
    """
    height, width = images.shape[2:]
    gap = max(1, width // 16)
    canvas = np.full((height, len(images) * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        canvas[:, index * (width + gap) : index * (width + gap) + width] = np.moveaxis(image, 0, 2)
    panel.imshow(canvas, interpolation="nearest", aspect="equal")
    panel.set_xticks([])
    panel.set_yticks([])
    panel.grid(visible=False)
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.set_ylabel(mathtext(label), rotation=0, ha="right", va="center", fontsize=7.5)


def finish(figure: Figure, out: Path, title: str, caption: str, table: pd.DataFrame) -> None:
    """Write ``out`` with the suffixes pdf, png, csv and html: the figure, its numbers, and a page with everything.

    The same figure gives the same bytes: no dates are written.
    """
    caption = f"{caption} {use_fonts_with_all_characters(figure, title + caption)}".strip()
    seen = describe_picture(figure, title or out.name)
    # The page has title and caption as text.
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    heading = textwrap.wrap(title, 95)
    if heading:
        figure.suptitle(mathtext("\n".join(heading)), fontsize=TITLE)
    if caption:
        lines = textwrap.wrap(caption, 125)
        # A long caption takes nothing of the panels' height.
        figure.set_figheight(figure.get_figheight() + LINE * max(0, len(lines) - SHORT))
        figure.supxlabel(mathtext("\n".join(lines)), fontsize=7, color="#333333", x=0.01, ha="left")
    use_fonts_with_all_characters(figure)
    if heading and figure.legends:
        # A long title reaches over the legend's place. Once all has its place, the legend moves below the title.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        below = 1 - len(heading) * 1.6 * TITLE / 72 / figure.get_figheight()
        for legend in figure.legends:
            legend.set_bbox_to_anchor((0, 0, 1, below), transform=figure.transFigure)
    for suffix, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        with write_beside(out.with_suffix(f".{suffix}")) as beside:
            figure.savefig(beside, dpi=DPI, metadata=metadata)
    write_text(out.with_suffix(".csv"), csv(table))
    files = {suffix: out.with_suffix(f".{suffix}").read_bytes() for suffix in ("png", "pdf", "csv")}
    write_text(out.with_suffix(".html"), figure_page(out.name, title, caption, seen, picture.getvalue(), files))


def describe_picture(figure: Figure, title: str) -> str:
    """A description of a figure in words: its panels with axes, and its legend; the caption says the rest."""
    panels = []
    for number, panel in enumerate((panel for panel in figure.axes if panel.get_visible() and panel.axison), start=1):
        head = panel.get_title() or f"panel {number}"
        axes = [("across", panel.get_xlabel()), ("up", panel.get_ylabel())]
        panels.append(", ".join([head, *(f"{where} {text}" for where, text in axes if text)]))
    legends = [*figure.legends, *(legend for panel in figure.axes if (legend := panel.get_legend()))]
    entries = dict.fromkeys(text.get_text() for legend in legends for text in legend.get_texts())
    parts = [title, *panels, *([f"legend: {', '.join(entries)}"] if entries else [])]
    return strip_mathtext(" ".join(". ".join(part.rstrip(".") for part in parts).split()) + ".")


def write_placeholder(out: Path, title: str, reason: str) -> None:
    """Write a placeholder until a figure can be drawn: a page that says why it is missing."""
    with rc_context(RC):
        figure = new_figure(1.2)
        figure.text(0.5, 0.45, mathtext("\n".join(textwrap.wrap(reason, 100))), ha="center", va="center")
        finish(figure, out, title, "", pd.DataFrame({"missing": [reason]}))

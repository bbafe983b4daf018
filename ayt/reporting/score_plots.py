"""What figures of scores have in common: panels, axes, colours of methods, crosses for failures."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ayt.base.errors import UserError
from ayt.reporting.escapes import mathtext
from ayt.reporting.style import COLOURS, MARKERS, new_figure, scale_logarithmically
from ayt.reporting.summaries import at_end

_RING: Any = {"linestyle": "", "marker": "o", "markerfacecolor": "none", "markeredgewidth": 1.2, "clip_on": False}

STEP_NAMES = {1: "one step", 2: "two steps"}


class Layout(NamedTuple):
    """A figure of scores before anything is drawn.

    Attributes:
        figure: the whole figure.
        panels: one per metric and number of steps, each with its rows.
        methods: labels of the methods that are shown, in the order of their colours.
        sizes: batch sizes that are shown, ascending.
    """

    figure: Figure
    panels: list[tuple[Axes, pd.DataFrame]]
    methods: list[Hashable]
    sizes: list[Hashable]


def choose_steps(scores: pd.DataFrame, steps: list[int]) -> pd.DataFrame:
    """The rows with these numbers of steps; all if none is given.

    Raises:
        UserError: there are none for one of the numbers.
    """
    for number in steps:
        if not (scores["steps"] == number).any():
            present = ", ".join(map(str, sorted(scores["steps"].unique()))) or "none"
            raise UserError(f"no scores with {number} sampling steps; there are scores with: {present}")
    return scores[scores["steps"].isin(steps)] if steps else scores


def lay_out(table: pd.DataFrame) -> Layout:
    """Make a figure with one panel per metric and number of steps."""
    # A line more for each entry of the legend that would not fit beside the panels.
    figure = new_figure(3.3 + 0.16 * max(0, table["label"].nunique() - 10))
    shown = table[["steps", "metric"]].drop_duplicates().sort_values("steps", kind="stable")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    one_metric = table["metric"].nunique() == 1
    panels = []
    for panel, steps, metric in zip(axes, shown["steps"], shown["metric"], strict=True):
        panel.set_title(STEP_NAMES.get(steps, f"{steps} steps") if one_metric else mathtext(metric))
        panels.append((panel, table[(table["steps"] == steps) & (table["metric"] == metric)]))
    name = str(shown["metric"].iloc[0])
    _name_score_axis(axes[0], table, name if one_metric else name.partition(" (")[0])
    return Layout(figure, panels, list(dict.fromkeys(table["label"])), sorted(table["batch_size"].unique()))


def look_of(method: int) -> tuple[str, str]:
    """Colour and marker of a method, by its index among those shown."""
    return COLOURS[method % len(COLOURS)], MARKERS[method % len(MARKERS)]


def method_handles(methods: list[Hashable]) -> list[Line2D]:
    """The legend entries of methods."""
    looks = [look_of(index) for index in range(len(methods))]
    return [
        Line2D([], [], color=colour, marker=marker, markersize=4, label=mathtext(str(label)))
        for label, (colour, marker) in zip(methods, looks, strict=True)
    ]


def mark_failures(panel: Axes, places: Any, colour: str) -> None:
    """Mark scores that are not finite with crosses at the panel's upper edge."""
    if len(places):
        height = np.full(len(places), 0.97)
        at_edge = panel.get_xaxis_transform()
        panel.plot(places, height, "x", color=colour, markersize=6, markeredgewidth=1.8, transform=at_edge)


def failure_handles(failures: int) -> list[Line2D]:
    """The legend entry for crosses, if there are any."""
    return [Line2D([], [], linestyle="", marker="x", color="#555555", label="failed")] if failures else []


def mark_stops(panel: Axes, rows: pd.DataFrame, x: str, colour: str) -> None:
    """Ring the last scores of runs that were stopped before their end.

    Args:
        panel: that they are drawn in.
        rows: scores of runs, with a column ``stopped``; those of each run's end are ringed.
        x: the column that tells where.
        colour: of the method.
    """
    # A line of no points that is not clipped would leave no room for anything else.
    if "stopped" in rows and rows["stopped"].any():
        ends = at_end(rows[rows["stopped"]])
        panel.plot(ends[x], ends["mean"], color=colour, markersize=9, **_RING)


def stop_handles(rows: pd.DataFrame) -> list[Line2D]:
    """The legend's entry for rings, if there are any."""
    rings = "stopped" in rows and rows["stopped"].any()
    return [Line2D([], [], color="#555555", markersize=7, label="stopped", **_RING)] if rings else []


def start_at_zero(panels: list[tuple[Axes, pd.DataFrame]]) -> None:
    """Start linear axes of non-negative metrics at 0. Call it after drawing: it turns off automatic limits."""
    panel = panels[0][0]
    if panel.get_yscale() == "linear" and min(rows["mean"].min() for _, rows in panels) >= 0:
        highest = max(rows["mean"].max() for _, rows in panels)
        panel.set_ylim(bottom=0, top=max(1.06 * highest, panel.get_ylim()[1]))


def _name_score_axis(panel: Axes, table: pd.DataFrame, name: str) -> None:
    """Name the axis after the metric; logarithmic if scores differ by more than a factor of 5."""
    panel.set_ylabel(mathtext(name))
    if table["mean"].min() > 0 and table["mean"].max() > 5 * table["mean"].min():
        scale_logarithmically(panel, "y")

"""Figures of scores: over training, and at its end."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from ayt.reporting.style import COLOURS, LINES, MARKERS, RC, finish, new_figure, plural, require

KEY = ["method", "label", "batch_size", "steps", "metric", "better"]
PUBLISHED: Any = {"linewidth": 0.7, "linestyle": (0, (6, 2))}
STEP_NAMES = {1: "one step", 2: "two steps"}


def over_seeds(scores: pd.DataFrame, band: Literal["seeds", "repeats"] = "seeds") -> pd.DataFrame:
    """Mean, lowest and highest score over seeds, by method, batch size, steps, metric and iteration.

    ``failed`` is how many seeds have no finite score there; the others' are averaged. ``band``: what ``low`` and
    ``high`` span: seeds, or sampling runs of all seeds; both are missing where there is only one.
    """
    grouped = scores.groupby([*KEY, "iteration"], sort=False)
    table = grouped.agg(
        images=("images", "first"),
        mean=("mean", "mean"),
        low=("min" if band == "repeats" else "mean", "min"),
        high=("max" if band == "repeats" else "mean", "max"),
        seeds=("seed", "nunique"),
        failed=("mean", lambda values: int(values.isna().sum())),
        repeats=("repeats", "min"),
    ).reset_index()
    alone = (table["repeats"] if band == "repeats" else table["seeds"] - table["failed"]) <= 1
    table.loc[alone, ["low", "high"]] = np.nan
    return table.drop(columns="repeats")


def at_end(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last iteration."""
    return scores[scores["iteration"] == scores.groupby("run")["iteration"].transform("max")]


def sampling_note(scores: pd.DataFrame) -> str:
    """How many seeds, repeats and samples the numbers rest on."""
    seeds = sorted(scores.groupby(["method", "batch_size"])["seed"].nunique().unique())
    repeats, samples = int(scores["repeats"].max()), int(scores["samples"].max())
    many = plural(int(seeds[0]), "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    return f"n = {many} a point; each score is the mean of {plural(repeats, 'sampling run')} of {samples:,} images"


def curves(
    scores: pd.DataFrame,
    out: Path,
    title: str,
    steps: list[int],
    published: pd.DataFrame | None = None,
    band: Literal["seeds", "repeats"] = "seeds",
    notes: str = "",
) -> None:
    """Draw scores over iterations, one panel for each number of steps.

    Colour and marker tell the method, the line's dashes the batch size. Scores that are not finite are crosses at the
    upper edge. Published curves are thin and dashed, in the colour of the method of that name, as far as our runs go;
    they are not in the CSV.

    Args:
        scores: rows of ``scores.csv``.
        out: where to, without ending.
        title: of the figure.
        steps: numbers of sampling steps.
        published: one-step FIDs: method, batch_size, iteration, fid.
        band: what the bands span, seeds or sampling runs.
        notes: more to say below: what the curves claim, what is missing.

    Raises:
        UserError: there are no such scores.
    """
    require(scores, steps)
    table = over_seeds(scores[scores["steps"].isin(steps)], band)
    with rc_context(RC):
        figure, panels, methods, sizes = _panels(table)
        for panel, shown in panels:
            for (label, size), line in shown.groupby(["label", "batch_size"], sort=False):
                method = methods.index(label)
                colour = COLOURS[method % len(COLOURS)]
                panel.fill_between(line["iteration"], line["low"], line["high"], color=colour, alpha=0.15, linewidth=0)
                panel.plot(
                    line["iteration"],
                    line["mean"],
                    color=colour,
                    marker=MARKERS[method % len(MARKERS)],
                    markersize=4,
                    markerfacecolor=colour if size == sizes[-1] else "white",
                    linestyle=LINES[(len(sizes) - 1 - sizes.index(size)) % len(LINES)],
                )
                _cross(panel, line.loc[line["failed"] > 0, "iteration"], colour)
            panel.set_xlabel("training iterations")
            panel.set_xlim(left=0)
        theirs = _draw_published(panels, table, methods, published)
        _from_zero(panels)
        handles = _method_handles(methods) + [
            Line2D(
                [], [], color="#555555", linestyle=LINES[(len(sizes) - 1 - i) % len(LINES)], label=f"batch size {size}"
            )
            for i, size in enumerate(sizes if len(sizes) > 1 else [])
        ]
        if theirs:
            handles.append(Line2D([], [], color="#555555", **PUBLISHED, label="published, with\nbatch size at its end"))
        handles += _failure_handles(int(table["failed"].sum()))
        figure.legend(handles=handles, loc="outside right center", frameon=False)
        caption = f"{better(table)} {_band_note(table, band)} {sampling_note(scores)}. {notes}"
        finish(figure, out, title, caption.strip(), table)


def _band_note(table: pd.DataFrame, band: str) -> str:
    """What lines and bands are; where there is one seed there is no band, and that is said."""
    has = table["low"].notna()
    what = "sampling runs of all seeds" if band == "repeats" else "seeds"
    if not has.any():
        if table["failed"].any():
            return "Lines: means of what is finite, of which there is too little for bands."
        return f"Lines: one {'sampling run' if band == 'repeats' else 'seed'}, so there are no bands."
    single = sorted(table.loc[table["seeds"] == 1, "label"].unique()) if band == "seeds" else []
    without = f" (one seed, no band: {', '.join(single)})" if single else ""
    return f"Lines: means; bands: lowest to highest of the {what}{without}."


def _cross(panel: Axes, places: Any, colour: str) -> None:
    """Mark scores that are not finite at the panel's upper edge."""
    if len(places):
        height = np.full(len(places), 0.97)
        at_edge = panel.get_xaxis_transform()
        panel.plot(places, height, "x", color=colour, markersize=6, markeredgewidth=1.8, transform=at_edge)


def _failure_handles(failures: int) -> list[Line2D]:
    """The legend's entry for crosses, if there are any."""
    return [Line2D([], [], linestyle="", marker="x", color="#555555", label="failed")] if failures else []


def _draw_published(
    panels: list[tuple[Axes, pd.DataFrame]], table: pd.DataFrame, methods: list[Hashable], curves: pd.DataFrame | None
) -> bool:
    """Draw the published curves of the methods shown into the panel of one-step FIDs; whether there were any."""
    labels = dict(zip(table["method"], table["label"], strict=True))
    drawn = False
    for panel, shown in panels:
        if curves is None or shown["metric"].iloc[0] != "FID" or shown["steps"].iloc[0] != 1:
            continue
        reached = curves[curves["iteration"] <= shown["iteration"].max()]
        for (method, size), line in reached.groupby(["method", "batch_size"], sort=False):
            if method in labels:
                index = methods.index(labels[method])
                colour = COLOURS[index % len(COLOURS)]
                panel.plot(line["iteration"], line["fid"], color=colour, **PUBLISHED)
                end = (line["iteration"].iloc[-1], line["fid"].iloc[-1])
                beside = (3 + 14 * index, 0)  # lines of different methods end close together
                panel.annotate(
                    f"{size}", end, beside, textcoords="offset points", color=colour, fontsize=6, va="center"
                )
                drawn = True
    return drawn


def final(scores: pd.DataFrame, out: Path, title: str, steps: list[int], notes: str = "") -> None:
    """Draw the score at the end of training by batch size and method: a dot for each seed, a bar for their mean.

    Scores that are not finite are crosses at the upper edge.

    Args:
        scores: rows of ``scores.csv``.
        out: where to, without ending.
        title: of the figure.
        steps: numbers of sampling steps.
        notes: more to say below: what is missing.

    Raises:
        UserError: there are no such scores.
    """
    require(scores, steps)
    rows = at_end(scores[scores["steps"].isin(steps)])
    with rc_context(RC):
        figure, panels, methods, sizes = _panels(rows)
        for panel, shown in panels:
            edges, names, place = [], [], 0.0
            for size in sizes:
                begin = place
                for label in methods:
                    values = shown[(shown["batch_size"] == size) & (shown["label"] == label)]["mean"].to_numpy()
                    if not len(values):
                        continue
                    method = methods.index(label)
                    colour = COLOURS[method % len(COLOURS)]
                    spread = place + np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else [place]
                    panel.plot(spread, values, MARKERS[method % len(MARKERS)], color=colour, markersize=4, alpha=0.8)
                    if np.isfinite(values).any():
                        panel.plot([place - 0.34, place + 0.34], [np.nanmean(values)] * 2, color=colour, linewidth=2)
                    _cross(panel, np.asarray(spread)[np.isnan(values)], colour)
                    place += 1
                edges.append((begin + place - 1) / 2)
                names.append(f"{size}")
                place += 0.8
            panel.set_xticks(edges, names)
            panel.grid(axis="x", visible=False)
            panel.set_xlabel("batch size")
        _from_zero(panels)
        handles = _method_handles(methods) + _failure_handles(int(rows["mean"].isna().sum()))
        figure.legend(handles=handles, loc="outside right center", frameon=False)
        ends = sorted(rows["iteration"].unique())
        when = f"after {ends[0]:,} iterations" if len(ends) == 1 else f"after {ends[0]:,} to {ends[-1]:,} iterations"
        caption = f"{better(rows)} Scores {when}; markers: seeds; bars: their means. {sampling_note(rows)}. {notes}"
        columns = ["label", "batch_size", "seed", "steps", "metric", "iteration", "mean", "repeats", "samples"]
        finish(figure, out, title, caption.strip(), rows[columns])


def better(table: pd.DataFrame) -> str:
    """Whether low or high values are good."""
    return f"{table['better'].iloc[0].capitalize()} is better."


def _panels(
    table: pd.DataFrame,
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]], list[Hashable], list[Hashable]]:
    """A figure with a panel and its rows for each metric and number of steps; the methods and batch sizes shown."""
    figure = new_figure(3.3)
    shown = table[["steps", "metric"]].drop_duplicates().sort_values("steps", kind="stable")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    one_metric = table["metric"].nunique() == 1
    panels = []
    for panel, steps, metric in zip(axes, shown["steps"], shown["metric"], strict=True):
        panel.set_title(STEP_NAMES.get(steps, f"{steps} steps") if one_metric else metric)
        panels.append((panel, table[(table["steps"] == steps) & (table["metric"] == metric)]))
    name = str(shown["metric"].iloc[0])
    _score_axis(axes[0], table, name if one_metric else name.partition(" (")[0])
    return figure, panels, list(dict.fromkeys(table["label"])), sorted(table["batch_size"].unique())


def _method_handles(methods: list[Hashable]) -> list[Line2D]:
    """The legend's entries of methods."""
    return [
        Line2D(
            [], [], color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], markersize=4, label=str(label)
        )
        for i, label in enumerate(methods)
    ]


def _score_axis(panel: Axes, table: pd.DataFrame, name: str) -> None:
    """Name the axis after the metric; logarithmic where scores differ by more than a factor of 5."""
    panel.set_ylabel(name)
    if table["mean"].min() > 0 and table["mean"].max() > 5 * table["mean"].min():
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(ScalarFormatter())
        panel.yaxis.set_minor_formatter(NullFormatter())


def _from_zero(panels: list[tuple[Axes, pd.DataFrame]]) -> None:
    """Let linear axes of what cannot be negative begin at 0. Only once all is drawn: it ends automatic limits."""
    panel = panels[0][0]
    if panel.get_yscale() == "linear" and min(rows["mean"].min() for _, rows in panels) >= 0:
        highest = max(rows["mean"].max() for _, rows in panels)
        panel.set_ylim(bottom=0, top=max(1.06 * highest, panel.get_ylim()[1]))

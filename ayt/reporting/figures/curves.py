"""Figure of scores over training."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ayt.experiment.outputs import FIGURES, Description, Mistakes
from ayt.reporting.chosen_scores import MEASURED, NOT_SHOWN, ScoreFigure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ayt.plan.plan import Plan

Band = Literal["seeds", "repeats"]

PUBLISHED: Any = {"linewidth": 0.7, "linestyle": (0, (6, 2))}
"""The style of published curves."""


@FIGURES.register
class Curves(ScoreFigure):
    """Scores over iterations."""

    name: ClassVar[str] = "curves"
    by_default: ClassVar[bool] = True
    description: ClassVar[Description] = Description(
        shown="the score of every scored snapshot over training, a panel for each number of sampling steps.",
        measured=MEASURED,
        not_shown=NOT_SHOWN,
        in_the_paper="its first figure, for ECT and AYT at batch sizes 16 and 128 on CIFAR-10 in one step; the curves"
        " read off it are drawn thin and dashed where this figure has their method, batch size and metric.",
    )

    band: Band = "seeds"
    """What the bands span: seeds (no band if there is only one), or sampling runs of all seeds."""
    reference: str | None = None
    """The method that others are compared with for speed; absent: the usual one, if it is shown."""

    def check(self, mistakes: Mistakes) -> None:
        """Report what does not fit the experiment."""
        super().check(mistakes)
        named = [self.reference] if self.reference else []
        mistakes.require_known("reference", named, self.shown_methods(mistakes.experiment))

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Draw the existing scores."""
        from ayt.reporting.published import batch_size_curves
        from ayt.reporting.score_plots import choose_steps
        from ayt.reporting.significance import describe_ends

        scores, note = self.read_rows(plan, place)
        scores = choose_steps(scores, self.steps)
        published = batch_size_curves(plan.experiment.dataset)
        published = published[published["batch_size"].isin(scores["batch_size"])]
        reference = self.reference or self.usual_reference(plan.experiment)
        claims = (*describe_ends(scores, reference), describe_speed_ups(scores, reference))
        notes = " ".join(part for part in (*claims, note) if part)
        draw_curves(scores, out, self.title, published, self.band, notes)


def over_seeds(scores: pd.DataFrame, band: Band = "seeds") -> pd.DataFrame:
    """Mean, lowest and highest score over seeds, by method, batch size, steps, metric and iteration.

    ``failed`` is how many seeds have no finite score there; the others' are averaged. ``band``: what ``low`` and
    ``high`` span: seeds, or sampling runs of all seeds; both are missing where there is only one.
    """
    keys = ["method", "label", "batch_size", "steps", "metric", "better", "iteration"]
    table = (
        scores.groupby(keys, sort=False)
        .agg(
            images=("images", "first"),
            mean=("mean", "mean"),
            low=("min" if band == "repeats" else "mean", "min"),
            high=("max" if band == "repeats" else "mean", "max"),
            seeds=("seed", "nunique"),
            failed=("mean", lambda values: int(values.isna().sum())),
            repeats=("repeats", "min"),
        )
        .reset_index()
    )
    alone = (table["repeats"] if band == "repeats" else table["seeds"] - table["failed"]) <= 1
    table.loc[alone, ["low", "high"]] = np.nan
    return table.drop(columns="repeats")


def draw_curves(
    scores: pd.DataFrame,
    out: Path,
    title: str,
    published: pd.DataFrame | None = None,
    band: Band = "seeds",
    notes: str = "",
) -> None:
    """Draw scores over iterations, one panel for each number of steps.

    Colour and marker tell the method, the line's dashes the batch size. Scores that are not finite are crosses at the
    upper edge; the last of a run that was stopped has a ring. Published curves are thin and dashed, in the colour of
    the method of that name, as far as our runs go; they are not in the CSV.

    Args:
        scores: rows of ``scores.csv``.
        out: where to, without ending.
        title: of the figure.
        published: one-step FIDs: method, batch_size, iteration, fid.
        band: what the bands span, seeds or sampling runs.
        notes: more to say below: what the curves claim, what is missing.
    """
    from matplotlib import rc_context
    from matplotlib.lines import Line2D

    from ayt.reporting import score_plots
    from ayt.reporting.style import LINES, RC, finish
    from ayt.reporting.summaries import describe_better, describe_sampling

    table = over_seeds(scores, band)
    with rc_context(RC):
        figure, panels, methods, sizes = score_plots.lay_out(table)
        dashes = {size: LINES[place % len(LINES)] for place, size in enumerate(reversed(sizes))}
        for panel, shown in panels:
            for (label, size), line in shown.groupby(["label", "batch_size"], sort=False):
                colour, marker = score_plots.look_of(methods.index(label))
                panel.fill_between(line["iteration"], line["low"], line["high"], color=colour, alpha=0.15, linewidth=0)
                panel.plot(
                    line["iteration"],
                    line["mean"],
                    color=colour,
                    marker=marker,
                    markersize=4,
                    markerfacecolor=colour if size == sizes[-1] else "white",
                    linestyle=dashes[size],
                )
                score_plots.mark_stops(panel, _rows_of(scores, line), "iteration", colour)
                score_plots.mark_failures(panel, line.loc[line["failed"] > 0, "iteration"], colour)
            panel.set_xlabel("training iterations")
            panel.set_xlim(left=0)
        theirs = published is not None and _draw_published(panels, table, methods, published)
        score_plots.start_at_zero(panels)
        handles = score_plots.method_handles(methods)
        if len(sizes) > 1:
            handles += [
                Line2D([], [], color="#555555", linestyle=dashes[size], label=f"batch size {size}") for size in sizes
            ]
        if theirs:
            handles.append(Line2D([], [], color="#555555", **PUBLISHED, label="published, with\nbatch size at its end"))
        handles += score_plots.failure_handles(int(table["failed"].sum()))
        handles += score_plots.stop_handles(scores)
        figure.legend(handles=handles, loc="outside right upper", frameon=False)
        caption = f"{describe_better(table)} {_describe_bands(table, band)} {describe_sampling(scores)}. {notes}"
        finish(figure, out, title, caption.strip(), table)


def _rows_of(scores: pd.DataFrame, line: pd.DataFrame) -> pd.DataFrame:
    """The scores that a line is the mean of."""
    keys = ["label", "batch_size", "steps", "metric"]
    return scores[(scores[keys] == line[keys].iloc[0]).all(axis=1)]


def _draw_published(
    panels: list[tuple[Axes, pd.DataFrame]], table: pd.DataFrame, methods: list[Hashable], curves: pd.DataFrame
) -> bool:
    """Draw the published curves of the methods shown into the panel of one-step FIDs; whether there were any."""
    from ayt.reporting.published import METRIC
    from ayt.reporting.score_plots import look_of

    labels = dict(zip(table["method"], table["label"], strict=True))
    drawn = False
    for panel, shown in panels:
        if (shown["metric"].iloc[0], shown["steps"].iloc[0]) != (METRIC, 1):
            continue
        reached = curves[curves["iteration"] <= shown["iteration"].max()]
        for (method, size), line in reached.groupby(["method", "batch_size"], sort=False):
            if method in labels:
                index = methods.index(labels[method])
                colour, _ = look_of(index)
                panel.plot(line["iteration"], line["fid"], color=colour, **PUBLISHED)
                end = (line["iteration"].iloc[-1], line["fid"].iloc[-1])
                beside = (3 + 14 * index, 0)  # lines of different methods end close together
                panel.annotate(
                    f"{size}", end, beside, textcoords="offset points", color=colour, fontsize=6, va="center"
                )
                drawn = True
    return drawn


def _describe_bands(table: pd.DataFrame, band: Band) -> str:
    """What lines and bands are; where there is one seed there is no band, and that is said."""
    if not table["low"].notna().any():
        if table["failed"].any():
            return "Lines: means of what is finite, of which there is too little for bands."
        return f"Lines: one {'sampling run' if band == 'repeats' else 'seed'}, so there are no bands."
    what = "sampling runs of all seeds" if band == "repeats" else "seeds"
    single = sorted(table.loc[table["seeds"] == 1, "label"].unique()) if band == "seeds" else []
    without = f" (one seed, no band: {', '.join(single)})" if single else ""
    return f"Lines: means; bands: lowest to highest of the {what}{without}."


def describe_speed_ups(scores: pd.DataFrame, reference: str | None) -> str:
    """What curves claim, in words: how much faster than the reference others reach the scores that it ends with.

    Args:
        scores: rows of ``scores.csv``; of several metrics nothing is claimed.
        reference: a method; where there is none, or the scores have it not, nothing is claimed.
    """
    from ayt.reporting.speed_up import format_bound, speed_ups
    from ayt.reporting.wording import plural

    if reference not in set(scores["method"]) or scores["metric"].nunique() > 1:
        return ""
    found = speed_ups(scores, str(reference))
    found = found[(found["steps"] == found["steps"].min()) & (found["pairs"] > 0)]
    if found.empty:
        return ""
    label = scores.loc[scores["method"] == reference, "label"].iloc[0]
    parts = [
        f"{row.label}, batch size {row.batch_size}: {format_bound(row.at_least, row.at_most)}{row.median:.1f}"
        f" ({row.low:.1f}–{row.high:.1f}), {row.reached} of {row.pairs} pairs"
        for row in found.itertuples()
    ]
    steps = int(found["steps"].iloc[0])
    return (
        f"Speed-up over {label}, {'one step' if steps == 1 else plural(steps, 'step')}: iterations after which {label}"
        " has the score that it ends with, divided by those of the other; median (lowest–highest) over pairs of runs, 0"
        f" where it is not reached, and how many pairs reach it. {'; '.join(parts)}."
    )

"""The summary of a finished experiment, on one screen of plain ASCII: its scores, their order, where to look."""

from __future__ import annotations

import textwrap

import pandas as pd

from ayt.base import paths
from ayt.plan.plan import Plan
from ayt.reporting.significance import describe_ends
from ayt.reporting.summaries import DAGGER, at_end, choose_digits, describe_end, final_scores, format_mean
from ayt.reporting.tables.scores import Scores
from ayt.reporting.wording import plural

WIDTH = 79
LINES = 23
"""With the prompt below, the 24 lines of a classic terminal."""

METHODS, SIZES, COMPARISONS = 8, 4, 2
"""The most rows, columns and sentences; the tables have them all."""

ROWS_AND_CLAIMS = 14
"""Lines for scores and comparisons together: with many methods, comparisons have fewer."""


def closing_lines(plan: Plan) -> list[str]:
    """At most `LINES` lines of at most `WIDTH` characters, long names and paths aside.

    Raises:
        UserError: the scores were not gathered, or there are none.
    """
    experiment = plan.experiment
    table = Scores()
    scores, note = table.read_rows(plan, experiment.name)
    scores = scores[(scores["metric"] == scores["metric"].iloc[0]) & (scores["steps"] == scores["steps"].min())]
    ends, steps = at_end(scores), int(scores["steps"].iloc[0])
    head = (
        f"{experiment.name}: {plural(len(plan.trained), 'run')} of {plural(len(experiment.methods), 'method')} on"
        f" {experiment.dataset.name}. {ends['metric'].iloc[0]} {describe_end(ends)},"
        f" in {'one step' if steps == 1 else plural(steps, 'step')}; {ends['better'].iloc[0]} is better:"
    )
    claims = " ".join(describe_ends(scores, table.usual_reference(experiment))[:COMPARISONS])
    figures = [paths.figure(experiment.name, name, "png") for name in experiment.figures]
    named = {"Look at": figures[:1], "Report": [paths.report(experiment.name)]}
    there = [(what, path) for what, places in named.items() for path in places if path.exists()]
    rows = _table(final_scores(scores))
    return [
        *textwrap.wrap(head, WIDTH),
        "",
        *rows,
        "",
        *textwrap.wrap(claims, WIDTH, max_lines=min(6, ROWS_AND_CLAIMS - len(rows)), placeholder=" ..."),
        *textwrap.wrap(note.replace(DAGGER, "*"), WIDTH, max_lines=2, placeholder=" ..."),
        *([""] if claims or note else []),
        *(f"{what:<10}{path}" for what, path in [*there, ("Scores", paths.scores_table(experiment.name))]),
        f"{'Next':<10}change the experiment and run it again: only what is new is computed",
    ]


def _table(ends: pd.DataFrame) -> list[str]:
    """One row per method, one column per batch size: mean and standard deviation over seeds."""
    digits = choose_digits(ends["mean"])
    sizes = sorted(ends["batch_size"].unique())
    sizes = sizes if len(sizes) <= SIZES else [*sizes[: SIZES // 2], *sizes[-SIZES // 2 :]]
    labels = list(dict.fromkeys(ends["label"]))
    cells = {
        (row["label"], row["batch_size"]): format_mean(
            row["mean"], row["std"], row["seeds"], row["failed"], digits, row["stopped"]
        )
        for row in ends.to_dict("records")
    }
    wide = max(len(str(label)) for label in labels[:METHODS])
    lines = [" " * wide + "".join(f"{f' batch {size}':>15}" for size in sizes)]
    for label in labels[:METHODS]:
        lines.append(f"{label:<{wide}}" + "".join(f" {cells.get((label, size), ''):>14}" for size in sizes))
    lines = [line.rstrip().replace("±", "+/-").replace(DAGGER, "*") for line in lines]
    more = len(labels) - METHODS
    return [*lines, *([f"and {plural(more, 'method')} more"] if more > 0 else [])]

"""Verbs that draw: ``figure``, ``table``, ``draw``, ``summary``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ayt.base.errors import UserError
from ayt.base.sections import choices
from ayt.cli.common import Verbs, add_resolved, read_plan, verb

if TYPE_CHECKING:
    from ayt.experiment.outputs import Output
    from ayt.plan.plan import Plan


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs to the command line."""
    figure = verb(
        verbs,
        "figure",
        run_figure,
        "Draw one figure of an experiment.",
        "ayt figure results/embedded/experiment.yaml batch_size",
    )
    table = verb(
        verbs,
        "table",
        run_table,
        "Write one table of an experiment.",
        "ayt table results/embedded/experiment.yaml batch_sizes",
    )
    draw = verb(
        verbs,
        "draw",
        run_draw,
        "Draw every figure and table from the scores that exist so far, noting what is missing, into"
        " results/EXPERIMENT/so_far: for a look while runs are in training, or after some have failed.",
        "ayt draw results/embedded/experiment.yaml",
    )
    summary = verb(
        verbs,
        "summary",
        run_summary,
        "Print one screen about a finished experiment: its final scores, what they say about the order of methods, and"
        " where its first figure, its report and all scores are.",
        "ayt summary results/embedded/experiment.yaml",
    )
    for added in (figure, table, draw, summary):
        add_resolved(added)
    figure.add_argument("name", metavar="NAME", help="its name in the experiment")
    table.add_argument("name", metavar="NAME", help="its name in the experiment")


def run_figure(options: argparse.Namespace) -> None:
    """Draw one figure beside the experiment."""
    from ayt.base import paths

    plan = read_plan(options)
    _make(plan, "figure", plan.experiment.figures, options, paths.figure)


def run_table(options: argparse.Namespace) -> None:
    """Write one table beside the experiment."""
    from ayt.base import paths

    plan = read_plan(options)
    _make(plan, "table", plan.experiment.tables, options, paths.table)


def _make(
    plan: Plan,
    what: str,
    known: Mapping[str, Output],
    options: argparse.Namespace,
    path: Callable[[str, str, str], Path],
) -> None:
    name = options.name
    if name not in known:
        raise UserError(f"{options.experiment}: has no {what} {name!r}; {choices(name, known)}")
    known[name].make(plan, plan.experiment.name, path(plan.experiment.name, name, "csv").with_suffix(""))


def run_draw(options: argparse.Namespace) -> None:
    """Gather, draw and tabulate what exists."""
    from ayt.base import paths
    from ayt.reporting.drawing import draw_what_is_there

    plan = read_plan(options)
    for problem in draw_what_is_there(plan):
        print(f"not there yet: {problem}")
    print(paths.experiment_folder(paths.partial_name(plan.experiment.name)) / "index.html")


def run_summary(options: argparse.Namespace) -> None:
    """Print one screen: final scores, what they say, and where to look."""
    from ayt.reporting.closing import closing_lines

    print("\n".join(closing_lines(read_plan(options))))

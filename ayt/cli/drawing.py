"""Verbs that draw: ``figure``, ``table``, ``draw``, ``summary``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from ayt.base.errors import UserError
from ayt.cli.common import Verbs, verb


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
        "Draw every figure and table from the scores that exist so far, saying what is missing, into"
        " results/EXPERIMENT/so_far: for a look while runs are being trained, or after some have failed.",
        "ayt draw results/embedded/experiment.yaml",
    )
    summary = verb(
        verbs,
        "summary",
        run_summary,
        "Print a screenful on an experiment that is done: its final scores, what they say of the methods' order, where"
        " its first figure, its report and all scores are.",
        "ayt summary results/embedded/experiment.yaml",
    )
    for added in (figure, table, draw, summary):
        added.add_argument(
            "experiment",
            type=Path,
            metavar="EXPERIMENT.YAML",
            help="results/EXPERIMENT/experiment.yaml, written when the workflow starts",
        )
    figure.add_argument("name", metavar="NAME", help="as the experiment calls it")
    table.add_argument("name", metavar="NAME", help="as the experiment calls it")


def run_figure(options: argparse.Namespace) -> None:
    """Draw one figure beside the experiment."""
    from ayt.base import paths
    from ayt.experiment import resolved
    from ayt.plan.plan import Plan

    plan = Plan(resolved.read(options.experiment))
    experiment = plan.experiment
    _require(options, "figure", experiment.figures)
    out = paths.figure(experiment.name, options.name, "png").with_suffix("")
    experiment.figures[options.name].make(plan, experiment.name, out)


def run_table(options: argparse.Namespace) -> None:
    """Write one table beside the experiment."""
    from ayt.base import paths
    from ayt.experiment import resolved
    from ayt.plan.plan import Plan

    plan = Plan(resolved.read(options.experiment))
    experiment = plan.experiment
    _require(options, "table", experiment.tables)
    out = paths.table(experiment.name, options.name, "csv").with_suffix("")
    experiment.tables[options.name].make(plan, experiment.name, out)


def run_draw(options: argparse.Namespace) -> None:
    """Gather, draw and tabulate what is there."""
    from ayt.base import paths
    from ayt.experiment import resolved
    from ayt.plan.plan import Plan
    from ayt.reporting.drawing import draw_what_is_there

    plan = Plan(resolved.read(options.experiment))
    problems = draw_what_is_there(plan)
    for problem in problems:
        print(f"not there yet: {problem}")
    print(paths.experiment_folder(paths.partial_name(plan.experiment.name)) / "index.html")


def _require(options: argparse.Namespace, what: str, known: Iterable[str]) -> None:
    if options.name not in known:
        raise UserError(
            f"{options.experiment}: has no {what} {options.name!r}; choose from {', '.join(known) or 'none'}"
        )


def run_summary(options: argparse.Namespace) -> None:
    """Print a screenful: final scores, what they say, and where to look."""
    from ayt.experiment import resolved
    from ayt.plan.plan import Plan
    from ayt.reporting.closing import closing_lines

    print("\n".join(closing_lines(Plan(resolved.read(options.experiment)))))

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
        "Gather the scores that are there and draw every figure and table from them, saying what is missing, into"
        " results/EXPERIMENT/so_far: for looking while runs train, or after some failed.",
        "ayt draw results/embedded/experiment.yaml",
    )
    summary = verb(
        verbs,
        "summary",
        run_summary,
        "Print an experiment's final scores, and where its figures and tables are.",
        "ayt summary results/embedded/experiment.yaml",
    )
    for added in (figure, table, draw, summary):
        added.add_argument(
            "experiment",
            type=Path,
            metavar="EXPERIMENT.YAML",
            help="results/EXPERIMENT/experiment.yaml, written when the workflow starts",
        )
    figure.add_argument("name", help="as the experiment calls it")
    table.add_argument("name", help="as the experiment calls it")


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
    print(paths.experiment_folder(paths.so_far(plan.experiment.name)) / "index.html")


def _require(options: argparse.Namespace, what: str, known: Iterable[str]) -> None:
    if options.name not in known:
        raise UserError(
            f"{options.experiment}: has no {what} {options.name!r}; choose from {', '.join(known) or 'none'}"
        )


def run_summary(options: argparse.Namespace) -> None:
    """Print the final scores and the paths of what was made."""
    from rich.console import Console
    from rich.table import Table

    from ayt.base import paths
    from ayt.experiment import resolved
    from ayt.plan.plan import Plan
    from ayt.reporting.summaries import final_scores
    from ayt.reporting.tables.scores import Scores

    experiment = resolved.read(options.experiment)
    scores = final_scores(Scores().read_rows(Plan(experiment), experiment.name)[0])
    metric, better = scores["metric"].iloc[0], scores["better"].iloc[0]
    shown = Table(title=f"{experiment.name}: {metric}, {better} is better")
    for heading in ("method", "batch size", "steps", "mean", "std over seeds", "seeds", "iterations"):
        shown.add_column(heading, justify="left" if heading == "method" else "right")
    for row in scores.sort_values(["steps", "batch_size"], kind="stable").itertuples():
        std = "" if str(row.std) == "nan" else f"{row.std:.2f}"
        seeds = f"{row.seeds!r}, {row.failed!r} failed" if row.failed else row.seeds
        numbers = (row.batch_size, row.steps, f"{row.mean:.2f}", std, seeds, row.iteration)
        shown.add_row(str(row.label), *map(str, numbers))
    Console().print(shown)
    made = [
        *(paths.figure(experiment.name, name, "png") for name in experiment.figures),
        *(paths.table(experiment.name, name, "md") for name in experiment.tables),
        paths.scores_table(experiment.name),
        paths.report(experiment.name),
    ]
    for path in made:
        if path.exists():
            print(path)

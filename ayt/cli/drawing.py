"""Verbs that draw: ``figure``, ``table``, ``summary``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ayt.cli.common import Verbs, verb
from ayt.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from ayt.config import Experiment


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs to the command line."""
    figure = verb(
        verbs,
        "figure",
        run_figure,
        "Draw one figure of an experiment.",
        "ayt figure results/embedded/experiment.yaml curves",
    )
    table = verb(
        verbs,
        "table",
        run_table,
        "Write one table of an experiment.",
        "ayt table results/embedded/experiment.yaml scores",
    )
    summary = verb(
        verbs,
        "summary",
        run_summary,
        "Print an experiment's final scores, and where its figures and tables are.",
        "ayt summary results/embedded/experiment.yaml",
    )
    for added in (figure, table, summary):
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
    from ayt import paths
    from ayt.config import resolved, schema
    from ayt.figures import images, scores
    from ayt.plan import Plan, Run
    from ayt.published import batch_size_curves

    experiment = resolved.read(options.experiment)
    figure = experiment.figures.get(options.name)
    out = paths.figure(experiment.name, options.name, "png").with_suffix("")
    if isinstance(figure, schema.ScoreFigure):
        table = _scores(experiment, figure.metric)
        if figure.methods:
            table = table[table["method"].str.split(" ").str[0].isin(figure.methods)]
        steps = figure.steps or sorted(table["steps"].unique())
        if figure.kind == "curves":
            scores.curves(table, out, figure.title, steps, batch_size_curves(experiment.dataset.name))
        else:
            scores.final(table, out, figure.title, steps)
    elif isinstance(figure, schema.SamplesFigure):
        plan = Plan(experiment)
        grids = [
            images.Grid(label, run.spec.batch_size, run.name, run.iterations, images.read_images(path)["images"])
            for label, run, path in plan.grids(figure)
        ]
        mids = ", ".join(f"{mid:g}" for mid in plan.evaluation(figure.steps).mids)
        times = f"80 → {mids} → 0.002" if mids else "80 → 0.002"
        caption = (
            f"Samples at the end of training, one seed each; sampling steps: {figure.steps} (noise levels {times}). "
            "All images of a column come from the same noise."
        )
        images.samples(grids, out, figure.title, figure.columns, caption)
    elif isinstance(figure, schema.TransformationsFigure):
        import pandas as pd

        run = Plan(experiment).classifier(figure.classifier)
        assert isinstance(run, Run)
        table_path, images_path = (
            paths.classifier_report(run.folder, run.iterations, suffix) for suffix in ("csv", "npz")
        )
        images.transformations(images.read_images(images_path), pd.read_csv(table_path), out, figure.title)
    else:
        choices = ", ".join(experiment.figures) or "none"
        raise UserError(f"{options.experiment}: has no figure {options.name!r}; choose from {choices}")


def run_table(options: argparse.Namespace) -> None:
    """Write one table beside the experiment."""
    from ayt import paths, published, tables
    from ayt.config import resolved, schema

    experiment = resolved.read(options.experiment)
    if options.name not in experiment.tables:
        choices = ", ".join(experiment.tables) or "none"
        raise UserError(f"{options.experiment}: has no table {options.name!r}; choose from {choices}")
    out = paths.table(experiment.name, options.name, "csv").with_suffix("")
    table = experiment.tables[options.name]
    if isinstance(table, schema.PublishedTable):
        tables.write_published(published.fids(experiment.dataset.name), out, table.title)
        return
    scores = _scores(experiment, table.metric)
    if isinstance(table, schema.SpeedTable):
        tables.write_speed_ups(scores, out, table.title, table.reference)
        return
    tables.write(scores, out, table.title)


def run_summary(options: argparse.Namespace) -> None:
    """Print the final scores and the paths of what was made."""
    from rich.console import Console
    from rich.table import Table

    from ayt import paths, tables
    from ayt.config import resolved

    experiment = resolved.read(options.experiment)
    scores = tables.final_scores(_scores(experiment, None))
    metric, better = scores["metric"].iloc[0], scores["better"].iloc[0]
    shown = Table(title=f"{experiment.name}: {metric}, {better} is better")
    for heading in ("method", "batch size", "steps", "mean", "std over seeds", "seeds", "iterations"):
        shown.add_column(heading, justify="left" if heading == "method" else "right")
    for row in scores.sort_values(["steps", "batch_size"], kind="stable").itertuples():
        std = "" if row.seeds == 1 else f"{row.std:.2f}"
        numbers = (row.batch_size, row.steps, f"{row.mean:.2f}", std, row.seeds, row.iteration)
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


def _scores(experiment: Experiment, metric: str | None) -> pd.DataFrame:
    """The scores by one metric; None: by the first of the evaluation's."""
    import pandas as pd

    from ayt import paths

    path = paths.scores_table(experiment.name)
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; ayt gather makes it") from None
    return table[table["key"] == (metric or experiment.evaluation.metrics[0])]

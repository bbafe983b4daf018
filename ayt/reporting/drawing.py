"""From an experiment's results to its figures and tables: what each kind is drawn from, and what is said beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from ayt.base import paths
from ayt.reporting import published
from ayt.reporting.tables import scores as tables
from ayt.experiment import outputs
from ayt.experiment.schema import base_name
from ayt.reporting.costs import costs
from ayt.base.errors import UserError
from ayt.reporting.scores import failure, gather_scores, write_table
from ayt.reporting.figures import samples as images
from ayt.reporting.figures import manifold
from ayt.reporting.figures import oscillation
from ayt.reporting import score_plots as scores
from ayt.reporting.figures import tangents
from ayt.reporting.figures import toy
from ayt.reporting.figures.samples import read_images
from ayt.reporting.style import placeholder
from ayt.base.files import write_text
from ayt.reporting.pages import index_page
from ayt.plan.plan import Analysis, Plan
from ayt.plan.runs import Run
from ayt.reporting.speed_up import bound, speed_ups

NAMED = 4
"""Runs that a note names; of more it tells the number."""


def draw_figure(plan: Plan, name: str, place: str) -> None:
    """Draw one figure of an experiment.

    Args:
        plan: of the experiment.
        name: of the figure.
        place: the folder of results in which scores are looked for and the figure is written: the experiment's name, or
            `paths.so_far`.

    Raises:
        UserError: a file that it is drawn from is missing or damaged.
    """
    figure = plan.experiment.figures[name]
    out = _stem(paths.figure(place, name, "png"))
    if isinstance(figure, outputs.CurvesFigure | outputs.FinalFigure):
        _score_figure(plan, figure, place, out)
    elif isinstance(figure, outputs.SamplesFigure):
        _samples(plan, figure, out)
    elif isinstance(figure, outputs.TransformationsFigure):
        table, pixels = plan.figure_data(name)
        images.transformations(read_images(pixels), _read_csv(table), out, figure.title)
    elif isinstance(figure, outputs.OscillationFigure):
        _oscillation(plan.analyses(name), figure, out)
    else:
        draw = {"tangents": tangents.tangents, "manifold": manifold.manifold, "toy": toy.toy}[figure.kind]
        draw(read_images(plan.figure_data(name)[0]), out, figure.title)


def draw_table(plan: Plan, name: str, place: str) -> None:
    """Write one table of an experiment; arguments as those of `draw_figure`.

    Raises:
        UserError: a file that it is made from is missing or damaged.
    """
    experiment = plan.experiment
    table = experiment.tables[name]
    out = _stem(paths.table(place, name, "csv"))
    if isinstance(table, outputs.PublishedTable):
        tables.write_published(published.fids(experiment.dataset.name), out, table.title)
    elif isinstance(table, outputs.CostTable):
        tables.write_cost(costs(plan), out, table.title)
    else:
        found, note = chosen_scores(plan, place, table.metric, table.methods, table.batch_sizes)
        if isinstance(table, outputs.SpeedTable):
            tables.write_speed_ups(found, out, table.title, table.reference, note)
        elif isinstance(table, outputs.ReachTable):
            tables.write_reaching(found, out, table.title, table.targets, note)
        elif isinstance(table, outputs.MethodsTable):
            tables.write_methods(found, published.fids(experiment.dataset.name), out, table.title, note)
        else:
            tables.write(found, out, table.title, note)


def draw_what_is_there(plan: Plan) -> list[str]:
    """Gather the scores that are there, and draw all figures and tables from what is there, into `paths.so_far`.

    In place of what cannot be made yet stands a page that says why; ``index.html`` leads to all pages.

    Returns:
        What could not be drawn, a line each.
    """
    experiment = plan.experiment
    place = paths.so_far(experiment.name)
    write_table(paths.scores_table(place), gather_scores(plan, partial=True))
    problems = [
        *_all_drawn(plan, place, "figure", experiment.figures, draw_figure, placeholder),
        *_all_drawn(plan, place, "table", experiment.tables, draw_table, tables.write_missing),
    ]
    links = {
        heading: {name: options.title or name for name, options in named.items()}
        for heading, named in (("figures", experiment.figures), ("tables", experiment.tables))
    }
    write_text(paths.experiment_folder(place) / "index.html", index_page(f"{experiment.name}, so far", links, problems))
    return problems


def _all_drawn(
    plan: Plan,
    place: str,
    kind: str,
    named: Mapping[str, outputs.Figure | outputs.Table],
    draw: Callable[[Plan, str, str], None],
    instead: Callable[[Path, str, str], None],
) -> Iterator[str]:
    """Draw what can be drawn, and something ``instead`` of the rest; what could not be drawn."""
    path = {"figure": paths.figure, "table": paths.table}[kind]
    for name, options in named.items():
        try:
            draw(plan, name, place)
        except UserError as error:
            instead(_stem(path(place, name, "csv")), options.title, f"Not there yet: {error}.")
            yield f"{kind} {name}: {error}"


def chosen_scores(
    plan: Plan, place: str, metric: str | None = None, methods: Sequence[str] = (), batch_sizes: Sequence[int] = ()
) -> tuple[pd.DataFrame, str]:
    """The rows of ``scores.csv`` that a figure or table shows, and what is missing of them or failed.

    Args:
        plan: of the experiment.
        place: the folder of results with the scores: the experiment's name, or `paths.so_far`.
        metric: its key; None: the first of the evaluation's.
        methods: names without variants; empty: all.
        batch_sizes: empty: all.

    Raises:
        UserError: the scores were not gathered, or none is there.
    """
    table = _read_csv(paths.scores_table(place))

    def shown(method: str, batch_size: int) -> bool:
        named = not methods or bool({method, base_name(method)} & set(methods))
        return named and (not batch_sizes or batch_size in batch_sizes)

    metric = metric or plan.experiment.evaluation.metrics[0]
    table = table[table["key"] == metric]
    kept = [shown(method, size) for method, size in zip(table["method"], table["batch_size"], strict=True)]
    table = table[kept]
    if table.empty:
        raise UserError("no score of it is there yet")
    missing = [text for method, run, text in _missing(plan, table, metric) if shown(method, run.spec.batch_size)]
    failed = [
        f"{run.title}{_why(run)}"
        for method, run in plan.methods_and_runs()
        if table.loc[table["run"] == run.name, "mean"].isna().any() and shown(method, run.spec.batch_size)
    ]
    notes = [f"{head}: {_listed(names)}." for head, names in (("Not there yet", missing), ("Failed", failed)) if names]
    return table, " ".join(notes)


def _missing(plan: Plan, table: pd.DataFrame, metric: str) -> Iterator[tuple[str, Run, str]]:
    """Runs with fewer scores by a metric than the experiment asks for: method, run, and how many are there."""
    present = table[["run", "iteration", "steps"]].drop_duplicates().groupby("run").size()
    scored = sum(metric in evaluation.metrics for evaluation in plan.evaluations)
    for method, run in plan.methods_and_runs():
        wanted, found = len(run.snapshots) * scored, int(present.get(run.name, 0))
        if found < wanted:
            yield method, run, f"{run.title} ({found} of {wanted} scores)"


def claims(table: pd.DataFrame, reference: str) -> str:
    """What curves claim, in words: how much faster than the reference others reach the scores that it ends with.

    Args:
        table: rows of ``scores.csv``; of several metrics nothing is claimed.
        reference: a method; where the table has it not, nothing is claimed.
    """
    if reference not in set(table["method"]) or table["metric"].nunique() > 1:
        return ""
    found = speed_ups(table, reference)
    found = found[(found["steps"] == found["steps"].min()) & (found["pairs"] > 0)]
    if found.empty:
        return ""
    label = table.loc[table["method"] == reference, "label"].iloc[0]
    parts = [
        f"{row.label}, batch size {row.batch_size}: {bound(row.at_least, row.at_most)}{row.median:.1f}"
        f" ({row.low:.1f}–{row.high:.1f}), {row.reached} of {row.pairs} pairs"
        for row in found.itertuples()
    ]
    steps = found["steps"].iloc[0]
    return (
        f"Speed-up over {label}, {'one step' if steps == 1 else f'{steps} steps'}: iterations after which {label} has"
        f" the score that it ends with, divided by those of the other; median (lowest–highest) over pairs of runs, 0"
        f" where it is not reached, and how many pairs reach it. {'; '.join(parts)}."
    )


def _score_figure(plan: Plan, figure: outputs.CurvesFigure | outputs.FinalFigure, place: str, out: Path) -> None:
    table, note = chosen_scores(plan, place, figure.metric, figure.methods, figure.batch_sizes)
    steps = figure.steps or sorted(table["steps"].unique())
    if isinstance(figure, outputs.FinalFigure):
        scores.final(table, out, figure.title, steps, note)
        return
    theirs = published.batch_size_curves(plan.experiment.dataset.name)
    theirs = theirs[theirs["batch_size"].isin(table["batch_size"])]
    said = " ".join(
        part for part in (claims(table[table["steps"].isin(steps)], figure.reference or "ect"), note) if part
    )
    scores.curves(table, out, figure.title, steps, theirs, figure.band, said)


def _oscillation(analyses: Sequence[Analysis], figure: outputs.OscillationFigure, out: Path) -> None:
    if not analyses:
        raise UserError("no run has the figure's batch size and seed")
    there = [analysis for analysis in analyses if analysis.path.exists()]
    if not there:
        raise UserError(f"{analyses[0].path}: no such file, nor those of the other runs")
    runs = [(analysis.run.label, analysis.run.spec.batch_size, read_images(analysis.path)) for analysis in there]
    missing = [analysis.run.title for analysis in analyses if analysis not in there]
    note = f"Not there yet: {_listed(missing)}." if missing else ""
    oscillation.oscillation(runs, out, figure.title, note)


def _samples(plan: Plan, figure: outputs.SamplesFigure, out: Path) -> None:
    wanted = plan.grids(figure)
    grids = [
        images.Grid(label, run.spec.batch_size, run.name, run.iterations, read_images(path)["images"])
        for label, run, path in wanted
        if path.exists()
    ]
    if wanted and not grids:
        raise UserError(f"{wanted[0][2]}: no such file, nor those of the other runs")
    mids = ", ".join(f"{mid:g}" for mid in plan.evaluation(figure.steps).mids)
    end = "0" if plan.experiment.evaluation.convention == "ect" else "0.002"
    times = f"80 → {mids} → {end}" if mids else f"80 → {end}"
    caption = (
        f"Samples at the end of training, one seed each; sampling steps: {figure.steps} (noise levels {times}). "
        "All images of a column come from the same noise."
    )
    missing = [f"{label}, batch size {run.spec.batch_size}" for label, run, path in wanted if not path.exists()]
    caption += f" Not there yet: {_listed(missing)}." if missing else ""
    images.samples(grids, out, figure.title, figure.columns, caption)


def _why(run: Run) -> str:
    """`` (the loss is not finite at iteration 42)``, for a training that failed."""
    reason = failure(run.folder)[1]
    return f" ({reason})" if reason else ""


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return "; ".join(names[:NAMED]) + (f"; and {more} more" if more > 0 else "")


def _stem(path: Path) -> Path:
    return path.with_suffix("")


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it to have it made again") from None

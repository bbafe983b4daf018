"""Verbs that inform: ``status`` about what is in progress, ``plan`` about what would be done."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ayt.cli.common import Verbs, add_experiment, choose_console, count, load_experiment, verb

if TYPE_CHECKING:
    from rich.console import RenderableType


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs to the command line."""
    status = verb(
        verbs,
        "status",
        run_status,
        "Show the progress of experiments' runs and the state of their jobs.",
        "ayt status\n  ayt status batch_size_ablation --watch",
    )
    status.add_argument(
        "experiments",
        nargs="*",
        metavar="NAME",
        help="its name, which is its folder's in results, or its file (default: all)",
    )
    status.add_argument("--watch", action="store_true", help="keep the table up to date until Ctrl-C")
    status.add_argument(
        "--every", type=count, default=10, metavar="SECONDS", help="seconds between updates (default: %(default)s)"
    )
    plan = verb(
        verbs,
        "plan",
        run_plan,
        "Show what is left to do for an experiment, and what it would cost, before starting anything.",
        "ayt plan config/batch_size_ablation.yaml",
    )
    add_experiment(plan)


def run_status(options: argparse.Namespace) -> None:
    """Print one table, or keep it up to date."""
    from rich.live import Live

    console = choose_console()
    if not options.watch:
        console.print(_statuses(options.experiments))
        return
    with Live(_statuses(options.experiments), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(options.every)
            live.update(_statuses(options.experiments), refresh=True)


def run_plan(options: argparse.Namespace) -> None:
    """Print what is left in total, then per run."""
    from rich import box
    from rich.table import Table

    from ayt.base.files import describe_bytes
    from ayt.operations.estimate import estimate
    from ayt.operations.measured import CARD, WHEN
    from ayt.plan.plan import Plan
    from ayt.reporting.wording import plural

    experiment_plan = Plan(load_experiment(options))
    found = estimate(experiment_plan)
    measured = [run.hours for run in found.runs if run.hours is not None]
    unmeasured = len(found.runs) - len(measured)
    hours = f"{math.fsum(measured):.2f} hours, one after the other, by the logs of equal runs" if measured else ""
    note = f"never measured here: {unmeasured} of {plural(len(found.runs), 'run')}" if unmeasured else ""
    training = sum(run.segments for run in found.runs)
    print(f"training runs done: {found.done}; to do: {len(found.runs)}, in {plural(training, 'job')}")
    print(f"time to train: {'; '.join(filter(None, (hours, note))) or 'none'}")
    on_card = [run.hours_on_card for run in found.runs if run.hours is None and run.hours_on_card is not None]
    if on_card:
        print(f"on {CARD}: {_hours(math.fsum(on_card))} for {len(on_card)} of these, by steps measured {WHEN}")
    unknown = "" if found.images_timed else " (time not measured)"
    print(f"scoring: {plural(found.scoring_jobs, 'job')}, {found.images_to_sample:,} images to sample{unknown}")
    if found.images_timed:
        scoring = f"{_hours(found.scoring_hours_on_card)} for {found.images_timed:,} of these, in one step"
        print(f"on {CARD}: {scoring}, by rates measured {WHEN}")
    print(f"short jobs: {found.other_jobs}")
    sizes = {name: describe_bytes(size) if size else "size unknown" for name, size in found.to_download.items()}
    print(f"to download: {', '.join(f'{name} ({size})' for name, size in sizes.items()) or 'nothing'}", flush=True)

    # After what is known immediately: it starts PyTorch, which takes seconds.
    from ayt.operations.disk import bytes_left

    disk = bytes_left(experiment_plan)
    print(f"disk for snapshots and states: {describe_bytes(sum(disk.values()))}")
    table = Table("to train", box=box.SIMPLE_HEAD)
    for heading in ("iterations", "jobs", "images/s", "hours", "disk"):
        table.add_column(heading, justify="right")
    for run in found.runs:
        table.add_row(
            run.name,
            f"{run.iterations:,}",
            str(run.segments),
            f"{run.images_per_second:,.0f}" if run.images_per_second else "not measured",
            f"{run.hours:.2f}" if run.hours is not None else "?",
            describe_bytes(disk[run.name]),
        )
    choose_console().print(table)


def _statuses(names: list[str]) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    from ayt.base import paths
    from ayt.base.errors import UserError
    from ayt.base.sections import choices
    from ayt.experiment import resolved
    from ayt.operations.status import statuses
    from ayt.plan.plan import Plan

    present = sorted(path.parent.name for path in paths.RESULTS.glob("*/experiment.yaml"))
    names = [_experiment_name(given) for given in names]
    unknown = [name for name in names if name not in present]
    if unknown or not present:
        raise UserError(
            f"{paths.RESULTS}: no experiment {unknown[0]!r} was started here; {choices(unknown[0], present)}"
            if unknown
            else f"{paths.RESULTS}: no experiment was started here"
        )
    tables: list[RenderableType] = []
    for name in names or present:
        try:
            runs = statuses(Plan(resolved.read(paths.resolved_experiment(name))))
        except UserError as error:  # from an older version: the others can still be shown
            tables.append(f"{name}: {error}")
            continue
        table = Table(title=name, title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("run", overflow="fold")
        for heading in ("iteration", "images/s", "time left"):
            table.add_column(heading, justify="right")
        for heading in ("last score", "job", "state", "sign of life"):
            table.add_column(heading)
        for run in runs:
            table.add_row(
                run.name,
                f"{run.iteration:,} / {run.iterations:,}",
                f"{run.images_per_second:,.0f}" if run.images_per_second else "",
                _duration(run.seconds_left),
                run.score,
                run.job,
                run.state,
                f"{_duration(run.age)} ago" if run.age is not None else "",
            )
        tables.append(table)
        tables.extend(f"  {run.name}: {run.stopped.text}" for run in runs if run.stopped)
    return Group(*tables)


def _experiment_name(given: str) -> str:
    """The name of an experiment, given by itself or by its file, in config/ or in results."""
    from ayt.base import paths
    from ayt.experiment import load

    path = Path(given)
    if path.suffix not in (".yaml", ".yml"):
        return given
    return path.parent.name if path.name == paths.resolved_experiment("").name else load([path]).name


def _hours(number: float) -> str:
    return f"{number:,.0f} hours" if number >= 10 else f"{number:.1f} hours"


def _duration(seconds: float | None) -> str:
    """``42 s``, ``3 min``, ``2 h 5 min``, ``3 d 4 h``; nothing for None."""
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"

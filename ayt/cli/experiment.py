"""Verbs about experiments: ``check``, ``runs``, ``record``."""

from __future__ import annotations

import argparse

from ayt.cli.common import Verbs, add_experiment, load_experiment, verb


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs to the command line."""
    check = verb(
        verbs,
        "check",
        run_check,
        "Check experiment files, and summarise what they ask for.",
        "ayt check config/embedded.yaml",
    )
    runs = verb(verbs, "runs", run_runs, "List the folders of an experiment's runs.", "ayt runs config/embedded.yaml")
    record = verb(
        verbs,
        "record",
        run_record,
        "Write the records of everything that an experiment asks for, which the other verbs read; the workflow also"
        " does this when it starts.",
        "ayt record config/embedded.yaml",
    )
    for added in (check, runs, record):
        add_experiment(added)


def run_check(options: argparse.Namespace) -> None:
    """Print a summary of what would be computed."""
    from ayt.assets.table import read_needed
    from ayt.plan.plan import Plan
    from ayt.reporting.wording import plural

    experiment = load_experiment(options)
    plan = Plan(experiment)
    read_needed(plan)
    iterations = sum(run.iterations for run in plan.trained)
    runs, methods = plural(len(plan.trained), "run"), plural(len(experiment.methods), "method")
    before = len(plan.runs) - len({run.name for run in plan.trained})
    shown = {"score": set(plan.scores()), "figure": experiment.figures, "table": experiment.tables}
    print(f"{experiment.name}: valid")
    print(f"  {runs} of {methods}, {iterations:,} iterations in all")
    print(f"  {plural(before, 'training run')} before them")
    print(f"  published files: {', '.join(plan.assets) or 'none'}")
    if plan.anchors:
        print(f"  anchors, scored without training: {', '.join(plan.anchors)}")
    print(f"  {', '.join(plural(len(things), thing) for thing, things in shown.items())}")


def run_runs(options: argparse.Namespace) -> None:
    """Print one line per run."""
    from ayt.plan.plan import Plan
    from ayt.reporting.wording import plural

    for run in Plan(load_experiment(options)).runs.values():
        print(f"{run.folder}  {run.iterations:,} iterations in {plural(len(run.segments), 'segment')}")


def run_record(options: argparse.Namespace) -> None:
    """Write all records and print their paths."""
    from ayt.plan.plan import Plan

    for path in Plan(load_experiment(options)).write_records():
        print(path)

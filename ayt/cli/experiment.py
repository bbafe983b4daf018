"""Verbs about experiments: ``check``, ``runs``, ``record``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ayt.cli.common import Verbs, add_experiment, load_experiment, verb


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs to the command line."""
    check = verb(
        verbs,
        "check",
        run_check,
        "Check experiment files, and say what they ask for.",
        "ayt check config/embedded.yaml",
    )
    runs = verb(verbs, "runs", run_runs, "List the folders of an experiment's runs.", "ayt runs config/embedded.yaml")
    for added in (check, runs):
        add_experiment(added)
    record = verb(
        verbs,
        "record",
        run_record,
        "Write the records (run.yaml) of runs, which the training verbs read.",
        "ayt record config/embedded.yaml",
    )
    record.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="experiment files: write the record of each run"
    )
    record.add_argument("--spec", metavar="JSON", help="one run's specification instead")
    record.add_argument("--output", type=Path, help="where that one's record goes")


def run_check(options: argparse.Namespace) -> None:
    """Print a summary of what would be computed."""
    from ayt.assets.table import needed
    from ayt.plan.plan import Plan

    experiment = load_experiment(options)
    plan = Plan(experiment)
    needed(plan)
    iterations = sum(run.iterations for run in plan.trained)
    print(f"{experiment.name}: valid")
    print(f"  {len(plan.trained)} runs of {len(experiment.methods)} methods, {iterations} iterations in all")
    print(f"  {len(plan.runs) - len({run.name for run in plan.trained})} trainings before them")
    print(f"  published files: {', '.join(plan.assets) or 'none'}")
    print(f"  {len(set(plan.scores()))} scores, {len(experiment.figures)} figures, {len(experiment.tables)} tables")


def run_runs(options: argparse.Namespace) -> None:
    """Print one line a run."""
    from ayt.plan.plan import Plan

    for run in Plan(load_experiment(options)).runs.values():
        print(f"{run.folder}  {run.iterations} iterations in {len(run.segments)} segments")


def run_record(options: argparse.Namespace) -> None:
    """Write one record, or those of all runs of an experiment."""
    from ayt.base import paths
    from ayt.experiment import load
    from ayt.base.errors import UserError
    from ayt.base.files import write_text
    from ayt.plan.plan import Plan
    from ayt.plan.records import parse_spec, record_text

    if bool(options.files) == bool(options.spec) or bool(options.spec) != bool(options.output):
        raise UserError("name either experiment files, or --spec with --output")
    if options.spec:
        spec = parse_spec(json.loads(options.spec), "--spec")
        write_text(options.output, record_text(spec))
        return
    for run in Plan(load(options.files)).runs.values():
        path = paths.run_record(run.folder)
        if not path.exists():
            write_text(path, record_text(run.spec))
        print(path)

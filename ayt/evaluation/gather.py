"""Score files and training logs of an experiment, gathered into one table each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ayt import paths
from ayt.errors import UserError
from ayt.files import write_text
from ayt.plan import Plan

COLUMNS = [
    "dataset",
    "run",
    "method",
    "label",
    "batch_size",
    "seed",
    "iteration",
    "images",
    "steps",
    "key",
    "metric",
    "better",
    "mean",
    "std",
    "min",
    "max",
    "repeats",
    "samples",
]


def gather_scores(plan: Plan) -> pd.DataFrame:
    """One row for each run, iteration, number of steps and metric; mean, std, min and max are over repeats.

    Raises:
        UserError: a score file is missing or damaged.
    """
    rows = []
    for name, run in plan.methods_and_runs():
        for snapshot in run.snapshots:
            for evaluation in plan.evaluations:
                path = paths.score(run.folder, evaluation.name, snapshot.iteration)
                record = _read(path)
                for metric, values in record["metrics"].items():
                    rows.append(
                        {
                            "dataset": run.spec.dataset.name,
                            "run": run.name,
                            "method": name,
                            "label": run.label,
                            "batch_size": run.spec.batch_size,
                            "seed": run.spec.seed,
                            "iteration": snapshot.iteration,
                            "images": snapshot.iteration * run.spec.batch_size,
                            "steps": evaluation.steps,
                            "metric": metric,
                            **{key: values[key] for key in ("key", "better", "mean", "std", "min", "max")},
                            "repeats": evaluation.repeats,
                            "samples": evaluation.samples,
                        }
                    )
    return pd.DataFrame(rows, columns=COLUMNS)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such score; train and score the run first") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not a score ({error}); delete it to have it made again") from None
    if not isinstance(content, dict) or "metrics" not in content:
        raise UserError(f"{path}: not a score; delete it to have it made again")
    return content

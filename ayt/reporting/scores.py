"""The score files of an experiment, gathered into one table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.evaluation.naming import metric
from ayt.base.files import write_text
from ayt.plan.plan import Plan
from ayt.plan.evaluations import DENOISING_METRICS, Evaluation

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


def gather_scores(plan: Plan, partial: bool = False) -> pd.DataFrame:
    """One row for each run, iteration, number of steps and metric; mean, std, min and max are over repeats.

    Scores that are not finite have NaN there; so have those of a training that failed, from the iteration on at which
    it did.

    Args:
        plan: of the experiment.
        partial: leave out what is not there yet.

    Raises:
        UserError: a score file is damaged; or missing, unless ``partial``.
    """
    rows = []
    for name, run in plan.methods_and_runs():
        failed_at = failure(run.folder)[0]
        for snapshot in run.snapshots:
            for evaluation in plan.evaluations:
                path = paths.score(run.folder, evaluation.name, snapshot.iteration)
                if path.exists():
                    found = _read(path)
                elif snapshot.iteration >= failed_at:
                    found = _failed(plan, evaluation)
                elif partial:
                    continue
                else:
                    raise UserError(f"{path}: no such score; train and score the run first")
                for label, values in found.items():
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
                            "metric": label,
                            **{key: values[key] for key in ("key", "better", "mean", "std", "min", "max")},
                            "repeats": evaluation.repeats,
                            "samples": evaluation.samples,
                        }
                    )
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("mean", "std", "min", "max"), float))


def failure(folder: Path) -> tuple[float, str]:
    """The iteration at which a run's training failed, and why; infinity and nothing if it did not."""
    try:
        note = json.loads(paths.failure(folder).read_text())
    except FileNotFoundError:
        return math.inf, ""
    return int(note["iteration"]), str(note["reason"])


def _failed(plan: Plan, evaluation: Evaluation) -> dict[str, Any]:
    """What stands for the scores of a snapshot that will never be."""
    dataset, inception = plan.experiment.dataset.name, plan.features.classifier is None
    return {
        named.label: {"key": named.key, "better": named.better, **dict.fromkeys(("mean", "std", "min", "max"))}
        for key in evaluation.metrics
        for t in (evaluation.denoise if key in DENOISING_METRICS else (None,))
        for named in [metric(key, dataset, inception, t)]
    }


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _read(path: Path) -> dict[str, Any]:
    """The metrics of a score file, by their labels."""
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not a score ({error}); delete it to have it made again") from None
    if not isinstance(content, dict) or "metrics" not in content:
        raise UserError(f"{path}: not a score; delete it to have it made again")
    metrics: dict[str, Any] = content["metrics"]
    return metrics

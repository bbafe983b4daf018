"""The scores of an experiment: read from the files of its snapshots, gathered into one table, and read from that."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.metrics.base import Metric, SampleMetric
from ayt.plan.evaluations import DenoisingScore, Score
from ayt.plan.plan import Plan
from ayt.plan.scored import NOT_THERE, read_score
from ayt.plan.stops import list_reached
from ayt.reporting.escapes import csv, from_csv

NUMBERS: dict[str, type] = {
    "batch_size": int,
    "seed": int,
    "iteration": int,
    "images": int,
    "steps": int,
    "mean": float,
    "std": float,
    "min": float,
    "max": float,
    "repeats": int,
    "samples": int,
}
SUMMARY = ("mean", "std", "min", "max")
COLUMNS = [
    "dataset",
    "run",
    "method",
    "label",
    "batch_size",
    "seed",
    "ema",
    "iteration",
    "images",
    "steps",
    "key",
    "metric",
    "better",
    *SUMMARY,
    "repeats",
    "samples",
]


def gather_scores(plan: Plan, partial: bool = False) -> pd.DataFrame:
    """One row for each snapshot, number of steps and metric shown; mean, std, min and max are over repeats.

    Scores that are not finite have NaN there; so have those of a run whose training failed, from the iteration on at
    which it did. A run that was stopped has none beyond.

    Args:
        plan: of the experiment.
        partial: leave out what is not there yet.

    Raises:
        UserError: a score file is damaged; or missing, unless ``partial``.
    """
    dataset = plan.experiment.dataset.name
    rows = []
    for method, run in plan.methods_and_runs():
        failed_at = read_failure(run.folder)[0]
        names = dict(zip(run.record.averages, run.record.average_names, strict=True))
        for snapshot in list_reached(plan, run):
            for score, shown in _shown_scores(plan, run.name):
                path = score.result(run.folder, snapshot.iteration, snapshot.average)
                there = path.exists()
                found = read_score(path) if there else {}
                if not found and snapshot.iteration < failed_at:
                    if partial:
                        continue
                    problem = "of a training that was stopped; run the workflow again" if there else NOT_THERE
                    raise UserError(f"{path}: {problem}")
                for metric, title in shown:
                    if there and metric.name not in found:
                        raise UserError(f"{path}: has no {metric.name}; delete it to have it made again")
                    rows.append(
                        {
                            "dataset": dataset,
                            "run": run.name,
                            "method": method,
                            "label": run.label,
                            "batch_size": run.record.batch_size,
                            "seed": run.record.seed,
                            "ema": names[snapshot.average],
                            "iteration": snapshot.iteration,
                            "images": snapshot.iteration * run.record.batch_size,
                            "steps": score.sampling.steps if isinstance(score, Score) else 1,
                            "key": metric.name,
                            "metric": title,
                            "better": metric.better,
                            **{name: found.get(metric.name, {}).get(name) for name in SUMMARY},
                            "repeats": score.repeats,
                            "samples": score.samples,
                        }
                    )
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(SUMMARY, float))


def _shown_scores(plan: Plan, run: str) -> Iterator[tuple[Score | DenoisingScore, list[tuple[Metric, str]]]]:
    """The scores of a run that are shown, each with the metrics that are shown of it and their titles."""
    dataset, inception = plan.experiment.dataset.name, plan.reference.features.classifier is None
    of_samples: list[tuple[Metric, str]] = [
        (metric, metric.title(dataset, inception)) for metric in plan.metrics if isinstance(metric, SampleMetric)
    ]
    for score in plan.scores_of(run) if of_samples else []:
        yield score, of_samples
    for denoising in plan.denoising_scores_of(run):
        yield denoising, [(denoising.metric, denoising.metric.title(dataset, inception, denoising.t))]


def read_failure(folder: Path) -> tuple[float, str]:
    """The iteration at which a run's training failed, and why; infinity and nothing if it did not."""
    path = paths.failure(folder)
    try:
        note = json.loads(path.read_bytes())
        return int(note["iteration"]), str(note["reason"])
    except FileNotFoundError:
        return math.inf, ""
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it") from None


def write_scores(path: Path, table: pd.DataFrame) -> None:
    """Write ``scores.csv``."""
    write_text(path, csv(table))


def read_scores(path: Path) -> pd.DataFrame:
    """Read ``scores.csv`` as it was written: a label ``None`` is text, and so is a method called ``1``.

    Raises:
        UserError: the file is missing, damaged, or of another version.
    """
    text = dict.fromkeys((name for name in COLUMNS if name not in NUMBERS), str)
    try:
        table = pd.read_csv(
            path,
            dtype={**text, **NUMBERS},
            na_values={name: [""] for name in SUMMARY},
            keep_default_na=False,
        )
    except FileNotFoundError:
        there = path.parent.is_dir()
        why = "it is written once all scores are there; until then, ayt draw writes so_far/scores.csv"
        raise UserError(f"{path}: no such file; {why}" if there else f"{path.parent}: no such folder") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); delete it to have it made again") from None
    if list(table.columns) == [name for name in COLUMNS if name != "ema"]:
        table = table.assign(ema="")[COLUMNS]  # of a version whose runs kept one average each
    if list(table.columns) != COLUMNS:
        raise UserError(f"{path}: was written by another version; delete it to have it made again")
    return table.assign(**{name: table[name].map(from_csv) for name in text})

"""The cost of training, from the training logs: hours, images seen, memory; including upstream runs."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from ayt.base import paths
from ayt.base.stopped import read_stopped
from ayt.plan.plan import Plan
from ayt.plan.runs import Run, Snapshot, Weights
from ayt.training.log import read_rows

SECONDS_PER_HOUR = 3600


def read_costs(plan: Plan) -> pd.DataFrame:
    """A row for each method and batch size whose runs were trained to their end, or until they were stopped.

    Columns: ``label``, ``batch_size``, ``runs``; their means ``images`` (seen), ``hours``, ``classifier_hours`` and
    ``start_hours`` (of the networks that its loss uses, and of the weights that the run starts from with all
    else that they were made from; NaN where there is none that was trained here) and ``total_hours``; ``gpus`` (that
    train one run, 0: a CPU) and ``peak_memory_mb`` (of one process, the highest over runs). Hours are those of all
    GPUs, or of the CPU, of a run.
    """
    rows = []
    for method, run in plan.methods_and_runs():
        own = _read_logs(run)
        if own is None:
            continue
        upstream = run.record.upstream
        networks = [weights for role, weights in upstream.items() if role != "start"]
        start = _list_upstream(upstream["start"]) if "start" in upstream else []
        # What both need was trained only once.
        start = [weights for weights in start if weights.name not in {network.name for network in networks}]
        logs = ([_read_part(plan, weights) for weights in _deduplicate(snapshots)] for snapshots in (networks, start))
        hours = [_count_hours([own]), *map(_count_hours, logs)]
        rows.append(
            {
                "method": method,
                "label": run.label,
                "batch_size": run.record.batch_size,
                "images": own["images"].iloc[-1],
                **dict(zip(("hours", "classifier_hours", "start_hours"), hours, strict=True)),
                "total_hours": sum(value for value in hours if not pd.isna(value)),
                "gpus": own["gpus"].max(),
                "peak_memory_mb": own["peak_memory_mb"].max(),
            }
        )
    columns = ("images", "hours", "classifier_hours", "start_hours", "total_hours")
    table = pd.DataFrame(rows, columns=["method", "label", "batch_size", *columns, "gpus", "peak_memory_mb"])
    grouped = table.groupby(["label", "batch_size"], sort=False)
    return grouped.agg(
        runs=("images", "size"),
        **{name: (name, "mean") for name in columns},
        gpus=("gpus", "max"),
        peak_memory_mb=("peak_memory_mb", "max"),
    ).reset_index()


def _list_upstream(weights: Weights) -> list[Weights]:
    """The given weights and everything that they were made from."""
    if not isinstance(weights, Snapshot):
        return [weights]
    return [weights, *(more for other in weights.run.upstream.values() for more in _list_upstream(other))]


def _deduplicate(found: Iterable[Weights]) -> list[Snapshot]:
    """The snapshots trained here, each once."""
    return list({weights.name: weights for weights in found if isinstance(weights, Snapshot)}.values())


def _read_part(plan: Plan, weights: Snapshot) -> pd.DataFrame | None:
    """The logs of a run up to one of its snapshots; None if one is missing."""
    logs = _read_logs(plan.runs[weights.run.name])
    return None if logs is None else logs[logs["iteration"] <= weights.iteration]


def _read_logs(run: Run) -> pd.DataFrame | None:
    """The rows of all logs of a run, with the seconds each covers; None if a log is missing or has no rows."""
    parts = []
    for segment in run.segments:
        rows = pd.DataFrame(read_rows(paths.training_log(run.folder, segment.stop)))
        stopped = read_stopped(paths.state(run.folder, segment.stop))
        if rows.empty and not stopped:
            return None
        if rows.empty:
            break
        parts.append(_add_seconds(rows, segment.start * run.record.batch_size))
    return pd.concat(parts, ignore_index=True) if parts else None


def _add_seconds(rows: pd.DataFrame, images_before: int) -> pd.DataFrame:
    seen = rows["images"].diff().fillna(rows["images"].iloc[0] - images_before)
    return rows.assign(seconds=seen / rows["images_per_second"])


def _count_hours(logs: Iterable[pd.DataFrame | None]) -> float:
    """Total device hours in the logs of some runs; NaN if there are no runs, or a log is missing."""
    found = list(logs)
    if not found:
        return float("nan")
    hours = 0.0
    for log in found:
        if log is None:
            return float("nan")
        hours += float((log["seconds"] * log["gpus"].clip(lower=1).fillna(1)).sum()) / SECONDS_PER_HOUR
    return hours

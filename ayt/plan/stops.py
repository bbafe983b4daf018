"""Training runs that are stopped: where, why, how far a run goes, and which were stopped by a rule no longer in force.

Where a run stops depends only on its rule and the scores of its first average, not on what else was trained or scored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.base.stopped import Stopped, read_stopped
from ayt.methods.stopping import Stop
from ayt.metrics.base import METRICS
from ayt.plan.evaluations import DenoisingScore, Score
from ayt.plan.plan import Plan, ShownScore
from ayt.plan.runs import Run, Segment, Snapshot
from ayt.plan.scored import read_score


def decide(rule: Stop, score: Score | DenoisingScore, folder: Path, iterations: Sequence[int]) -> str | None:
    """Why training is stopped after the snapshots so far; None: it continues.

    Args:
        rule: the rule, with its metric.
        score: the scores that it checks.
        folder: of the run.
        iterations: of the snapshots, increasing; at least one.

    Raises:
        UserError: a score is missing or damaged.
    """
    metric, scores = METRICS.kinds[str(rule.metric)], []
    for iteration in iterations:
        path = score.result(folder, iteration)
        found = read_score(path)
        if rule.metric not in found:
            raise UserError(f"{path}: has no {rule.metric}; delete it to have it made again")
        scores.append((iteration, found[rule.metric]["mean"]))
    return rule.decide(scores, metric.label, metric.better)


def find_stop(plan: Plan, run: Run) -> Stopped | None:
    """Where a run stops, and why; None: it has no rule, trains to its end, or has not got that far."""
    rule = run.stop
    if rule is None:
        return None
    left = next((stopped for _, stopped in _left(run)), None)
    shown = _watched(plan, run, rule)
    for segment in run.segments[:-1]:
        iterations = [iteration for iteration in run.snapshot_iterations if iteration <= segment.stop]
        if shown is None or (left and segment.stop > left.iteration):
            break
        if not all(shown.record.result(run.folder, iteration).exists() for iteration in iterations):
            break
        reason = decide(_named(rule, shown), shown.record, run.folder, iterations)
        if reason:
            return Stopped(segment.stop, reason)
    return left if left and left.diverged and rule.diverged else None


def list_reached(plan: Plan, run: Run) -> list[Snapshot]:
    """The snapshots of a run once it is finished, in order."""
    stopped = find_stop(plan, run)
    return [s for s in run.snapshots if stopped is None or s.iteration <= stopped.iteration]


def find_outdated(plan: Plan) -> dict[Run, list[Path]]:
    """Stopped runs that continue under this experiment's rules, with the files that replace their results."""
    found = {run: [path for path, _ in _left(run)] for run in plan.runs.values()}
    return {run: left for run, left in found.items() if left and not find_stop(plan, run)}


def list_needed_scores(plan: Plan, run: Run, segment: Segment) -> list[Path]:
    """The scores that must exist before a segment is trained."""
    shown = _watched(plan, run, run.stop) if run.stop and segment.start else None
    earlier = [iteration for iteration in run.snapshot_iterations if iteration <= segment.start]
    return [shown.record.result(run.folder, iteration) for iteration in earlier] if shown else []


def list_options(plan: Plan, run: Run) -> list[str]:
    """The arguments of `ayt train` for a run's rule."""
    if run.stop is None:
        return []
    shown = _watched(plan, run, run.stop)
    rule = _named(run.stop, shown) if shown else run.stop
    told = json.dumps(rule.model_dump(exclude_defaults=True))
    return ["--stop-when", told, *(["--scores", str(shown.record.record(run.folder))] if shown else [])]


def find_last(folder: Path, iteration: int) -> int | None:
    """The last snapshot, up to an iteration, that training reached before it was stopped; None: it reached none."""
    return max((i for i in paths.snapshots(folder) if i <= iteration and not _is_left(folder, i)), default=None)


def _is_left(folder: Path, iteration: int) -> bool:
    return read_stopped(paths.snapshot(folder, iteration)) is not None


def _left(run: Run) -> Iterator[tuple[Path, Stopped]]:
    """The notes left in place of snapshots and states of a stopped training run, in order."""
    for segment in run.segments:
        for path in segment.made(run.folder, run.record.averages):
            if stopped := read_stopped(path):
                yield path, stopped


def _watched(plan: Plan, run: Run, rule: Stop) -> ShownScore | None:
    """The score that a rule checks; None: it checks none."""
    if not rule.by_score:
        return None
    name = rule.metric or plan.experiment.evaluation.metrics[0]
    shown = [score for score in plan.shown_scores(run.name) if score.metric.name == name]
    return next(score for score in shown if rule.steps in (None, score.steps))


def _named(rule: Stop, shown: ShownScore) -> Stop:
    return rule.model_copy(update={"metric": shown.metric.name})

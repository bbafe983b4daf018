"""Segments that are not trained because a run's scores so far are too bad."""

from __future__ import annotations

import json
from pathlib import Path

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.base.kinds import validate
from ayt.base.processes import Processes
from ayt.base.stopped import Stopped, read_stopped
from ayt.methods.stopping import Stop
from ayt.plan.evaluations import read_evaluation
from ayt.plan.runs import RunRecord, Segment
from ayt.plan.stops import decide
from ayt.training.under_way import UnderWay


def read_rule(text: str | None) -> Stop | None:
    """The rule given by ``--stop-when``; None: no rule.

    Raises:
        UserError: it is not a valid rule.
    """
    if text is None:
        return None
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"--stop-when {text!r}: is not JSON ({error})") from None
    return validate(Stop, content, "--stop-when")


def why_stopped(
    record: RunRecord, folder: Path, segment: Segment, rule: Stop | None, scores: Path | None
) -> Stopped | None:
    """Why a segment should not be trained; None: it should.

    Args:
        record: what the run is.
        folder: of the run.
        segment: the segment that would be trained.
        rule: the rule that may stop the run; None: no rule.
        scores: record of the scores that the rule checks.

    Raises:
        UserError: a score is missing, or is one of another run.
    """
    if rule is None or not segment.start:
        return None
    if before := read_stopped(paths.state(folder, segment.start)):
        return before
    if not rule.by_score:
        return None
    if scores is None or rule.metric is None:
        raise UserError("--stop-when: looks at scores; --scores must name their record, and the rule their metric")
    score = read_evaluation(scores)
    if score.run != record.name:
        raise UserError(f"{scores}: is of run {score.run}, not of {record.name}")
    reason = decide(rule, score, folder, range(segment.every, segment.start + 1, segment.every))
    return Stopped(segment.start, reason) if reason else None


def leave_stopped(
    record: RunRecord, folder: Path, segment: Segment, stopped: Stopped, take_over: bool, processes: Processes
) -> None:
    """Write the reason in place of a segment's results."""
    UnderWay(folder, segment, record.averages, take_over, processes, commit=None).publish_stop(stopped, record.name)
    processes.wait()

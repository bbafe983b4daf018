"""The progress of an experiment's runs, from the files they leave, and what the queue says about their jobs."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ayt.base import paths
from ayt.base.stopped import Stopped
from ayt.plan.plan import Plan
from ayt.plan.runs import Run
from ayt.plan.stops import find_stop, list_reached
from ayt.training.log import read_rows

QUEUE_SECONDS = 20

ENDED = ("done", "stopped")
"""States of runs that are no longer being worked on."""


@dataclass(frozen=True)
class RunStatus:
    """One run.

    Attributes:
        name: of the run.
        iteration: iterations logged so far.
        iterations: iterations of the whole run.
        state: ``done``, ``stopped``, ``running``, ``not running`` (begun, but not being trained here), ``waiting``
            (not begun), or the queue's state.
        images_per_second: in the last row of its log; None before the first.
        seconds_left: at that speed, for a run in progress.
        score: the newest score, as text; empty before the first.
        job: the last Slurm job that worked on it; empty if none did.
        age: seconds since it last wrote something; None if it never did.
        stopped: where and why it was stopped early; None: it was not.
    """

    name: str
    iteration: int
    iterations: int
    state: str
    images_per_second: float | None = None
    seconds_left: float | None = None
    score: str = ""
    job: str = ""
    age: float | None = None
    stopped: Stopped | None = None


def statuses(plan: Plan) -> list[RunStatus]:
    """The status of each run of an experiment, upstream runs first; the queue is queried once."""
    found = [_status(plan, run) for run in plan.runs.values()]
    queue = _queue(status.job for status in found if status.job and status.state not in ENDED)
    found = [replace(status, state=queue.get(status.job, status.state)) for status in found]
    return [_add_time_left(run, status) for run, status in zip(plan.runs.values(), found, strict=True)]


def _status(plan: Plan, run: Run) -> RunStatus:
    resume = paths.resume_folder(run.folder)
    logs = [*sorted((run.folder / "logs").glob("*.csv")), resume / "log.csv"]
    rows = [row for row in map(last_row, logs) if row]
    row = max(rows, key=lambda row: row["iteration"], default={})
    written = [path.stat().st_mtime for path in (*logs, resume / "state.safetensors") if path.exists()]
    stopped = find_stop(plan, run)
    if stopped:
        state = "stopped"
    elif all(snapshot.path.exists() for snapshot in run.snapshots):
        state = "done"
    elif is_held(resume / "holder.lock"):
        state = "running"
    else:
        state = "not running" if written else "waiting"
    return RunStatus(
        name=run.name,
        iteration=_iteration(run, row, state, stopped),
        iterations=run.iterations,
        state=state,
        images_per_second=row.get("images_per_second"),
        score=_last_score(plan, run),
        job=_last_job(run),
        age=time.time() - max(written) if written else None,
        stopped=stopped,
    )


def _iteration(run: Run, row: dict[str, float], state: str, stopped: Stopped | None) -> int:
    """The state of a run; ``row``: the last row of its logs, empty if there is none."""
    if stopped:
        return stopped.iteration
    return run.iterations if state == "done" else min(int(row.get("iteration", 0)), run.iterations)


def _add_time_left(run: Run, status: RunStatus) -> RunStatus:
    """Add the time left at the last speed, for a run in training."""
    if status.state.lower() != "running" or not status.images_per_second:
        return status
    images = (status.iterations - status.iteration) * run.record.batch_size
    return replace(status, seconds_left=images / status.images_per_second)


def last_row(log: Path) -> dict[str, float]:
    """The numbers in the last complete row of a training log; empty if there is none."""
    return (read_rows(log) or [{}])[-1]


def is_held(lock: Path) -> bool:
    """Whether the run is being trained by a process on a machine that shares file locks with this one."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _last_score(plan: Plan, run: Run) -> str:
    """The first shown score of the newest snapshot of the run's first average."""
    if run not in plan.trained:
        return ""
    shown = plan.shown_scores(run.name)[0]
    for snapshot in reversed([snapshot for snapshot in list_reached(plan, run) if not snapshot.average]):
        iteration = snapshot.iteration
        path = shown.record.result(run.folder, iteration)
        if path.exists():
            try:
                mean = json.loads(path.read_bytes())["metrics"][shown.metric.name]["mean"]
            except (ValueError, KeyError, TypeError):
                return f"unreadable at {iteration}"
            return f"{shown.title} {'failed' if mean is None else f'{mean:.4g}'} at {iteration}"
    return ""


def _last_job(run: Run) -> str:
    """The job id in the name of the newest log that a cluster job wrote beside a run's own."""
    folder = paths.job_log(run.record.training.stage, run.record.dataset.name, run.name, "0").parent
    logs = {log: re.search(r"\.slurm-(\d+(?:_\d+)?)\.log$", log.name) for log in folder.glob("*.slurm-*.log")}
    newest = max((log for log, found in logs.items() if found), key=lambda log: log.stat().st_mtime, default=None)
    found = newest and logs[newest]
    return found[1] if found else ""


def _queue(jobs: Iterable[str]) -> dict[str, str]:
    """The queue's states of these jobs; jobs it no longer knows are left out."""
    wanted = sorted(set(jobs))
    if not wanted or not shutil.which("squeue"):
        return {}
    # All of the user's jobs: squeue fails on a list with a job that is gone.
    command = ["squeue", "--me", "--noheader", "--array", "--format", "%i %T"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=QUEUE_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return {}
    states = dict(line.split(maxsplit=1) for line in answer.stdout.splitlines() if " " in line)
    return {job: states[job] for job in wanted if job in states}

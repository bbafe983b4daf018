"""Slurm: submitting jobs and querying their status."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from snakemake_executor_plugin_submitit import reasons, submission
from snakemake_executor_plugin_submitit.cluster import ACTIVE, Cluster, NoAnswer, Refused, Status, Submitted
from snakemake_executor_plugin_submitit.commands import ask, call, rows, tokens
from snakemake_executor_plugin_submitit.request import Request
from snakemake_executor_plugin_submitit.submission import Habits
from snakemake_executor_plugin_submitit.task import Command
from snakemake_executor_plugin_submitit.verdict import (
    ABSENT,
    ABSENT_SECONDS,
    ACTIVE_STATES,
    CANNOT_START,
    Row,
    Sight,
    has_persisted,
    judge,
)

NEEDED = ("sbatch", "srun", "squeue", "scancel", "scontrol")
DOUBT_AT, DOUBT_EVERY = 3, 10
"""The queue is queried too at query number `DOUBT_AT` and every `DOUBT_EVERY` queries: accounting may miss an end, and
learns reasons late."""
EXPLAIN_SECONDS = 10.0
"""Seconds that accounting, which lags behind the queue, may take to say why a job failed."""
IDS_AT_ONCE = 5000
"""The number of ids that fit into an argument: Linux allows 128 KiB."""
CONFIRMED_AT_ONCE = 50
"""The number of absent jobs queried at a time, as the controller is asked about each individually."""


class Slurm(Cluster):
    """A Slurm cluster, queried with one command for all jobs.

    Raises:
        Refused: there is none, or several.
    """

    name = "slurm"

    def __init__(self, habits: Habits) -> None:
        if missing := [command for command in NEEDED if not shutil.which(command)]:
            raise Refused(f"{', '.join(missing)}: not on PATH; is this a host of the Slurm cluster?")
        own = os.environ.get("SLURM_CLUSTERS", "")
        for variable in ("SLURM_CLUSTERS", "SBATCH_CLUSTERS"):
            value = os.environ.get(variable, own)
            if value not in {own, ""} or "," in value or value == "all":
                raise Refused(f"{variable}={value}: jobs of one cluster can be watched; set SLURM_CLUSTERS to it")
        self.habits = habits
        self._questions = 0
        self._configured: dict[str, str] | None = None

    def largest_batch(self, wanted: int) -> int:
        """See `Cluster`."""
        limit = self._configuration().get("MaxArraySize", "")
        return max(1, min(wanted, int(limit))) if limit.isdecimal() else wanted

    def submit(self, commands: Sequence[Command], request: Request, folder: Path) -> list[Submitted]:
        """See `Cluster`."""
        ids = submission.submit(commands, request, folder, self.habits)
        return [Submitted(job_id, request.name, folder, time.time()) for job_id in ids]

    def statuses(self, jobs: Sequence[Submitted]) -> dict[str, Status]:
        """See `Cluster`."""
        if not jobs:
            return {}
        accounted, queued = self._look_up(jobs)
        now, answer = time.monotonic(), {}
        to_confirm = CONFIRMED_AT_ONCE
        for job in jobs:
            sight = Sight(
                accounted.get(job.id),
                (queued or {}).get(job.id),
                queued is not None,
                None,
                self._result(job, accounted),
            )
            status, unsettled = judge(sight, job.unsettled, now)
            if to_confirm and sight.asked and has_persisted(unsettled, ABSENT, ABSENT_SECONDS, now):
                to_confirm -= 1
                sight = Sight(sight.accounted, sight.queued, sight.asked, _unknown(job), sight.result)
                status, unsettled = judge(sight, unsettled, now)
            answer[job.id], job.unsettled = status, unsettled
        self._cancel_what_cannot_start(jobs, answer)
        self._explain([job for job in jobs if answer[job.id].verdict == "failed"], answer, now)
        return answer

    def queue(self) -> dict[str, str]:
        """See `Cluster`."""
        return tokens()

    def cancel(self, jobs: Collection[Submitted]) -> None:
        """See `Cluster`."""
        ids = sorted({job.id for job in jobs})
        for start in range(0, len(ids), IDS_AT_ONCE):
            part = ids[start : start + IDS_AT_ONCE]
            try:
                ask("scancel", *part)
            except NoAnswer:
                # It also complains about jobs that are long gone.
                if not set(part).isdisjoint(tokens()):
                    raise

    @property
    def accounting(self) -> bool:
        """Whether the cluster has accounting that can be queried."""
        none = self._configuration().get("AccountingStorageType", "").endswith("none")
        return shutil.which("sacct") is not None and not none

    def _configuration(self) -> dict[str, str]:
        """The controller's configuration, queried once; empty while it does not answer."""
        if self._configured is None:
            try:
                lines = ask("scontrol", "show", "config").splitlines()
            except NoAnswer:
                return {}
            pairs = (line.partition("=") for line in lines)
            self._configured = {key.strip(): value.strip() for key, _, value in pairs}
        return self._configured

    def _look_up(self, jobs: Sequence[Submitted]) -> tuple[dict[str, Row], dict[str, Row] | None]:
        """What accounting and, if that is not enough, the queue say; None: it was not queried, or did not answer."""
        error: NoAnswer | None = None
        accounted: dict[str, Row] = {}
        if self.accounting:
            try:
                accounted = self._accounts(jobs)
            except NoAnswer as silence:
                error = silence
        # A job that accounting calls finished may be about to be requeued, its reasons may be outdated, and it may lag
        # behind, miss an end, or be switched off.
        self._questions += 1
        regular = self._questions == DOUBT_AT or self._questions % DOUBT_EVERY == 0
        if not regular and not any(job.unsettled or _is_doubtful(accounted.get(job.id)) for job in jobs):
            return accounted, None
        try:
            return accounted, dict(rows(ask("squeue", *_MINE, "-t", "all", "-o", "%i|%T|%r")))
        except NoAnswer as silence:
            if accounted:
                return accounted, None
            raise (error or silence) from None

    def _accounts(self, jobs: Sequence[Submitted]) -> dict[str, Row]:
        since = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(min(job.submitted for job in jobs) - 3600))
        ids = sorted({job.id.split("_")[0] for job in jobs})
        answer: dict[str, Row] = {}
        for start in range(0, len(ids), IDS_AT_ONCE):
            part = ",".join(ids[start : start + IDS_AT_ONCE])
            answer |= rows(ask("sacct", "-X", "-n", "-P", "-S", since, "-o", "JobID,State,Reason", "-j", part))
        return answer

    def _result(self, job: Submitted, accounted: dict[str, Row]) -> Status | None:
        """The status in a job's own file, read only if it may be needed."""
        row = accounted.get(job.id)
        return job.result() if row is None or (row.active and job.unsettled) else None

    def _cancel_what_cannot_start(self, jobs: Sequence[Submitted], answer: dict[str, Status]) -> None:
        """Cancel pending jobs that fail because they will never start."""
        never = []
        for job in jobs:
            if answer[job.id].why.startswith(CANNOT_START):
                if reasons.NODE_LIMIT in answer[job.id].why and not _more_nodes_than_there_are(job):
                    answer[job.id] = ACTIVE
                else:
                    never.append(job)
        if never:
            try:
                self.cancel(never)
            except NoAnswer:
                answer |= {job.id: ACTIVE for job in never}

    def _explain(self, failed: Sequence[Submitted], answer: dict[str, Status], now: float) -> None:
        """Add why jobs ended as they did, which may mean waiting for accounting."""
        unexplained = [job for job in failed if not answer[job.id].why.startswith(CANNOT_START)]
        if not unexplained or not self.accounting:
            return
        try:
            fields = "JobID,State,ExitCode,MaxRSS,ReqMem,Timelimit,NodeList"
            ids = ",".join(job.id for job in unexplained[:IDS_AT_ONCE])
            records = [line.split("|") for line in ask("sacct", "-n", "-P", "-o", fields, "-j", ids).splitlines()]
        except NoAnswer:
            records = []
        for job in unexplained:
            job.failed_since = job.failed_since or now
            own = [record for record in records if record[0].split(".")[0] == job.id]
            if own and own[0][1].split(" ")[0] not in ACTIVE_STATES:
                why = reasons.failure(own)
                answer[job.id] = Status("failed", f"{answer[job.id].why}: {why}" if why else answer[job.id].why)
            elif now - job.failed_since < EXPLAIN_SECONDS and job.unsettled is None:
                answer[job.id] = ACTIVE


_MINE = ("-h", "-r", "-u", str(os.getuid()))
"""The user's number: names like $LOGNAME may be someone else's."""


def _is_doubtful(row: Row | None) -> bool:
    """Whether accounting alone is not enough."""
    return row is None or not (row.active or row.state == "COMPLETED") or reasons.never_starts(row.reason)


def _unknown(job: Submitted) -> bool | None:
    """Whether the controller says that it does not know a job; None if it does not answer."""
    try:
        done = call("scontrol", "-o", "show", "job", job.id)
    except NoAnswer:
        return None
    return "Invalid job id" in done.stderr if done.returncode else False


def _more_nodes_than_there_are(job: Submitted) -> bool:
    """Whether a job requests more nodes than its partition has, up or down."""
    try:
        wanted, _, partition = ask("squeue", "-h", "-j", job.id, "-o", "%D|%P").strip().partition("|")
        there = ask("sinfo", "-h", "-p", partition, "-o", "%D").split()
        return int(wanted) > sum(map(int, there))
    except (NoAnswer, ValueError):
        return False

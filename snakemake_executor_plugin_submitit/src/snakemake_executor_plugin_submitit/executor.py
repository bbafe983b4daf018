"""Snakemake's executor: submits, watches, cancels, and takes over what an earlier Snakemake has submitted."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from snakemake.shell import shell
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from snakemake_executor_plugin_submitit.cluster import Cluster, NoAnswer, Refused, Submitted, Verdict
from snakemake_executor_plugin_submitit.direct import Direct
from snakemake_executor_plugin_submitit.ledger import Ledger
from snakemake_executor_plugin_submitit.request import RequestError, request
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.slurm import Slurm
from snakemake_executor_plugin_submitit.task import PEER_LOG, Command

CLUSTERS = ("slurm", "local", "debug")
LONGEST_WAIT = 300.0
"""Seconds between two attempts, at most."""
LONGEST_POLL = 60.0
"""Seconds between two questions to a cluster that does not answer; Ctrl-C waits for their end."""
STRAY_SECONDS, STRAY_EVERY = 600.0, 30.0
"""For how long, and how often, a submission without an answer is looked for in the queue."""
DIRECT_SECONDS = 1
"""Between two looks at a cluster that costs nothing to ask."""


@dataclass
class _Batch:
    """Jobs of one shape that have not been submitted yet."""

    jobs: list[JobExecutorInterface]
    parameters: dict[str, Any]
    attempts: int = 0
    not_before: float = 0.0


class Executor(RemoteExecutor):  # type: ignore[misc]  # Snakemake's interface is untyped
    """Submits jobs through submitit; see `Command` for what runs on the node and `request` for the resources."""

    def __post_init__(self) -> None:
        settings = self.workflow.executor_settings
        assert isinstance(settings, ExecutorSettings)
        self.settings = settings
        self.folder = Path(settings.folder).absolute()
        self.cluster = self._cluster()
        self.ledger = Ledger(self.folder / "ledger.jsonl")
        self._mine: dict[str, Submitted] = {}
        self._waiting: list[_Batch] = []
        self._submitting = threading.RLock()
        self._cancelled = False
        self._silent = 0
        self._earlier: dict[str, Submitted] | None = None
        self._strays_at = 0.0
        self._first_looked: dict[str, float] = {}
        wanted = self.workflow.remote_execution_settings.seconds_between_status_checks
        self._seconds = DIRECT_SECONDS if isinstance(self.cluster, Direct) else wanted
        self.next_seconds_between_status_checks = self._seconds

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit one job."""
        self.run_jobs([job])

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        """Submit jobs, those of the same shape as arrays."""
        batches: dict[str, _Batch] = {}
        if self._earlier is None:
            self._earlier = self._from_earlier()
        claimed = self._verdicts([self._earlier[key] for key in map(_key, jobs) if key in self._earlier])
        for job in jobs:
            self.run_job_pre(job)
            if self._taken_over(job, claimed):
                continue
            try:
                _check_tasks(job)
                parameters = request(
                    dict(job.resources.items()),
                    job.threads,
                    name=_rules(job),
                    signal_seconds=self.settings.signal_seconds,
                    limited=self.workflow.global_resources,
                )
            except RequestError as error:
                self.report_job_error(SubmittedJobInfo(job), f"{_name(job)}: {error}\n")
                continue
            batch = batches.setdefault(json.dumps(parameters, sort_keys=True), _Batch([], parameters))
            batch.jobs.append(job)
        size = self.settings.array_size
        for batch in batches.values():
            for start in range(0, len(batch.jobs), size):
                self._submit(_Batch(batch.jobs[start : start + size], batch.parameters))

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Ask what became of the jobs, once for all of them; try again what was refused."""
        now = time.monotonic()
        with self._submitting:
            due = [batch for batch in self._waiting if batch.not_before <= now]
            self._waiting = [batch for batch in self._waiting if batch.not_before > now]
        if self.ledger.unanswered and now > self._strays_at:
            self._cancel_strays()
        for batch in due:
            self._submit(batch)
        submitted = [_submitted(info) for info in active_jobs]
        try:
            verdicts = await asyncio.to_thread(self.cluster.verdicts, submitted)
        except NoAnswer as error:
            verdicts = {}
            for job in submitted:
                job.odd = None  # nobody saw whether it lasted
            self._no_answer(error)
        else:
            if self._silent:
                self.logger.info(f"The cluster answers again, after {self._silent} questions without an answer.")
            self._silent = 0
            self.next_seconds_between_status_checks = self._seconds
        for info, job in zip(active_jobs, submitted, strict=True):
            verdict, why = verdicts.get(job.id, ("active", ""))
            if verdict == "active":
                yield info
                continue
            self._ended(_key(info.job))
            if verdict == "done":
                self.report_job_success(info)
            else:
                self._failed(info, why)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel everything that was submitted; nothing is submitted after."""
        with self._submitting:
            self._cancelled, waiting, self._waiting = True, self._waiting, []
        # Those that the checking thread holds at this moment are in none of Snakemake's lists, but in the ledger.
        earlier = (self._earlier or {}).values()
        jobs = {job.id: job for job in (*map(_submitted, active_jobs), *self._mine.values(), *earlier)}
        self.logger.info(f"Cancelling {len(jobs)} jobs: {', '.join(sorted(jobs)) or 'none'}.")
        for batch in waiting:
            self.logger.info(f"Not submitted: {', '.join(map(_name, batch.jobs))}.")
        for attempt in range(5):
            try:
                self.cluster.cancel(list(jobs.values()))
                if self.ledger.unanswered and not self._cancel_strays():
                    raise NoAnswer("submissions without an answer may be in the queue")
                break
            except NoAnswer as error:
                self.logger.error(f"Could not cancel ({error}); trying again.")
                time.sleep(2**attempt)
        else:
            self.logger.error(f"Still in the queue: scancel {' '.join(sorted(jobs))}")

    def _cluster(self) -> Cluster:
        name = self.settings.cluster
        if name in ("local", "debug"):
            return Direct(name)  # type: ignore[arg-type]
        if name != "slurm":
            raise WorkflowError(f"--submitit-cluster {name}: unknown; choices: {', '.join(CLUSTERS)}")
        try:
            return Slurm(self.settings.max_timeouts, self.settings.array_parallelism)
        except Refused as error:
            raise WorkflowError(str(error)) from None

    def _submit(self, batch: _Batch) -> None:
        with self._submitting:
            if self._cancelled:
                return
            if self.ledger.unanswered and not self._cancel_strays():
                batch.not_before = time.monotonic() + self._seconds
                self._waiting.append(batch)
                return
            token = uuid.uuid4().hex[:12]
            commands = [self._command(job) for job in batch.jobs]
            name = _name(batch.jobs[0]) if len(batch.jobs) == 1 else batch.parameters["name"]
            # The user's own comment may be what accounting goes by.
            comment = f"{batch.parameters.get('slurm_comment', '')} {token}".strip()
            parameters = {**batch.parameters, "name": name, "slurm_comment": comment}
            self.ledger.submitting(token)
            try:
                jobs = self.cluster.submit(commands, parameters, self.folder / token)
            except Refused as error:
                self._refused(batch, token, error)
                return
            self.ledger.submitted(token, [_key(job) for job in batch.jobs], jobs)
            for job, submitted in zip(batch.jobs, jobs, strict=True):
                self._watch(job, submitted)

    def _watch(self, job: JobExecutorInterface, submitted: Submitted) -> None:
        self._mine[_key(job)] = submitted
        self.logger.info(f"{_name(job)}: {self.settings.cluster} job {submitted.id}")
        self.report_job_submission(SubmittedJobInfo(job, submitted.id, {"submitted": submitted}))

    def _refused(self, batch: _Batch, token: str, error: Refused) -> None:
        names = ", ".join(map(_name, batch.jobs))
        if error.fewer and len(batch.jobs) > 1:
            self.ledger.refused(token)
            half = len(batch.jobs) // 2
            self.logger.warning(f"Submission refused ({error}); trying fewer jobs at a time: {names}")
            for part in (batch.jobs[:half], batch.jobs[half:]):
                self._submit(_Batch(part, batch.parameters, batch.attempts))
            return
        if error.again:
            batch.attempts += 1
            wait = min(5.0 * 2 ** (batch.attempts - 1), LONGEST_WAIT)
            batch.not_before = time.monotonic() + wait
            self._waiting.append(batch)
            self.logger.warning(f"Submission refused ({error}); trying again in {wait:.0f} s: {names}")
            return
        self.ledger.refused(token)
        for job in batch.jobs:
            self.report_job_error(SubmittedJobInfo(job), f"{_name(job)}: not accepted by the cluster: {error}\n")

    def _cancel_strays(self) -> bool:
        """Cancel what a submission left that was accepted but whose answer never came; False: the cluster is silent.

        A busy controller may take such a submission up after minutes, so it is looked for that long.
        """
        now = time.monotonic()
        self._strays_at = now + STRAY_EVERY
        if isinstance(self.cluster, Slurm):
            try:
                queue = self.cluster.names()
                strays = [key for key, (_, comment) in queue.items() if _token(comment) in self.ledger.unanswered]
                self.cluster.cancel([Submitted(key, "", self.folder, 0.0) for key in strays])
            except NoAnswer:
                return False
        for token in list(self.ledger.unanswered):
            if now - self._first_looked.setdefault(token, now) > STRAY_SECONDS:
                self.ledger.refused(token)
        return True

    def _from_earlier(self) -> dict[str, Submitted]:
        """Jobs that an earlier Snakemake submitted and never saw the end of, by key."""
        if self.ledger.unanswered:
            self._cancel_strays()
        jobs = self.ledger.open
        attempt = 0
        while jobs:
            try:
                verdicts = self.cluster.verdicts(list(jobs.values()))
                queue = self.cluster.names() if isinstance(self.cluster, Slurm) else {}
                break
            except NoAnswer as error:
                attempt += 1
                self.logger.warning(f"Jobs of an earlier run are unaccounted for ({error}); asking again.")
                time.sleep(min(5.0 * 2**attempt, LONGEST_WAIT))
        found = {}
        for key, job in list(jobs.items()):
            verdict, why = verdicts[job.id]
            # A cluster that was set up anew counts its jobs from 1 again.
            _, comment = queue.get(job.id, ("", job.folder.name))
            if verdict == "failed" or _token(comment) != job.folder.name:
                self.logger.info(f"Job {job.id} of an earlier run ({job.name}) is over: {why or 'another has its id'}.")
                self._ended(key)
            else:
                found[key] = job
        return found

    def _verdicts(self, jobs: list[Submitted]) -> dict[str, tuple[Verdict, str]]:
        """What became of jobs; nothing where the cluster does not answer, as it will be asked again."""
        try:
            return self.cluster.verdicts(jobs)
        except NoAnswer:
            return {}

    def _taken_over(self, job: JobExecutorInterface, verdicts: dict[str, tuple[Verdict, str]]) -> bool:
        assert self._earlier is not None
        submitted = self._earlier.pop(_key(job), None)
        if submitted is None:
            return False
        verdict, _ = verdicts.get(submitted.id, ("active", ""))
        if verdict == "failed" or (verdict == "done" and not _up_to_date(job)):
            self._ended(_key(job))
            return False
        self.logger.info(f"{_name(job)}: taken over, job {submitted.id} of an earlier run")
        self._watch(job, submitted)
        return True

    def _ended(self, key: str) -> None:
        self._mine.pop(key, None)
        self.ledger.ended(key)

    def _command(self, job: JobExecutorInterface) -> Command:
        return Command(self.format_job_exec(job), _peer_command(job), str(self._log(job)))

    def _log(self, job: JobExecutorInterface) -> Path:
        """The rule's log without its suffix, or a place of our own where the rule has none."""
        logs = _rule_logs(job)
        return Path(logs[0]).with_suffix("").absolute() if logs else self.folder / "logs" / _name(job)

    def _failed(self, info: SubmittedJobInfo, why: str) -> None:
        submitted = _submitted(info)
        own = Path(f"{self._log(info.job)}.{self.settings.cluster}-{submitted.id}.log")
        logs = [Path(log) for part in _single(info.job) for log in map(str, part.log)]
        shown = next((log for log in (*reversed(logs), own) if log.exists() and log.stat().st_size), None)
        tail = self._tail(shown) if shown else ""
        for peer in sorted(own.parent.glob(f"{own.stem}.*.command.log")):
            tail += self._tail(peer)
        message = f"{_name(info.job)}: {self.settings.cluster} job {submitted.id}: {why}\n{tail}"
        self.report_job_error(info, message, aux_logs=[str(own)] if shown == own else [])

    def _tail(self, log: Path) -> str:
        lines = log.read_text(errors="replace").splitlines()[-self.settings.log_lines :]
        return f"the end of {log}:\n" + "".join(f"    {line}\n" for line in lines)

    def _no_answer(self, error: NoAnswer) -> None:
        self._silent += 1
        wait = min(self._seconds * 2.0**self._silent, LONGEST_POLL)
        self.next_seconds_between_status_checks = wait
        self.logger.warning(f"The cluster does not answer ({error}); asking again in {wait:.0f} s, jobs go on.")


def _submitted(info: SubmittedJobInfo) -> Submitted:
    return cast(Submitted, cast(dict[str, Any], info.aux)["submitted"])


def _single(job: JobExecutorInterface) -> Sequence[Any]:
    """The jobs of a group, or the job itself."""
    return sorted(cast(Any, job).jobs, key=_key) if job.is_group() else [job]


def _key(job: JobExecutorInterface) -> str:
    """What identifies a job from one Snakemake to the next."""
    if job.is_group():
        parts = [_key(part) for part in cast(Any, job).jobs]
    else:
        one = cast(Any, job)
        parts = [one.rule.name, *map(str, one.output), one.shellcmd or "", str(dict(one.wildcards_dict))]
    return hashlib.sha256("\0".join(sorted(parts)).encode()).hexdigest()[:16]


def _rules(job: JobExecutorInterface) -> str:
    names = sorted({part.rule.name for part in _single(job)})
    return _plain("+".join(names))


def _name(job: JobExecutorInterface) -> str:
    """The rule and what its wildcards are, as the queue shows it."""
    values = dict.fromkeys(value for part in _single(job) for value in part.wildcards_dict.values())
    return _plain(".".join([_rules(job), *values]))[:200]


def _token(comment: str) -> str:
    """The last word of a job's comment: this executor's."""
    return comment.rpartition(" ")[2]


def _plain(name: str) -> str:
    return re.sub(r"[^\w.+=-]+", "-", name)


def _rule_logs(job: JobExecutorInterface) -> list[str]:
    """The logs of the rule, if the job is one rule's."""
    parts = _single(job)
    return [str(file) for file in parts[0].log] if len(parts) == 1 else []


def _peer_command(job: JobExecutorInterface) -> str | None:
    """What the rule itself runs, as Snakemake's shell() would run it, with another log; None if there is no such."""
    parts = _single(job)
    if len(parts) > 1 or not parts[0].rule.shellcmd:
        return None
    command = parts[0].format_wildcards(parts[0].rule.shellcmd, log=PEER_LOG).strip()
    prefix = "set -euo pipefail; " if shell._process_prefix is None else shell._process_prefix
    return f"{prefix}{command}{shell._process_suffix}"


def _check_tasks(job: JobExecutorInterface) -> None:
    """Raise RequestError for a job that cannot run in the tasks that it asks for."""
    tasks = str(job.resources.get("tasks") or job.resources.get("nodes") or 1)
    if tasks != "1" and _peer_command(job) is None:
        raise RequestError(f"tasks={tasks}: only a job of one rule with a shell command can have several tasks")


def _up_to_date(job: JobExecutorInterface) -> bool:
    """Whether a job's outputs are there and none of its inputs is newer."""
    for part in _single(job):
        outputs = [Path(str(file)) for file in part.output]
        inputs = [Path(str(file)) for file in part.input]
        if not all(file.exists() for file in (*outputs, *inputs)):
            return False
        oldest = min((file.stat().st_mtime for file in outputs), default=0.0)
        if any(file.stat().st_mtime > oldest for file in inputs):
            return False
    return True

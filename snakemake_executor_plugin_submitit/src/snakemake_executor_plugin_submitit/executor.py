"""Snakemake's executor: submits, watches and cancels jobs, and takes over those of an earlier Snakemake."""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface
from snakemake_interface_executor_plugins.workflow import WorkflowExecutorInterface

from snakemake_executor_plugin_submitit import identity, logs
from snakemake_executor_plugin_submitit.batches import Batch
from snakemake_executor_plugin_submitit.cluster import NoAnswer, Refused, Status
from snakemake_executor_plugin_submitit.clusters import Clusters
from snakemake_executor_plugin_submitit.earlier import Earlier
from snakemake_executor_plugin_submitit.files import LOGS, Files
from snakemake_executor_plugin_submitit.graceful import Remarks, answer_ctrl_c, warn_of_file_errors
from snakemake_executor_plugin_submitit.ledger import Entry, Ledger, LedgerError
from snakemake_executor_plugin_submitit.places import refusal
from snakemake_executor_plugin_submitit.preparation import prepare
from snakemake_executor_plugin_submitit.request import RequestError
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.strays import Strays
from snakemake_executor_plugin_submitit.submission import Habits
from snakemake_executor_plugin_submitit.submitter import Submitter

LONGEST_POLL = 60.0
"""Seconds between queries to a cluster that does not answer; Ctrl-C waits for their end."""
CANCEL_ATTEMPTS = 5


class Executor(RemoteExecutor):  # type: ignore[misc]  # Snakemake's interface is untyped
    """Submits jobs through submitit; see `Command` for what runs on the node and `request` for the resources."""

    def __init__(self, workflow: WorkflowExecutorInterface, logger: LoggerExecutorInterface) -> None:
        # All state comes first: the interface starts the thread that checks jobs before it returns.
        settings = workflow.executor_settings
        if not isinstance(settings, ExecutorSettings):
            raise WorkflowError(f"settings of another executor: {type(settings).__name__}")
        if workflow.remote_execution_settings.immediate_submit:
            raise WorkflowError("--immediate-submit: jobs are not submitted with dependencies; leave the option out")
        self.settings = settings
        self.folder = Path(settings.folder).expanduser().absolute()
        files = [workflow.main_snakefile, *workflow.overwrite_configfiles, Path.cwd()]
        if problem := refusal([file for file in files if file], self.folder):
            raise WorkflowError(problem)
        variables = dict(workflow.spawned_job_args_factory.envvars())
        # They reach the jobs through the submission's environment, not through a file.
        os.environ.update(variables)
        habits = Habits(
            max_timeouts=settings.max_timeouts,
            array_parallelism=settings.array_parallelism,
            setup=tuple(settings.setup or ()),
            srun_args=tuple(shlex.split(settings.srun_args)),
            variables=tuple(variables),
        )
        try:
            clusters = Clusters(settings.cluster, habits)
            self.cluster = clusters.own
            self.ledger = Ledger(self.folder / "ledgers", Path.cwd(), self.cluster.name)
        except (Refused, LedgerError) as error:
            raise WorkflowError(str(error)) from None
        except OSError as error:
            raise WorkflowError(f"--submitit-folder {settings.folder}: {error.strerror}") from None
        self.earlier = Earlier(self.ledger, clusters, logger)
        self.strays = Strays(self.ledger, clusters)
        self.files = Files(self.folder, settings.keep_days)
        self.remarks = Remarks(logger)
        self._silent = 0
        self._seconds = self.cluster.poll_seconds or workflow.remote_execution_settings.seconds_between_status_checks
        self.submitter = Submitter(
            self.cluster,
            self.ledger,
            self.earlier,
            self.strays,
            self.files,
            settings,
            self._seconds,
            logger,
            self.remarks,
            watch=self._watch,
            fail=self._report_error,
        )
        super().__init__(workflow, logger)

    def __post_init__(self) -> None:
        self.next_seconds_between_status_checks = self._seconds
        with warn_of_file_errors(self.logger):
            self.files.remove_old(entry.job.folder for entry in self.ledger.entries())

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit one job."""
        self.run_jobs([job])

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        """Submit jobs; those of the same shape as arrays."""
        prepared = []
        for job in jobs:
            with self._errors_of(job):
                self.run_job_pre(job)
                command, stem = self.format_job_exec(job), self._log_stem(job)
                prepared.append(prepare(job, command, stem, self.workflow, self.settings, self.remarks))
        self.earlier.look([item.identity for item in prepared])
        batches: dict[Any, Batch] = {}
        for item in prepared:
            if entry := self.earlier.find_same(item.job, item.identity):
                self._watch(item.job, entry, "taken over from an earlier run, ")
                continue
            after = self.earlier.claim(item.identity)
            batch = batches.setdefault((repr(item.request), bool(after)), Batch([]))
            batch.jobs.append(item)
            batch.after += after
        size = self.cluster.largest_batch(self.settings.array_size)
        for batch in batches.values():
            for start in range(0, len(batch.jobs), size):
                self.submitter.submit(Batch(batch.jobs[start : start + size], batch.after))

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Query the status of all jobs at once; retry refused submissions."""
        self.submitter.submit_due()
        entries = [_entry(info) for info in active_jobs]
        try:
            statuses = await asyncio.to_thread(self.cluster.statuses, [entry.job for entry in entries])
        except NoAnswer as error:
            statuses = {}
            for entry in entries:
                entry.job.unsettled = None  # nothing is known about whether it persisted
            self._no_answer(error)
        else:
            if self._silent:
                self.logger.info(f"The cluster answers again, after {self._silent} questions without an answer.")
            self._silent = 0
            self.next_seconds_between_status_checks = self._seconds
        over = [entry for entry in entries if _status(statuses, entry).verdict != "active"]
        with warn_of_file_errors(self.logger):
            self.ledger.note_ended(over)
        for info, entry in zip(active_jobs, entries, strict=True):
            status = _status(statuses, entry)
            if status.remark:
                remark = status.remark.replace("JOB", entry.job.id)
                self.remarks.once(f"{identity.name(info.job)}: pending, {remark}", f"{entry.job.name} {status.remark}")
            if status.verdict == "active":
                yield info
            elif status.verdict == "done":
                with warn_of_file_errors(self.logger):
                    self.files.remove(entry, self._own_log(info.job, entry))
                self.report_job_success(info)
            else:
                self.report_job_error(info, **self._failure(info, entry, status.why))

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel everything that was submitted, and submit nothing more."""
        waiting = self.submitter.stop()
        # Jobs held by the checking thread at this moment are in none of Snakemake's lists, but in the ledger.
        entries = self.ledger.entries()
        ids = sorted(entry.job.id for entry in entries)
        self.logger.info(f"Cancelling {len(ids)} jobs: {', '.join(ids) or 'none'}.")
        for batch in waiting:
            self.logger.info(f"Not submitted: {batch.names}.")
        for attempt in range(CANCEL_ATTEMPTS):
            try:
                self.earlier.cancel(entries)
                if self.strays.expected and not self.strays.cancel():
                    raise NoAnswer("submissions without an answer may be in the queue")
                break
            except NoAnswer as error:
                self.logger.error(f"Could not cancel ({error}); trying again.")
                time.sleep(2**attempt)
        else:
            self.logger.error(f"Still in the queue: scancel {' '.join(ids)}")

    def cancel(self) -> None:
        """Cancel everything, and end; a third Ctrl-C leaves jobs in the queue."""
        with answer_ctrl_c(self.logger):
            try:
                super().cancel()
            except KeyboardInterrupt:
                ids = sorted(entry.job.id for entry in self.ledger.entries())
                self.logger.error(f"Left before all was cancelled; these may go on: {' '.join(ids) or 'none'}")

    def shutdown(self) -> None:
        """End the checking thread, and release the ledger."""
        super().shutdown()
        if self.submitter.stopped:
            # Cancelled jobs are over once the cluster says so: the next Snakemake will ask.
            with warn_of_file_errors(self.logger):
                gone = self.earlier.find_gone(self.ledger.entries())
                self.ledger.note_ended(gone)
        with warn_of_file_errors(self.logger):
            self.earlier.forget_the_done()
            self.ledger.close()

    def _log_stem(self, job: JobExecutorInterface) -> Path:
        folder = Path(self.settings.log_folder).expanduser() if self.settings.log_folder else None
        return logs.stem(job, folder, self.folder / LOGS)

    def _own_log(self, job: JobExecutorInterface, entry: Entry) -> Path:
        return Path(f"{self._log_stem(job)}.{self.cluster.name}-{entry.job.id}.log")

    def _watch(self, job: JobExecutorInterface, entry: Entry, how: str = "") -> None:
        self.logger.info(f"{identity.name(job)}: {how}{self.cluster.name} job {entry.job.id}")
        self.report_job_submission(SubmittedJobInfo(job, entry.job.id, {"entry": entry}))

    def _failure(self, info: SubmittedJobInfo, entry: Entry, why: str) -> dict[str, Any]:
        """The message about a failed job: why, and the end of its log."""
        head = f"{identity.name(info.job)}: {self.cluster.name} job {entry.job.id}: {why}\n"
        try:
            own = self._own_log(info.job, entry)
            text, shown = logs.ends(info.job, own, entry.job.error_file, self.settings.log_lines)
        except Exception as error:  # only one job's logs; others continue
            return {"msg": f"{head}(its log cannot be read: {error})\n"}
        return {"msg": head + text, "aux_logs": [str(shown)] if shown == own else []}

    def print_job_error(self, job_info: SubmittedJobInfo, msg: str | None = None, **kwargs: Any) -> None:
        """Show why a job failed; Snakemake itself does not for groups, nor if the rule cannot be formatted."""
        if job_info.job.is_group():
            self.logger.error(msg)
        try:
            super().print_job_error(job_info, msg, **kwargs)
        except Exception as error:  # anything in a rule; others continue
            self.logger.error(f"{msg}({error})")

    def _report_error(self, job: JobExecutorInterface, what: str) -> None:
        self.report_job_error(SubmittedJobInfo(job), f"{identity.name(job)}: {what}\n")

    @contextmanager
    def _errors_of(self, job: JobExecutorInterface) -> Iterator[None]:
        """Turn any exception about one job into that job's error."""
        try:
            yield
        except RequestError as error:
            self._report_error(job, str(error))
        except Exception as error:  # anything in a rule; others continue
            self._report_error(job, f"cannot be submitted: {type(error).__name__}: {error}")

    def _no_answer(self, error: NoAnswer) -> None:
        self._silent += 1
        wait = min(self._seconds * 2.0**self._silent, LONGEST_POLL)
        self.next_seconds_between_status_checks = wait
        self.logger.warning(f"The cluster does not answer ({error}); asking again in {wait:.0f} s, jobs go on.")


def _entry(info: SubmittedJobInfo) -> Entry:
    entry: Entry = (info.aux or {})["entry"]
    return entry


def _status(statuses: dict[str, Status], entry: Entry) -> Status:
    return statuses.get(entry.job.id, Status("active"))

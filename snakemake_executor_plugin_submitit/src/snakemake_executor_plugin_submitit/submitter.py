"""Submits batches of jobs: once no jobs of an earlier run are in their way, and again if refused."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface

from snakemake_executor_plugin_submitit import identity
from snakemake_executor_plugin_submitit.batches import Batch
from snakemake_executor_plugin_submitit.cluster import Cluster, Refused
from snakemake_executor_plugin_submitit.clusters import host
from snakemake_executor_plugin_submitit.earlier import Earlier
from snakemake_executor_plugin_submitit.files import Files
from snakemake_executor_plugin_submitit.graceful import Remarks, warn_of_file_errors
from snakemake_executor_plugin_submitit.ledger import Entry, Ledger
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.strays import Strays

LONGEST_WAIT = 300.0
"""The most seconds between attempts to submit."""


class Submitter:
    """Submits batches; may be called by several threads.

    Args:
        cluster: the cluster that takes the jobs.
        ledger: where submissions are noted.
        earlier: jobs of earlier runs.
        strays: jobs of unanswered submissions.
        files: of submissions.
        settings: of the executor.
        seconds: seconds after which a waiting batch is checked again.
        logger: receives messages.
        remarks: receives messages that are given once.
        watch: called with each submitted job.
        fail: called with each job that cannot be submitted, and why.
    """

    def __init__(
        self,
        cluster: Cluster,
        ledger: Ledger,
        earlier: Earlier,
        strays: Strays,
        files: Files,
        settings: ExecutorSettings,
        seconds: float,
        logger: LoggerExecutorInterface,
        remarks: Remarks,
        watch: Callable[[JobExecutorInterface, Entry], None],
        fail: Callable[[JobExecutorInterface, str], None],
    ) -> None:
        self.cluster, self.ledger, self.earlier, self.strays, self.files = cluster, ledger, earlier, strays, files
        self.folder, self.prefix, self.seconds = files.folder, settings.job_name_prefix, seconds
        self.logger, self.remarks, self.watch, self.fail = logger, remarks, watch, fail
        self.stopped = False
        self._waiting: list[Batch] = []
        self._lock = threading.RLock()

    def submit(self, batch: Batch) -> None:
        """Submit a batch, now or later; errors are reported for its jobs."""
        try:
            with self._lock:
                if not self.stopped and self._may_go(batch):
                    self._submit_now(batch)
        except OSError as error:
            self._postpone(batch, f"{error.filename or self.folder}: {error.strerror}")
        except Exception as error:  # only one batch; others continue
            for item in batch.jobs:
                self.fail(item.job, f"not submitted: {type(error).__name__}: {error}")

    def submit_due(self) -> None:
        """Retry batches that have waited long enough."""
        now = time.monotonic()
        with self._lock:
            due = [batch for batch in self._waiting if batch.not_before <= now]
            self._waiting = [batch for batch in self._waiting if batch.not_before > now]
        self.strays.cancel_if_due()
        for batch in due:
            self.submit(batch)

    def stop(self) -> list[Batch]:
        """Submit nothing more; returns the waiting batches."""
        with self._lock:
            self.stopped, waiting, self._waiting = True, self._waiting, []
        return waiting

    def _may_go(self, batch: Batch) -> bool:
        """Whether no earlier submission is in a batch's way; otherwise it waits."""
        if self.strays.expected and not self.strays.cancel():
            self._wait(batch, self.seconds)
            return False
        if batch.after and (left := self.earlier.try_to_cancel(batch.after)):
            ids = ", ".join(entry.job.id for entry in left)
            text = f"{batch.names}: waiting for jobs of an earlier run on the same outputs to end ({ids})"
            self.remarks.once(text, ids)
            self._wait(batch, self.seconds)
            return False
        return True

    def _submit_now(self, batch: Batch) -> None:
        token = uuid.uuid4().hex[:12]
        first = batch.jobs[0]
        wanted = first.request
        if len(batch.jobs) == 1:
            wanted = wanted.rename(self.prefix + identity.name(first.job))
        self.ledger.note_submitting(token)
        try:
            jobs = self.cluster.submit([item.command for item in batch.jobs], wanted, self.folder / token)
        except Refused as error:
            self._note_refusal(token, self.folder / token, error)
            self._handle_refusal(batch, error)
            return
        except BaseException:
            self.ledger.no_answer(token)
            raise
        here = host()
        entries = [
            Entry(job, item.identity, item.job.attempt, self.cluster.name, here)
            for item, job in zip(batch.jobs, jobs, strict=True)
        ]
        # They are in the queue, noted or not: an error here must not cause a second submission.
        with warn_of_file_errors(self.logger):
            self.ledger.note_submitted(token, entries)
        self.files.expect(entries)
        for item, entry in zip(batch.jobs, entries, strict=True):
            self.watch(item.job, entry)

    def _note_refusal(self, token: str, folder: Path, error: Refused) -> None:
        if error.unanswered:
            self.ledger.no_answer(token)
        else:
            self.ledger.note_refused(token)
            shutil.rmtree(folder, ignore_errors=True)

    def _handle_refusal(self, batch: Batch, error: Refused) -> None:
        if error.fewer and len(batch.jobs) > 1:
            half = len(batch.jobs) // 2
            self.logger.warning(f"Submission refused ({error}); trying fewer jobs at a time: {batch.names}")
            for part in (batch.jobs[:half], batch.jobs[half:]):
                self.submit(Batch(part, batch.after, batch.attempts))
        elif error.again:
            self._postpone(batch, str(error))
        else:
            for item in batch.jobs:
                self.fail(item.job, f"not accepted by the cluster: {error}")

    def _postpone(self, batch: Batch, why: str) -> None:
        batch.attempts += 1
        wait = min(5.0 * 2 ** (batch.attempts - 1), LONGEST_WAIT)
        self._wait(batch, wait)
        self.logger.warning(f"Submission refused ({why}); trying again in {wait:.0f} s: {batch.names}")

    def _wait(self, batch: Batch, seconds: float) -> None:
        batch.not_before = time.monotonic() + seconds
        with self._lock:
            self._waiting.append(batch)

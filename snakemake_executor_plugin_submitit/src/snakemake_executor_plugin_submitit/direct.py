"""submitit's clusters without a queue: processes on this machine, or this process."""

from __future__ import annotations

import signal
import time
from collections.abc import Collection, Iterator, Sequence
from os import environ
from pathlib import Path
from typing import Literal

import psutil
import submitit

from snakemake_executor_plugin_submitit.cluster import ACTIVE, DONE, Cluster, Refused, Status, Submitted
from snakemake_executor_plugin_submitit.request import Request
from snakemake_executor_plugin_submitit.submission import Habits
from snakemake_executor_plugin_submitit.task import LEAVE_SECONDS, Command

A_YEAR = 365 * 24 * 60
"""Minutes given to a job without a limit."""
CONTROLLER = "submitit.local._local"
"""The module that runs a job on submitit's cluster ``local``."""


class Direct(Cluster):
    """submitit's clusters ``local`` (processes on this machine) and ``debug`` (this process)."""

    poll_seconds = 1

    def __init__(self, name: Literal["local", "debug"], habits: Habits) -> None:
        self.name = name
        self.habits = habits

    def largest_batch(self, wanted: int) -> int:
        """See `Cluster`."""
        return wanted

    def submit(self, commands: Sequence[Command], request: Request, folder: Path) -> list[Submitted]:
        """See `Cluster`."""
        if request.options.get("nodes", 1) > 1:
            raise Refused(f"nodes={request.options['nodes']}: the cluster {self.name} is one machine")
        folder.mkdir(parents=True, mode=0o700)
        executor: submitit.Executor = submitit.DebugExecutor(folder)
        if self.name == "local":
            executor = submitit.LocalExecutor(folder, max_num_timeout=self.habits.max_timeouts)
        executor.update_parameters(
            timeout_min=request.minutes or A_YEAR,
            tasks_per_node=request.replicas,
            gpus_per_node=request.gpus,
            signal_delay_s=request.signal_seconds,
            setup=list(self.habits.setup),
        )
        jobs = [executor.submit(command) for command in commands]
        for job in jobs if self.name == "debug" else []:
            # Not job.result(), which opens a debugger when a job fails.
            environ["SUBMITIT_DEBUG_JOB_ID"] = job.job_id
            job.exception()
            del environ["SUBMITIT_DEBUG_JOB_ID"]
        return [Submitted(job.job_id, request.name, folder, time.time(), job) for job in jobs]

    def statuses(self, jobs: Sequence[Submitted]) -> dict[str, Status]:
        """See `Cluster`."""
        return {job.id: self._status(job) for job in jobs}

    def queue(self) -> dict[str, str]:
        """See `Cluster`."""
        found = {}
        for process, command in _commands():
            if CONTROLLER in command:
                parent = _command(process.ppid())
                folder = command[-1]
                # With set-up lines there is a shell in between, whose number the job has.
                job_id = process.ppid() if any(folder in part for part in parent) else process.pid
                found[str(job_id)] = Path(folder).name
        return found

    def cancel(self, jobs: Collection[Submitted]) -> None:
        """Ask the jobs' processes to exit, and kill those that do not; see `Cluster`."""
        # After Ctrl-C in a terminal, submitit has already killed its own processes, but not what they had started.
        processes = [process for job in jobs for process in _processes_of(job)]
        for process in processes:
            _send(process, signal.SIGTERM)
        # submitit's own processes wait to be killed.
        psutil.wait_procs([process for process in processes if not _is_submitits(process)], LEAVE_SECONDS)
        for process in processes:
            _send(process, signal.SIGKILL)

    def _status(self, job: Submitted) -> Status:
        if self.name == "debug":
            error = job.handle.exception() if job.handle else "lost: it ran within a process that is gone"
            return Status("failed", str(error)) if error else DONE
        if not (job.handle.done() if job.handle else not _runs(job)):
            return ACTIVE
        return job.result() or Status("failed", "lost: its process is gone and left no result")


def _runs(job: Submitted) -> bool:
    """Whether the process on this machine with the job's number is that job."""
    return any(str(job.folder) in part for part in _command(int(job.id)))


def _command(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def _commands() -> Iterator[tuple[psutil.Process, list[str]]]:
    for process in psutil.process_iter():
        try:
            if process.uids().real == psutil.Process().uids().real:
                yield process, process.cmdline()
        except psutil.Error:
            continue  # over


def _processes_of(job: Submitted) -> list[psutil.Process]:
    """All processes on this machine started by a job on submitit's cluster ``local``, recognised by environment."""
    found = []
    for process, command in _commands():
        try:
            variables = process.environ()
        except psutil.Error:
            continue  # over
        folder = str(job.folder)
        here = variables.get("SUBMITIT_FOLDER") == folder or any(folder in part for part in command)
        if here and job.id in (variables.get("SUBMITIT_LOCAL_JOB_ID"), str(process.pid)):
            found.append(process)
    return found


def _is_submitits(process: psutil.Process) -> bool:
    try:
        return any(part.startswith("submitit.") for part in process.cmdline())
    except psutil.Error:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return

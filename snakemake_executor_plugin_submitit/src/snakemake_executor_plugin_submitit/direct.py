"""submitit's clusters without a queue: processes on this machine, or this process."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from os import environ
from pathlib import Path
from typing import Any, Literal

import psutil

from snakemake_executor_plugin_submitit.cluster import (
    Cluster,
    Refused,
    Submitted,
    Verdict,
    by_result,
    submitits_executor,
)
from snakemake_executor_plugin_submitit.task import LEAVE_SECONDS, Command


class Direct(Cluster):
    """submitit's clusters ``local`` (processes on this machine) and ``debug`` (this process)."""

    def __init__(self, name: Literal["local", "debug"]) -> None:
        self.name = name

    def submit(self, commands: Sequence[Command], parameters: dict[str, Any], folder: Path) -> list[Submitted]:
        """Submit jobs of one shape; see `Cluster`."""
        if parameters["nodes"] > 1:
            raise Refused(f"nodes={parameters['nodes']}: the cluster {self.name} is one machine", again=False)
        executor = submitits_executor(self.name, parameters, folder)
        jobs = [executor.submit(command) for command in commands]
        for job in jobs if self.name == "debug" else []:
            # Not job.result(), which opens a debugger when a job fails.
            environ["SUBMITIT_DEBUG_JOB_ID"] = job.job_id
            job.exception()
            del environ["SUBMITIT_DEBUG_JOB_ID"]
        return [Submitted(job.job_id, parameters["name"], folder, time.time(), job) for job in jobs]

    def verdicts(self, jobs: Sequence[Submitted]) -> dict[str, tuple[Verdict, str]]:
        """What became of jobs; see `Cluster`."""
        answer: dict[str, tuple[Verdict, str]] = {}
        for job in jobs:
            if self.name == "debug":
                error = job.job.exception()
                answer[job.id] = ("failed", str(error)) if error else ("done", "")
                continue
            ended = job.job.done() if job.job else not _process(job)
            answer[job.id] = by_result(job) if ended else ("active", "")
        return answer

    def cancel(self, jobs: Sequence[Submitted]) -> None:
        """Ask the jobs' processes to leave, and kill what stays; see `Cluster`."""
        # After Ctrl-C in a terminal submitit has killed its own processes already, and not what they had started.
        processes = [process for job in jobs for process in _processes_of(job)]
        for process in processes:
            _send(process, signal.SIGTERM)
        # submitit's own wait to be killed.
        psutil.wait_procs([process for process in processes if not _is_submitits(process)], LEAVE_SECONDS)
        for process in processes:
            _send(process, signal.SIGKILL)


def _process(job: Submitted) -> psutil.Process | None:
    """The process on this machine that runs a job of submitit's cluster ``local``, whose id is the process's."""
    try:
        process = psutil.Process(int(job.id))
        return process if str(job.folder) in " ".join(process.cmdline()) else None
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return None


def _processes_of(job: Submitted) -> list[psutil.Process]:
    """Everything on this machine that a job of submitit's cluster ``local`` started, known by its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            variables, command = process.environ(), " ".join(process.cmdline())
        except psutil.Error:
            continue  # another user's, or over
        here = variables.get("SUBMITIT_FOLDER") == str(job.folder) or str(job.folder) in command
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

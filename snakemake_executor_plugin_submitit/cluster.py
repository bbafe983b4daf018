"""Where jobs run, and what became of them: Slurm, or submitit's clusters without a queue."""

from __future__ import annotations

import getpass
import pickle
import re
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Any, Literal

import psutil
import submitit
from submitit.slurm.slurm import read_job_id

from snakemake_executor_plugin_submitit.task import Command

COMMAND_SECONDS = 60
"""How long a command of Slurm may take: a busy controller answers late."""

ACTIVE = frozenset(
    {
        *("PENDING", "RUNNING", "REQUEUED", "COMPLETING", "CONFIGURING", "SUSPENDED", "RESIZING", "SIGNALING"),
        *("STAGE_OUT", "STOPPED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"),
    }
)
RERUN = frozenset({"NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "REVOKED"})
"""States that Slurm passes through when it is about to queue a job again; final only if they last."""
RERUN_SECONDS = 30.0
UNKNOWN_SECONDS = 60.0
"""How long a submitted job may be missing in Slurm's answers before it counts as lost."""

NEVER = re.compile(
    r"BadConstraints|PartitionNodeLimit|PartitionTimeLimit|InvalidAccount|InvalidQOS|DependencyNeverSatisfied"
    r"|(Assoc|QOS)Max\w*PerJob\w*|QOSMin\w*"
)
"""Reasons for which a pending job will never start."""

TRANSIENT = re.compile(
    r"timed out|unable to contact|connection|communication|temporarily|try again|backup controller|shutting down"
    r"|socket|slurm_load|in standby|being reconfigured|munge|unavailable$|zero bytes",
    re.IGNORECASE,
)
LIMIT = re.compile(r"SubmitJob|submit limit|MaxSubmit|job count limit|too many jobs|MaxArraySize", re.IGNORECASE)

Verdict = Literal["active", "done", "failed"]


class Refused(Exception):
    """A submission was refused.

    Attributes:
        again: whether the same submission may be accepted later.
    """

    def __init__(self, message: str, again: bool) -> None:
        super().__init__(message)
        self.again = again


class NoAnswer(Exception):
    """Slurm did not answer a question."""


@dataclass
class Submitted:
    """A job that was submitted.

    Attributes:
        id: the cluster's.
        name: in the queue.
        folder: where submitit keeps it.
        submitted: when, in seconds since the epoch.
        job: submitit's object, if this process submitted it.
        odd_since: since when its state has been one that may pass (`time.monotonic`).
    """

    id: str
    name: str
    folder: Path
    submitted: float
    job: Any = None
    odd_since: float | None = None

    @property
    def result_file(self) -> Path:
        """What submitit leaves when the job's first task ends by itself."""
        return self.folder / f"{self.id}_0_result.pkl"


class Cluster(ABC):
    """What the executor needs of a cluster."""

    @abstractmethod
    def submit(self, commands: Sequence[Command], parameters: dict[str, Any], folder: Path) -> list[Submitted]:
        """Submit jobs of one shape.

        Raises:
            Refused: none was submitted.
        """

    @abstractmethod
    def verdicts(self, jobs: Sequence[Submitted]) -> dict[str, tuple[Verdict, str]]:
        """What became of each job, by id, and why it failed.

        Raises:
            NoAnswer: nothing can be said now.
        """

    @abstractmethod
    def cancel(self, jobs: Sequence[Submitted]) -> None:
        """Cancel jobs, as far as possible."""


class Direct(Cluster):
    """submitit's clusters ``local`` (processes on this machine) and ``debug`` (this process)."""

    def __init__(self, name: Literal["local", "debug"]) -> None:
        self.name = name

    def submit(self, commands: Sequence[Command], parameters: dict[str, Any], folder: Path) -> list[Submitted]:
        """Submit jobs of one shape; see `Cluster`."""
        executor = _executor(self.name, parameters, folder)
        jobs = [executor.submit(command) for command in commands]
        if self.name == "debug":
            for job in jobs:
                job.exception()
        return [Submitted(job.job_id, parameters["name"], folder, time.time(), job) for job in jobs]

    def verdicts(self, jobs: Sequence[Submitted]) -> dict[str, tuple[Verdict, str]]:
        """What became of jobs; see `Cluster`."""
        answer: dict[str, tuple[Verdict, str]] = {}
        for job in jobs:
            ended = job.job.done() if job.job else not _process(job)
            answer[job.id] = _by_result(job, 0.0) if ended else ("active", "")
        return answer

    def cancel(self, jobs: Sequence[Submitted]) -> None:
        """Cancel jobs; see `Cluster`."""
        for job in jobs:
            if self.name == "local" and (process := _process(job)):
                process.send_signal(signal.SIGINT)


class Slurm(Cluster):
    """A Slurm cluster, asked with one command for all jobs."""

    def __init__(self, max_timeouts: int, array_parallelism: int) -> None:
        if missing := [command for command in ("sbatch", "srun", "squeue", "scancel") if not shutil.which(command)]:
            raise Refused(f"{', '.join(missing)}: not on PATH; is this a host of the Slurm cluster?", again=False)
        # Those of a Slurm job in which this Snakemake may itself run would pass for options of the jobs it submits.
        for key in list(environ):
            if key.startswith(("SLURM_", "SBATCH_", "SRUN_")) and key != "SLURM_CONF":
                del environ[key]
        self.max_timeouts = max_timeouts
        self.array_parallelism = array_parallelism
        self.accounting = shutil.which("sacct") is not None

    def submit(self, commands: Sequence[Command], parameters: dict[str, Any], folder: Path) -> list[Submitted]:
        """Submit jobs of one shape; see `Cluster`."""
        parameters = {**parameters, "slurm_array_parallelism": self.array_parallelism}
        try:
            executor = _executor("slurm", parameters, folder, slurm_max_num_timeout=self.max_timeouts)
            with executor.batch():
                jobs = [executor.submit(command) for command in commands]
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            words = _words(str(error))
            raise Refused(words, again=bool(TRANSIENT.search(words) or LIMIT.search(words))) from None
        except (subprocess.SubprocessError, OSError) as error:
            raise Refused(str(error), again=True) from None
        return [Submitted(job.job_id, parameters["name"], folder, time.time(), job) for job in jobs]

    def verdicts(self, jobs: Sequence[Submitted]) -> dict[str, tuple[Verdict, str]]:
        """What became of jobs; see `Cluster`."""
        if not jobs:
            return {}
        states = self._sacct(jobs) if self.accounting else {}
        # What sacct calls final may be about to be queued again, and accounting may lag behind or be switched off.
        if any(_state(states.get(job.id)) not in ACTIVE | {"COMPLETED"} for job in jobs):
            states |= {key: value for key, value in self._squeue().items() if _overrules(states.get(key), value)}
        answer: dict[str, tuple[Verdict, str]] = {}
        never = []
        for job in jobs:
            state, reason = states.get(job.id, ("", ""))
            name = _state((state, reason))
            if name == "PENDING" and NEVER.search(reason):
                never.append(job)
                answer[job.id] = ("failed", f"Slurm can never start it: {reason}")
            elif name in ACTIVE:
                job.odd_since = None
                answer[job.id] = ("active", "")
            elif name == "COMPLETED":
                answer[job.id] = ("done", "")
            elif name in RERUN and not _lasts(job, RERUN_SECONDS):
                answer[job.id] = ("active", "")
            elif name:
                answer[job.id] = ("failed", state)
            else:
                answer[job.id] = _by_result(job)
        if never:
            self.cancel(never)
        failed = [job for job in jobs if answer[job.id][0] == "failed" and job not in never]
        for job_id, why in self._explain(failed).items():
            answer[job_id] = ("failed", f"{answer[job_id][1]}: {why}" if why else answer[job_id][1])
        return answer

    def cancel(self, jobs: Sequence[Submitted]) -> None:
        """Cancel jobs; see `Cluster`."""
        if jobs:
            _ask("scancel", *sorted({job.id for job in jobs}))

    def names(self) -> dict[str, tuple[str, str]]:
        """Name and comment of each of the user's jobs that are in the queue, by id."""
        rows = _ask("squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i|%j|%k").splitlines()
        split = (row.split("|", 2) for row in rows)
        return {key: (name, comment) for key, name, comment in split}

    def _sacct(self, jobs: Sequence[Submitted]) -> dict[str, tuple[str, str]]:
        since = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(min(job.submitted for job in jobs) - 3600))
        ids = ",".join(sorted({job.id.split("_")[0] for job in jobs}))
        try:
            text = _ask("sacct", "-X", "-n", "-P", "-S", since, "-o", "JobID,State,Reason", "-j", ids)
        except NoAnswer:
            return {}
        return dict(_rows(text))

    def _squeue(self) -> dict[str, tuple[str, str]]:
        return dict(_rows(_ask("squeue", "-h", "-r", "-t", "all", "-u", getpass.getuser(), "-o", "%i|%T|%r")))

    def _explain(self, failed: Sequence[Submitted]) -> dict[str, str]:
        """Why jobs ended as they did, from the records of their steps; nothing where there is no accounting."""
        if not failed or not self.accounting:
            return {}
        try:
            ids = ",".join(job.id for job in failed)
            text = _ask("sacct", "-n", "-P", "-o", "JobID,State,ExitCode,MaxRSS,ReqMem,Timelimit,NodeList", "-j", ids)
        except NoAnswer:
            return {}
        records = [line.split("|") for line in text.splitlines()]
        answer = {}
        for job in failed:
            own = [record for record in records if record[0].split(".")[0] == job.id]
            answer[job.id] = _why(own) if own else ""
        return answer


def _executor(cluster: str, parameters: dict[str, Any], folder: Path, **settings: Any) -> submitit.AutoExecutor:
    executor = submitit.AutoExecutor(folder, cluster=cluster, **settings)
    executor.update_parameters(**parameters)
    return executor


def _why(records: list[list[str]]) -> str:
    job = records[0]
    used = max((record[3] for record in records), key=_kilobytes)
    memory = f"used {used or '?'} of {job[4]}"
    if any(record[1].startswith("OUT_OF_ME") for record in records):
        return f"out of memory on {job[6]} ({memory})"
    if job[1].startswith("TIMEOUT"):
        return f"did not leave before its time limit of {job[5]}"
    if any(record[2] in ("9:0", "0:9", "137:0") for record in records):
        return f"killed on {job[6]}, as jobs are that use more memory than they asked for ({memory})"
    return f"exit status {job[2]} on {job[6]}"


def _kilobytes(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)([KMGT]?)", text)
    return float(match[1]) * 1024 ** " KMGT".index(match[2] or " ") if match else 0.0


def _process(job: Submitted) -> psutil.Process | None:
    """The process on this machine that runs a job of submitit's cluster ``local``, whose id is the process's."""
    try:
        process = psutil.Process(int(job.id))
        return process if str(job.folder) in " ".join(process.cmdline()) else None
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return None


def _by_result(job: Submitted, patience: float = UNKNOWN_SECONDS) -> tuple[Verdict, str]:
    """What the job's own file says, when Slurm has forgotten it."""
    if job.result_file.exists():
        try:
            outcome, value = pickle.loads(job.result_file.read_bytes())  # our own: submitit wrote it
        except (OSError, EOFError, pickle.UnpicklingError):
            return "active", ""
        return ("done", "") if outcome == "success" else ("failed", _last_line(value))
    if _lasts(job, patience):
        return "failed", "lost: it is gone and left no result"
    return "active", ""


def _lasts(job: Submitted, seconds: float) -> bool:
    now = time.monotonic()
    job.odd_since = job.odd_since or now
    return now - job.odd_since >= seconds


def _state(row: tuple[str, str] | None) -> str:
    """``CANCELLED by 1000`` is CANCELLED, ``OUT_OF_ME+`` stays as it is."""
    return row[0].split(" ")[0] if row else ""


def _overrules(accounted: tuple[str, str] | None, queued: tuple[str, str]) -> bool:
    """Whether the queue knows better: it forgets jobs, but is never behind."""
    return accounted is None or _state(queued) in ACTIVE | {"COMPLETED"}


def _rows(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Ids, states and reasons, one row for each element of an array."""
    for line in text.splitlines():
        job_id, state, reason = line.split("|", 2)
        for parts in read_job_id(job_id):
            if len(parts) < 3:
                yield "_".join(parts), (state, reason)
            else:
                for index in range(int(parts[1]), int(parts[2]) + 1):
                    yield f"{parts[0]}_{index}", (state, reason)


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    except (subprocess.TimeoutExpired, OSError) as error:
        raise NoAnswer(str(error)) from None
    if done.returncode:
        raise NoAnswer(f"{command[0]}: {_words(done.stderr)}")
    return done.stdout


def _words(text: str) -> str:
    """Slurm's own words in a longer message."""
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if re.match(r"(sbatch|squeue|sacct|scancel|srun): ", line)]
    return "; ".join(said) or _last_line(text)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")

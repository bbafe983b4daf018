"""Slurm: submitting to it, and asking it what became of jobs."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import environ
from pathlib import Path
from typing import Any

import submitit

from snakemake_executor_plugin_submitit.cluster import (
    Cluster,
    NoAnswer,
    Refused,
    Submitted,
    Verdict,
    by_result,
    last_line,
    submitits_executor,
)
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

KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_CLUSTERS"})
"""Variables that say where the cluster is."""

NEVER = re.compile(
    r"BadConstraints|PartitionTimeLimit|InvalidAccount|InvalidQOS|DependencyNeverSatisfied"
    r"|(Assoc|QOS)Max\w*PerJob\w*|QOSMin\w*"
)
"""Reasons for which a pending job will never start."""
NODE_LIMIT = "PartitionNodeLimit"
"""Another one, unless the nodes are only down."""

TRANSIENT = re.compile(
    r"timed out|unable to contact|connection|communication|temporarily|try again|backup controller|shutting down"
    r"|socket|slurm_load|in standby|being reconfigured|munge|unavailable$|zero bytes",
    re.IGNORECASE,
)
LIMIT = re.compile(r"SubmitJob|MaxSubmit|job count limit|too many jobs|MaxArraySize|invalid job array", re.IGNORECASE)
"""Words of a refusal that fewer jobs might not meet."""

DOUBT_EVERY = 10
"""Every so many questions the queue is asked too: accounting may call jobs active whose end it has missed."""

MISSING = "not in the queue"
UNEXPLAINED = "failed, and accounting does not know yet"
EXPLAIN_SECONDS = 10.0
"""How long accounting, which lags behind the queue, may take to say why a job failed."""
CANNOT_START = "Slurm can never start it"


class Slurm(Cluster):
    """A Slurm cluster, asked with one command for all jobs."""

    def __init__(self, max_timeouts: int, array_parallelism: int) -> None:
        if missing := [command for command in ("sbatch", "srun", "squeue", "scancel") if not shutil.which(command)]:
            raise Refused(f"{', '.join(missing)}: not on PATH; is this a host of the Slurm cluster?", again=False)
        # Those of a Slurm job in which this Snakemake may itself run would pass for options of the jobs it submits.
        for key in list(environ) if "SLURM_JOB_ID" in environ else []:
            if key.startswith(("SLURM_", "SRUN_", "SBATCH_CPU_BIND", "SBATCH_MEM_BIND")) and key not in KEPT:
                del environ[key]
        environ["SLURM_BITSTR_LEN"] = "0"  # else sacct cuts long lists of array elements short
        self._questions = 0
        self.max_timeouts = max_timeouts
        self.array_parallelism = array_parallelism
        self.accounting = shutil.which("sacct") is not None

    def submit(self, commands: Sequence[Command], parameters: dict[str, Any], folder: Path) -> list[Submitted]:
        """Submit jobs of one shape; see `Cluster`."""
        parameters = {**parameters, "slurm_array_parallelism": self.array_parallelism}
        try:
            executor = submitits_executor("slurm", parameters, folder, slurm_max_num_timeout=self.max_timeouts)
            with _without_defaults(parameters), executor.batch():
                jobs = [executor.submit(command) for command in commands]
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            words = _words(str(error))
            fewer = bool(LIMIT.search(words)) and not NEVER.search(words)
            raise Refused(words, again=fewer or bool(TRANSIENT.search(words)), fewer=fewer) from None
        except (subprocess.SubprocessError, OSError) as error:
            raise Refused(str(error), again=True) from None
        return [Submitted(job.job_id, parameters["name"], folder, time.time(), job) for job in jobs]

    def verdicts(self, jobs: Sequence[Submitted]) -> dict[str, tuple[Verdict, str]]:
        """What became of jobs; see `Cluster`."""
        if not jobs:
            return {}
        states = self._sacct(jobs) if self.accounting else {}
        queue = None
        # What sacct calls final may be about to be queued again, the reasons it gives may be past, and accounting may
        # lag behind, miss an end, or be switched off.
        self._questions += 1
        if self._questions % DOUBT_EVERY == 0 or any(_doubtful(states.get(job.id)) for job in jobs):
            queue = self._squeue()
            states |= {key: value for key, value in queue.items() if _overrules(states.get(key), value)}
        answer: dict[str, tuple[Verdict, str]] = {}
        never = []
        for job in jobs:
            answer[job.id] = _verdict(job, states.get(job.id, ("", "")), queue)
            if not answer[job.id][1].startswith(CANNOT_START):
                continue
            if NODE_LIMIT in answer[job.id][1] and not self._more_nodes_than_there_are(job):
                answer[job.id] = ("active", "")
                continue
            never.append(job)
        if never:
            self.cancel(never)
        failed = [job for job in jobs if answer[job.id][0] == "failed" and job not in never]
        explained = self._explain(failed)
        for job in failed:
            if why := explained.get(job.id):
                answer[job.id] = ("failed", f"{answer[job.id][1]}: {why}")
            elif why is None and self.accounting and not _lasts_unexplained(job):
                answer[job.id] = ("active", "")
        return answer

    def cancel(self, jobs: Sequence[Submitted]) -> None:
        """Cancel jobs; see `Cluster`."""
        ids = sorted({job.id for job in jobs})
        try:
            if ids:
                _ask("scancel", *ids)
        except NoAnswer:
            # It also complains of jobs that are long gone.
            if any(_state(self._squeue().get(job_id)) in ACTIVE for job_id in ids):
                raise

    def names(self) -> dict[str, tuple[str, str]]:
        """Name and comment of each of the user's jobs that are in the queue, by id."""
        rows = _ask("squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i|%j|%k").splitlines()
        split = (row.split("|", 2) for row in rows)
        # Somebody's name or comment may have a line of its own.
        return {row[0]: (row[1], row[2]) for row in split if len(row) == 3}

    def _more_nodes_than_there_are(self, job: Submitted) -> bool:
        """Whether a job asks for more nodes than its partition has, up or down."""
        try:
            wanted, _, partition = _ask("squeue", "-h", "-j", job.id, "-o", "%D|%P").strip().partition("|")
            there = _ask("sinfo", "-h", "-p", partition, "-o", "%D").split()
            return int(wanted) > sum(map(int, there))
        except (NoAnswer, ValueError):
            return False

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
        """Why jobs ended as they did, from the records of their steps; only of those whose end accounting knows."""
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
            if own and own[0][1].split(" ")[0] not in ACTIVE:
                answer[job.id] = _why(own)
        return answer


@contextmanager
def _without_defaults(parameters: dict[str, Any]) -> Iterator[None]:
    """Hide variables like SBATCH_PARTITION where the job has a partition: sbatch prefers them to the script's lines."""
    options = [*parameters, *parameters.get("slurm_additional_parameters", {}), "slurm_mem_per_node", "slurm_timelimit"]
    names = {f"SBATCH_{option.removeprefix('slurm_').replace('-', '_').upper()}" for option in options}
    hidden = {name: environ.pop(name) for name in names if name in environ}
    try:
        yield
    finally:
        environ.update(hidden)


def _doubtful(row: tuple[str, str] | None) -> bool:
    """Whether accounting's word is not enough."""
    state = _state(row)
    return state not in ACTIVE | {"COMPLETED"} or (state == "PENDING" and row is not None and _never(row[1]))


def _never(reason: str) -> bool:
    """Whether a pending job's reason may be one that does not pass."""
    return reason == NODE_LIMIT or bool(NEVER.search(reason))


def _verdict(job: Submitted, row: tuple[str, str], queue: dict[str, tuple[str, str]] | None) -> tuple[Verdict, str]:
    """What became of one job; ``queue``: what squeue says, if it was asked."""
    state = _state(row)
    odd, patience = "", 0.0
    verdict: tuple[Verdict, str] = ("active", "")
    if state == "COMPLETED":
        return "done", ""
    if state in ACTIVE:
        if queue is None:
            # What only the queue can say stands until the queue is asked again.
            job.odd = None if job.odd and job.odd[0] in RERUN else job.odd
            return "active", ""
        if job.id not in queue:
            odd, patience = MISSING, UNKNOWN_SECONDS
            verdict = by_result(job)
        elif state == "PENDING" and _never(queue[job.id][1]):
            odd, patience, verdict = state, RERUN_SECONDS, ("failed", f"{CANNOT_START}: {queue[job.id][1]}")
    elif state in RERUN:
        odd, patience, verdict = state, RERUN_SECONDS, ("failed", row[0])
    elif state:
        return "failed", row[0]
    else:
        odd, patience, verdict = "unknown", UNKNOWN_SECONDS, by_result(job)
        if job.result_file.exists():
            return verdict
    if not odd:
        job.odd = None
    return verdict if _lasts(job, odd, patience) else ("active", "")


def _why(records: list[list[str]]) -> str:
    job = records[0]
    if job[1].startswith(("CANCELLED", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE")):
        return ""  # the state says it, and its exit status would mislead
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


def _lasts(job: Submitted, odd: str, seconds: float) -> bool:
    """Whether a state that may pass has lasted so long; nothing odd lasts at once."""
    now = time.monotonic()
    if odd and (job.odd is None or job.odd[0] != odd):
        job.odd = (odd, now)
    return job.odd is None or now - job.odd[1] >= seconds


def _lasts_unexplained(job: Submitted) -> bool:
    """Whether accounting has had its time; a job that was odd before has been waited for already."""
    return (job.odd is not None and job.odd[0] != UNEXPLAINED) or _lasts(job, UNEXPLAINED, EXPLAIN_SECONDS)


def _state(row: tuple[str, str] | None) -> str:
    """``CANCELLED by 1000`` is CANCELLED, ``OUT_OF_ME+`` stays as it is."""
    return row[0].split(" ")[0] if row else ""


def _overrules(accounted: tuple[str, str] | None, queued: tuple[str, str]) -> bool:
    """Whether the queue knows better: it forgets jobs, but is never behind."""
    return accounted is None or _state(queued) in ACTIVE | {"COMPLETED"}


def _rows(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Ids, states and reasons, one row for each element of an array."""
    for line in text.splitlines():
        job_id, _, rest = line.partition("|")
        state, _, reason = rest.partition("|")
        array, bracket, elements = job_id.partition("_[")
        if not bracket:
            yield job_id, (state, reason)
            continue
        # 7_[0-4,9-21:4%3]: ranges, some with a step, and how many may run at once.
        for first, last, step in re.findall(r"(\d+)(?:-(\d+)(?::(\d+))?)?(?=[,\]%])", elements.partition("%")[0] + "]"):
            for index in range(int(first), int(last or first) + 1, int(step or 1)):
                yield f"{array}_{index}", (state, reason)


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
    return "; ".join(said) or last_line(text)

"""One batch of jobs: its files, its script, its sbatch."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import submitit
from submitit.core.utils import DelayedSubmission

from snakemake_executor_plugin_submitit.cluster import NoAnswer, Refused
from snakemake_executor_plugin_submitit.commands import call, environment, slurm_message, tokens
from snakemake_executor_plugin_submitit.request import Request
from snakemake_executor_plugin_submitit.task import Command

SCRIPT = "submission.sh"
_TRANSIENT = re.compile(
    r"timed out|unable to contact|connection|communication|temporarily|try again|backup controller|shutting down"
    r"|socket|slurm_load|in standby|being reconfigured|munge|unavailable$|zero bytes",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"SubmitJob|MaxSubmit|job count limit|too many jobs|MaxArraySize|invalid job array", re.IGNORECASE)
"""Messages of refusals that fewer jobs might avoid."""
_PER_JOB = re.compile(r"PerJob")
_ALWAYS_SET = ("ARRAY_INX", "JOB_NAME", "COMMENT", "SIGNAL", "OPEN_MODE", "REQUEUE", "NO_REQUEUE", "WAIT", "EXPORT")
"""Variables ``SBATCH_...`` that would override the script's lines."""


@dataclass(frozen=True)
class Habits:
    """Settings common to all jobs of a run.

    Attributes:
        max_timeouts: number of times a job that exited before its time limit may be requeued.
        array_parallelism: number of jobs of an array that may run at the same time.
        setup: shell lines at the start of its script.
        srun_args: further arguments of srun.
        variables: names of environment variables declared by the workflow.
    """

    max_timeouts: int = 100
    array_parallelism: int = 256
    setup: tuple[str, ...] = ()
    srun_args: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


def submit(commands: Sequence[Command], request: Request, folder: Path, habits: Habits) -> list[str]:
    """Submit jobs of the same shape, as an array if there are several; returns their ids.

    Raises:
        Refused: none was submitted, as far as known.
    """
    try:
        folder.mkdir(parents=True, mode=0o700)
        pickles = [_dump(command, request, folder / f"{n}.pkl", habits) for n, command in enumerate(commands)]
        (folder / SCRIPT).write_text(script(request, folder, habits, len(commands)))
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror}", again=True) from None
    words = ["sbatch", "--parsable", *_export(request, habits), *request.extra, str(folder / SCRIPT)]
    try:
        done = call(*words, variables=_variables(request))
    except NoAnswer as error:
        raise Refused(str(error), again=True, unanswered=True) from None
    if done.returncode:
        said = slurm_message(done.stderr) or f"sbatch: exit status {done.returncode}"
        fewer = bool(_LIMIT.search(said)) and not _PER_JOB.search(said)
        transient = bool(_TRANSIENT.search(said))
        raise Refused(said, again=fewer or transient, fewer=fewer, unanswered=transient)
    job = job_id(done.stdout)
    if len(done.stdout.split()) > 1:  # the id of which job?
        job = next((key.split("_")[0] for key, token in _known().items() if token == folder.name), job)
    ids = [job] if len(commands) == 1 else [f"{job}_{element}" for element in range(len(commands))]
    for name, pickle in zip(ids, pickles, strict=True):
        pickle.rename(folder / f"{name}_submitted.pkl")
    return ids


def _known() -> dict[str, str]:
    try:
        return tokens()
    except NoAnswer:
        return {}


def script(request: Request, folder: Path, habits: Habits, jobs: int) -> str:
    """The script of a batch."""
    executor = submitit.SlurmExecutor(folder, python=f"{'exec ' * request.in_batch}{shlex.quote(sys.executable)}")
    setup = list(habits.setup)
    if request.in_batch:
        setup.append("export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}")
    # Accounting may rely on the user's own comment.
    comment = f"{request.options.get('comment', '')} {folder.name}".strip()
    options = {**request.options, "comment": comment}
    if request.in_batch and request.signal_seconds:
        options["signal"] = f"B:USR2@{request.signal_seconds}"
    # Since Slurm 22.05, srun does not inherit it from sbatch.
    processors = [f"--cpus-per-task={options['cpus-per-task']}"] if "cpus-per-task" in options else []
    executor.update_parameters(
        job_name=request.name,
        time=request.minutes,
        nodes=options.pop("nodes", None),
        signal_delay_s=request.signal_seconds,
        array_parallelism=habits.array_parallelism,
        wckey=None,
        setup=setup or None,
        use_srun=not request.in_batch,
        # One dead task must not leave the others waiting; but they may end minutes apart, as the first writes the
        # results of all.
        srun_args=[
            *("--export=ALL", *processors, "--kill-on-bad-exit=1", "--wait=0"),
            *habits.srun_args,
        ],
        additional_parameters={key: value for key, value in options.items() if key != "export"},
    )
    if jobs > 1:
        executor.parameters["map_count"] = jobs
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")  # submitit's plugin hooks
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if request.signal_seconds or not line.startswith("#SBATCH --signal="))


def job_id(printed: str) -> str:
    """The id that ``sbatch --parsable`` prints last: sites let sbatch print other things too.

    Raises:
        Refused: there is none.
    """
    found = re.findall(r"^(\d+)(?:;\S*)?$", printed, re.MULTILINE)
    if not found:
        raise Refused(f"sbatch printed no job id: {slurm_message(printed)!r}", again=True, unanswered=True)
    return str(found[-1])


def _dump(command: Command, request: Request, path: Path, habits: Habits) -> Path:
    delayed = DelayedSubmission(command)
    # Without a known limit every SIGUSR2 counts as a time-out.
    delayed.set_timeout(request.minutes or 0, habits.max_timeouts)
    delayed.dump(path)
    return path


def _export(request: Request, habits: Habits) -> list[str]:
    """``--export``: what the user wants exported, always including what the workflow declares."""
    wanted = str(request.options.get("export") or environment().get("SBATCH_EXPORT", ""))
    if not wanted or "ALL" in wanted.split(","):
        return [f"--export={wanted or 'ALL'}"]
    names = [name for name in wanted.split(",") if name not in ("NONE", "NIL")] + list(habits.variables)
    return [f"--export={','.join(names) or wanted}"]


def _variables(request: Request) -> dict[str, str]:
    """Sbatch's environment, without variables that would override this job's request."""
    options = [name.replace("-", "_").upper() for name in request.options]
    renamed = (*(("MEM_PER_NODE",) * ("mem" in request.options)), *(("TIMELIMIT",) * bool(request.minutes)))
    hidden = {f"SBATCH_{name}" for name in (*_ALWAYS_SET, *renamed, *options)}
    return {key: value for key, value in environment().items() if key not in hidden}

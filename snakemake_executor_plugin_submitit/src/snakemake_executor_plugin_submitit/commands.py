"""Calls of Slurm's commands: their environment, time-outs and messages."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

from snakemake_executor_plugin_submitit.cluster import NoAnswer, last_line
from snakemake_executor_plugin_submitit.verdict import Row

COMMAND_SECONDS = 60
"""Seconds that a Slurm command may take: a busy controller answers late."""

KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_CLUSTERS"})
"""Variables that locate the cluster."""
FILTERS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_", "SINFO_", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN")
"""Variables by which users change the commands' output."""


def environment() -> dict[str, str]:
    """The environment of Slurm's commands, without what changes their answers.

    Snakemake may itself run in a Slurm job, whose variables would act as options of the jobs it submits.
    """
    inside = "SLURM_JOB_ID" in os.environ
    hidden = (*FILTERS, *(("SLURM_", "SRUN_", "SBATCH_CPU_BIND", "SBATCH_MEM_BIND") if inside else ()))
    kept = {key: value for key, value in os.environ.items() if key in KEPT or not key.startswith(hidden)}
    return {**kept, "SLURM_BITSTR_LEN": "0"}  # otherwise sacct truncates long lists of array elements


def call(*command: str, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a Slurm command to its end, shielded from Ctrl-C.

    Raises:
        NoAnswer: it took too long, or could not be started.
    """
    try:
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS,
            env=environment() if variables is None else variables,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{command[0]}: no answer in {COMMAND_SECONDS} s") from None
    except OSError as error:
        raise NoAnswer(f"{command[0]}: {error.strerror or error}") from None


def ask(*command: str) -> str:
    """The output of a Slurm command.

    Raises:
        NoAnswer: it failed.
    """
    done = call(*command)
    if done.returncode:
        raise NoAnswer(f"{command[0]}: {slurm_message(done.stderr) or f'exit status {done.returncode}'}")
    return done.stdout


def slurm_message(text: str) -> str:
    """Slurm's own message within a longer text."""
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if re.match(r"(sbatch|squeue|sacct|scancel|scontrol|srun): ", line)]
    return "; ".join(said) or last_line(text)


def rows(text: str) -> Iterator[tuple[str, Row]]:
    """Ids, states and reasons, one row per array element."""
    for line in text.splitlines():
        job_id, _, rest = line.partition("|")
        state, _, reason = rest.partition("|")
        array, bracket, elements = job_id.partition("_[")
        if not bracket:
            yield job_id, Row(state, reason)
            continue
        # 7_[0-4,9-21:4%3]: ranges, some with a step, and how many may run at once.
        for first, last, step in re.findall(r"(\d+)(?:-(\d+)(?::(\d+))?)?(?=[,\]%])", elements.partition("%")[0] + "]"):
            for index in range(int(first), int(last or first) + 1, int(step or 1)):
                yield f"{array}_{index}", Row(state, reason)


def tokens() -> dict[str, str]:
    """The last word of the comment of each of this user's queued jobs, by id."""
    # By user number: names like $LOGNAME may be someone else's.
    lines = ask("squeue", "-h", "-r", "-u", str(os.getuid()), "-o", "%i|%k").splitlines()
    # A comment may contain line breaks.
    split = (line.partition("|") for line in lines)
    return {job: comment.rpartition(" ")[2] for job, bar, comment in split if bar}

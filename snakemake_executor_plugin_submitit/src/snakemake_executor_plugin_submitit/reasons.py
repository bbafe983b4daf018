"""Slurm's reasons and exit codes in words."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

NODE_LIMIT = "PartitionNodeLimit"
"""A job with this reason will never start, unless nodes are merely down."""

_NEVER = re.compile(
    r"BadConstraints|PartitionTimeLimit|InvalidAccount|InvalidQOS|DependencyNeverSatisfied"
    r"|(Assoc|QOS)Max\w*PerJob\w*|QOSMin\w*"
)
_REMARKS = (
    (r"JobHeld\w+", "held; `scontrol release JOB` lets it start"),
    (r"launch failed requeued held", "held by Slurm, as its start failed on the node; `scontrol release JOB`"),
    (r"(Assoc|QOS)Grp\w+", "a limit of the whole account or QOS is reached, or smaller than what the job asks for"),
    (r"(Assoc|QOS)Max\w+", "a limit of this user is reached, or smaller than what the job asks for"),
    (r"ReqNodeNotAvail\b.*|Nodes required for job are .*", "nodes that it needs are down, drained or reserved"),
    (r"PartitionDown|PartitionInactive", "its partition does not start jobs"),
    (r"Reservation\w*", "it waits for its reservation"),
)


def never_starts(reason: str) -> bool:
    """Whether a pending job's reason may be permanent."""
    return reason == NODE_LIMIT or bool(_NEVER.search(reason))


def remark(reason: str) -> str:
    """What a pending job's owner should know about its reason; empty if they can only wait."""
    for pattern, words in _REMARKS:
        if re.fullmatch(pattern, reason.strip("()")):
            return f"{reason.strip('()')}: {words}"
    return ""


def exit_status(status: int) -> str:
    """A shell's or a process's exit status in words."""
    number = -status if status < 0 else status - 128
    if 0 < number < 65:
        try:
            return f"killed by {signal.Signals(number).name} (exit status {status})"
        except ValueError:
            pass
    return f"exit status {status}"


def exit_code(code: str) -> str:
    """Accounting's exit code (status and signal) in words."""
    status, _, number = code.partition(":")
    if number == "53":
        return f"exit code {code}: Slurm could not write the job's output; does the node see the submission's folder?"
    if number.isdecimal() and int(number):
        return exit_status(-int(number)).replace(f"exit status -{number}", f"exit code {code}")
    return exit_status(int(status)) if status.isdecimal() else f"exit code {code}"


def failure(records: Sequence[Sequence[str]]) -> str:
    """Why a job failed, from accounting's records of it and its steps.

    Args:
        records: JobID, State, ExitCode, MaxRSS, ReqMem, Timelimit, NodeList of each; the job first.
    """
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
    return f"{exit_code(job[2])} on {job[6]}"


def _kilobytes(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)([KMGT]?)", text)
    return float(match[1]) * 1024 ** " KMGT".index(match[2] or " ") if match else 0.0

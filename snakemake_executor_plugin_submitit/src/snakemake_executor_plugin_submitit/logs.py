"""Jobs' own logs, and the parts of them shown in errors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from snakemake_executor_plugin_submitit import identity

TAIL_BYTES = 65536
"""Bytes read from the end of a log, which may be huge."""


def stem(job: JobExecutorInterface, folder: Path | None, fallback: Path) -> Path:
    """The prefix of the names of a job's own logs.

    Args:
        job: the job.
        folder: the folder for all logs; None: beside the rule's log.
        fallback: the folder if the rule has no log.
    """
    members = identity.parts(job)
    rule_logs = [Path(str(file)) for file in members[0].log] if len(members) == 1 else []
    if folder or not rule_logs:
        return (folder or fallback).absolute() / identity.name(job)
    log = rule_logs[0].absolute()
    return log.parent / identity.shorten(log.stem)


def rule_logs(job: JobExecutorInterface) -> list[Path]:
    """The logs that the job's rules name."""
    return [Path(str(file)) for part in identity.parts(job) for file in part.log]


def first_with_words(candidates: Sequence[Path]) -> Path | None:
    """The first of these files that exists and is not empty."""
    return next((path for path in candidates if path.is_file() and path.stat().st_size), None)


def ends(job: JobExecutorInterface, own: Path, error_file: Path, lines: int) -> tuple[str, Path | None]:
    """The ends of the logs of a failed job and its other replicas, and the log that is shown.

    That is the last log named by its rules, or else the job's own log, or else submitit's output.
    """
    shown = first_with_words([*reversed(rule_logs(job)), own, error_file])
    tails = [*([shown] if shown else []), *sorted(own.parent.glob(f"{own.stem}.*.command.log"))]
    return "".join(tail(path, lines) for path in tails), shown


def tail(path: Path, lines: int) -> str:
    """The last lines of a file, with its name."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"{path}: {error.strerror}\n"
    shown = text.splitlines()[-lines:] if lines else []
    return f"the end of {path}:\n" + "".join(f"    {line}\n" for line in shown)

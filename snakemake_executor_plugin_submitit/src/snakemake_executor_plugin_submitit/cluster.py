"""The interface of a cluster to the executor."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from snakemake_executor_plugin_submitit.request import Request
from snakemake_executor_plugin_submitit.task import Command, CommandFailed

COMMAND_FAILED = f"{CommandFailed.__module__}.{CommandFailed.__name__}: "
"""What precedes a failed command's message in a traceback."""
Verdict = Literal["active", "done", "failed"]


class Refused(Exception):
    """A submission was refused.

    Attributes:
        again: whether the same submission may be accepted later.
        fewer: whether fewer jobs may be accepted.
        unanswered: whether it may have been accepted nevertheless.
    """

    def __init__(self, message: str, again: bool = False, fewer: bool = False, unanswered: bool = False) -> None:
        super().__init__(message)
        self.again = again
        self.fewer = fewer
        self.unanswered = unanswered


class NoAnswer(Exception):
    """The cluster did not answer a query."""


@dataclass(frozen=True)
class Status:
    """What is known about a job.

    Attributes:
        verdict: whether it is over, and how it ended.
        why: why it failed, in words.
        remark: what its owner should know while it is pending.
    """

    verdict: Verdict
    why: str = ""
    remark: str = ""


ACTIVE, DONE = Status("active"), Status("done")


@dataclass(frozen=True)
class Unsettled:
    """A state that may be temporary, and since when it has been seen (`time.monotonic`)."""

    what: str
    since: float


@dataclass
class Submitted:
    """A submitted job.

    Attributes:
        id: the cluster's job id.
        name: its name in the queue.
        folder: its batch's folder, named after the batch's token, which the cluster keeps as the jobs' comment.
        submitted: when, in seconds since the epoch.
        handle: the cluster's own object, if this process submitted the job.
        unsettled: a state of it that may be temporary.
        failed_since: when it was first seen failed (`time.monotonic`).
    """

    id: str
    name: str
    folder: Path
    submitted: float
    handle: Any = None
    unsettled: Unsettled | None = None
    failed_since: float | None = None

    @property
    def token(self) -> str:
        """The unique token of its batch."""
        return self.folder.name

    @property
    def result_file(self) -> Path:
        """The file that submitit writes when the job's first task ends by itself."""
        return self.folder / f"{self.id}_0_result.pkl"

    @property
    def error_file(self) -> Path:
        """The output of submitit's own process."""
        return self.folder / f"{self.id}_0_log.err"

    def result(self) -> Status | None:
        """The status in the job's result file; None if there is none, or it cannot be read yet."""
        try:
            outcome, value = pickle.loads(self.result_file.read_bytes())  # our own: submitit wrote it
        except (OSError, EOFError, pickle.UnpicklingError):
            return None
        return DONE if outcome == "success" else Status("failed", last_line(value).removeprefix(COMMAND_FAILED))


class Cluster(ABC):
    """Where jobs run.

    Attributes:
        name: as in `ExecutorSettings.cluster`.
        poll_seconds: seconds between queries; None: as set for Snakemake.
    """

    name: str
    poll_seconds: float | None = None

    @abstractmethod
    def largest_batch(self, wanted: int) -> int:
        """The number of jobs `submit` takes at a time, at most ``wanted``."""

    @abstractmethod
    def submit(self, commands: Sequence[Command], request: Request, folder: Path) -> list[Submitted]:
        """Submit jobs of the same shape, with the name of ``folder`` as their token.

        Raises:
            Refused: none was submitted, as far as known.
        """

    @abstractmethod
    def statuses(self, jobs: Sequence[Submitted]) -> dict[str, Status]:
        """The status of each job, by id.

        Raises:
            NoAnswer: no status is known.
        """

    @abstractmethod
    def queue(self) -> dict[str, str]:
        """The tokens, by id, of all jobs of this user that are pending, running or completing.

        Raises:
            NoAnswer: they are not known.
        """

    @abstractmethod
    def cancel(self, jobs: Collection[Submitted]) -> None:
        """Cancel jobs.

        Raises:
            NoAnswer: some may continue.
        """


def last_line(text: str) -> str:
    """The last non-empty line."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")

"""What the executor needs of a cluster."""

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
"""What comes before the words of a failed command in a traceback."""
Verdict = Literal["active", "done", "failed"]


class Refused(Exception):
    """A submission was refused.

    Attributes:
        again: whether the same submission may be accepted later.
        fewer: whether fewer jobs may be accepted.
        unanswered: whether it may have been accepted all the same.
    """

    def __init__(self, message: str, again: bool = False, fewer: bool = False, unanswered: bool = False) -> None:
        super().__init__(message)
        self.again = again
        self.fewer = fewer
        self.unanswered = unanswered


class NoAnswer(Exception):
    """The cluster did not answer a question."""


@dataclass(frozen=True)
class Status:
    """What is known of a job.

    Attributes:
        verdict: whether it is over, and how it ended.
        why: it failed, in words.
        remark: what its owner should know while it waits.
    """

    verdict: Verdict
    why: str = ""
    remark: str = ""


ACTIVE, DONE = Status("active"), Status("done")


@dataclass(frozen=True)
class Unsettled:
    """A state that may pass, and since when it has been seen (`time.monotonic`)."""

    what: str
    since: float


@dataclass
class Submitted:
    """A job that was submitted.

    Attributes:
        id: the cluster's.
        name: in the queue.
        folder: of its batch; named like the batch's token, which the cluster keeps as the jobs' comment.
        submitted: when, in seconds since the epoch.
        handle: the cluster's own object, if this process submitted the job.
        unsettled: a state of it that may pass.
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
        """What tells its batch from all others."""
        return self.folder.name

    @property
    def result_file(self) -> Path:
        """What submitit leaves when the job's first task ends by itself."""
        return self.folder / f"{self.id}_0_result.pkl"

    @property
    def error_file(self) -> Path:
        """What submitit's own process has to say."""
        return self.folder / f"{self.id}_0_log.err"

    def result(self) -> Status | None:
        """What the job's own file says; None where there is none, or it cannot be read yet."""
        try:
            outcome, value = pickle.loads(self.result_file.read_bytes())  # our own: submitit wrote it
        except (OSError, EOFError, pickle.UnpicklingError):
            return None
        return DONE if outcome == "success" else Status("failed", last_line(value).removeprefix(COMMAND_FAILED))


class Cluster(ABC):
    """Where jobs run.

    Attributes:
        name: as `ExecutorSettings.cluster` has it.
        poll_seconds: between two questions; None: as Snakemake is told to.
    """

    name: str
    poll_seconds: float | None = None

    @abstractmethod
    def largest_batch(self, wanted: int) -> int:
        """How many jobs `submit` takes at a time, at most ``wanted``."""

    @abstractmethod
    def submit(self, commands: Sequence[Command], request: Request, folder: Path) -> list[Submitted]:
        """Submit jobs of one shape, with the name of ``folder`` as their token.

        Raises:
            Refused: none was submitted, as far as is known.
        """

    @abstractmethod
    def statuses(self, jobs: Sequence[Submitted]) -> dict[str, Status]:
        """What became of each job, by id.

        Raises:
            NoAnswer: nothing can be said of any.
        """

    @abstractmethod
    def queue(self) -> dict[str, str]:
        """The tokens, by id, of all jobs of this user that wait, run, or are about to leave.

        Raises:
            NoAnswer: it cannot be said.
        """

    @abstractmethod
    def cancel(self, jobs: Collection[Submitted]) -> None:
        """Cancel jobs.

        Raises:
            NoAnswer: some may go on.
        """


def last_line(text: str) -> str:
    """The last line that has something in it."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")

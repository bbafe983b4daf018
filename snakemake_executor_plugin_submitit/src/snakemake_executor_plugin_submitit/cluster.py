"""What the executor needs of a cluster."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import submitit

from snakemake_executor_plugin_submitit.task import Command

Verdict = Literal["active", "done", "failed"]


class Refused(Exception):
    """A submission was refused.

    Attributes:
        again: whether the same submission may be accepted later.
        fewer: whether fewer jobs may be accepted.
    """

    def __init__(self, message: str, again: bool, fewer: bool = False) -> None:
        super().__init__(message)
        self.again = again
        self.fewer = fewer


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
        odd: a state that may pass, and since when it has lasted (`time.monotonic`).
    """

    id: str
    name: str
    folder: Path
    submitted: float
    job: Any = None
    odd: tuple[str, float] | None = None

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


def submitits_executor(
    cluster: str, parameters: dict[str, Any], folder: Path, **settings: Any
) -> submitit.AutoExecutor:
    """An executor of submitit with these parameters, that keeps its files in ``folder``."""
    executor = submitit.AutoExecutor(folder, cluster=cluster, **settings)
    executor.update_parameters(**parameters)
    return executor


def by_result(job: Submitted) -> tuple[Verdict, str]:
    """What the job's own file says, when nobody else knows it any more."""
    if job.result_file.exists():
        try:
            outcome, value = pickle.loads(job.result_file.read_bytes())  # our own: submitit wrote it
        except (OSError, EOFError, pickle.UnpicklingError):
            return "active", ""
        return ("done", "") if outcome == "success" else ("failed", last_line(value))
    return "failed", "lost: it is gone and left no result"


def last_line(text: str) -> str:
    """The last line that has something in it."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")

"""Jobs that have not been submitted yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from snakemake_executor_plugin_submitit import identity
from snakemake_executor_plugin_submitit.identity import Identity
from snakemake_executor_plugin_submitit.ledger import Entry
from snakemake_executor_plugin_submitit.request import Request
from snakemake_executor_plugin_submitit.task import Command


@dataclass
class Prepared:
    """A job that can be submitted."""

    job: JobExecutorInterface
    identity: Identity
    request: Request
    command: Command


@dataclass
class Batch:
    """Jobs of the same shape that have not been submitted yet.

    Attributes:
        jobs: the jobs.
        after: jobs of an earlier run on the same outputs, which must be gone first.
        attempts: number of refused attempts to submit them.
        not_before: when to try again (`time.monotonic`).
    """

    jobs: list[Prepared]
    after: list[Entry] = field(default_factory=list)
    attempts: int = 0
    not_before: float = 0.0

    @property
    def names(self) -> str:
        """All jobs, for messages."""
        return ", ".join(identity.name(prepared.job) for prepared in self.jobs)

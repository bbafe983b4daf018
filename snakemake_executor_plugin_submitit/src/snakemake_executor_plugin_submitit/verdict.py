"""The verdict on a job: a pure function of what Slurm says and the time."""

from __future__ import annotations

from dataclasses import dataclass

from snakemake_executor_plugin_submitit import reasons
from snakemake_executor_plugin_submitit.cluster import ACTIVE, DONE, Status, Unsettled

ACTIVE_STATES = frozenset(
    {
        *("PENDING", "RUNNING", "REQUEUED", "COMPLETING", "CONFIGURING", "SUSPENDED", "RESIZING", "SIGNALING"),
        *("STAGE_OUT", "STOPPED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"),
    }
)
RERUN_STATES = frozenset({"NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "REVOKED"})
"""States that a job passes through before being requeued; final only if they persist."""

RERUN_SECONDS = 30.0
UNCONFIRMED_SECONDS = 30.0
"""Seconds for which a failed job counts as about to be requeued while the queue does not answer."""
ABSENT_SECONDS = 60.0
"""Seconds a job may be absent from Slurm's answers before the controller is asked whether it knows it."""

ABSENT = "absent"
CANNOT_START = "Slurm can never start it"
LOST = Status("failed", "lost: Slurm does not know it any more, and it left no result")


@dataclass(frozen=True)
class Row:
    """A job's state, and the reason why it is pending.

    ``CANCELLED by 1000`` is the state CANCELLED.
    """

    text: str
    reason: str = ""

    @property
    def state(self) -> str:
        """The state without who caused it."""
        return self.text.split(" ")[0]

    @property
    def active(self) -> bool:
        """Whether the job is not over."""
        return self.state in ACTIVE_STATES


@dataclass(frozen=True)
class Sight:
    """What was seen of a job at one time.

    Attributes:
        accounted: accounting's row, if it answered and has the job.
        queued: the queue's row, if it was asked, answered and has the job.
        asked: whether the queue was asked and answered.
        unknown: whether the controller says that it does not know such a job; None: it was not asked.
        result: the status in the job's own file.
    """

    accounted: Row | None = None
    queued: Row | None = None
    asked: bool = False
    unknown: bool | None = None
    result: Status | None = None

    @property
    def row(self) -> Row | None:
        """The more reliable of the two: the queue forgets jobs, but is never behind."""
        if self.queued and (self.accounted is None or self.queued.active or self.queued.state == "COMPLETED"):
            return self.queued
        return self.accounted


def judge(sight: Sight, before: Unsettled | None, now: float) -> tuple[Status, Unsettled | None]:
    """A job's status, and any state that has yet to persist.

    Args:
        sight: what was seen now.
        before: the state that had yet to persist when last seen.
        now: `time.monotonic`.
    """
    row = sight.row
    if row is None:
        return _judge_unheard_of(sight, before, now)
    if row.state == "COMPLETED":
        return DONE, None
    if row.active:
        return _judge_running(row, sight, before, now)
    failed = Status("failed", row.text)
    if row.state in RERUN_STATES:
        return _wait_or(failed, row.state, RERUN_SECONDS, before, now)
    if not sight.asked:
        return _wait_or(failed, row.state, UNCONFIRMED_SECONDS, before, now)
    return failed, None


def has_persisted(unsettled: Unsettled | None, what: str, seconds: float, now: float) -> bool:
    """Whether a state has been seen for this long."""
    return unsettled is not None and unsettled.what == what and now - unsettled.since >= seconds


def _wait_or(
    status: Status, what: str, seconds: float, before: Unsettled | None, now: float
) -> tuple[Status, Unsettled | None]:
    if has_persisted(before, what, seconds, now):
        return status, before
    return ACTIVE, before if before and before.what == what else Unsettled(what, now)


def _judge_unheard_of(sight: Sight, before: Unsettled | None, now: float) -> tuple[Status, Unsettled | None]:
    if sight.result:
        return sight.result, None
    return _judge_absent(sight, before, now) if sight.asked or before else (ACTIVE, None)


def _judge_running(row: Row, sight: Sight, before: Unsettled | None, now: float) -> tuple[Status, Unsettled | None]:
    if not sight.asked:
        # What only the queue can say remains valid until the queue is asked again.
        return ACTIVE, before if before and before.what not in RERUN_STATES else None
    if sight.queued is None:
        return _judge_absent(sight, before, now)
    return _judge_pending(sight.queued.reason, before, now) if row.state == "PENDING" else (ACTIVE, None)


def _judge_absent(sight: Sight, before: Unsettled | None, now: float) -> tuple[Status, Unsettled | None]:
    """A list without the job is no proof: it may be someone else's, or cut off. Only the controller's answer is."""
    if sight.unknown:
        return _wait_or(sight.result or LOST, ABSENT, ABSENT_SECONDS, before, now)
    return ACTIVE, before if before and before.what == ABSENT else Unsettled(ABSENT, now)


def _judge_pending(reason: str, before: Unsettled | None, now: float) -> tuple[Status, Unsettled | None]:
    if reasons.never_starts(reason):
        status = Status("failed", f"{CANNOT_START}: {reason}")
        return _wait_or(status, reason, RERUN_SECONDS, before, now)
    return Status("active", remark=reasons.remark(reason)), None

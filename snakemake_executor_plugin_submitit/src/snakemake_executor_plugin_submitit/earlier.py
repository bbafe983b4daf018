"""Jobs that earlier runs in this working folder left in the queue: taken over, or cancelled and awaited."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface

from snakemake_executor_plugin_submitit import identity
from snakemake_executor_plugin_submitit.cluster import Cluster, NoAnswer, Refused, Status, Verdict
from snakemake_executor_plugin_submitit.clusters import Clusters, host
from snakemake_executor_plugin_submitit.identity import Identity
from snakemake_executor_plugin_submitit.ledger import Entry, Ledger

LONGEST_WAIT = 300.0
"""The most seconds between queries to a cluster that does not answer."""


class Earlier:
    """Jobs that earlier Snakemakes submitted and whose end they did not see.

    A job is the same as one of this run only if its identity is; any other job that makes one of the same files is
    cancelled and awaited, on whichever cluster it is.
    """

    def __init__(self, ledger: Ledger, clusters: Clusters, logger: LoggerExecutorInterface) -> None:
        self.ledger = ledger
        self.clusters = clusters
        self.logger = logger
        self._by_product: dict[str, set[tuple[str, str]]] = {}
        self._left = {entry.key: entry for entry in ledger.entries()}
        self._statuses: dict[tuple[str, str], Status] = {}
        self._looked = not self._left
        for entry in self._left.values():
            for product in entry.identity.products:
                self._by_product.setdefault(product, set()).add(entry.key)
        for name, entries in _by_cluster(self._left.values()).items():
            self._check(name, entries)

    def look(self, wanted: Iterable[Identity]) -> None:
        """Query the status of those that may match jobs of this run; of all, the first time."""
        keys = set(self._left) if not self._looked else {key for one in wanted for key in self._on(one)}
        self._looked = True
        for name, entries in _by_cluster(self._left[key] for key in keys).items():
            self._ask(self.clusters.get(name), entries)

    def find_same(self, job: JobExecutorInterface, wanted: Identity) -> Entry | None:
        """Take over the job of an earlier run that is the same as this one and is active or has succeeded."""
        keys = self._on(wanted)
        if len(keys) != 1:
            return None
        entry = self._left[next(iter(keys))]
        if entry.cluster != self.clusters.own.name or entry.identity != self._as_of(job, wanted, entry.attempt):
            return None
        verdict = self._verdict(entry)
        if verdict == "failed" or (verdict == "done" and not identity.is_up_to_date(job)):
            return None
        self._forget([entry])
        return entry

    def claim(self, wanted: Identity) -> list[Entry]:
        """Hand over different jobs that make the same files, which must end first; the caller now owns them."""
        entries = [self._left[key] for key in self._on(wanted)]
        self._forget(entries)
        over = [entry for entry in entries if self._verdict(entry) != "active"]
        self.ledger.note_ended(over)
        return [entry for entry in entries if entry not in over]

    def forget_the_done(self) -> None:
        """Forget jobs that succeeded and match no job of this run."""
        done = [entry for entry in self._left.values() if self._verdict(entry) == "done"]
        self._forget(done)
        self.ledger.note_ended(done)

    def try_to_cancel(self, entries: Collection[Entry]) -> list[Entry]:
        """Cancel jobs; returns those that are not gone yet, as far as known."""
        try:
            left = [entry for entry in entries if entry not in self.find_gone(entries)]
            self.cancel(left)
        except NoAnswer:
            return list(entries)
        self.ledger.note_ended(entry for entry in entries if entry not in left)
        return left

    def cancel(self, entries: Collection[Entry]) -> None:
        """Cancel jobs, each on its cluster.

        Raises:
            NoAnswer: some may continue.
        """
        for name, mine in _by_cluster(entries).items():
            self.clusters.get(name).cancel([entry.job for entry in mine])

    def find_gone(self, entries: Collection[Entry]) -> list[Entry]:
        """The jobs that are no longer in a queue; none if the cluster does not answer."""
        answer = []
        for name, mine in _by_cluster(entries).items():
            try:
                queue = self.clusters.get(name).queue()
            except NoAnswer:
                continue
            answer += [entry for entry in mine if queue.get(entry.job.id) != entry.job.token]
        return answer

    def _verdict(self, entry: Entry) -> Verdict:
        return self._statuses.get(entry.key, Status("active")).verdict

    def _on(self, wanted: Identity) -> set[tuple[str, str]]:
        """Keys of jobs that make any of the same files."""
        keys = set().union(*(self._by_product.get(product, ()) for product in wanted.products))
        return keys & self._left.keys()

    def _ask(self, cluster: Cluster, entries: list[Entry]) -> None:
        """Determine the status of jobs, however long it takes: until then nothing may replace them."""
        attempt = 0
        while True:
            try:
                statuses = cluster.statuses([entry.job for entry in entries])
                queue = cluster.queue()
                break
            except NoAnswer as error:
                attempt += 1
                self.logger.warning(f"Jobs of an earlier run are unaccounted for ({error}); asking again.")
                time.sleep(min(5.0 * 2**attempt, LONGEST_WAIT))
        for entry in entries:
            status = statuses[entry.job.id]
            # A reinstalled cluster counts its jobs from 1 again.
            if queue.get(entry.job.id, entry.job.token) != entry.job.token:
                status = Status("failed", "another job has its number")
            self._statuses[entry.key] = status
            if status.verdict == "failed":
                self.logger.info(f"Job {entry.job.id} of an earlier run ({entry.job.name}) is over: {status.why}.")
                self._forget([entry])
                self.ledger.note_ended([entry])

    def _check(self, name: str, entries: Collection[Entry]) -> None:
        """Raise WorkflowError, before anything is submitted, if jobs cannot be queried or cancelled."""
        ids = ", ".join(sorted(entry.job.id for entry in entries))
        elsewhere = {entry.host for entry in entries} - {host()}
        if name == "local" and elsewhere:
            raise WorkflowError(f"jobs {ids} of an earlier run are processes on {', '.join(elsewhere)}: start there")
        try:
            self.clusters.get(name)
        except Refused as error:
            raise WorkflowError(f"jobs {ids} of an earlier run on the cluster {name} may go on: {error}") from None

    def _forget(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._left.pop(entry.key, None)

    @staticmethod
    def _as_of(job: JobExecutorInterface, wanted: Identity, attempt: int) -> Identity:
        """A job's identity at another attempt, which may request different resources."""
        if attempt == job.attempt:
            return wanted
        with _at(job, attempt):
            return identity.identify(job)


def _by_cluster(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    answer: dict[str, list[Entry]] = {}
    for entry in entries:
        answer.setdefault(entry.cluster, []).append(entry)
    return answer


@contextmanager
def _at(job: JobExecutorInterface, attempt: int) -> Iterator[None]:
    before, job.attempt = job.attempt, attempt
    try:
        yield
    finally:
        job.attempt = before

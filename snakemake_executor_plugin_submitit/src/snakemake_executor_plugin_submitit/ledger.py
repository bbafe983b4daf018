"""A record of submitted jobs that outlives the Snakemake that submitted them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from snakemake_executor_plugin_submitit.cluster import Submitted
from snakemake_executor_plugin_submitit.identity import Identity

FORMAT = 2
COMPACT_AT = 2000
"""Lines above which a ledger is rewritten, if most of them are obsolete."""


class LedgerError(Exception):
    """A ledger cannot be used; the message says why."""


@dataclass(frozen=True)
class Entry:
    """A submitted job whose end was not seen.

    Attributes:
        job: the cluster's job.
        identity: its identity.
        attempt: Snakemake's attempt number.
        cluster: where it was submitted.
        host: the host of the Snakemake that submitted it.
    """

    job: Submitted
    identity: Identity
    attempt: int
    cluster: str
    host: str

    def to_json(self) -> dict[str, Any]:
        """Its part of a line."""
        return {
            "id": self.job.id,
            "name": self.job.name,
            "folder": str(self.job.folder),
            "submitted": self.job.submitted,
            "products": sorted(self.identity.products),
            "fingerprint": self.identity.fingerprint,
            "attempt": self.attempt,
            "cluster": self.cluster,
            "host": self.host,
        }

    @staticmethod
    def from_json(row: dict[str, Any]) -> Entry:
        """The inverse of `to_json`."""
        job = Submitted(row["id"], row["name"], Path(row["folder"]), row["submitted"])
        identity = Identity(frozenset(row["products"]), row["fingerprint"])
        return Entry(job, identity, row["attempt"], row["cluster"], row["host"])

    @property
    def key(self) -> tuple[str, str]:
        """Its cluster and its id there."""
        return self.cluster, self.job.id


class Ledger:
    """What one Snakemake has submitted, and what it took over from earlier ones in the same working folder.

    Each Snakemake has its own file, locked while it lives: lines of JSON, appended and synced, in a folder per working
    folder. A new one takes over the files that nobody holds. A batch that was about to be submitted when its Snakemake
    died is recognised by its token, which the cluster keeps as the jobs' comment. Methods may be called by several
    threads.

    Args:
        folder: where ledgers are kept.
        workdir: the working folder that jobs belong to.
        cluster: where jobs are submitted.

    Attributes:
        unanswered: tokens of batches that may or may not have been submitted, each with its cluster.

    Raises:
        LedgerError: an existing ledger was written by another version of the plugin.
    """

    def __init__(self, folder: Path, workdir: Path, cluster: str) -> None:
        self.cluster = cluster
        self.unanswered: dict[str, str] = {}
        self._open: dict[tuple[str, str], Entry] = {}
        self._in_flight: set[str] = set()
        self._lock = threading.RLock()
        self._lines = 0
        place = folder / hashlib.sha256(str(workdir).encode()).hexdigest()[:12]
        place.mkdir(parents=True, exist_ok=True)
        session = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        self._path = place / f"{session}.jsonl"
        self._guard = (place / f"{session}.lock").open("w")
        _exclusive_lock(self._guard, f"{socket.gethostname()} {os.getpid()}")
        self._header = {"format": FORMAT, "workdir": str(workdir), "host": socket.gethostname(), "pid": os.getpid()}
        left = [(path, guard) for path in sorted(place.glob("*.jsonl")) if (guard := _take_abandoned(path))]
        for path, _ in left:
            self._read(path)
        self._rewrite()
        for path, guard in left:
            path.unlink(missing_ok=True)
            Path(guard.name).unlink(missing_ok=True)
            guard.close()

    def entries(self) -> list[Entry]:
        """Submitted jobs whose end was not seen."""
        with self._lock:
            return list(self._open.values())

    def note_submitting(self, token: str) -> None:
        """Note that a batch is about to be submitted."""
        with self._lock:
            self._in_flight.add(token)
            self._append({"event": "submitting", "token": token, "cluster": self.cluster})

    def no_answer(self, token: str) -> None:
        """Note that it is not known whether a batch was submitted."""
        with self._lock:
            self._in_flight.discard(token)
            self.unanswered[token] = self.cluster

    def note_refused(self, token: str) -> None:
        """Note that a batch was not submitted."""
        with self._lock:
            self._in_flight.discard(token)
            self.unanswered.pop(token, None)
            self._append({"event": "refused", "token": token}, sync=False)

    def note_submitted(self, token: str, entries: Sequence[Entry]) -> None:
        """Note the jobs of a batch."""
        with self._lock:
            self._in_flight.discard(token)
            self._open |= {entry.key: entry for entry in entries}
            self._append({"event": "submitted", "token": token, "jobs": [entry.to_json() for entry in entries]})

    def note_ended(self, entries: Iterable[Entry]) -> None:
        """Note that jobs are over, however they ended."""
        with self._lock:
            keys = [entry.key for entry in entries if self._open.pop(entry.key, None)]
            if keys:
                # Not synced: that a job is over can be found out again.
                self._append({"event": "ended", "jobs": keys}, sync=False)
            if self._lines > COMPACT_AT + 4 * len(self._open):
                self._rewrite()

    def close(self) -> None:
        """Release the ledger, and remove it if it is empty."""
        with self._lock:
            if not self._open and not self.unanswered and not self._in_flight:
                self._path.unlink(missing_ok=True)
                Path(self._guard.name).unlink(missing_ok=True)
            self._guard.close()

    def _append(self, event: dict[str, Any], sync: bool = True) -> None:
        self._lines += 1
        with self._path.open("a") as file:
            file.write(json.dumps(event) + "\n")
            if sync:
                file.flush()
                os.fsync(file.fileno())

    def _rewrite(self) -> None:
        """Rewrite the ledger without obsolete lines."""
        events: list[dict[str, Any]] = [self._header]
        tokens = {**self.unanswered, **dict.fromkeys(self._in_flight, self.cluster)}
        events += [{"event": "submitting", "token": token, "cluster": cluster} for token, cluster in tokens.items()]
        events += [{"event": "submitted", "token": "", "jobs": [entry.to_json()]} for entry in self._open.values()]
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("w") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._path)
        self._lines = len(events)

    def _read(self, path: Path) -> None:
        with path.open() as file:
            for number, line in enumerate(file):
                try:
                    event = json.loads(line)
                except json.JSONDecodeError:
                    continue  # a line cut off by a kill
                if number == 0 and event.get("format") != FORMAT:
                    raise LedgerError(
                        f"{path}: format {event.get('format')}, but this version of the plugin reads {FORMAT}; end"
                        " the jobs of the version that wrote it, then delete the file"
                    )
                self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        match event.get("event"):
            case "submitting":
                self.unanswered[event["token"]] = event["cluster"]
            case "refused":
                self.unanswered.pop(event["token"], None)
            case "submitted":
                self.unanswered.pop(event["token"], None)
                entries = map(Entry.from_json, event["jobs"])
                self._open |= {entry.key: entry for entry in entries}
            case "ended":
                for cluster, job_id in event["jobs"]:
                    self._open.pop((cluster, job_id), None)


def _take_abandoned(path: Path) -> IO[str] | None:
    """Take the lock of a ledger that no living Snakemake holds."""
    lock = path.with_suffix(".lock")
    guard = lock.open("a+")
    guard.seek(0)
    if _exclusive_lock(guard, guard.read()):
        if path.exists():
            return guard
        lock.unlink(missing_ok=True)  # another process has just taken it over
    guard.close()
    return None


def _exclusive_lock(file: IO[str], owner: str) -> bool:
    """Lock a file until it is closed or this process dies; False: another process holds it.

    Args:
        file: the file to lock.
        owner: its host and process, used instead on a file system without locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        host, _, pid = owner.partition(" ")
        if pid != str(os.getpid()) and host == socket.gethostname() and Path(f"/proc/{pid}").exists():
            return False
    file.seek(0)
    file.truncate()
    file.write(f"{socket.gethostname()} {os.getpid()}")
    file.flush()
    return True

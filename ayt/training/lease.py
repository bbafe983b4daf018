"""One writer per run folder.

A killed workflow leaves its training job behind, and its successor trains the same run. The lease keeps them apart:
whoever takes it writes a new token, and every file is moved into place under a lock that checks the token, so that a
training job whose lease was taken can no longer write.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from ayt.base.errors import UserError
from ayt.base.files import lock, write_error, write_text

PATIENCE = 60.0
"""Seconds that a predecessor on this machine has to save its state and exit."""

GLANCE = 0.2
"""Seconds after which a run that seems held is checked again: `ayt status` holds it too, for an instant."""


class LeaseLostError(UserError):
    """Another process has taken over the run; this one must exit without writing."""


class Lease:
    """The right to write into one run's folder.

    Args:
        folder: the run's folder of unfinished work (`ayt.base.paths.resume_folder`).
        take_over: stop a live training job that holds the lease, after it has saved its state. False: refuse.

    Raises:
        UserError: another process trains this run, and ``take_over`` is False; or the folder cannot be written to.
    """

    def __init__(self, folder: Path, take_over: bool) -> None:
        self._file = folder / "lease.json"
        self._mutex = folder / "lease.lock"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._alive: IO[str] = (folder / "holder.lock").open("a")
        except OSError as error:
            raise write_error(folder, error) from None
        self._token = uuid.uuid4().hex
        if not self._take():
            holder = self._read()
            who = f"process {holder.get('pid')} on {holder.get('host')}"
            if not take_over:
                raise UserError(f"{folder.parent}: is being trained by {who}; --take-over stops it first")
            self._stop(holder)
        with self._lock():
            record = {"token": self._token, "pid": os.getpid(), "host": socket.gethostname()}
            write_text(self._file, json.dumps(record))

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Hold the lock while a file is moved into place.

        Raises:
            LeaseLostError: another process has taken over the run.
        """
        with self._lock():
            self.check()
            yield

    def check(self) -> None:
        """Raise `LeaseLostError` unless the lease is still ours."""
        if self._read().get("token") != self._token:
            raise LeaseLostError(f"{self._file.parent.parent}: another process has taken this run over; leaving")

    def _take(self) -> bool:
        """Take the lock that a process holds while it trains; False: another holds it, for more than an instant."""
        if lock(self._alive):
            return True
        time.sleep(GLANCE)
        return lock(self._alive)

    def _stop(self, holder: dict[str, Any]) -> None:
        """Ask a predecessor on this machine to save and exit; if it does not, it is fenced off and killed."""
        if holder.get("host") != socket.gethostname():
            return
        _signal(holder["pid"], signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while not lock(self._alive):
            if time.monotonic() > deadline:
                _signal(holder["pid"], signal.SIGKILL)
                return
            time.sleep(0.1)

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                mutex = stack.enter_context(self._mutex.open("a"))
                fcntl.flock(mutex, fcntl.LOCK_EX)
            except OSError as error:
                raise write_error(self._mutex, error) from None
            yield


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        raise UserError(f"process {pid} trains this run for another user; only they can stop it") from None

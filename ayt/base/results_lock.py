"""One workflow at a time per results folder, from whichever clone of the repository and whichever machine it runs.

The holder keeps a file lock in the folder as long as its process lives, and regularly touches a file that says who it
is. The lock tells live holders from dead ones on one machine, and across machines if the file system shares its locks;
the touched file does so if it does not.
"""

from __future__ import annotations

import atexit
import getpass
import json
import os
import socket
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from ayt.base.errors import UserError
from ayt.base.files import lock, write_error, write_text

TOUCH_SECONDS = 10.0
"""Seconds between two signs of life."""
SILENT_SECONDS = 60.0
"""Seconds without a sign of life after which a holder on another machine is considered dead."""


class ResultsLock:
    """The right to run a workflow on a results folder.

    Args:
        folder: the results folder, by any of its paths.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / ".workflow.json"
        self._alive: IO[str] | None = None
        self._left = threading.Event()
        self._own: dict[str, Any] = {}

    def take(self) -> None:
        """Hold the folder until `release` or until this process ends, for whatever reason.

        Raises:
            UserError: another workflow holds it, or the folder cannot be written to or does not support locks.
        """
        place = self.folder / ".workflow.lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            alive = place.open("a")
        except OSError as error:
            raise write_error(place, error) from None
        if not lock(alive) or self._is_elsewhere():
            alive.close()
            holder = self._holder()
            who = f"{holder.get('user')}, process {holder.get('pid')} on {holder.get('host')}"
            raise UserError(f"{self.folder}: another workflow works here ({who}); wait until it ends, or stop it there")
        self._alive = alive
        self._own = {"user": _user(), "pid": os.getpid(), "host": socket.gethostname()}
        write_text(self._file, json.dumps(self._own) + "\n")
        atexit.register(self.release)
        threading.Thread(target=self._touch, daemon=True).start()

    def release(self) -> None:
        """Release the folder; does nothing if it is not held."""
        if self._alive is None:
            return
        self._left.set()
        if self._holder() == self._own:  # not if one elsewhere considered this one dead
            self._file.unlink(missing_ok=True)
        self._alive.close()
        self._alive = None

    def _is_elsewhere(self) -> bool:
        """Whether a holder on another machine, whose lock is not visible here, recently gave a sign of life."""
        holder = self._holder()
        if not holder or holder.get("host") == socket.gethostname():
            return False
        try:
            # By the file system's clock, which is neither machine's.
            with tempfile.NamedTemporaryFile(dir=self.folder) as now:
                age = os.fstat(now.fileno()).st_mtime - self._file.stat().st_mtime
        except FileNotFoundError:
            return False  # it has just left
        except OSError as error:
            raise write_error(self.folder, error) from None
        return age < SILENT_SECONDS

    def _holder(self) -> dict[str, Any]:
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _touch(self) -> None:
        while not self._left.wait(TOUCH_SECONDS):
            try:
                os.utime(self._file)
            except OSError:
                continue  # a lost network may come back


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container without user names
        return f"user {os.getuid()}"

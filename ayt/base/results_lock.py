"""One workflow at a time in a results folder, from whichever clone of the repository and whichever machine it runs.

Who holds the folder keeps a lock of the file system on a file in it for as long as its process lives, and touches the
file that says who it is. The first tells the living from the dead on one machine, and on several where the file system
shares its locks; the second where it does not.
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
"""Between two signs of life."""
SILENT_SECONDS = 60.0
"""After which a holder on another machine is taken for dead."""


class ResultsLock:
    """The right to run a workflow on a results folder.

    Args:
        folder: of the results; another path to the same folder is the same folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / ".workflow.json"
        self._alive: IO[str] | None = None
        self._left = threading.Event()
        self._own: dict[str, Any] = {}

    def take(self) -> None:
        """Hold the folder until `release`, or until this process ends, however it ends.

        Raises:
            UserError: another workflow holds it; or the folder cannot be written to, or has no locks.
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
        """Let others have the folder; nothing if it is not held."""
        if self._alive is None:
            return
        self._left.set()
        if self._holder() == self._own:  # not of one elsewhere that took this one for dead
            self._file.unlink(missing_ok=True)
        self._alive.close()
        self._alive = None

    def _is_elsewhere(self) -> bool:
        """Whether a holder whose locks are not seen here, as it is on another machine, gave a sign of life lately."""
        holder = self._holder()
        if not holder or holder.get("host") == socket.gethostname():
            return False
        try:
            # By the clock of the file system, which is that of neither machine.
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
                continue  # a network that is gone may come back


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # of a container that knows no names
        return f"user {os.getuid()}"

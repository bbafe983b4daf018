"""The files of submissions: removed when jobs succeed, or when they are old."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from snakemake_executor_plugin_submitit.ledger import Entry

LOGS = "logs"
"""The subfolder for logs of jobs whose rules have none."""


class Files:
    """submitit's files of each batch, in a folder named after its token.

    Args:
        folder: of all batches.
        days: days after which the files of failed jobs are removed.
    """

    def __init__(self, folder: Path, days: int) -> None:
        self.folder = folder
        self.days = days
        self._left: dict[Path, int] = {}
        self._lock = threading.Lock()

    def expect(self, entries: Sequence[Entry]) -> None:
        """Note a batch, whose folder is removed with the last of its jobs if all succeed."""
        with self._lock:
            self._left[entries[0].job.folder] = len(entries)

    def remove(self, entry: Entry, log: Path) -> None:
        """Remove the files of a job that succeeded, including its own log if it is here."""
        job = entry.job
        if log.parent == self.folder / LOGS:
            log.unlink(missing_ok=True)
        for name in ("submitted.pkl", "0_result.pkl", "0_log.out", "0_log.err"):
            (job.folder / f"{job.id}_{name}").unlink(missing_ok=True)
        with self._lock:
            if job.folder in self._left:
                self._left[job.folder] -= 1
                over = self._left[job.folder] == 0
            else:  # an earlier run's
                over = next(job.folder.glob("*_submitted.pkl"), None) is None
        if over:
            shutil.rmtree(job.folder, ignore_errors=True)

    def remove_old(self, kept: Iterable[Path]) -> None:
        """Remove files that are too old, except the folders of jobs that may continue."""
        oldest = time.time() - self.days * 24 * 3600
        kept = set(kept)
        tokens = [path for path in self.folder.glob("*") if re.fullmatch(r"[0-9a-f]{12}", path.name)]
        for path in tokens:
            if path not in kept and path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)
        for log in (self.folder / LOGS).glob("*.log"):
            if log.stat().st_mtime < oldest:
                log.unlink(missing_ok=True)

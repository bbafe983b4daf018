"""Progress: a live line on a terminal, an occasional line in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LOG_SECONDS = 30.0


class ProgressLine:
    """Shows progress from ``start`` to ``total``.

    Args:
        description: what is being done.
        total: the final count.
        start: the initial count.
    """

    def __init__(self, description: str, total: int, start: int = 0) -> None:
        self.description, self.total = description, total
        self._done = start
        self._bar: Progress | None = None
        self._last_line = time.monotonic()
        if sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.completed}/{task.total}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task(description, total=total, completed=start, note="")

    def __enter__(self) -> ProgressLine:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, note: str = "") -> None:
        """Set the count; ``note`` is shown beside it."""
        self._done = done
        if self._bar:
            self._bar.update(self._task, completed=done, note=note)
        elif time.monotonic() - self._last_line >= LOG_SECONDS:
            self._last_line = time.monotonic()
            print(f"{self.description}: {done}/{self.total} {note}".rstrip(), file=sys.stderr, flush=True)

    def advance(self, by: int) -> None:
        """Increase the count."""
        self.update(self._done + by)

"""Messages that do not end a run: about a failing file system, an impatient Ctrl-C, remarks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface


class Remarks:
    """Warnings that are given once."""

    def __init__(self, logger: LoggerExecutorInterface) -> None:
        self.logger = logger
        self._said: set[str] = set()

    def once(self, text: str, key: str) -> None:
        """Warn with ``text``, unless there was a warning with this key before."""
        if key not in self._said:
            self._said.add(key)
            self.logger.warning(text)


@contextmanager
def warn_of_file_errors(logger: LoggerExecutorInterface) -> Iterator[None]:
    """Only warn about a failing file system: what could not be noted will be found out again."""
    try:
        yield
    except OSError as error:
        logger.warning(f"{error.filename}: {error.strerror}")


@contextmanager
def answer_ctrl_c(logger: LoggerExecutorInterface) -> Iterator[None]:
    """Answer one more Ctrl-C with a message; after that it interrupts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def answer(number: int, frame: Any) -> None:
        logger.info("Jobs are being cancelled; once more Ctrl-C leaves them in the queue.")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, answer)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

"""What is said without ending a run: a file system that fails, an impatient Ctrl-C, remarks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface


class Remarks:
    """Warnings that are said once."""

    def __init__(self, logger: LoggerExecutorInterface) -> None:
        self.logger = logger
        self._said: set[str] = set()

    def once(self, text: str, key: str) -> None:
        """Say ``text``, unless something with this key was said before."""
        if key not in self._said:
            self._said.add(key)
            self.logger.warning(text)


@contextmanager
def warn_of_file_errors(logger: LoggerExecutorInterface) -> Iterator[None]:
    """A file system that fails is said to, and no more: what could not be noted is found out again."""
    try:
        yield
    except OSError as error:
        logger.warning(f"{error.filename}: {error.strerror}")


@contextmanager
def answer_ctrl_c(logger: LoggerExecutorInterface) -> Iterator[None]:
    """Once more Ctrl-C is answered; after that it interrupts as usual."""
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

"""Downloads from Google Drive, whose links lead to a page before the file: through gdown, with limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import requests

from ayt.assets.answers import PATIENCE, AddressError, PassingError, cause

HOST = "drive.google.com"


def download(
    url: str,
    path: Path,
    *,
    timeout: float,
    attempts: int,
    check_length: Callable[[int], None],
    check_rate: Callable[[int], None],
    update: Callable[[int, float], None],
) -> None:
    """Fetch a file; a later fetch does not resume it.

    Args:
        url: a link of Google Drive.
        path: where to write.
        timeout: seconds without an answer, or without enough bytes, before giving up.
        attempts: in all.
        check_length: takes the bytes so far, and raises `AddressError` if there are too many.
        check_rate: takes the bytes of one ``timeout``, and raises `PassingError` if there are too few.
        update: takes the bytes so far and the bytes per second.

    Raises:
        AddressError: the address does not give the file.
    """
    import gdown
    from gdown.exceptions import DownloadCancelled, DownloadError

    began, cancel = time.monotonic(), threading.Event()
    try:
        with _Watch(timeout, check_rate, cancel) as watch:

            def report_length(done: int, _: int | None) -> None:
                check_length(done)
                watch.done = done
                update(done, done / max(time.monotonic() - began, 1e-3))

            gdown.download(
                url,
                str(path),
                quiet=True,
                use_cookies=False,
                timeout=timeout,
                retries=attempts - 1,
                progress=report_length,
                cancel=cancel,
            )
    except DownloadCancelled:
        raise AddressError(watch.problem) from None
    except (DownloadError, requests.RequestException) as error:
        raise AddressError(cause(error)) from None


class _Watch(threading.Thread):
    """Cancels another library's download once it is too slow."""

    def __init__(self, timeout: float, check_rate: Callable[[int], None], cancel: threading.Event) -> None:
        super().__init__(daemon=True)
        self.timeout, self.check_rate, self.cancel, self.ended = timeout, check_rate, cancel, threading.Event()
        self.done = 0
        self.problem = ""

    def __enter__(self) -> _Watch:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()

    def run(self) -> None:
        before = 0
        # Before it begins there are several requests, each within the time-out.
        patience = PATIENCE * self.timeout
        while not self.ended.wait(patience):
            try:
                self.check_rate(self.done - before)
            except PassingError as error:
                self.problem = str(error)
                self.cancel.set()
                return
            before, patience = self.done, self.timeout

"""Requests to servers that may answer with anything, or endlessly."""

from __future__ import annotations

import queue
import re
import threading
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from ayt.assets.table import SCHEMES
from ayt.foreign.text import one_line

CHUNK = 2**20
"""Bytes read at a time."""

MOST_REDIRECTS = 20
PATIENCE = 3
"""The number of time-outs within which an answer must begin, redirects included."""

WEB_PAGE = "answers with a web page instead of the file (one that asks to confirm or to log in, perhaps)"
PAGES = re.compile(r"\s*(text/html|application/xhtml\+xml)\b", re.IGNORECASE)
MESSAGES = re.compile(r"\s*((application|text)/(\w+\+)?(json|xml))\b", re.IGNORECASE)
"""Content types that servers send instead of files: errors, listings."""

TRY_AGAIN = (408, 425, 429)
"""Temporary client errors; all others are permanent."""

READABLE = (requests.codes.ok, requests.codes.partial_content, requests.codes.requested_range_not_satisfiable)


class AddressError(Exception):
    """This address will not give the file; the message says why."""


class PassingError(Exception):
    """Another attempt may succeed; the message says what happened."""


class StalledError(Exception):
    """Nothing arrived in time."""


class _Raw(Protocol):
    def read1(self, amount: int, decode_content: bool) -> bytes: ...


class Exchange:
    """One request to a server, made in its own thread, so that the caller decides how long to wait.

    A socket's time-out restarts with every byte, so a server could keep its client waiting forever.

    Args:
        url: the address.
        headers: of the request.
        timeout: seconds without a byte after which the connection is given up.
    """

    def __init__(self, url: str, headers: dict[str, str], timeout: float) -> None:
        self._url, self._timeout = url, timeout
        # With compression, bytes could not be counted or requested by range.
        self._headers = {"Accept-Encoding": "identity", **headers}
        self._arrived: queue.Queue[Any] = queue.Queue(maxsize=2)
        self._left = threading.Event()
        threading.Thread(target=self._work, daemon=True).start()

    def answer(self) -> requests.Response:
        """The response, without its body.

        Raises:
            AddressError, PassingError: there is no answer, or it is not the file, a part of it, or an error about the
                range.
        """
        patience = PATIENCE * self._timeout
        try:
            answer: requests.Response = self._next(patience)
        except (requests.Timeout, StalledError):
            raise PassingError(f"no answer within {patience:g} s") from None
        except requests.exceptions.SSLError as error:
            raise AddressError(f"is not trusted: {cause(error)}") from None
        except requests.ConnectionError as error:
            raise PassingError(f"no connection: {cause(error)}") from None
        # Invalid addresses and senseless headers raise several types of errors.
        except (requests.RequestException, HTTPError, ValueError, OverflowError) as error:
            raise AddressError(f"cannot be asked: {one_line(error)}") from None
        _check(answer)
        return answer

    def chunk(self, seconds: float) -> bytes:
        """The next bytes of the file, none at its end.

        Raises:
            StalledError: there are none within ``seconds``.
            PassingError: the connection broke.
        """
        try:
            chunk: bytes = self._next(seconds)
        except ReadTimeoutError:
            raise StalledError from None
        except (HTTPError, OSError, ValueError) as error:
            raise PassingError(cause(error)) from None
        return chunk

    def leave(self) -> None:
        """Let the thread end, at its next byte or time-out."""
        self._left.set()

    def _next(self, seconds: float) -> Any:
        try:
            found = self._arrived.get(timeout=max(seconds, 0))
        except queue.Empty:
            raise StalledError from None
        if isinstance(found, Exception):
            raise found
        return found

    def _work(self) -> None:
        try:
            with _Session() as session, self._ask(session) as answer:
                self._hand_over(answer)
                raw: _Raw = answer.raw
                while not self._left.is_set():
                    chunk = raw.read1(CHUNK, decode_content=False)
                    self._hand_over(chunk)
                    if not chunk:
                        return
        except Exception as error:  # raised where the answer is awaited
            self._hand_over(error)

    def _hand_over(self, what: Any) -> None:
        while not self._left.is_set():
            try:
                return self._arrived.put(what, timeout=0.1)
            except queue.Full:
                continue

    def _ask(self, session: requests.Session) -> requests.Response:
        """Follow redirects."""
        url = self._url
        for _ in range(MOST_REDIRECTS + 1):
            answer = session.get(url, headers=self._headers, stream=True, timeout=self._timeout)
            if not answer.is_redirect:
                return answer
            answer.close()
            # Headers arrive as latin-1, whatever their encoding.
            url = _follow_redirect(url, answer.headers["Location"].encode("latin-1").decode("utf-8", "replace"))
        raise AddressError("redirects endlessly")


class _Session(requests.Session):
    """Treats redirects as answers: to follow them, requests would read their whole body, which may be endless."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _follow_redirect(url: str, target: str) -> str:
    """The target of a redirect; never from an encrypted address to an unencrypted one."""
    try:
        there = urljoin(url, target)
        parts = urlsplit(there)
        good = parts.scheme in SCHEMES and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise AddressError(f"redirects to {one_line(target)!r}, which is not an address that can be fetched")
    if urlsplit(url).scheme == "https" and parts.scheme != "https":
        raise AddressError("redirects to an unencrypted address")
    return there


def _check(answer: requests.Response) -> None:
    status = one_line(f"{answer.status_code} {answer.reason}")
    if answer.status_code >= 500 or answer.status_code in TRY_AGAIN:
        raise PassingError(status)
    if answer.status_code not in READABLE:
        raise AddressError(status)
    if not answer.ok:
        return
    kind = answer.headers.get("Content-Type", "")
    if PAGES.match(kind):
        raise AddressError(WEB_PAGE)
    if message := MESSAGES.match(kind):
        raise AddressError(f"answers with {message[1]} instead of the file")
    for name, plain in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
        encoding = answer.headers.get(name, plain).strip().lower()
        if encoding not in ("", plain):
            raise AddressError(f"sends the file in a different form than was asked for ({name}: {one_line(encoding)})")


def cause(error: BaseException) -> str:
    """The operating system's message, unwrapped from a library's nested errors."""
    deepest = error
    while deepest.__cause__ or deepest.__context__:
        deepest = deepest.__cause__ or deepest.__context__ or deepest
    return one_line(getattr(deepest, "strerror", None) or deepest)

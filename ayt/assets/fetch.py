"""Downloads that arrive whole or not at all: resumed when cut, checked against hashes, tried at every address.

Beside a file ``F`` may lie ``F.part`` (what is there of a download, resumed by the next one) with ``F.part.json``
(where it came from), ``F.rejected`` (arrived whole, but is not what the table says), ``F.sha256`` (recorded at the
first download of a file without a published hash, and enforced from then on) and ``F.lock``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import requests

from ayt.assets import formats
from ayt.assets.answers import PATIENCE, WEB_PAGE, AddressError, Exchange, PassingError, StalledError, cause
from ayt.assets.table import Asset
from ayt.base.errors import UserError
from ayt.base.files import write_text, written_beside
from ayt.base.progress import ProgressLine

DRIVE = "drive.google.com"
LENGTH = r"[0-9]{1,18}"
RANGE = rf"bytes ({LENGTH})-({LENGTH})/({LENGTH}|\*)"

Say = Callable[[str], None]


def fetch(
    asset: Asset,
    root: Path,
    *,
    prefetched: Path | None = None,
    attempts: int = 4,
    timeout: float = 30.0,
    pause: float = 1.0,
    say: Say,
) -> Path:
    """Make sure that a published file is in the assets folder, and return its path.

    A file that is there and is what the table says costs one reading of it. Several processes may fetch one file: the
    first downloads it, the others wait.

    Args:
        asset: which file.
        root: the assets folder.
        prefetched: a folder with files that were fetched elsewhere, by their names, or laid out as ``root``. A file
            that is in it is copied from it; the net is not asked.
        attempts: consecutive attempts at one address that bring nothing new, before it is given up.
        timeout: seconds without an answer, or without a byte, after which an attempt is given up.
        pause: seconds between the first attempts; doubles with each that brings nothing new.
        say: takes one line on what is going on.

    Raises:
        UserError: no address gave the file, with the reason for each; the prefetched file is not the one that the
            table describes; no space is left, or the folder cannot be written to.
    """
    target = asset.path(root)
    if prefetched is not None and not prefetched.is_dir():
        raise UserError(f"{prefetched}: no such folder of prefetched files")
    if _is_there(asset, target):
        return target
    with _alone(target, say):
        # Another process may have fetched it meanwhile.
        if _is_there(asset, target):
            return target
        if target.is_file():
            problem = _mismatch(asset, target, target)
            if problem is None:
                _record(target, _digest(target, "sha256"))
                say(f"{target}: was there already, without a published hash; its SHA-256 is recorded")
                return target
            say(f"{target}: {_set_aside(target, target, problem)}; fetching it again")
        source = _prefetched_file(asset, prefetched)
        if source is not None:
            _copy(asset, source, target)
            say(f"{target}: copied from {source}")
            return target
        _Download(asset, target, attempts, timeout, pause, say).run()
    return target


def verify(asset: Asset, root: Path) -> str:
    """Check a fetched file and return its SHA-256.

    Raises:
        UserError: the file is missing, short or altered, or there is no hash to check it against.
    """
    target = asset.path(root)
    if not target.is_file():
        raise UserError(f"{target}: no such file; `ayt assets fetch` gets it")
    if not _expected_hashes(asset, target):
        raise UserError(
            f"{target}: cannot be verified: no hash is published and {_record_path(target)} is missing; "
            "`ayt assets fetch` records the file's hash as it is now"
        )
    problem = _mismatch(asset, target, target)
    if problem:
        raise UserError(f"{target}: {problem}; `ayt assets fetch` gets it again")
    return _digest(target, "sha256")


def recorded_hash(target: Path) -> str | None:
    """The SHA-256 recorded at the first download of ``target``, or None.

    Raises:
        UserError: the record is not in sha256sum's format.
    """
    path = _record_path(target)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    match = re.match(r"([0-9a-f]{64})\b", text)
    if not match:
        raise UserError(f"{path}: not a record of a SHA-256 (64 hexadecimal digits, two spaces, file name)")
    return match.group(1)


class _Part:
    """What is there of a download, and what it is a part of."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._memo = target.with_name(f"{target.name}.part.json")
        try:
            self.origin = _Origin.remembered(json.loads(self._memo.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            # Nothing says what the bytes belong to: they are of no use.
            self.origin = _Origin()

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def whole(self) -> bool:
        """All bytes that the server announced are there."""
        return self.size > 0 and self.size == self.origin.size

    @property
    def resumable(self) -> bool:
        """Whether the rest can be asked for: without a validator it could be the rest of another version."""
        return self.size > 0 and self.origin.validator is not None

    def resumable_from(self, url: str) -> bool:
        """Whether the rest can be asked of ``url``."""
        return self.resumable and self.origin.url == url

    @property
    def kept(self) -> str:
        """What to tell about it when the download fails."""
        return f"; {self.size} bytes are kept and the next fetch goes on from there" if self.resumable else ""

    def begin(self, origin: _Origin) -> None:
        """Start over, with an empty part."""
        self.path.open("wb").close()
        self.origin = origin
        write_text(self._memo, json.dumps(asdict(origin)) + "\n")

    def drop(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)
        self._memo.unlink(missing_ok=True)
        self.origin = _Origin()

    def rename(self, target: Path) -> None:
        """Put the whole file in its place."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(target)
        self.drop()


@dataclass(frozen=True)
class _Origin:
    """Where a part comes from: address, strong validator (ETag or Last-Modified), size of the whole file."""

    url: str | None = None
    validator: str | None = None
    size: int | None = None

    @classmethod
    def remembered(cls, memo: dict[str, Any]) -> _Origin:
        """From what was written of it, which may be damaged."""
        origin = cls(**memo)
        texts = all(isinstance(text, str | None) for text in (origin.url, origin.validator))
        if not texts or not isinstance(origin.size, int | None):
            raise TypeError("not an origin")
        return origin


@dataclass
class _Download:
    """One file, from whichever address gives it."""

    asset: Asset
    target: Path
    attempts: int
    timeout: float
    pause: float
    say: Say

    def run(self) -> None:
        """Put the file in its place.

        Raises:
            UserError: no address gave it, or it cannot be written.
        """
        self.part = _Part(self.target)
        # What is there already can only be completed from where it came from.
        addresses = sorted(self.asset.addresses, key=lambda url: url != self.part.origin.url)
        try:
            reasons = self.try_each(addresses)
            if reasons and not self.part.resumable:
                self.part.drop()
        except OSError as error:
            raise UserError(f"{_unwritable(self.target, error)}{self.part.kept}") from error
        if reasons:
            raise UserError(
                f"{self.target}: cannot be fetched: {'; '.join(reasons)}{self.part.kept}; "
                "or fetch it elsewhere and name its folder with --prefetched"
            )

    def try_each(self, addresses: list[str]) -> list[str]:
        """Return why each address failed, or nothing once one gave the file."""
        reasons: list[str] = []
        for url in addresses:
            if reasons:
                self.say(f"{self.asset.file}: {reasons[-1]}; trying {url}")
            try:
                if urlsplit(url).hostname == DRIVE:
                    self.through_gdown(url)
                else:
                    self.through_requests(url)
                self.accept()
            except AddressError as error:
                reasons.append(f"{url}: {error}")
            else:
                return []
        return reasons

    def through_requests(self, url: str) -> None:
        """Complete the part from ``url``, in as many attempts as bring it further, and a few more."""
        furthest, failures = self.part.size if self.part.resumable_from(url) else 0, 0
        while not (self.part.whole and self.part.origin.url == url):
            began = time.monotonic()
            try:
                self.attempt(url)
                return
            except PassingError as error:
                # A byte with each attempt is no progress either.
                enough = max(1, self.asset.least_rate * (time.monotonic() - began))
                failures = 1 if self.part.size - furthest >= enough else failures + 1
                furthest = max(furthest, self.part.size)
                if failures >= self.attempts:
                    raise AddressError(f"{error} ({failures} attempts)") from None
                wait = self.pause * 2 ** (failures - 1)
                self.say(f"{self.asset.file}: {url}: {error}; trying again in {wait:g} s")
            time.sleep(wait)

    def attempt(self, url: str) -> None:
        """Ask for what is missing, and append it to the part."""
        start = self.part.size if self.part.resumable_from(url) else 0
        headers = {"Range": f"bytes={start}-", "If-Range": str(self.part.origin.validator)} if start else {}
        exchange = Exchange(url, headers, self.timeout)
        try:
            start, total = self.place(exchange.answer(), url, start)
            self.receive(exchange, start, total)
        finally:
            exchange.leave()

    def place(self, answer: requests.Response, url: str, start: int) -> tuple[int, int | None]:
        """Where in the file the body of an answer belongs, and the file's size as far as it is known."""
        validator = _validator(answer)
        if answer.status_code == requests.codes.partial_content:
            match = re.fullmatch(RANGE, answer.headers.get("Content-Range", ""))
            same = validator == self.part.origin.validator
            total = int(match[3]) if match and match[3] != "*" else self.part.origin.size
            same = same and self.part.origin.size in (None, total)
            if not match or not start or int(match[1]) != start or not same:
                self.part.drop()
                raise PassingError("sends another part than it was asked for; starting over")
            return start, total
        if answer.status_code != requests.codes.ok:
            self.part.drop()
            raise PassingError(f"{answer.status_code}; starting over")
        length = answer.headers.get("Content-Length", "")
        plain = re.fullmatch(LENGTH, length) and "Transfer-Encoding" not in answer.headers
        announced = int(length) if plain else None
        if announced and self.asset.size and announced != self.asset.size:
            raise AddressError(f"has a file of {announced} bytes, expected {self.asset.size}")
        if announced and announced > self.limit:
            raise AddressError(f"has a file of {announced} bytes, and at most {self.limit} are fetched (largest)")
        self.part.begin(_Origin(url, validator, announced or self.asset.size))
        return 0, self.part.origin.size

    @property
    def limit(self) -> int:
        """Bytes that the file has, or may have at most."""
        return self.asset.size or self.asset.largest

    def receive(self, exchange: Exchange, start: int, total: int | None) -> None:
        """Append the body to the part, byte by byte as it arrives: what came before a cut is kept."""
        began, done, of = time.monotonic(), start, f" of {total}" if total else ""
        with self.part.path.open("ab", buffering=0) as file, _progress(self.asset.file, total) as update:
            for chunk in self.chunks(exchange, start, of):
                done += len(chunk)
                self.check_length(done, total)
                _write(file, chunk)
                update(done, (done - start) / max(time.monotonic() - began, 1e-3))
        if total and done < total:
            raise PassingError(f"cut after {done}{of} bytes")
        if not done:
            raise PassingError("sends an empty file")

    def chunks(self, exchange: Exchange, done: int, of: str) -> Iterator[bytes]:
        """The body, while enough of it comes within each time-out."""
        while True:
            began, before = time.monotonic(), done
            while (left := began + self.timeout - time.monotonic()) > 0:
                try:
                    chunk = exchange.chunk(left)
                except StalledError:
                    break
                except PassingError:
                    raise PassingError(f"cut after {done}{of} bytes") from None
                if not chunk:
                    return
                done += len(chunk)
                yield chunk
            if done == before:
                raise PassingError(f"stalled after {done}{of} bytes")
            self.check_rate(done - before)

    def check_length(self, done: int, total: int | None) -> None:
        """Refuse a body that goes on beyond the file's end, or beyond any size that it may have."""
        if done > (total or self.limit):
            self.part.drop()
            reason = f"the {total} bytes of the file" if total else f"the {self.limit} bytes that are fetched (largest)"
            raise AddressError(f"sends more than {reason}")

    def check_rate(self, count: int) -> None:
        """Refuse to wait for ever for a server that sends this many bytes within a time-out."""
        if count < self.asset.least_rate * self.timeout:
            rate = f"{self.asset.least_rate} a second are the least (least_rate)"
            raise PassingError(f"is too slow: {count} bytes in {self.timeout:g} s; {rate}")

    def through_gdown(self, url: str) -> None:
        """Fetch from Google Drive, whose links lead to pages that lead to the file; not resumed by a later fetch."""
        import gdown
        from gdown.exceptions import DownloadCancelled, DownloadError

        folder = self.target.with_name(f"{self.target.name}.gdown")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        arrived = folder / self.target.name
        began, cancel = time.monotonic(), threading.Event()
        try:
            with _progress(self.asset.file, self.asset.size) as update, _Watch(self, cancel) as watch:

                def told(done: int, _: int | None) -> None:
                    self.check_length(done, None)
                    watch.done = done
                    update(done, done / max(time.monotonic() - began, 1e-3))

                gdown.download(
                    url,
                    str(arrived),
                    quiet=True,
                    use_cookies=False,
                    timeout=self.timeout,
                    retries=self.attempts - 1,
                    progress=told,
                    cancel=cancel,
                )
            self.part.begin(_Origin(url))
            arrived.replace(self.part.path)
        except DownloadCancelled:
            raise AddressError(watch.problem) from None
        except (DownloadError, requests.RequestException) as error:
            raise AddressError(cause(error)) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def accept(self) -> None:
        """Check the part, now whole, and put it in its place."""
        if formats.is_web_page(self.part.path):
            self.part.drop()
            raise AddressError(WEB_PAGE)
        problem = _mismatch(self.asset, self.part.path, self.target)
        if problem:
            reason = _set_aside(self.part.path, self.target, problem)
            self.part.drop()
            raise AddressError(reason)
        if not _expected_hashes(self.asset, self.target):
            _record(self.target, _digest(self.part.path, "sha256"))
        self.part.rename(self.target)


class _Watch(threading.Thread):
    """Cancels a download that another library makes once it is too slow."""

    def __init__(self, download: _Download, cancel: threading.Event) -> None:
        super().__init__(daemon=True)
        self.download, self.cancel, self.ended = download, cancel, threading.Event()
        self.done = 0
        self.problem = ""

    def __enter__(self) -> _Watch:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()

    def run(self) -> None:
        before = 0
        # Until it begins there are several questions to ask, each within the time-out.
        patience = PATIENCE * self.download.timeout
        while not self.ended.wait(patience):
            try:
                self.download.check_rate(self.done - before)
            except PassingError as error:
                self.problem = str(error)
                self.cancel.set()
                return
            before, patience = self.done, self.download.timeout


def _validator(answer: requests.Response) -> str | None:
    """What If-Range needs to recognise this version of the file; weak ETags do not promise equal bytes."""
    tag = answer.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


@contextmanager
def _progress(name: str, total: int | None) -> Iterator[Callable[[int, float], None]]:
    """Yield what takes the bytes so far and the bytes a second; nothing is shown of a file of unknown size."""
    if total is None:
        yield lambda done, speed: None
        return
    with ProgressLine(f"{name}, MB", total // 10**6) as line:
        yield lambda done, speed: line.update(done // 10**6, f"{speed / 1e6:.1f} MB/s")


def _write(file: BinaryIO, chunk: bytes) -> None:
    """Write all of a chunk: without a buffer, a nearly full disk takes only the beginning of it."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]


def _unwritable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be written: {error.strerror or error}"


@contextmanager
def _alone(target: Path, say: Say) -> Iterator[None]:
    """Hold the file's lock, which ends with the process."""
    lock = target.with_name(f"{target.name}.lock")
    with ExitStack() as stack:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(lock.open("a"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"{target}: waiting for another process that fetches it")
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise UserError(_unwritable(lock, error)) from error
        yield


def _is_there(asset: Asset, target: Path) -> bool:
    return target.is_file() and bool(_expected_hashes(asset, target)) and _mismatch(asset, target, target) is None


def _expected_hashes(asset: Asset, target: Path) -> list[tuple[str, str]]:
    """What the file's hashes must begin with: (algorithm, hexadecimal digits)."""
    published = [("sha256", asset.sha256), ("sha256", asset.sha256_prefix), ("md5", asset.md5)]
    known = [(algorithm, digits) for algorithm, digits in published if digits]
    recorded = None if known else recorded_hash(target)
    return [("sha256", recorded)] if recorded else known


def _mismatch(asset: Asset, path: Path, target: Path) -> str | None:
    """How the file at ``path`` differs from what ``target`` must be, or None."""
    size, expected_hashes = path.stat().st_size, _expected_hashes(asset, target)
    if asset.size and size != asset.size:
        return f"has {size} bytes, expected {asset.size}"
    if not expected_hashes:
        return formats.problem(path, asset.expected_kind)
    for algorithm, expected in expected_hashes:
        found = _digest(path, algorithm)
        if not found.startswith(expected):
            name = "MD5" if algorithm == "md5" else "SHA-256"
            begins = "" if len(expected) == len(found) else "beginning with "
            return f"its {name} is {found}, expected {begins}{expected}"
    return None


def _digest(path: Path, algorithm: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def _set_aside(path: Path, target: Path, problem: str) -> str:
    """Keep a wrong file for inspection, and say where and what is wrong with it."""
    rejected = target.with_name(f"{target.name}.rejected")
    try:
        path.replace(rejected)
    except OSError as error:
        raise UserError(_unwritable(rejected, error)) from error
    return f"{problem} (kept as {rejected})"


def _record_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _record(target: Path, digest: str) -> None:
    write_text(_record_path(target), f"{digest}  {target.name}\n")


def _prefetched_file(asset: Asset, prefetched: Path | None) -> Path | None:
    if prefetched is None:
        return None
    places = (prefetched / asset.file, asset.path(prefetched))
    return next((place for place in places if place.is_file()), None)


def _copy(asset: Asset, source: Path, target: Path) -> None:
    """Put a prefetched file in its place; the copy is checked, not the source."""
    with written_beside(target) as beside:
        shutil.copyfile(source, beside)
        problem = _mismatch(asset, beside, target)
        if problem:
            raise UserError(f"{source}: is not the published file: {problem}; remove it from the prefetched files")
        if not _expected_hashes(asset, target):
            _record(target, _digest(beside, "sha256"))

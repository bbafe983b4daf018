"""Download one file from the first address that works: resumed if cut off, with limits on size and slowness."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests

from ayt.assets import drive, formats
from ayt.assets.answers import WEB_PAGE, AddressError, Exchange, PassingError, StalledError
from ayt.assets.hashes import describe_write_error, digest_of, expected_hashes, mismatch, record_hash, set_aside
from ayt.assets.parts import Origin, Part
from ayt.assets.table import Asset
from ayt.base.errors import UserError
from ayt.base.progress import ProgressLine

LENGTH = r"[0-9]{1,18}"
RANGE = rf"bytes ({LENGTH})-({LENGTH})/({LENGTH}|\*)"

Say = Callable[[str], None]


@dataclass
class Download:
    """The download of one file, from the first address that works."""

    asset: Asset
    target: Path
    attempts: int
    timeout: float
    pause: float
    say: Say

    def run(self) -> None:
        """Download the file and move it into place.

        Raises:
            UserError: no address works, or the file cannot be written.
        """
        self.part = Part(self.target)
        # An existing part can only be completed from where it came from.
        addresses = sorted(self.asset.addresses, key=lambda url: url != self.part.origin.url)
        try:
            reasons = self.try_each(addresses)
            if reasons and not self.part.resumable:
                self.part.drop()
        except OSError as error:
            raise UserError(f"{describe_write_error(self.target, error)}{self.part.kept}") from error
        if reasons:
            told = "cannot be fetched; fetch it elsewhere and name its folder with --prefetched (assets.prefetched)"
            raise UserError("\n  ".join([f"{self.target}: {told}{self.part.kept}", *reasons]))

    def try_each(self, addresses: list[str]) -> list[str]:
        """Return why each address failed; empty once one worked."""
        reasons: list[str] = []
        for url in addresses:
            if reasons:
                self.say(f"{self.asset.file}: {reasons[-1]}; trying {url}")
            try:
                if urlsplit(url).hostname == drive.HOST:
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
        """Complete the part from ``url``, retrying as long as attempts make progress, and a few times more."""
        furthest, failures = self.part.size if self.part.can_resume_from(url) else 0, 0
        while not (self.part.whole and self.part.origin.url == url):
            began = time.monotonic()
            try:
                self.attempt(url)
                return
            except PassingError as error:
                # One byte per attempt does not count as progress.
                enough = max(1, self.asset.least_rate * (time.monotonic() - began))
                failures = 1 if self.part.size - furthest >= enough else failures + 1
                furthest = max(furthest, self.part.size)
                if failures >= self.attempts:
                    raise AddressError(f"{error} ({failures} attempts)") from None
                wait = self.pause * 2 ** (failures - 1)
                self.say(f"{self.asset.file}: {url}: {error}; trying again in {wait:g} s")
            time.sleep(wait)

    def attempt(self, url: str) -> None:
        """Request what is missing, and append it to the part."""
        start = self.part.size if self.part.can_resume_from(url) else 0
        headers = {"Range": f"bytes={start}-", "If-Range": str(self.part.origin.validator)} if start else {}
        exchange = Exchange(url, headers, self.timeout)
        try:
            start, total = self.place(exchange.answer(), url, start)
            self.receive(exchange, start, total)
        finally:
            exchange.leave()

    def place(self, answer: requests.Response, url: str, start: int) -> tuple[int, int | None]:
        """The offset of a response's body in the file, and the file's size if known."""
        validator = _validator(answer)
        if answer.status_code == requests.codes.partial_content:
            match = re.fullmatch(RANGE, answer.headers.get("Content-Range", ""))
            same = validator == self.part.origin.validator
            total = int(match[3]) if match and match[3] != "*" else self.part.origin.size
            same = same and self.part.origin.size in (None, total)
            if not match or not start or int(match[1]) != start or not same:
                self.part.drop()
                raise PassingError("sends a different part than was asked for; starting over")
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
        self.part.begin(Origin(url, validator, announced or self.asset.size))
        return 0, self.part.origin.size

    @property
    def limit(self) -> int:
        """The file's size in bytes, or its upper limit."""
        return self.asset.size or self.asset.largest

    def receive(self, exchange: Exchange, start: int, total: int | None) -> None:
        """Append the body to the part as it arrives, so that what came before a cut is kept."""
        began, done, of = time.monotonic(), start, f" of {total}" if total else ""
        with self.part.path.open("ab", buffering=0) as file, _show_progress(self.asset.file, total) as update:
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
        """Yield the body, as long as enough arrives within each time-out."""
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
        """Refuse a body longer than the file or its size limit."""
        if done > (total or self.limit):
            self.part.drop()
            reason = f"the {total} bytes of the file" if total else f"the {self.limit} bytes that are fetched (largest)"
            raise AddressError(f"sends more than {reason}")

    def check_rate(self, count: int) -> None:
        """Give up on a server that sends only this many bytes within a time-out."""
        if count < self.asset.least_rate * self.timeout:
            rate = f"{self.asset.least_rate} a second are the least (least_rate)"
            raise PassingError(f"is too slow: {count} bytes in {self.timeout:g} s; {rate}")

    def through_gdown(self, url: str) -> None:
        """Fetch from Google Drive."""
        folder = self.target.with_name(f"{self.target.name}.gdown")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        arrived = folder / self.target.name
        try:
            with _show_progress(self.asset.file, self.asset.size) as update:
                drive.download(
                    url,
                    arrived,
                    timeout=self.timeout,
                    attempts=self.attempts,
                    check_length=lambda done: self.check_length(done, None),
                    check_rate=self.check_rate,
                    update=update,
                )
            self.part.begin(Origin(url))
            arrived.replace(self.part.path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def accept(self) -> None:
        """Check the complete part, and move it into place."""
        if formats.is_web_page(self.part.path):
            self.part.drop()
            raise AddressError(WEB_PAGE)
        problem = mismatch(self.asset, self.part.path, self.target)
        if problem:
            reason = set_aside(self.part.path, self.target, problem)
            self.part.drop()
            raise AddressError(reason)
        if not expected_hashes(self.asset, self.target):
            record_hash(self.target, digest_of(self.part.path, "sha256"))
        self.part.rename(self.target)


def _validator(answer: requests.Response) -> str | None:
    """The validator for If-Range; weak ETags do not guarantee identical bytes."""
    tag = answer.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


@contextmanager
def _show_progress(name: str, total: int | None) -> Iterator[Callable[[int, float], None]]:
    """Yield a callback for bytes so far and bytes per second; nothing is shown for a file of unknown size."""
    if total is None:
        yield lambda done, speed: None
        return
    with ProgressLine(f"{name}, MB", total // 10**6) as line:
        yield lambda done, speed: line.update(done // 10**6, f"{speed / 1e6:.1f} MB/s")


def _write(file: BinaryIO, chunk: bytes) -> None:
    """Write all of a chunk: an unbuffered write to a nearly full disk may take only its beginning."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]

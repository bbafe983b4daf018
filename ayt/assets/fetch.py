"""Downloads that arrive completely or not at all: resumed if cut off, checked against hashes, tried at every address.

Beside a file ``F`` there may be ``F.part`` (an incomplete download, resumed by the next one) with ``F.part.json``
(where it came from), ``F.rejected`` (complete, but not what the table says), ``F.sha256`` (recorded at the first
download of a file without a published hash, and enforced from then on) and ``F.lock``.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ayt.assets.download import Download, Say
from ayt.assets.hashes import (
    describe_write_error,
    digest_of,
    expected_hashes,
    mismatch,
    record_hash,
    record_path,
    set_aside,
)
from ayt.assets.table import Asset
from ayt.base.errors import UserError
from ayt.base.files import write_beside


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

    If the file is there already, it is read once to check it. Several processes may fetch the same file: the first
    downloads it, the others wait.

    Args:
        asset: which file.
        root: the assets folder.
        prefetched: a folder with files fetched elsewhere, by name, or laid out like ``root``. A file found there is
            copied, without network access.
        attempts: consecutive attempts at one address without progress before giving up on it.
        timeout: seconds without an answer, or without a byte, before an attempt is given up.
        pause: seconds between the first attempts; doubles with each attempt without progress.
        say: takes one line of progress.

    Raises:
        UserError: no address gave the file, with the reason for each; the prefetched file is not the one described
            in the table; no space is left, or the folder cannot be written to.
    """
    target = asset.path(root)
    if prefetched is not None and not prefetched.is_dir():
        raise UserError(f"{prefetched}: no such folder of prefetched files")
    if _is_there(asset, target):
        return target
    with _hold_lock(target, say):
        # Another process may have fetched it meanwhile.
        if _is_there(asset, target):
            return target
        if target.is_file():
            problem = mismatch(asset, target, target)
            if problem is None:
                record_hash(target, digest_of(target, "sha256"))
                say(f"{target}: was there already, without a published hash; its SHA-256 is recorded")
                return target
            say(f"{target}: {set_aside(target, target, problem)}; fetching it again")
        source = find_prefetched(asset, prefetched)
        if source is not None:
            _copy(asset, source, target)
            say(f"{target}: copied from {source}")
            return target
        Download(asset, target, attempts, timeout, pause, say).run()
    return target


def verify(asset: Asset, root: Path) -> str:
    """Check a fetched file and return its SHA-256.

    Raises:
        UserError: the file is missing, short or altered, or there is no hash to check it against.
    """
    target = asset.path(root)
    if not target.is_file():
        raise UserError(f"{target}: no such file; `ayt assets fetch` gets it")
    if not expected_hashes(asset, target):
        raise UserError(
            f"{target}: cannot be verified: no hash is published and {record_path(target)} is missing; "
            "`ayt assets fetch` records the file's hash as it is now"
        )
    problem = mismatch(asset, target, target)
    if problem:
        raise UserError(f"{target}: {problem}; `ayt assets fetch` gets it again")
    return digest_of(target, "sha256")


@contextmanager
def _hold_lock(target: Path, say: Say) -> Iterator[None]:
    """Hold the file's lock, which is released if the process ends."""
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
            raise UserError(describe_write_error(lock, error)) from error
        yield


def _is_there(asset: Asset, target: Path) -> bool:
    return target.is_file() and bool(expected_hashes(asset, target)) and mismatch(asset, target, target) is None


def find_prefetched(asset: Asset, prefetched: Path | None) -> Path | None:
    """The asset's file in a folder of files fetched elsewhere; None: there is none, or no such folder is given."""
    if prefetched is None:
        return None
    places = (prefetched / asset.file, asset.path(prefetched))
    return next((place for place in places if place.is_file()), None)


def _copy(asset: Asset, source: Path, target: Path) -> None:
    """Copy a prefetched file into place; the copy is checked, not the source."""
    with write_beside(target) as beside:
        shutil.copyfile(source, beside)
        problem = mismatch(asset, beside, target)
        if problem:
            raise UserError(f"{source}: is not the published file: {problem}; remove it from the prefetched files")
        if not expected_hashes(asset, target):
            record_hash(target, digest_of(beside, "sha256"))

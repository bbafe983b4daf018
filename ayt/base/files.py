"""Files that are complete or absent: written under another name, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ayt.base.errors import UserError


@contextmanager
def write_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, renamed to ``path`` when the block ends without an error.

    Raises:
        UserError: no space is left, or the path cannot be written to; nothing half-written remains.
    """
    # The suffix stays: libraries choose the format by it.
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        # Libraries that write files themselves may make them readable by the owner only.
        beside.chmod(0o666 & ~_umask())
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        # If nothing can be written, nothing can be removed either; the first error is the one to show.
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_error(path: Path, error: OSError) -> UserError:
    """The error for a file or folder that cannot be written."""
    return UserError(f"{path}: cannot be written: {error.strerror or error}")


def lock(file: IO[str]) -> bool:
    """Lock an open file until it is closed or this process ends; False: another process holds the lock.

    Raises:
        UserError: the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(f"{file.name}: cannot be locked ({error}); results need a file system with locks") from None
    return True


def remove_parts(folder: Path) -> None:
    """Remove what a killed process's `write_beside` left in a folder; only the caller may be writing there."""
    for part in folder.glob(".*.part*"):
        part.unlink(missing_ok=True)


def _umask() -> int:
    """This process's umask."""
    current = os.umask(0o077)  # it can only be read by setting another
    os.umask(current)
    return current


def write_text(path: Path, text: str) -> None:
    """Write a text file, completely or not at all."""
    with write_beside(path) as beside:
        beside.write_text(text, encoding="utf-8")


def link(source: Path, target: Path) -> None:
    """Hard-link ``target`` to ``source``; copy if the file system has no hard links."""
    with write_beside(target) as beside:
        try:
            os.link(source, beside)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EMLINK):
                raise
            beside.write_bytes(source.read_bytes())


def describe_bytes(number: float) -> str:
    """``340 MB``: three digits, in powers of 1000."""
    power = min(4, int(math.log(max(number, 1), 1000)))
    return f"{number / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

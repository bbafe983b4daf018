"""Compressed archives of others, read in one pass: nothing is extracted, and nothing kept that is not asked for."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from ayt.base.errors import UserError
from ayt.foreign.text import one_line

MOST_MEMBERS = 1000
LARGEST_FACT = 2**16
"""Bytes that may be said of a member before it: a name too long for its header, for example."""

FACTS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
"""Types of such members. They are skipped: no file is written, so names only say which file is which."""


def read_members(archive: Path, wanted: Collection[str], largest: int, most: int) -> Iterator[tuple[str, bytes]]:
    """Read files of a gzipped tar.

    Args:
        archive: the file.
        wanted: names of files, without folders.
        largest: bytes that one member may have.
        most: bytes that all may have together.

    Yields:
        Name, without folders, and content of each that is wanted, in the order of the archive.

    Raises:
        UserError: the archive is missing, damaged, larger than that, or has members that an extraction would put
            elsewhere.
    """
    try:
        with gzip.open(archive) as file:
            for member in _members(cast(BinaryIO, file), archive, largest, most):
                name = PurePosixPath(member.name).name
                if name in wanted and member.isfile():
                    content = file.read(member.size)
                    if len(content) < member.size:
                        raise EOFError("ends too early")
                    yield name, content
    except FileNotFoundError:
        raise UserError(f"{archive}: no such file") from None
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise UserError(f"{archive}: damaged archive ({one_line(error)})") from None


def _members(file: BinaryIO, archive: Path, largest: int, most: int) -> Iterator[tarfile.TarInfo]:
    """The headers of a tar, one by one; the file then stands where the member's content begins.

    Python's own reader follows chains of headers, and takes as much memory for names as they ask for.
    """
    place = 0
    for _ in range(MOST_MEMBERS):
        file.seek(place)
        header = file.read(tarfile.BLOCKSIZE)
        if not header.strip(b"\0"):
            return
        member = tarfile.TarInfo.frombuf(header, "utf-8", "backslashreplace")
        limit = LARGEST_FACT if member.type in FACTS else largest
        if not 0 <= member.size <= limit:
            _refuse(archive, member, f"has {member.size} bytes, and at most {limit} are read")
        place += tarfile.BLOCKSIZE + member.size + -member.size % tarfile.BLOCKSIZE
        if place > most:
            raise UserError(f"{archive}: refused: holds more than {most} bytes")
        if member.type not in FACTS:
            _check_place(member, archive)
            yield member
    raise UserError(f"{archive}: refused: has more than {MOST_MEMBERS} members")


def _check_place(member: tarfile.TarInfo, archive: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        _refuse(archive, member, "would be written outside the archive's folder")
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
        _refuse(archive, member, "is neither a file nor a folder")


def _refuse(archive: Path, member: tarfile.TarInfo, problem: str) -> None:
    raise UserError(f"{archive}: refused: member {one_line(member.name)!r} {problem}")

"""Foreign compressed archives, read in one pass: nothing is extracted, and only requested files are kept."""

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
"""The largest extra header of a member, in bytes: a name too long for its main header, for example."""

FACTS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
"""Types of such headers. They are skipped: no file is written, so names only identify files."""


def read_members(archive: Path, wanted: Collection[str], largest: int, most: int) -> Iterator[tuple[str, bytes]]:
    """Read files of a gzipped tar.

    Args:
        archive: the file.
        wanted: file names, without folders.
        largest: the largest size of one member, in bytes.
        most: the largest total size, in bytes.

    Yields:
        Name, without folders, and content of each wanted file, in the order of the archive.

    Raises:
        UserError: the archive is missing, damaged, too large, or has members that extraction would put elsewhere.
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
    """Yield the headers of a tar; after each, the file is positioned at the member's content.

    Python's own reader follows chains of headers, and uses as much memory for names as they claim.
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

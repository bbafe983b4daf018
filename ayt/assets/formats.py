"""Checks of a published file's format by its beginning and end: the only check possible without a published hash."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Literal

FileFormat = Literal["pickle", "checkpoint", "npz", "zip", "tar.gz", "any"]

ENDINGS: dict[str, FileFormat] = {
    ".pkl": "pickle",
    ".pt": "checkpoint",
    ".pth": "checkpoint",
    ".safetensors": "checkpoint",
    ".npz": "npz",
    ".zip": "zip",
    ".tar.gz": "tar.gz",
    ".tgz": "tar.gz",
}
"""The format assumed if the table does not state one, by suffix."""

_PICKLE = rb"\x80[\x02-\x05]"
_ZIP = rb"PK\x03\x04"
STARTS: dict[str, re.Pattern[bytes]] = {
    "pickle": re.compile(_PICKLE),
    # torch's files in either format, pickles, safetensors (whose header is smaller than 16 MB).
    "checkpoint": re.compile(rb"%b|%b|.{3}\0{5}\{" % (_ZIP, _PICKLE), re.DOTALL),
    # The name of a zip's first member is 30 bytes from the start.
    "npz": re.compile(rb"%b.{26}[ -~]{1,80}?\.npy" % _ZIP, re.DOTALL),
    "zip": re.compile(_ZIP),
    "tar.gz": re.compile(rb"\x1f\x8b\x08"),
}
HEAD = 256
"""Bytes that are examined."""

WEB_PAGE = re.compile(rb"\s*<(!doctype html|html)\b", re.IGNORECASE)


def format_of(file: str, stated: FileFormat | None) -> FileFormat | None:
    """The format a file must have, by its table or else its name; None if neither says."""
    return stated or next((kind for ending, kind in ENDINGS.items() if file.endswith(ending)), None)


def is_web_page(path: Path) -> bool:
    """Whether a file is HTML."""
    with path.open("rb") as file:
        return WEB_PAGE.match(file.read(2**16)) is not None


def problem(path: Path, kind: FileFormat | None) -> str | None:
    """Why a file cannot have this format, or None; text is always wrong, as weights and arrays are expected."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return "is empty"
    if kind == "any":
        return None
    if kind is None:
        return f"is a text: {_begin(head)}" if _is_text(head) else None
    if not STARTS[kind].match(head):
        return f"is no {kind}: {_begin(head)}"
    return f"is cut: a {kind} ends otherwise" if not _has_end(path, kind, head) else None


def _begin(head: bytes) -> str:
    return f"it begins with {head[:24]!r}"


def _is_text(head: bytes) -> bool:
    """Whether these bytes are text; the last character may be cut."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode("utf-8") if 0 < error.start > len(head) - 4 else "\0"
    return all(sign.isprintable() or sign.isspace() for sign in text)


def _has_end(path: Path, kind: FileFormat, head: bytes) -> bool:
    """Whether a file has its end, if its format has a recognisable one."""
    if re.match(_ZIP, head):
        return zipfile.is_zipfile(path)
    if kind != "pickle":
        return True
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"."

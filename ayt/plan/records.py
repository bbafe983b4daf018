"""Records: files that list everything that affects a result, written by the workflow, read by the verb that makes it.

A record's name ends in eight digits of a hash of its content, including everything upstream. Settings at their defaults
are left out of the hash, so that a new setting renames nothing; the version of each kind is included.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ayt.base import yamlio
from ayt.base.errors import UserError

RECORD_FORMAT = 3
"""Format of all records; others are refused."""

HEAD = "# Written by the workflow: everything that changes this result. A changed copy makes nothing.\n"


def digest(value: object) -> str:
    """Eight hexadecimal digits of the SHA-256 of ``value`` as JSON; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class Record(ABC):
    """The record of one result."""

    kind: ClassVar[str]
    """The key of its content in its file."""

    @property
    @abstractmethod
    def name(self) -> str:
        """A readable prefix and a hash of `identity`."""

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """Its file's content, as plain containers."""

    @property
    def text(self) -> str:
        """The text of its file; the same for the same record."""
        return HEAD + yamlio.dump({"format": RECORD_FORMAT, "name": self.name, self.kind: self.content()})


R = TypeVar("R", bound=Record)


def read(path: Path, kinds: Mapping[str, Callable[[Any, str], R]]) -> R:
    """Read a record.

    Args:
        path: its file.
        kinds: the kinds it may be, each with a parser of its content, whose second argument names the file.

    Raises:
        UserError: the file is missing, a different kind of file, of another version, or was edited.
    """
    content = yamlio.read(path)
    found = [kind for kind in kinds if isinstance(content, dict) and kind in content]
    if not isinstance(content, dict) or not {"format", "name"} <= set(content):
        raise UserError(f"{path}: is not a record of the workflow")
    if content["format"] != RECORD_FORMAT:
        raise UserError(
            f"{path}: has format {content['format']!r}, this version reads {RECORD_FORMAT}: results of other versions"
            " have other names"
        )
    if not found:
        raise UserError(f"{path}: is not the record of a {' or '.join(kinds)}")
    record = kinds[found[0]](content[found[0]], f"{path}: {found[0]}")
    if record.name != content["name"]:
        raise UserError(f"{path}: was edited: its content belongs to {record.name}, not to {content['name']}")
    return record


def part(content: Any, key: str, kind: type | tuple[type, ...], source: str) -> Any:
    """The value of a key in a mapping, checked for its type.

    Raises:
        UserError: it is missing or has the wrong type.
    """
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"{source}.{key} = {value!r}: is missing or of the wrong type")
    return value


def require_version(content: Any, version: int, source: str) -> None:
    """Raise UserError unless a record was written for this version of the code that makes its results."""
    found = content.get("version") if isinstance(content, dict) else None
    if found != version:
        raise UserError(f"{source}: was written for version {found}; this is version {version}, whose results differ")

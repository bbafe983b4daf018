"""The incomplete part of an interrupted download, and where it came from."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ayt.base.files import write_text


class Part:
    """An incomplete download, and the file that it is a part of."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._memo = target.with_name(f"{target.name}.part.json")
        try:
            self.origin = Origin.from_memo(json.loads(self._memo.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            # Nothing says what the bytes belong to, so they are useless.
            self.origin = Origin()

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def whole(self) -> bool:
        """Whether all bytes announced by the server have arrived."""
        return self.size > 0 and self.size == self.origin.size

    @property
    def resumable(self) -> bool:
        """Whether the rest can be requested: without a validator it could belong to another version."""
        return self.size > 0 and self.origin.validator is not None

    def can_resume_from(self, url: str) -> bool:
        """Whether the rest can be requested from ``url``."""
        return self.resumable and self.origin.url == url

    @property
    def kept(self) -> str:
        """What to say about it when the download fails."""
        return f"; {self.size} bytes are kept and the next fetch continues from there" if self.resumable else ""

    def begin(self, origin: Origin) -> None:
        """Start over, with an empty part."""
        self.path.open("wb").close()
        self.origin = origin
        write_text(self._memo, json.dumps(asdict(origin)) + "\n")

    def drop(self) -> None:
        """Delete it."""
        self.path.unlink(missing_ok=True)
        self._memo.unlink(missing_ok=True)
        self.origin = Origin()

    def rename(self, target: Path) -> None:
        """Move the complete file into place."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(target)
        self.drop()


@dataclass(frozen=True)
class Origin:
    """Where a part comes from: address, strong validator (ETag or Last-Modified), size of the whole file."""

    url: str | None = None
    validator: str | None = None
    size: int | None = None

    @classmethod
    def from_memo(cls, memo: dict[str, Any]) -> Origin:
        """Restore it from its record, which may be damaged."""
        origin = cls(**memo)
        texts = all(isinstance(text, str | None) for text in (origin.url, origin.validator))
        if not texts or not isinstance(origin.size, int | None):
            raise TypeError("not an origin")
        return origin

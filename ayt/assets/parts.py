"""What is there of a download that was cut, with where it came from."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ayt.base.files import write_text


class Part:
    """What is there of a download, and what it is a part of."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._memo = target.with_name(f"{target.name}.part.json")
        try:
            self.origin = Origin.from_memo(json.loads(self._memo.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            # Nothing says what the bytes belong to: they are of no use.
            self.origin = Origin()

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

    def can_resume_from(self, url: str) -> bool:
        """Whether the rest can be asked of ``url``."""
        return self.resumable and self.origin.url == url

    @property
    def kept(self) -> str:
        """What to tell about it when the download fails."""
        return f"; {self.size} bytes are kept and the next fetch goes on from there" if self.resumable else ""

    def begin(self, origin: Origin) -> None:
        """Start over, with an empty part."""
        self.path.open("wb").close()
        self.origin = origin
        write_text(self._memo, json.dumps(asdict(origin)) + "\n")

    def drop(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)
        self._memo.unlink(missing_ok=True)
        self.origin = Origin()

    def rename(self, target: Path) -> None:
        """Put the whole file in its place."""
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
        """From what was written of it, which may be damaged."""
        origin = cls(**memo)
        texts = all(isinstance(text, str | None) for text in (origin.url, origin.validator))
        if not texts or not isinstance(origin.size, int | None):
            raise TypeError("not an origin")
        return origin

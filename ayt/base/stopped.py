"""What stands in the place of a snapshot or a state that a stopped training never came to: a few words of JSON.

A workflow's files must be there. Whoever reads weights is told why there are none.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ayt.base.errors import UserError
from ayt.base.files import write_text

_BEGINS = '{"stopped":'
_LONGEST = 4096
"""Bytes of such a file at most; snapshots are longer."""


@dataclass(frozen=True)
class Stopped:
    """A training that was stopped.

    Attributes:
        iteration: after which it was; no snapshot beyond it was trained.
        reason: why, a phrase that can stand after a colon.
        diverged: whether its numbers failed; else its scores were bad.
    """

    iteration: int
    reason: str
    diverged: bool = False

    @property
    def text(self) -> str:
        """``stopped after iteration 4,000: Fréchet distance is 312.4, worse than 100``."""
        return f"stopped after iteration {self.iteration:,}: {self.reason}"

    def write(self, path: Path) -> None:
        """Put it in the place of a file."""
        write_text(path, json.dumps({"stopped": asdict(self)}) + "\n")


def read_stopped(path: Path) -> Stopped | None:
    """What stands in the place of a file; None where the file itself is there, or nothing.

    Raises:
        UserError: it is damaged.
    """
    try:
        if path.stat().st_size > _LONGEST:
            return None
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if not text.startswith(_BEGINS):
        return None
    try:
        said = json.loads(text)["stopped"]
        return Stopped(int(said["iteration"]), str(said["reason"]), bool(said["diverged"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it to have it made again") from None

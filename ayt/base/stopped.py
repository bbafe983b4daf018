"""The note left in place of a snapshot or state that a stopped training run never reached: one line of JSON.

Snakemake needs the files it declared to exist. Code that reads weights reports why there are none.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ayt.base.errors import UserError
from ayt.base.files import write_text

_BEGINS = '{"stopped":'
_LONGEST = 4096
"""Maximum size of a note, in bytes; snapshots are larger."""


@dataclass(frozen=True)
class Stopped:
    """Where and why a training run was stopped.

    Attributes:
        iteration: the last one trained; there are no snapshots beyond it.
        reason: why, as a phrase to follow a colon.
        diverged: whether the loss or its gradient was not finite; otherwise its scores were bad.
    """

    iteration: int
    reason: str
    diverged: bool = False

    @property
    def text(self) -> str:
        """``stopped after iteration 4,000: Fréchet distance is 312.4, worse than 100``."""
        return f"stopped after iteration {self.iteration:,}: {self.reason}"

    def write(self, path: Path) -> None:
        """Write the note in place of a file."""
        write_text(path, json.dumps({"stopped": asdict(self)}) + "\n")


def read_stopped(path: Path) -> Stopped | None:
    """The note in place of a file; None if the file itself is there, or nothing is.

    Raises:
        UserError: the note is damaged.
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

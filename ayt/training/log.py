"""The training log: CSV rows, and optional further sinks."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ayt.base.errors import UserError
from ayt.base.files import write_text

COLUMNS = (
    "iteration",
    "images",
    "loss",
    "distance",
    "gradient_norm",
    "images_per_second",
    "gpus",
    "peak_memory_mb",
)
"""``gpus``: number that train the run, 0 for a CPU; ``peak_memory_mb``: of one process, on its GPU if it has one."""

_HEADER = ",".join(COLUMNS) + "\n"

OLDEST_COLUMNS = 6
"""Columns of a complete row in the first version's logs; a row cut off by a kill has fewer."""


def read_rows(path: Path) -> list[dict[str, float]]:
    """The complete rows of a training log, with a number for every column, NaN if an older version had no such column.

    Anything that is not a row of numbers is skipped: an end cut off by a kill, or damage. Empty if there is no log.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    rows = []
    for line in text.split("\n")[:-1]:
        try:
            values = [int(cell) if cell.isdecimal() else float(cell) for cell in line.split(",")]
        except ValueError:
            continue
        if OLDEST_COLUMNS <= len(values) <= len(COLUMNS) and all(math.isfinite(value) for value in values[:2]):
            rows.append(dict(zip(COLUMNS, values + [math.nan] * (len(COLUMNS) - len(values)), strict=True)))
    return rows


class Sink(Protocol):
    """A destination for log rows besides the CSV file."""

    def write(self, row: dict[str, float]) -> None:
        """Write one row."""

    def close(self) -> None:
        """Flush pending rows."""


class CsvLog:
    """Appends rows to a CSV file; rows after the iteration at which training resumes are removed."""

    def __init__(self, path: Path, resume_at: int) -> None:
        self.path = path
        kept = [_line(row) for row in read_rows(path) if row["iteration"] <= resume_at]
        write_text(path, "".join([_HEADER, *kept]))
        self._file = path.open("a", newline="")

    def write(self, row: dict[str, float]) -> None:
        """Append one row and flush it for readers."""
        self._file.write(_line(row))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def write_empty(path: Path) -> None:
    """Write a log without rows."""
    write_text(path, _HEADER)


def _line(row: dict[str, float]) -> str:
    values = (row[name] for name in COLUMNS)
    return ",".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in values) + "\n"


class _TensorBoard:
    def __init__(self, folder: Path, resume_at: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional dependency

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_at + 1)

    def write(self, row: dict[str, float]) -> None:
        for key in COLUMNS[2:]:
            self._writer.add_scalar(key, row[key], row["iteration"])

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, folder: Path, resume_at: int) -> None:
        import wandb  # noqa: PLC0415 - an optional dependency

        # Rows up to where the training resumes are already there: wandb ignores steps that it has seen.
        self._run = wandb.init(
            project="ayt-workflow", id=folder.name, name=folder.name, dir=str(folder), resume="allow"
        )

    def write(self, row: dict[str, float]) -> None:
        self._run.log({key: row[key] for key in COLUMNS[1:]}, step=int(row["iteration"]))

    def close(self) -> None:
        self._run.finish()


_SINKS: dict[str, Callable[[Path, int], Sink]] = {"tensorboard": _TensorBoard, "wandb": _Wandb}


def open_sinks(names: list[str], folder: Path, resume_at: int) -> list[Sink]:
    """Open the optional sinks.

    Raises:
        UserError: a sink's library is not installed, or cannot do its work here.
    """
    return [_open_sink(name, folder, resume_at) for name in names]


def _open_sink(name: str, folder: Path, resume_at: int) -> Sink:
    if importlib.util.find_spec(name) is None:
        raise UserError(f"execution.sinks: {name} is not installed; pip install 'ayt-workflow[{name}]'")
    try:
        return _SINKS[name](folder, resume_at)
    except Exception as error:  # whatever its library raises without a key, a network, a place to write
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"execution.sinks: {name} cannot be opened: {told}") from error

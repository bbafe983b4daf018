"""The training log: CSV rows, and what else the user wants to be told."""

from __future__ import annotations

import csv
import importlib.util
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
"""``gpus``: that train the run, 0 for a CPU; ``peak_memory_mb``: of one process, on its GPU if it has one."""

OLDEST_COLUMNS = 6
"""Of a whole row in the first version's logs; the row that was being written when a training was killed has fewer."""


class Sink(Protocol):
    """A place that rows of the log go to besides the CSV file."""

    def write(self, row: dict[str, float]) -> None:
        """Take one row."""

    def close(self) -> None:
        """Flush what is waiting."""


class CsvLog:
    """Rows appended to a CSV file; those after the iteration that a training resumes at are cut off."""

    def __init__(self, path: Path, resume_at: int) -> None:
        self.path = path
        rows = []
        if path.exists():
            with path.open(newline="") as file:
                rows = [row for row in csv.reader(file) if row and row[0].isdigit() and int(row[0]) <= resume_at]
        # Logs of older versions have fewer columns.
        rows = [row + ["nan"] * (len(COLUMNS) - len(row)) for row in rows if len(row) >= OLDEST_COLUMNS]
        lines = [",".join(COLUMNS), *map(",".join, rows)]
        write_text(path, "\n".join(lines) + "\n")
        self._file = path.open("a", newline="")
        self._writer = csv.DictWriter(self._file, COLUMNS)

    def write(self, row: dict[str, float]) -> None:
        """Append one row, and let readers see it."""
        self._writer.writerow(
            {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
        )
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
        UserError: a sink's library is not installed.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"execution.sinks: {name} is not installed; pip install 'ayt-workflow[{name}]'")
    return [_SINKS[name](folder, resume_at) for name in names]

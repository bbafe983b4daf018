"""Experiments as they were run: complete files, for the jobs that gather, draw and tabulate."""

from __future__ import annotations

from pathlib import Path

from ayt.base import yamlio
from ayt.base.files import write_text
from ayt.experiment.reader import load
from ayt.experiment.schema import Experiment

HEAD = "# The experiment as it was run, with every default filled in and every sweep spelt out.\n"


def write(path: Path, experiment: Experiment) -> None:
    """Write ``experiment.yaml``; `read` and `load` read it."""
    write_text(path, HEAD + yamlio.dump(experiment.content()))


def read(path: Path) -> Experiment:
    """Read ``experiment.yaml``.

    Raises:
        UserError: the file is missing, of another version, or was changed into something invalid.
    """
    return load([path])

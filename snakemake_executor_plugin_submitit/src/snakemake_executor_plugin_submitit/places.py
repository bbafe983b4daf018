"""Paths that others pass to a shell or to Slurm."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

ACTIVE = "$`!"
"""Characters that a shell interprets between double quotes."""


def refusal(paths: Iterable[str | Path], folder: Path) -> str:
    """What is wrong with the paths of a workflow or the folder of submissions; empty if nothing is.

    Args:
        paths: paths that Snakemake writes into each job's command.
        folder: of submissions.
    """
    for path in map(str, paths):
        if not _survives(path):
            return f"{path}: Snakemake does not quote this path for the shell of its jobs as it is; rename it"
    if "%" in str(folder):
        return f"{folder}: % stands for numbers of jobs in Slurm's paths; choose another --submitit-folder"
    return ""


def _survives(path: str) -> bool:
    """Whether a shell reads a path unchanged: Snakemake quotes strings as Python does."""
    quoted = repr(path)
    try:
        words = shlex.split(quoted)
    except ValueError:
        return False
    return words == [path] and not (quoted[0] == '"' and any(character in path for character in ACTIVE))

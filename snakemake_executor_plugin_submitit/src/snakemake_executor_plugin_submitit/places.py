"""Paths that reach a shell, or Slurm, by other hands than ours."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

ACTIVE = "$`!"
"""What a shell does not take as it is between double quotes."""


def refusal(paths: Iterable[str | Path], folder: Path) -> str:
    """What is wrong with the paths of a workflow or with the folder of submissions; nothing if nothing is.

    Args:
        paths: that Snakemake writes into the command of each job.
        folder: of submissions.
    """
    for path in map(str, paths):
        if not _survives(path):
            return f"{path}: Snakemake does not quote this path for the shell of its jobs as it is; rename it"
    if "%" in str(folder):
        return f"{folder}: % stands for numbers of jobs in Slurm's paths; choose another --submitit-folder"
    return ""


def _survives(path: str) -> bool:
    """Whether a shell reads a path as it is: Snakemake quotes texts as Python does."""
    quoted = repr(path)
    try:
        words = shlex.split(quoted)
    except ValueError:
        return False
    return words == [path] and not (quoted[0] == '"' and any(character in path for character in ACTIVE))

"""Which source runs."""

from __future__ import annotations

import subprocess
from pathlib import Path


def source_commit() -> str | None:
    """The commit of the source that runs, ``-dirty`` if it was changed since; None outside a repository.

    To be asked before torch is imported: while git is being started, this process counts twice where a cluster adds
    up the memory of a job's processes, and with torch that can be more than the job has asked for.
    """
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()

"""Which source runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The top of the source's own repository, if it has one."""


def source_commit() -> str | None:
    """The commit of the source that runs, ``-dirty`` if it was changed since; None if no repository is its own.

    A repository around it, or one that the environment names, is not its own.

    To be asked before torch is imported: while git is being started, this process counts twice where a cluster adds
    up the memory of a job's processes, and with torch that can be more than the job has asked for.
    """
    # Above the root git looks no further; variables like GIT_DIR would send it elsewhere.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"],
            cwd=ROOT,
            env={**environment, "GIT_CEILING_DIRECTORIES": str(ROOT.parent)},
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()

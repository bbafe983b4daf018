"""Which source code is running."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The root of the source's own repository, if it has one."""


def source_commit() -> str | None:
    """The commit of the running source, ``-dirty`` if it was changed since; None if it has no repository of its own.

    An enclosing repository, or one named by the environment, does not count.

    Call it before importing torch: while git is being started, this process is counted twice where a cluster adds up
    the memory of a job's processes, and with torch that can exceed what the job requested.
    """
    # Keep git from searching above the root; variables like GIT_DIR would send it elsewhere.
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

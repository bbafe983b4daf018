"""Which source code is running."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The root of the source's own repository, if it has one."""


def digest_source(packages: Iterable[str], others: Iterable[Path] = ()) -> str:
    """The SHA-256 of the Python files of some packages of ayt, and of other files, as they are on disk now.

    Args:
        packages: folders below ``ayt/``, for example ``metrics``.
        others: further files, such as extensions.
    """
    package = Path(__file__).resolve().parents[1]
    found = hashlib.sha256()
    for file in [*(file for name in packages for file in sorted((package / name).rglob("*.py"))), *others]:
        # The hash of each file, so that no text can move from one to the next unnoticed.
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


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

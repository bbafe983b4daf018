"""The verb that examines the machine."""

from __future__ import annotations

import argparse

from ayt.cli.common import Verbs, verb


def add_verbs(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    verb(
        verbs,
        "doctor",
        run_doctor,
        "Report what this machine has (GPU, driver, PyTorch build, Slurm, disk, git, fonts) and what would not work.",
        "ayt doctor",
    )


def run_doctor(options: argparse.Namespace) -> int:
    """Print one line per item; 1 if nothing would work."""
    from ayt.operations.doctor import examine

    failed = False
    for what, state, told in examine():
        print(f"{state:6} {what:8} {told}", flush=True)
        failed |= state == "fails"
    return int(failed)

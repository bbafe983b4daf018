"""The verb that makes a folder to work in."""

from __future__ import annotations

import argparse
from pathlib import Path

from ayt.cli.common import Verbs, verb


def add_verbs(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    init = verb(
        verbs,
        "init",
        run_init,
        "Write a folder with experiments, rules and profiles, to run the workflow in without the repository.",
        "ayt init my_experiments && cd my_experiments && snakemake --profile local",
    )
    init.add_argument("folder", type=Path, metavar="FOLDER", help="new, or empty")


def run_init(options: argparse.Namespace) -> None:
    """Write the folder and say what to do in it."""
    from shlex import quote

    from ayt.operations.template import write_template

    write_template(options.folder)
    print(f"cd {quote(str(options.folder))} && snakemake --profile local --dry-run")

"""The verb that creates a working folder."""

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
        "Create a folder with experiments, rules and profiles, to run the workflow without the repository.",
        "ayt init my_experiments && cd my_experiments && snakemake --profile local",
    )
    init.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty folder")


def run_init(options: argparse.Namespace) -> None:
    """Write the folder and print what to do next."""
    from shlex import quote

    from ayt.operations.template import write_template

    write_template(options.folder)
    print(f"cd {quote(str(options.folder))} && snakemake --profile local --dry-run")

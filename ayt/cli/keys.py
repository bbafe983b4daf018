"""The verb that prints the reference of experiment files."""

from __future__ import annotations

import argparse
from pathlib import Path

from ayt.cli.common import Verbs, verb


def add_verbs(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    keys = verb(
        verbs,
        "keys",
        run_keys,
        "Print the reference of experiment files, as Markdown: every key with its values, default and meaning,"
        " including those of extensions named by AYT_EXTENSIONS.",
        "ayt keys | less",
    )
    keys.add_argument("--into", type=Path, metavar="FILE", help="replace the reference in a page that has one")


def run_keys(options: argparse.Namespace) -> None:
    """Print the reference, or write it into a page."""
    from ayt.base.files import write_text
    from ayt.operations.reference import describe_keys, replace_reference

    if options.into:
        write_text(options.into, replace_reference(options.into.read_text(encoding="utf-8")))
    else:
        print(describe_keys(), end="")

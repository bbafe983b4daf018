"""The verb that removes an experiment's results."""

from __future__ import annotations

import argparse
from pathlib import Path

from ayt.cli.common import Verbs, verb


def add_verbs(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    clean = verb(
        verbs,
        "clean",
        run_clean,
        "List, with sizes, results of experiments that no other experiment, in config/ or in results, needs; with"
        " --remove, delete them. Downloads are kept.",
        "ayt clean config/mine.yaml\n  ayt clean config/mine.yaml --remove",
    )
    clean.add_argument("files", nargs="+", type=Path, metavar="FILE", help="experiment files, one per experiment")
    clean.add_argument(
        "--others",
        type=Path,
        default=Path("config"),
        metavar="FOLDER",
        help="folder of experiment files whose runs are kept (default: %(default)s)",
    )
    clean.add_argument("--remove", action="store_true", help="delete what is listed")


def run_clean(options: argparse.Namespace) -> None:
    """Print one line per file or folder, and the total."""
    from ayt.base import paths
    from ayt.base.files import describe_bytes
    from ayt.base.results_lock import ResultsLock
    from ayt.experiment import load
    from ayt.operations.clean import find_owned, remove

    owned = find_owned([load([file]) for file in options.files], options.others)
    for path, size in owned:
        print(f"{describe_bytes(size):>8}  {path}")
    whole = describe_bytes(sum(found.bytes for found in owned))
    if not owned:
        print("nothing to remove: there are no results that only this asks for")
    elif options.remove:
        lock = ResultsLock(paths.RESULTS)
        lock.take()
        remove(owned)
        lock.release()
        print(f"{whole}: removed")
    else:
        print(f"{whole} in all; --remove removes it")

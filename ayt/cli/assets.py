"""The verb for published files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.cli.common import Verbs, verb

if TYPE_CHECKING:
    from ayt.assets.table import Asset


def add_verbs(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    assets = verb(
        verbs,
        "assets",
        run_list,
        "List, fetch and verify the published files that experiments use: datasets, checkpoints, network weights.",
        "ayt assets fetch cifar10",
    )
    actions = assets.add_subparsers(metavar="ACTION", required=True)
    listing = verb(
        actions,
        "list",
        run_list,
        "List the files: size, hash, whether they are present, licence, purpose.",
        "ayt assets list",
    )
    fetching = verb(
        actions,
        "fetch",
        run_fetch,
        "Fetch files: interrupted downloads are resumed, altered files refused, existing files verified.",
        "ayt assets fetch cifar10 pytorch-fid-inception",
    )
    verifying = verb(
        actions,
        "verify",
        run_verify,
        "Check fetched files against the table's sizes and hashes, without fetching anything.",
        "ayt assets verify",
    )
    for added in (listing, fetching, verifying):
        added.add_argument(
            "--table",
            type=Path,
            default=paths.ASSET_TABLE,
            metavar="FILE",
            help="the table of assets (default: %(default)s)",
        )
        added.add_argument(
            "--folder", type=Path, default=paths.ASSETS, metavar="DIR", help="the assets folder (default: %(default)s)"
        )
    for added in (fetching, verifying):
        added.add_argument("names", nargs="*", metavar="NAME", help="assets in the table (default: all)")
    fetching.add_argument(
        "--prefetched",
        type=Path,
        metavar="DIR",
        help="a folder with files fetched elsewhere, which are copied without network access",
    )


def run_list(options: argparse.Namespace) -> None:
    """Print one row per asset."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from ayt.assets.table import read_table

    shown = Table(title=f"{options.table} in {options.folder}", box=box.SIMPLE_HEAD)
    for heading in ("name", "file", "size", "hash", "there", "licence", "used for"):
        shown.add_column(heading, justify="right" if heading == "size" else "left", overflow="fold")
    for name, asset in read_table(options.table).items():
        path = asset.path(options.folder)
        size = path.stat().st_size if path.is_file() else asset.size
        there = "yes" if path.is_file() else "no"
        shown.add_row(
            name,
            f"{asset.folder}/{asset.file}",
            f"{size / 1e6:,.1f} MB" if size else "?",
            _hash_state(asset, path),
            there,
            asset.licence,
            asset.used_for,
        )
    console = Console()
    # A log or a pipe has no width, and a table folded to rich's 80 columns is unreadable.
    (console if console.is_terminal else Console(width=240)).print(shown)


def run_fetch(options: argparse.Namespace) -> None:
    """Fetch each asset, continuing with the next if one fails."""
    from ayt.assets.fetch import fetch
    from ayt.assets.table import note_of

    def get(name: str, asset: Asset) -> str:
        if asset.note:
            print(note_of(name, asset), file=sys.stderr)
        return str(fetch(asset, options.folder, prefetched=options.prefetched, say=_say))

    _for_each(options, get)


def run_verify(options: argparse.Namespace) -> None:
    """Print the SHA-256 of each asset that matches the table, as sha256sum does."""
    from ayt.assets.fetch import verify

    _for_each(options, lambda name, asset: f"{verify(asset, options.folder)}  {asset.path(options.folder)}")


def _for_each(options: argparse.Namespace, work: Callable[[str, Asset], str]) -> None:
    """Print the result of ``work`` for each requested asset; raise all failures at the end."""
    from ayt.assets.table import read_table
    from ayt.base.sections import choices

    table = read_table(options.table)
    for name in options.names:
        if name not in table:
            raise UserError(f"{options.table}: has no asset {name!r}; {choices(name, table)}")
    failures = []
    for name in dict.fromkeys(options.names or table):
        try:
            print(work(name, table[name]), flush=True)
        except UserError as error:
            failures.append(f"{name}: {error}")
    if failures:
        raise UserError("\n".join(failures))


def _hash_state(asset: Asset, path: Path) -> str:
    from ayt.assets.hashes import recorded_hash

    if asset.sha256:
        return f"SHA-256 {asset.sha256[:8]}..."
    if asset.sha256_prefix:
        return f"SHA-256 {asset.sha256_prefix}..."
    if asset.md5:
        return f"MD5 {asset.md5[:8]}..."
    recorded = recorded_hash(path)
    return f"SHA-256 {recorded[:8]}... (recorded)" if recorded else "recorded at first download"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

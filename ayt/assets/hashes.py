"""A published file's size, hashes, and the record of its hash if none is published."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ayt.assets import formats
from ayt.assets.table import Asset
from ayt.base.errors import UserError
from ayt.base.files import write_text


def recorded_hash(target: Path) -> str | None:
    """The SHA-256 recorded at the first download of ``target``, or None.

    Raises:
        UserError: the record is not in sha256sum's format.
    """
    path = record_path(target)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    match = re.match(r"([0-9a-f]{64})\b", text)
    if not match:
        raise UserError(f"{path}: not a record of a SHA-256 (64 hexadecimal digits, two spaces, file name)")
    return match.group(1)


def expected_hashes(asset: Asset, target: Path) -> list[tuple[str, str]]:
    """What the file's hashes must begin with: (algorithm, hexadecimal digits)."""
    published = [("sha256", asset.sha256), ("sha256", asset.sha256_prefix), ("md5", asset.md5)]
    known = [(algorithm, digits) for algorithm, digits in published if digits]
    recorded = None if known else recorded_hash(target)
    return [("sha256", recorded)] if recorded else known


def mismatch(asset: Asset, path: Path, target: Path) -> str | None:
    """How the file at ``path`` differs from what ``target`` must be, or None."""
    size, hashes = path.stat().st_size, expected_hashes(asset, target)
    if asset.size and size != asset.size:
        return f"has {size} bytes, expected {asset.size}"
    if not hashes:
        return formats.problem(path, asset.expected_kind)
    for algorithm, expected in hashes:
        found = digest_of(path, algorithm)
        if not found.startswith(expected):
            name = "MD5" if algorithm == "md5" else "SHA-256"
            begins = "" if len(expected) == len(found) else "beginning with "
            return f"its {name} is {found}, expected {begins}{expected}"
    return None


def digest_of(path: Path, algorithm: str) -> str:
    """The hash of a file in hexadecimal; raises UserError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def set_aside(path: Path, target: Path, problem: str) -> str:
    """Keep a wrong file for inspection under another name, and return its problem and that name."""
    rejected = target.with_name(f"{target.name}.rejected")
    try:
        path.replace(rejected)
    except OSError as error:
        raise UserError(describe_write_error(rejected, error)) from error
    return f"{problem} (kept as {rejected.name})"


def record_path(target: Path) -> Path:
    """Where the hash of a file is recorded."""
    return target.with_name(f"{target.name}.sha256")


def record_hash(target: Path, digest: str) -> None:
    """Record the SHA-256 of a file, as sha256sum does."""
    write_text(record_path(target), f"{digest}  {target.name}\n")


def describe_write_error(path: Path, error: OSError) -> str:
    """One line about a file that cannot be written."""
    return f"{path}: cannot be written: {error.strerror or error}"

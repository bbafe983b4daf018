"""The table of published files (``config/assets.yaml``)."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError

from ayt.assets.formats import FileFormat, format_of
from ayt.base import paths, yamlio
from ayt.base.errors import UserError
from ayt.base.sections import ABSENT, Section, choices, problems
from ayt.base.source import ROOT
from ayt.plan.plan import Plan

SCHEMES = ("https", "http")
"""Schemes of addresses that can be fetched."""


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"not an address that can be fetched; choose from {', '.join(f'{s}://' for s in SCHEMES)}")
    if not parts.hostname:
        raise ValueError("names no host; write https://HOST/FILE")
    return value


def _plain_name(value: str) -> str:
    if not value or value.startswith(".") or re.search(r"[/\\\x00-\x1f]", value):
        raise ValueError("must be a plain file name: no folders (these go to `folder`), no leading dot")
    return value


def _inner_folder(value: str) -> str:
    path = PurePosixPath(value)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in value:
        raise ValueError("must be a folder inside the assets folder, without ..; for example downloads")
    return value


def _hexadecimal(least: int, most: int) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(f"[0-9a-f]{{{least},{most}}}", value):
            digits = str(most) if least == most else f"{least} to {most}"
            raise ValueError(f"must be {digits} lowercase hexadecimal digits, and has {len(value)} characters")
        return value

    return AfterValidator(check)


Address = Annotated[str, AfterValidator(_address)]
Text = Annotated[str, Field(min_length=1)]


class Asset(Section):
    """One published file: where it is, how to verify it, who may use it."""

    file: Annotated[str, AfterValidator(_plain_name)]
    folder: Annotated[str, AfterValidator(_inner_folder)] = "downloads"
    """Inside the assets folder."""
    url: Address
    mirrors: list[Address] = []
    """Further addresses of the same bytes."""
    size: Annotated[int, Field(ge=1)] | None = None
    """Bytes; None: not published."""
    largest: Annotated[int, Field(ge=1)] = 4_000_000_000
    """The most bytes fetched for a file whose size is not published."""
    least_rate: Annotated[int, Field(ge=0)] = 1000
    """Bytes per second; slower servers are given up on."""
    kind: FileFormat | None = None
    """The format the file must have; None: as its name's suffix says."""
    sha256: Annotated[str, _hexadecimal(64, 64)] | None = None
    sha256_prefix: Annotated[str, _hexadecimal(6, 63)] | None = None
    """The first digits of the SHA-256, as found in file names."""
    md5: Annotated[str, _hexadecimal(32, 32)] | None = None
    licence: Text
    used_for: Text
    note: str | None = None
    """What anyone who fetches it should know."""

    def path(self, root: Path) -> Path:
        """The file's place inside the assets folder ``root``."""
        return root / self.folder / self.file

    @property
    def expected_kind(self) -> FileFormat | None:
        """The format the file must have; None: anything but text."""
        return format_of(self.file, self.kind)

    @property
    def addresses(self) -> list[str]:
        """All addresses, in the order in which they are tried."""
        return [self.url, *self.mirrors]


def find_table(path: Path) -> Path:
    """Find a table of assets: the usual one is in the working directory, or else in the repository."""
    usual = path == paths.ASSET_TABLE and not path.exists() and (ROOT / path).exists()
    return ROOT / path if usual else path


def read_table(path: Path) -> dict[str, Asset]:
    """Read a table of assets found by `find_table`: name -> asset, in the order of the file.

    Raises:
        UserError: one line per mistake, naming file, key, value and choices.
    """
    path = find_table(path)
    content = yamlio.read(path)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: must be a mapping of asset names to their files, addresses and licences")
    table: dict[str, Asset] = {}
    places: dict[Path, str] = {}
    mistakes = []
    for name, raw in content.items():
        try:
            if not isinstance(raw, dict):
                raise UserError(f"{path}: {name} = {raw!r}: must be a mapping; it needs file, url, licence, used_for")
            asset = Asset.model_validate(raw)
            other = places.setdefault(asset.path(Path()), str(name))
            if other != name:
                raise UserError(f"{path}: {name}.file = {asset.file!r}: is the file of {other} too; choose another")
            table[str(name)] = asset
        except ValidationError as error:
            for where, value, problem in problems(Asset, error):
                shown = "" if value is ABSENT else f" = {value!r}"
                mistakes.append(f"{path}: {'.'.join(map(str, (name, *where)))}{shown}: {problem}")
        except UserError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UserError("\n".join(mistakes))
    return table


def read_needed(plan: Plan) -> dict[str, Asset]:
    """Read the table of assets of an experiment, and check that it has all it needs; empty if it needs none.

    Raises:
        UserError: the table cannot be read, or lacks a needed file that was not imported either.
    """
    if not plan.assets:
        return {}
    path = Path(plan.experiment.assets.table)
    table = read_table(path)
    for name in plan.assets:
        if name not in table and not (name in plan.checkpoints and paths.checkpoint(name).exists()):
            imported = " (or import it: ayt import-checkpoint)" if name in plan.checkpoints else ""
            raise UserError(f"{path}: has no asset {name!r}{imported}; {choices(name, table)}")
    return table


def list_notes(plan: Plan, table: dict[str, Asset], root: Path) -> list[str]:
    """What anyone who starts an experiment should know about the files it will fetch: one line per note."""
    missing = [(name, table[name]) for name in plan.assets if name in table and not table[name].path(root).exists()]
    return [note_of(name, asset) for name, asset in missing if asset.note]


def note_of(name: str, asset: Asset) -> str:
    """An asset's note and licence, as shown to users."""
    return f"{name}: {asset.note} (licence: {asset.licence})"

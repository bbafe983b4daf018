"""A folder to run the workflow in without the repository: experiments, rules and profiles, as installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import ayt
from ayt.base.errors import UserError
from ayt.base.source import ROOT

PARTS = ("config", "envs", "workflow")
PROFILES = ("local", "slurm")
NOT_COPIED = shutil.ignore_patterns("README.md", "__pycache__", ".*")
"""These include the page on experiments, whose links lead into the repository."""


def template() -> Path:
    """The folder with `PARTS`: inside the package if installed from a wheel, or else the repository."""
    packed = Path(ayt.__file__).parent / "template"
    return packed if packed.is_dir() else ROOT


def write_template(folder: Path) -> None:
    """Write a folder that ``snakemake --profile local`` runs in.

    Raises:
        UserError: it exists and is not empty, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is not an empty folder; name a new one")
    try:
        for part in PARTS:
            shutil.copytree(template() / part, folder / part, ignore=NOT_COPIED)
        for profile in PROFILES:
            (folder / profile).symlink_to(Path("workflow") / "profiles" / profile)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None

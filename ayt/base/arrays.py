"""Files of named arrays (npz)."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ayt.base.errors import UserError
from ayt.base.files import write_beside


def read_arrays(path: Path, *required: str, made_by: str = "") -> dict[str, np.ndarray]:
    """Read a file of arrays.

    Args:
        path: the file.
        required: names of arrays that it must contain.
        made_by: the command that makes the file, named in the error if the file is missing.

    Raises:
        UserError: the file is missing, damaged, or lacks one of the required arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file{f'; {made_by} makes it' if made_by else ''}") from None
    # A single array cannot be used in ``with``; an encrypted file has a password that nobody gave.
    except (OSError, ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: not arrays ({error}); delete it to have it made again") from None
    missing = [name for name in required if name not in arrays]
    if missing:
        raise UserError(f"{path}: has no arrays {', '.join(missing)}; delete it to have it made again")
    return arrays


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], compressed: bool = True) -> None:
    """Write a file of arrays, whole or not at all; the same arrays give the same bytes.

    Args:
        path: the file.
        arrays: by their names.
        compressed: worth the time unless there are many numbers that look random.

    Raises:
        UserError: the file cannot be written.
    """
    with write_beside(path) as beside:
        (np.savez_compressed if compressed else np.savez)(beside, **arrays)  # type: ignore[arg-type]

"""Foreign arrays in numpy's npz files: only requested ones are read, and their sizes are bounded."""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from ayt.base.errors import UserError
from ayt.foreign.text import one_line

LARGEST = 2**31
"""The largest array, in bytes; the statistics of Inception's features have 34 million."""

ENCRYPTED = 0x1
"""The flag of an encrypted zip record."""


def read_npz(path: Path, wanted: Collection[str], largest: int = LARGEST) -> dict[str, np.ndarray]:
    """Read numeric arrays by name.

    Args:
        path: the file.
        wanted: names; those not in the file are left out.
        largest: the largest size of each, in bytes.

    Raises:
        UserError: the file is missing, damaged, encrypted or not npz, or one of the arrays is too large or not numeric.
    """
    try:
        with zipfile.ZipFile(path) as file:
            there = {record.filename.removesuffix(".npy"): record for record in file.infolist()}
            return {name: _array(file, there[name], largest) for name in wanted if name in there}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    # A header that is not valid Python makes numpy raise a SyntaxError.
    except (
        *(OSError, ValueError, EOFError, RuntimeError, SyntaxError),
        *(tokenize.TokenError, zipfile.BadZipFile, zlib.error),
    ) as error:
        raise UserError(f"{path}: not an npz file of arrays ({one_line(error)})") from None


def _array(file: zipfile.ZipFile, record: zipfile.ZipInfo, largest: int) -> np.ndarray:
    name = one_line(record.filename, 40)
    if record.file_size > largest:
        raise ValueError(f"{name} has {record.file_size} bytes, and at most {largest} are read")
    if record.flag_bits & ENCRYPTED:
        raise ValueError(f"{name} is encrypted")
    if record.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in a way that numpy does not use")
    content = io.BytesIO(file.read(record))
    version = np.lib.format.read_magic(content)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(content)
    # numpy allocates what a header claims before noticing that the numbers are missing.
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != record.file_size - content.tell():
        raise ValueError(f"{name} is not as many numbers as its header says")
    content.seek(0)
    return np.asarray(np.lib.format.read_array(content, allow_pickle=False))

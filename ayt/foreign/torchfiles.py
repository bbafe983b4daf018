"""torch's files: a pickle, and beside it the numbers of its tensors; in a zip, or one after the other.

torch's own reader uses as much memory and time as a file asks for. Here both are bounded by the file's size.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from typing import Any, BinaryIO

import torch

from ayt.base.errors import UserError
from ayt.foreign.arrays import ENCRYPTED
from ayt.foreign.builders import Storage
from ayt.foreign.pickles import Budget, Machine, RefusedError
from ayt.foreign.text import one_line

ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch's files began before its zip format: with a pickle of their magic number."""

COUNT = 8
"""Bytes of the element count that precedes the elements."""


def read(file: BinaryIO, source: str) -> Any:
    """Read a pickle, or what torch has saved in either of its formats.

    Args:
        file: at its beginning.
        source: its origin, for messages.

    Returns:
        See `ayt.foreign.pickles.read`. Tensors may share their numbers.

    Raises:
        RefusedError: it asks for something that could run code or does not belong among weights, or for more memory
            than a file of its size may.
        UserError: it is damaged or truncated.
    """
    size = file.seek(0, io.SEEK_END)
    budget = Budget(size, source)
    file.seek(0)
    head = file.read(len(LEGACY))
    file.seek(0)
    if head.startswith(ZIP):
        return _Zip(file, budget).read()
    # From memory: lengths claimed by a damaged pickle are then not allocated before reading.
    content = io.BytesIO(file.read())
    if head == LEGACY:
        return _Legacy(content, budget, nested=False).read()
    return Machine(budget, storage_of=storage_of).run(content)


def storage_of(content: bytes, budget: Budget) -> Storage:
    """Read numbers that torch has saved as a nested file within a pickle."""
    if not content.startswith(LEGACY):
        raise RefusedError(f"{budget.source}: refused: a tensor's numbers are not in torch's format for them")
    found = _Legacy(io.BytesIO(content), budget, nested=True).read()
    if not isinstance(found, Storage):
        raise RefusedError(f"{budget.source}: refused: a tensor's numbers are a value of type {type(found).__name__}")
    return found


class _Legacy:
    """The older format: pickles of a magic number, version, sizes, content and keys; then the numbers for these keys.

    Args:
        file: at its beginning.
        budget: what it may use.
        nested: it is itself nested in a pickle, and nothing may be nested in it.
    """

    def __init__(self, file: BinaryIO, budget: Budget, nested: bool) -> None:
        self.file, self.budget = file, budget
        self.storage_of = None if nested else storage_of
        self.declared: dict[str, Storage] = {}

    def read(self) -> Any:
        """The content."""
        self.next_pickle()  # the magic number, already recognised
        self.next_pickle()  # the version, which never changed
        facts = self.next_pickle()
        if not (isinstance(facts, dict) and facts.get("little_endian", True) is True):
            raise UserError(f"{self.budget.source}: was written on a machine with a different byte order")
        content = self.next_pickle(self.declare)
        keys = self.next_pickle()
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(self.declared):
            raise self.damage_error("the tensors' numbers are not those of its content")
        for key in keys:
            self.fill(self.declared[str(key)])
        return content

    def next_pickle(self, declared: Any = None) -> Any:
        return Machine(self.budget, self.storage_of, declared).run(self.file)

    def declare(self, key: str, dtype: torch.dtype, count: int) -> Storage:
        """Storage whose numbers come later in the file."""
        known = self.declared.get(key)
        if known is None:
            self.budget.spend(count * dtype.itemsize)
            known = self.declared[key] = Storage(torch.zeros(count, dtype=dtype))
        return known

    def fill(self, storage: Storage) -> None:
        """Read the numbers of a declared storage."""
        values = storage.values
        count = int.from_bytes(self.file.read(COUNT), "little")
        content = self.file.read(values.nbytes)
        if count != len(values) or len(content) < values.nbytes:
            raise self.damage_error("a tensor's numbers are missing")
        if count:
            values.copy_(torch.frombuffer(bytearray(content), dtype=values.dtype))

    def damage_error(self, problem: str) -> UserError:
        return UserError(f"{self.budget.source}: damaged or truncated ({problem})")


class _Zip:
    """The newer format: a zip of ``NAME/data.pkl`` and of each tensor's numbers as ``NAME/data/KEY``."""

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self.file, self.budget = file, budget
        self.declared: dict[str, Storage] = {}

    def read(self) -> Any:
        """The content."""
        try:
            with zipfile.ZipFile(self.file) as self.archive:
                self.check_records()
                names = [name for name in self.archive.namelist() if re.fullmatch(r"([^/]+/)?data\.pkl", name)]
                if len(names) != 1:
                    raise UserError(f"{self.budget.source}: holds no weights: a zip without torch's data.pkl")
                self.prefix = names[0].removesuffix("data.pkl")
                self.check_order()
                pickle = self.archive.read(names[0])
                return Machine(self.budget, storage_of, self.declare).run(io.BytesIO(pickle))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(f"{self.budget.source}: damaged or truncated ({one_line(error)})") from None

    def check_records(self) -> None:
        """Refuse records that claim more bytes than the file has for them."""
        records = self.archive.infolist()
        for record in records:
            self.budget.step()
            if record.flag_bits & ENCRYPTED:
                self.refuse(record, "is encrypted")
            if record.compress_type != zipfile.ZIP_STORED:
                self.refuse(record, "is compressed, which torch does not do")
        if records and sum(record.file_size for record in records) > self.budget.size:
            self.refuse(max(records, key=lambda record: record.file_size), "is larger than the file has room for")

    def refuse(self, record: zipfile.ZipInfo, problem: str) -> None:
        raise RefusedError(f"{self.budget.source}: refused: its record {record.filename[:80]!a} {problem}")

    def check_order(self) -> None:
        """Refuse numbers in a different byte order."""
        name = f"{self.prefix}byteorder"
        if name in self.archive.namelist() and self.archive.read(name) != b"little":
            raise UserError(f"{self.budget.source}: was written on a machine with a different byte order")

    def declare(self, key: str, dtype: torch.dtype, count: int) -> Storage:
        """Read the numbers that the pickle refers to."""
        known = self.declared.get(key)
        if known is None:
            known = self.declared[key] = self.record(key, dtype, count)
        if known.values.dtype != dtype or len(known.values) != count:
            raise ValueError(f"the numbers {key[:40]!a} are of several types")
        return known

    def record(self, key: str, dtype: torch.dtype, count: int) -> Storage:
        content = self.archive.read(f"{self.prefix}data/{key}")
        if len(content) < count * dtype.itemsize:
            raise ValueError(f"the numbers {key[:40]!a} are missing")
        if not count:
            return Storage(torch.zeros(0, dtype=dtype))
        return Storage(torch.frombuffer(bytearray(content), dtype=dtype, count=count))

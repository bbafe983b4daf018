"""Pickles as data: an interpreter of their opcodes that can build only tensors, arrays and plain containers.

Python's own unpickler looks names up and calls them. This one never does: a name in a pickle is either an entry of
`BUILDERS` or one of torch.nn's modules, and becomes an inert value built from checked arguments; or it is refused.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import numpy as np
import torch

from ayt.base.errors import UserError
from ayt.foreign.builders import (
    BARE,
    BUILDERS,
    DICTS,
    DTYPES,
    STORAGES,
    TORCH_MODULE,
    UNREADABLE,
    Array,
    Dtype,
    Global,
    Module,
    Storage,
    describe,
    is_key,
    product,
)
from ayt.foreign.text import one_line

ENDIANNESS = ("<", ">", "|", "=")
LONGEST_NAME = 200
"""The longest name of a module and its member together, in characters."""

GROWTH = 4
"""What is built from a file may take this many times its size, plus `SPARE` bytes."""

SPARE = 2**24
MOST_STEPS = 1_000_000
"""The most opcodes in one file; EDM's network for CIFAR-10 has 44,000."""

MOST_ARGUMENTS = 16
CONTAINER_ITEM = 64
"""Bytes counted for an item of a list, dictionary or set."""

StorageOf = Callable[[bytes, "Budget"], Storage]
"""Reads a tensor's numbers, which torch has saved as a nested file."""


class RefusedError(UserError):
    """A pickle asks for something that could run code, or that does not belong among weights."""


class Budget:
    """The memory and time that a file may still use: a few kilobytes could ask for any amount of both.

    Args:
        size: of the file, in bytes.
        source: its origin, for messages.
    """

    def __init__(self, size: int, source: str) -> None:
        self.size, self.source = size, source
        self._bytes = GROWTH * size + SPARE
        self._steps = MOST_STEPS

    def step(self) -> None:
        """Count one opcode, or one entry of what was built."""
        self._steps -= 1
        if self._steps < 0:
            raise RefusedError(f"{self.source}: refused: takes more than {MOST_STEPS:,} steps to read")

    def spend(self, count: int) -> None:
        """Count bytes that are about to be allocated."""
        self._bytes -= count
        if self._bytes < 0:
            raise RefusedError(
                f"{self.source}: refused: what it asks for takes more than {GROWTH} times its {self.size:,} bytes "
                f"and {SPARE:,} more"
            )


_MARK = object()
_OURS = {"torch.storage._load_from_bytes": "storage", "torch._tensor._rebuild_from_type_v2": "rebuild_subclass"}
"""Names whose builders are methods of `Machine`."""


def _is_metadata(state: dict[Any, Any]) -> bool:
    return not state or (len(state) == 1 and "_metadata" in state)


def _extent(value: Any) -> int:
    """The most bytes a builder may use to copy an argument."""
    if isinstance(value, str | bytes):
        return len(value)
    return CONTAINER_ITEM * len(value) if isinstance(value, list | tuple | dict | set) else 0


def read(data: bytes, source: str, storage_of: StorageOf | None = None) -> Any:
    """Read a pickle.

    Args:
        data: its bytes; anything after its end is ignored.
        source: their origin, for messages.
        storage_of: reads the numbers of tensors; None: a pickle with tensors is refused.

    Returns:
        Numbers, strings, bytes, lists, tuples, dicts and sets of them; tensors; `Array`; `Module`. Python 2 strings
        become bytes.

    Raises:
        RefusedError: it asks for anything else, or for too much; the message names it.
        UserError: it is damaged or truncated.
    """
    return Machine(Budget(len(data), source), storage_of=storage_of).run(io.BytesIO(data))


class Machine:
    """The stack and the memo of one pickle.

    Args:
        budget: what it may use.
        storage_of: reads a tensor's numbers that are bytes within the pickle.
        declared: returns the numbers of a tensor stored beside the pickle, by key, type and count.
    """

    def __init__(
        self,
        budget: Budget,
        storage_of: StorageOf | None = None,
        declared: Callable[[str, torch.dtype, int], Storage] | None = None,
    ) -> None:
        self.budget, self.source = budget, budget.source
        self.storage_of, self.declared = storage_of, declared
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.result: Any = None

    def run(self, file: BinaryIO) -> Any:
        """Read the pickle at the position of ``file``, and leave ``file`` at its end; see `read`."""
        try:
            for opcode, argument, _ in pickletools.genops(file):
                self.budget.step()
                if self.step(opcode.name, argument):
                    return self.result
        except UserError:
            raise
        except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError, EOFError) as error:
            raise UserError(f"{self.source}: damaged or truncated pickle ({one_line(error)})") from None
        raise UserError(f"{self.source}: damaged or truncated pickle (has no end)")

    def step(self, name: str, argument: Any) -> bool:
        """Execute one opcode; True once the pickle has ended."""
        if name == "STOP":
            self.result = self.stack.pop()
            return True
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in _OLD_STRINGS:
            self.stack.append(argument.encode("latin-1"))
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(argument)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[int(argument)])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name not in ("PROTO", "FRAME"):
            method = getattr(self, f"_do_{name.lower()}", None)
            if method is None:
                self.refuse(f"opcode {name}" + ("" if argument is None else f" {argument!r:.80}"))
            method(argument)
        return False

    def refuse(self, what: str) -> NoReturn:
        """Raise the error that names what the pickle asks for."""
        reason = "which could run code; only tensors and plain containers are read"
        raise RefusedError(f"{self.source}: refused: asks for {one_line(what, 200)}, {reason}")

    def pop_to_mark(self) -> list[Any]:
        """Pop everything above the last mark from the stack."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("no mark on the stack")
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found

    def _do_pop(self, _: Any) -> None:
        self.stack.pop()

    def _do_pop_mark(self, _: Any) -> None:
        self.pop_to_mark()

    def _do_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _do_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def _do_tuple1(self, _: Any) -> None:
        self._tuple(1)

    def _do_tuple2(self, _: Any) -> None:
        self._tuple(2)

    def _do_tuple3(self, _: Any) -> None:
        self._tuple(3)

    def _do_list(self, _: Any) -> None:
        self.stack.append(self.pop_to_mark())

    def _do_append(self, _: Any) -> None:
        value = self.stack.pop()
        self._extend([value])

    def _do_appends(self, _: Any) -> None:
        self._extend(self.pop_to_mark())

    def _do_dict(self, _: Any) -> None:
        items = self.pop_to_mark()
        self.stack.append({})
        self._set(items)

    def _do_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _do_setitems(self, _: Any) -> None:
        self._set(self.pop_to_mark())

    def _do_additems(self, _: Any) -> None:
        items, target = self.pop_to_mark(), self.stack[-1]
        if not isinstance(target, set):
            self.refuse(f"additions to {describe(target)}")
        target.update(self._key(item) for item in items)

    def _do_frozenset(self, _: Any) -> None:
        self.stack.append(frozenset(self._key(item) for item in self.pop_to_mark()))

    def _do_global(self, argument: str) -> None:
        self._name(*argument.split(" ", 1))

    def _do_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            self.refuse(f"a name made of {describe(module)} and {describe(name)}")
        self._name(module, name)

    def _do_inst(self, argument: str) -> None:
        self.refuse(argument.replace(" ", "."))

    def _do_obj(self, _: Any) -> None:
        made = self.pop_to_mark()
        self.refuse(f"an object of {describe(made[0])}")

    def _do_reduce(self, _: Any) -> None:
        arguments, what = self.stack.pop(), self.stack.pop()
        self.stack.append(self._call(what, arguments))

    def _do_newobj(self, _: Any) -> None:
        arguments, what = self.stack.pop(), self.stack.pop()
        if not isinstance(what, Global):
            self.refuse(f"a new object of {describe(what)}")
        if TORCH_MODULE.fullmatch(what.name) and arguments == ():
            self.stack.append(Module(what.name.rpartition(".")[2]))
        elif what.name in DICTS and arguments == ():
            self.stack.append({})
        else:
            self.refuse(f"a new object of {what.name}")

    def _do_build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Module) and isinstance(state, dict):
            target.state = state
        elif isinstance(target, Array):
            target.value = self._array(state)
        elif isinstance(target, Dtype):
            self._order(target, state)
        # torch's ordered dictionaries carry versions as an attribute; nothing here needs them.
        elif not (isinstance(target, dict) and isinstance(state, dict) and _is_metadata(state)):
            self.refuse(f"a state for {describe(target)}")

    def _tuple(self, count: int) -> None:
        found = tuple(self.stack[-count:])
        if len(found) < count:
            raise ValueError("the stack is empty")
        self.stack[-count:] = [found]

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            self.refuse(f"additions to {describe(self.stack[-1])}")
        self.stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            self.refuse(f"items of {describe(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self._key(key)] = value

    def _key(self, value: Any) -> Any:
        if not is_key(value):
            self.refuse(f"{describe(value)} as a key")
        return value

    def _name(self, module: str, name: str) -> None:
        if len(module) + len(name) > LONGEST_NAME:
            self.refuse(f"{module[:40]}...{name[-40:]}, a name of {len(module) + len(name)} characters")
        full = f"{module}.{name}"
        if full in UNREADABLE:
            raise RefusedError(f"{self.source}: refused: holds {UNREADABLE[full]}; only dense ones of numbers are read")
        if full in DTYPES:
            self.stack.append(full)
        elif full in BUILDERS or full in DICTS or full in BARE or full in _OURS or TORCH_MODULE.fullmatch(full):
            self.stack.append(Global(full))
        else:
            self.refuse(full)

    def _call(self, what: Any, arguments: Any) -> Any:
        if not isinstance(what, Global):
            self.refuse(f"a call of {describe(what)}")
        if not isinstance(arguments, tuple) or len(arguments) > MOST_ARGUMENTS:
            self.refuse(f"{what.name} with {describe(arguments)} as arguments")
        if what.name in DICTS and arguments == ():
            return {}
        # The same arguments can occur in any number of calls.
        self.budget.spend(sum(map(_extent, arguments)))
        builder = BUILDERS.get(what.name) or getattr(self, _OURS.get(what.name, ""), None)
        if builder is None:
            self.refuse(f"a call of {what.name}")
        try:
            return builder(*arguments)
        except (TypeError, ValueError, RuntimeError) as error:
            # The builder's own checks, or a wrong number of arguments.
            problem = one_line(error)
        self.refuse(f"{what.name} with arguments that it does not take ({problem})")

    def storage(self, content: Any) -> Storage:
        """A tensor's numbers, which torch has saved as a nested file, given as bytes."""
        if self.storage_of is None or not isinstance(content, bytes):
            self.refuse(f"a tensor's numbers in {describe(content)}")
        return self.storage_of(content, self.budget)

    def rebuild_subclass(self, what: Any, kind: Any, arguments: Any, state: Any) -> Any:
        """A tensor with extra attributes, which are ignored."""
        if not isinstance(what, Global) or what.name in _OURS:
            self.refuse(f"a tensor made by {describe(what)}")
        return self._call(what, arguments)

    def _do_binpersid(self, _: Any) -> None:
        """A tensor's numbers stored beside the pickle: ("storage", type, key, location, count, None)."""
        asked = self.stack.pop()
        if self.declared is None:
            self.refuse("opcode BINPERSID")
        good = (
            isinstance(asked, tuple) and len(asked) in (5, 6) and asked[0] == "storage" and asked[5:] in ((), (None,))
        )
        good = good and isinstance(asked[1], Global) and asked[1].name in STORAGES
        if not good or not isinstance(asked[2], str):
            self.refuse("opcode BINPERSID of anything but a tensor's numbers")
        self.stack.append(self.declared(asked[2], STORAGES[asked[1].name], product((asked[4],))))

    def _array(self, state: Any) -> np.ndarray:
        """The content of a numpy array: (version, shape, dtype, Fortran order, bytes)."""
        if not (isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], Dtype)):
            self.refuse("an array of anything but numbers")
        _, shape, dtype, fortran, content = state
        count = product(shape)
        self.budget.spend(count * dtype.value.itemsize)
        if not isinstance(content, bytes) or len(content) != count * dtype.value.itemsize:
            self.refuse("an array whose content does not fill its shape")
        return np.frombuffer(content, dtype.value).reshape(shape, order="F" if fortran else "C").copy()

    def _order(self, dtype: Dtype, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) >= 2 and state[2:5] == (None, None, None)):
            self.refuse("a numpy dtype with fields")
        order = state[1].decode("latin-1") if isinstance(state[1], bytes) else state[1]
        if order not in ENDIANNESS:
            self.refuse("a numpy dtype of unknown byte order")
        dtype.order = order


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK, "EMPTY_TUPLE": ()}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_OLD_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}

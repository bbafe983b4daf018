"""Pickles as data: an interpreter of their opcodes that can build tensors, arrays and plain containers only.

Python's own unpickler looks names up and calls them. This one never does: a name that a pickle asks for is an entry of
`_BUILDERS` or one of torch.nn's modules, and becomes an inert value made of arguments that are checked; or it is
refused.
"""

from __future__ import annotations

import io
import pickletools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from ayt.base.errors import UserError

TORCH_MODULE = re.compile(r"torch\.nn\.modules\.[a-z]+\.[A-Z]\w*")
DTYPES = {f"torch.{name}" for name in ("float16", "bfloat16", "float32", "float64", "uint8", "int32", "int64", "bool")}
ARRAY_TYPES = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
ENDIANNESS = ("<", ">", "|", "=")


class RefusedError(UserError):
    """A pickle asks for something that could run code, or that has no place among weights."""


@dataclass(eq=False)
class Module:
    """What is left of an object: the name of its class and its attributes, or what was asked of another one.

    Training snapshots hold losses and augmentations beside the networks; all are the same inert kind of thing here.
    Which of them may hold weights is for `ayt.foreign.checkpoints` to say.
    """

    class_name: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Array:
    """A numpy array, complete once the pickle has told its content."""

    value: np.ndarray | None = None


@dataclass(frozen=True)
class _Name:
    """Something that the pickle asks for by name, and that is known here."""

    name: str


@dataclass
class _Dtype:
    """A numpy dtype without byte order, and the order that the pickle tells later."""

    code: str
    order: str = "="

    @property
    def value(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


_MARK = object()
_SCALARS = (str, bytes, int, float, bool, type(None))


def read(data: bytes, source: str) -> Any:
    """Read a pickle.

    Args:
        data: its bytes; what comes after its end is not looked at.
        source: where they are from, for messages.

    Returns:
        Numbers, texts, bytes, lists, tuples, dicts and sets of them; tensors; `Array`; `Module`. Python 2's strings
        come as bytes.

    Raises:
        RefusedError: it asks for anything else; the message names it.
        UserError: it is damaged or truncated.
    """
    machine = _Machine(source)
    try:
        with warnings.catch_warnings():
            # The form that pickles hold tensors' numbers in is old; there is no other way to them.
            warnings.filterwarnings("ignore", "TypedStorage is deprecated")
            for opcode, argument, _ in pickletools.genops(data):
                if machine.step(opcode.name, argument):
                    return machine.result
    except UserError:
        raise
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError, EOFError) as error:
        raise UserError(f"{source}: damaged or truncated pickle ({error})") from None
    raise UserError(f"{source}: damaged or truncated pickle (has no end)")


class _Machine:
    """The stack and the memo of a pickle under way."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.result: Any = None

    def step(self, name: str, argument: Any) -> bool:
        """Do one opcode; True once the pickle has ended."""
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
            method = getattr(self, f"do_{name.lower()}", None)
            if method is None:
                self.refuse(f"opcode {name}" + ("" if argument is None else f" {argument!r:.80}"))
            method(argument)
        return False

    def refuse(self, what: str) -> NoReturn:
        raise RefusedError(
            f"{self.source}: refused: asks for {what}, which could run code; only tensors and plain containers are read"
        )

    def marked(self) -> list[Any]:
        """Take everything above the last mark from the stack."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("no mark on the stack")
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found

    def do_pop(self, _: Any) -> None:
        self.stack.pop()

    def do_pop_mark(self, _: Any) -> None:
        self.marked()

    def do_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def do_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.marked()))

    def do_tuple1(self, _: Any) -> None:
        self._tuple(1)

    def do_tuple2(self, _: Any) -> None:
        self._tuple(2)

    def do_tuple3(self, _: Any) -> None:
        self._tuple(3)

    def do_list(self, _: Any) -> None:
        self.stack.append(self.marked())

    def do_append(self, _: Any) -> None:
        value = self.stack.pop()
        self._extend([value])

    def do_appends(self, _: Any) -> None:
        self._extend(self.marked())

    def do_dict(self, _: Any) -> None:
        items = self.marked()
        self.stack.append({})
        self._set(items)

    def do_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def do_setitems(self, _: Any) -> None:
        self._set(self.marked())

    def do_additems(self, _: Any) -> None:
        items, target = self.marked(), self.stack[-1]
        if not isinstance(target, set):
            self.refuse(f"additions to {_describe(target)}")
        target.update(self._key(item) for item in items)

    def do_frozenset(self, _: Any) -> None:
        self.stack.append(frozenset(self._key(item) for item in self.marked()))

    def do_global(self, argument: str) -> None:
        self._name(*argument.split(" ", 1))

    def do_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            self.refuse(f"a name made of {_describe(module)} and {_describe(name)}")
        self._name(module, name)

    def do_inst(self, argument: str) -> None:
        self.refuse(argument.replace(" ", "."))

    def do_obj(self, _: Any) -> None:
        made = self.marked()
        self.refuse(f"an object of {_describe(made[0])}")

    def do_reduce(self, _: Any) -> None:
        arguments, what = self.stack.pop(), self.stack.pop()
        self.stack.append(self._call(what, arguments))

    def do_newobj(self, _: Any) -> None:
        arguments, what = self.stack.pop(), self.stack.pop()
        if not isinstance(what, _Name):
            self.refuse(f"a new object of {_describe(what)}")
        if TORCH_MODULE.fullmatch(what.name) and arguments == ():
            self.stack.append(Module(what.name.rpartition(".")[2]))
        elif what.name in _DICTS and arguments == ():
            self.stack.append({})
        else:
            self.refuse(f"a new object of {what.name}")

    def do_build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Module) and isinstance(state, dict):
            target.state = state
        elif isinstance(target, Array):
            target.value = self._array(state)
        elif isinstance(target, _Dtype):
            self._order(target, state)
        # An ordered dictionary of torch's has its versions as an attribute; nothing here needs them.
        elif not (isinstance(target, dict) and isinstance(state, dict) and set(state) <= {"_metadata"}):
            self.refuse(f"a state for {_describe(target)}")

    def _tuple(self, count: int) -> None:
        found = tuple(self.stack[-count:])
        if len(found) < count:
            raise ValueError("the stack is empty")
        self.stack[-count:] = [found]

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            self.refuse(f"additions to {_describe(self.stack[-1])}")
        self.stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            self.refuse(f"items of {_describe(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self._key(key)] = value

    def _key(self, value: Any) -> Any:
        """A dictionary's key. Not a tuple: the hash of nested ones can take for ever."""
        if not isinstance(value, _SCALARS):
            self.refuse(f"{_describe(value)} as a key")
        return value

    def _name(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        known = full in _BUILDERS or full in _DICTS or full in _BARE or TORCH_MODULE.fullmatch(full)
        if full in DTYPES:
            self.stack.append(full)
        elif known:
            self.stack.append(_Name(full))
        else:
            self.refuse(full)

    def _call(self, what: Any, arguments: Any) -> Any:
        if not isinstance(what, _Name):
            self.refuse(f"a call of {_describe(what)}")
        if not isinstance(arguments, tuple):
            self.refuse(f"{what.name} with {_describe(arguments)} as arguments")
        if what.name in _DICTS and arguments == ():
            return {}
        builder = _BUILDERS.get(what.name)
        if builder is None:
            self.refuse(f"a call of {what.name}")
        try:
            return builder(*arguments)
        except (TypeError, ValueError, RuntimeError) as error:
            # The builder's own checks, or a wrong number of arguments.
            problem = str(error).splitlines()[0]
        self.refuse(f"{what.name} with arguments that it does not take ({problem:.120})")

    def _array(self, state: Any) -> np.ndarray:
        """The content of a numpy array: (version, shape, dtype, Fortran order, bytes)."""
        if not (isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], _Dtype)):
            self.refuse("an array of anything but numbers")
        _, shape, dtype, fortran, content = state
        count = _product(shape)
        if not isinstance(content, bytes) or len(content) != count * dtype.value.itemsize:
            self.refuse("an array whose content does not fill its shape")
        return np.frombuffer(content, dtype.value).reshape(shape, order="F" if fortran else "C").copy()

    def _order(self, dtype: _Dtype, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) >= 2 and state[2:5] == (None, None, None)):
            self.refuse("a numpy dtype with fields")
        order = state[1].decode("latin-1") if isinstance(state[1], bytes) else state[1]
        if order not in ENDIANNESS:
            self.refuse("a numpy dtype of unknown byte order")
        dtype.order = order


def _describe(value: Any) -> str:
    """A few words on a value, however deep: never the value itself."""
    if isinstance(value, _Name):
        return value.name
    if isinstance(value, Module):
        return f"the module {value.class_name}"
    return "a mark" if value is _MARK else f"a value of type {type(value).__name__}"


def _check(condition: bool, problem: str) -> None:
    if not condition:
        raise TypeError(problem)


def _product(shape: Any) -> int:
    """The number of elements of a shape, which must be a tuple of whole numbers, 0 or above."""
    good = isinstance(shape, tuple) and all(type(size) is int and 0 <= size < 2**40 for size in shape)
    _check(good, "a shape is not a tuple of whole numbers")
    return int(np.prod(shape, dtype=object))


def _persistent(meta: Any) -> Module:
    """An object that EDM's library pickled together with its source."""
    _check(isinstance(meta, dict), "not a dictionary")
    name, source, state = meta.get("class_name"), meta.get("module_src"), meta.get("state")
    _check(meta.get("type") == "class", f"type is {_describe(meta.get('type'))}, not 'class'")
    _check(isinstance(name, str), f"class_name is {_describe(name)}")
    _check(isinstance(source, str), f"module_src is {_describe(source)}")
    _check(isinstance(state, dict), f"state is {_describe(state)}")
    return Module(str(name), state)


def _method(owner: Any, name: Any) -> Module:
    """A bound method, as Python pickles it: an attribute of an object that the same pickle has made."""
    _check(isinstance(owner, Module), f"an attribute of {_describe(owner)}")
    _check(isinstance(name, str), f"{_describe(name)}, not a name")
    return Module(f"{owner.class_name}'s attribute {name[:80]!r}")


def _reconstructor(cls: Any, base: Any, state: Any) -> Any:
    """How protocols 0 and 1 make objects."""
    plain = isinstance(base, _Name) and base.name in ("builtins.object", "__builtin__.object") and state is None
    _check(isinstance(cls, _Name) and plain, f"{_describe(cls)} from {_describe(base)}")
    _check(bool(TORCH_MODULE.fullmatch(cls.name)), cls.name)
    return Module(cls.name.rpartition(".")[2])


def _storage(content: Any) -> torch.UntypedStorage | torch.TypedStorage:
    """A tensor's numbers, which torch has saved as a file of its own, as bytes."""
    _check(isinstance(content, bytes), f"{_describe(content)}, not bytes")
    try:
        storage = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever it stumbles over in a damaged or hostile file
        raise TypeError(refused_by_torch(error)) from None
    _check(isinstance(storage, torch.UntypedStorage | torch.TypedStorage), _describe(storage))
    return storage  # type: ignore[no-any-return]


def refused_by_torch(error: Exception) -> str:
    """What a file asked for that ``torch.load(weights_only=True)`` would not give, or the reason why it failed."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return found[1] if found else f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    """A view of a storage, copied out of it; what follows says things about gradients that do not matter here."""
    _check(isinstance(storage, torch.TypedStorage), f"a storage that is {_describe(storage)}")
    _product(size), _product(stride)
    _check(type(offset) is int and offset >= 0 and len(size) == len(stride), "an offset that is none")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    _check(0 in size or last < storage.size(), "a view that reaches beyond its storage")
    # With strides of 0 a few bytes could ask for any amount of memory.
    _check(_product(size) <= storage.size(), "a tensor that is larger than its storage")
    empty = torch.empty(0, dtype=storage.dtype)
    return empty.set_(storage.untyped(), offset, size, stride).clone(memory_format=torch.contiguous_format)


def _parameter(data: Any, *rest: Any) -> Tensor:
    _check(isinstance(data, Tensor), f"{_describe(data)}, not a tensor")
    return data  # type: ignore[no-any-return]


def _new_array(kind: Any, shape: Any, code: Any) -> Array:
    _check(kind == _Name("numpy.ndarray"), _describe(kind))
    return Array()


def _dtype(code: Any, *rest: Any) -> _Dtype:
    code = code.decode("latin-1") if isinstance(code, bytes) else code
    _check(isinstance(code, str), f"{_describe(code)}, not a type of numbers")
    _check(bool(ARRAY_TYPES.fullmatch(code)), f"{code[:40]!r}, no type of numbers")
    return _Dtype(code.lstrip("<>|="))


def _scalar(dtype: Any, content: Any) -> Any:
    _check(isinstance(dtype, _Dtype) and isinstance(content, bytes), "not a number")
    return np.frombuffer(content, dtype.value, count=1)[0].item()


def _encoded(text: Any, encoding: Any) -> bytes:
    """How protocol 2 writes bytes."""
    _check(isinstance(text, str) and encoding in ("latin1", "latin-1"), "not a text in latin1")
    return str(text).encode("latin-1")


def _set(items: Any = ()) -> set[Any]:
    _check(isinstance(items, list | tuple) and all(isinstance(item, _SCALARS) for item in items), "not plain items")
    return set(items)


def _ordered(*pairs: Any) -> dict[Any, Any]:
    _check(len(pairs) < 2, "several values")
    items = pairs[0] if pairs else []
    good = isinstance(items, list) and all(isinstance(item, list | tuple) and len(item) == 2 for item in items)
    _check(good and all(isinstance(key, _SCALARS) for key, _ in items), "not a list of plain keys and values")
    return dict(items)


def _size(shape: Any) -> tuple[int, ...]:
    _product(shape)
    return tuple(shape)


def _device(name: Any, *index: Any) -> str:
    _check(isinstance(name, str), f"{_describe(name)}, not a name")
    return str(name)


_DICTS = {"dnnlib.util.EasyDict"}
_BARE = {"numpy.ndarray", "builtins.object", "__builtin__.object"}
"""Names that other builders take as arguments; they make nothing themselves."""
_BUILDERS: dict[str, Callable[..., Any]] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    "builtins.getattr": _method,
    "__builtin__.getattr": _method,
    "copy_reg._reconstructor": _reconstructor,
    "copyreg._reconstructor": _reconstructor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.storage._load_from_bytes": _storage,
    "torch.Size": _size,
    "torch.device": _device,
    "collections.OrderedDict": _ordered,
    "builtins.set": _set,
    "__builtin__.set": _set,
    "_codecs.encode": _encoded,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _new_array,
    "numpy._core.multiarray._reconstruct": _new_array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK, "EMPTY_TUPLE": ()}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_OLD_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}

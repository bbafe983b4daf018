"""What names in pickles become: inert values built from arguments checked here; nothing is looked up or called.

The memory of the results is proportional to the arguments, which `ayt.foreign.pickles` bounds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

TORCH_MODULE = re.compile(r"torch\.nn\.modules\.[a-z]+\.[A-Z]\w*")
DTYPES = {f"torch.{name}" for name in ("float16", "bfloat16", "float32", "float64", "uint8", "int32", "int64", "bool")}
ARRAY_TYPES = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
MOST_DIMENSIONS = 8
"""The most dimensions of a tensor or array; those of networks have at most five."""

UNREADABLE = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_qtensor": "a quantised tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor without numbers (meta)",
    **{f"torch.Q{kind}Storage": "a quantised tensor" for kind in ("Int8", "Int32", "UInt8", "UInt4x2", "UInt2x4")},
    **{f"torch.Complex{kind}Storage": "a tensor of complex numbers" for kind in ("Float", "Double")},
}
"""Names of torch that no network here needs."""


@dataclass(eq=False)
class Module:
    """What remains of an object: its class name and its attributes, or a bound method of another object.

    Training snapshots hold losses and augmentations besides the networks; here all of them become inert values.
    `ayt.foreign.checkpoints` decides which of them may hold weights.
    """

    class_name: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Array:
    """A numpy array, complete once the pickle has given its content."""

    value: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Storage:
    """The numbers that tensors are views of, as a one-dimensional tensor."""

    values: Tensor


@dataclass(frozen=True)
class Global:
    """A known object that the pickle refers to by name."""

    name: str


@dataclass
class Dtype:
    """A numpy dtype without byte order, and the order that the pickle gives later."""

    code: str
    order: str = "="

    @property
    def value(self) -> np.dtype[Any]:
        """The dtype itself."""
        return np.dtype(self.order + self.code)


SCALARS = (str, bytes, int, float, bool, type(None))


def describe(value: Any) -> str:
    """Describe a value in a few words, however deeply nested: never the value itself."""
    if isinstance(value, Global):
        return value.name
    if isinstance(value, Module):
        return f"the module {value.class_name[:80]}"
    return f"a value of type {type(value).__name__}"


def check(condition: bool, problem: str) -> None:
    """Raise TypeError with the problem unless the condition holds."""
    if not condition:
        raise TypeError(problem)


def product(shape: Any) -> int:
    """The number of elements of a shape, which must be a short tuple of non-negative integers."""
    check(isinstance(shape, tuple), "a shape is not a tuple of whole numbers")
    check(len(shape) <= MOST_DIMENSIONS, f"a shape has {len(shape)} dimensions, and at most {MOST_DIMENSIONS} are read")
    good = all(type(size) is int and 0 <= size < 2**40 for size in shape)
    check(good, "a shape is not a tuple of whole numbers")
    return math.prod(shape)


def is_key(value: Any) -> bool:
    """Whether a value may be a dictionary key: a plain one that is quick to hash and hard to make collide.

    Not a tuple: hashing nested ones can take forever. Nor a huge integer: many with the same hash are easy to find.
    """
    return isinstance(value, SCALARS) and not (isinstance(value, int) and abs(value) >= 2**60)


def _rebuild_persistent(meta: Any) -> Module:
    """An object that EDM's library pickled together with its source code."""
    check(isinstance(meta, dict), "not a dictionary")
    name, source, state = meta.get("class_name"), meta.get("module_src"), meta.get("state")
    check(meta.get("type") == "class", f"type is {describe(meta.get('type'))}, not 'class'")
    check(isinstance(name, str), f"class_name is {describe(name)}")
    check(isinstance(source, str), f"module_src is {describe(source)}")
    check(isinstance(state, dict), f"state is {describe(state)}")
    return Module(str(name), state)


def _method(owner: Any, name: Any) -> Module:
    """A bound method, as Python pickles it: an attribute of an object from the same pickle."""
    check(isinstance(owner, Module), f"an attribute of {describe(owner)}")
    check(isinstance(name, str), f"{describe(name)}, not a name")
    return Module(f"{owner.class_name[:80]}'s attribute {name[:80]!r}")


def _reconstructor(cls: Any, base: Any, state: Any) -> Any:
    """How protocols 0 and 1 create objects."""
    plain = isinstance(base, Global) and base.name in ("builtins.object", "__builtin__.object") and state is None
    check(isinstance(cls, Global) and plain, f"{describe(cls)} from {describe(base)}")
    check(bool(TORCH_MODULE.fullmatch(cls.name)), cls.name)
    return Module(cls.name.rpartition(".")[2])


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    """A view of a storage; the remaining arguments concern gradients and are ignored."""
    check(isinstance(storage, Storage), f"a storage that is {describe(storage)}")
    count = product(size)
    product(stride)
    check(type(offset) is int and 0 <= offset < 2**40 and len(size) == len(stride), "an offset that is none")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    values: Tensor = storage.values
    check(not count or last < len(values), "a view that reaches beyond its storage")
    # With strides of 0 a few bytes could ask for any amount of memory.
    check(count <= len(values), "a tensor that is larger than its storage")
    return values.as_strided(size, stride, offset) if count else values.new_empty(size)


def _parameter(data: Any, *rest: Any) -> Tensor:
    check(isinstance(data, Tensor), f"{describe(data)}, not a tensor")
    return data  # type: ignore[no-any-return]


def _new_array(kind: Any, shape: Any, code: Any) -> Array:
    check(kind == Global("numpy.ndarray"), describe(kind))
    return Array()


def _dtype(code: Any, *rest: Any) -> Dtype:
    code = code.decode("latin-1") if isinstance(code, bytes) else code
    check(isinstance(code, str), f"{describe(code)}, not a type of numbers")
    check(bool(ARRAY_TYPES.fullmatch(code)), f"{code[:40]!r}, no type of numbers")
    return Dtype(code.lstrip("<>|="))


def _scalar(dtype: Any, content: Any) -> Any:
    check(isinstance(dtype, Dtype) and isinstance(content, bytes), "not a number")
    return np.frombuffer(content, dtype.value, count=1)[0].item()


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocol 2 writes bytes."""
    check(isinstance(text, str) and encoding in ("latin1", "latin-1"), "not a text in latin1")
    return str(text).encode("latin-1")


def _set(items: Any = ()) -> set[Any]:
    check(isinstance(items, list | tuple) and all(map(is_key, items)), "not plain items")
    return set(items)


def _order_pairs(*pairs: Any) -> dict[Any, Any]:
    check(len(pairs) < 2, "several values")
    items = pairs[0] if pairs else []
    good = isinstance(items, list) and all(isinstance(item, list | tuple) and len(item) == 2 for item in items)
    check(good and all(is_key(key) for key, _ in items), "not a list of plain keys and values")
    return dict(items)


def _size(shape: Any) -> tuple[int, ...]:
    product(shape)
    return tuple(shape)


def _device(name: Any, *index: Any) -> str:
    check(isinstance(name, str), f"{describe(name)}, not a name")
    return str(name)


DICTS = {"dnnlib.util.EasyDict"}
BARE = {
    *("numpy.ndarray", "builtins.object", "__builtin__.object"),
    *("torch._tensor.Tensor", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"),
    *STORAGES,
}
"""Names that serve as arguments of others; they build nothing themselves."""
BUILDERS: dict[str, Callable[..., Any]] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _rebuild_persistent,
    "builtins.getattr": _method,
    "__builtin__.getattr": _method,
    "copy_reg._reconstructor": _reconstructor,
    "copyreg._reconstructor": _reconstructor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.Size": _size,
    "torch.device": _device,
    "collections.OrderedDict": _order_pairs,
    "builtins.set": _set,
    "__builtin__.set": _set,
    "_codecs.encode": _encode,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _new_array,
    "numpy._core.multiarray._reconstruct": _new_array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
}

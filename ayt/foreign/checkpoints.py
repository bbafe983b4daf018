"""Weights from other projects as named tensors, and arrays of published datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ayt.base.errors import UserError
from ayt.foreign import pickles, torchfiles
from ayt.foreign.builders import MOST_DIMENSIONS, STORAGES, Array, Module
from ayt.foreign.pickles import Budget, RefusedError
from ayt.foreign.text import one_line

ARRAY = b"\x93NUMPY"
"""How a bare array file begins."""

INSIDE = ("ema", "model_ema", "model", "net", "state_dict", "model_state_dict")
"""Keys under which a dictionary may hold the weights, best first: averaged weights before others."""


NETWORKS = {
    *("EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond", "ECMPrecond", "CTPrecond"),
    *("SongUNet", "DhariwalUNet", "UNetBlock"),
    *("Linear", "Conv2d", "GroupNorm", "PositionalEmbedding", "FourierEmbedding"),
    *("ModuleDict", "ModuleList", "Sequential", "Identity", "Dropout", "SiLU"),
    *("BatchNorm2d", "ReLU", "MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d", "Flatten"),
}
"""Classes of EDM and its descendants, and of torch, whose objects may hold weights."""

DEEPEST = 50
"""The deepest nesting of modules."""

LONGEST_NAME = 300
"""The longest name of a tensor, in characters."""

MOST_TENSORS = 20_000
"""The most tensors in a file; networks have a few hundred."""

PER_TENSOR = 1000
"""Bytes counted for a tensor in addition to its numbers."""


class NamesApart(NamedTuple):
    """Names of tensors by what is wrong with them."""

    missing: list[str]
    unexpected: list[str]
    misshaped: list[str]


def compare(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> NamesApart:
    """Compare named tensors with those of a network."""
    common = [name for name in expected if name in tensors]
    return NamesApart(
        missing=sorted(set(expected) - set(tensors)),
        unexpected=sorted(set(tensors) - set(expected)),
        misshaped=[name for name in common if tensors[name].shape != expected[name].shape],
    )


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the weights of a network from a file of any supported format; nothing in it is executed.

    Args:
        path: a pickle of EDM, ECT or TCM (a dictionary with ``ema``, or the network itself), a file of torch with a
            state dict, or safetensors.

    Raises:
        RefusedError: the file asks for something that is not a tensor or a plain container.
        UserError: it is missing, damaged, or holds no weights.
    """
    try:
        with path.open("rb") as file:
            if not path.is_file():
                raise UserError(f"{path}: not a file")
            head = file.read(9)
            if head.startswith(ARRAY):
                raise UserError(f"{path}: a bare array, not weights: nothing says which tensor it is")
            file.seek(0)
            content = _safetensors(path) if head[8:] == b"{" else torchfiles.read(file, str(path))
    except OSError as error:
        problem = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"{path}: {problem}") from None
    tensors = dict(_weights(content, path, Budget(path.stat().st_size, str(path)), inside=2))
    if not tensors:
        raise UserError(f"{path}: holds no weights")
    return tensors


def read_pickled_arrays(data: bytes, source: str) -> dict[str, object]:
    """Read a pickled dictionary of arrays and plain values, such as CIFAR-10's batches; keys become strings.

    Args:
        data: the pickle.
        source: its origin, for messages.

    Raises:
        RefusedError: it asks for anything else.
        UserError: it is damaged or not a dictionary.
    """
    content = pickles.read(data, source)
    if not isinstance(content, dict):
        raise UserError(f"{source}: not a dictionary of arrays")
    found: dict[str, object] = {}
    for key, value in content.items():
        name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
        found[name] = value.value if isinstance(value, Array) else value
    return found


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = list(file.keys())
            if len(names) > MOST_TENSORS:
                raise RefusedError(f"{path}: refused: has {len(names)} tensors, and at most {MOST_TENSORS} are read")
            return {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged or truncated ({one_line(error)})") from None


def _weights(content: Any, path: Path, budget: Budget, inside: int) -> Iterator[tuple[str, Tensor]]:
    """The weights in a file's content; ``inside``: how many levels of dictionaries may enclose them."""
    if isinstance(content, Module):
        return _flatten(content, "", path, budget, set())
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a value of type {type(content).__name__}, not weights")
    if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        return ((_name(name, path), _copy(value, name, budget)) for name, value in content.items())
    for key in INSIDE if inside else ():
        if isinstance(content.get(key), Module | Mapping):
            return _weights(content[key], path, budget, inside - 1)
    keys = ", ".join(ascii(key)[:40].strip("'") for key in list(content)[:8])
    raise UserError(f"{path}: no weights under any of {', '.join(INSIDE)}; it has {keys}")


def _name(name: Any, path: Path) -> str:
    """A tensor's name, if our own files can use it."""
    if not (isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()):
        shown = ascii(name)[:80] if isinstance(name, str) else f"a value of type {type(name).__name__}"
        problem = f"names of tensors are 1 to {LONGEST_NAME} printable characters"
        raise UserError(f"{path}: {shown} names a tensor; {problem}")
    return name


def _copy(tensor: Tensor, name: str, budget: Budget) -> Tensor:
    """A tensor with its own storage: our files cannot express that two tensors share one."""
    if tensor.dtype not in STORAGES.values() or tensor.dim() > MOST_DIMENSIONS:
        kind = f"of {tensor.dim()} dimensions and type {str(tensor.dtype).removeprefix('torch.')}"
        raise RefusedError(f"{budget.source}: refused: {name[:80]} is {kind}, which no network here has")
    budget.spend(tensor.numel() * tensor.element_size() + PER_TENSOR)
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _flatten(module: Module, prefix: str, path: Path, budget: Budget, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a network object, under the names that torch gives them."""
    if module.class_name not in NETWORKS:
        where = prefix.rstrip(".") or "the network"
        raise RefusedError(f"{path}: refused: {where} is of class {module.class_name[:80]!a}, which is not known")
    if id(module) in seen or prefix.count(".") > DEEPEST:
        raise UserError(f"{path}: the module {prefix.rstrip('.')[:80]} stands in several places, or too deep")
    seen.add(id(module))
    hidden = module.state.get("_non_persistent_buffers_set", ())
    for kind in ("_parameters", "_buffers"):
        for name, value in _entries(module, kind, path, budget):
            if value is None or (kind == "_buffers" and name in hidden):
                continue
            tensor = _from_array(value, budget) if isinstance(value, Array) else value
            if not isinstance(tensor, Tensor):
                raise UserError(f"{path}: {prefix}{name} is a value of type {type(value).__name__}, not a tensor")
            yield (full := _name(f"{prefix}{name}", path)), _copy(tensor, full, budget)
    for name, child in _entries(module, "_modules", path, budget):
        if isinstance(child, Module):
            yield from _flatten(child, f"{prefix}{name}.", path, budget, seen)
        elif child is not None:
            raise UserError(f"{path}: {prefix}{name} is a value of type {type(child).__name__}, not a module")


def _from_array(array: Array, budget: Budget) -> Tensor | None:
    """As a tensor, in this machine's byte order; None if torch has no such type."""
    if array.value is None:
        return None
    budget.spend(array.value.nbytes)
    try:
        return torch.from_numpy(array.value.astype(array.value.dtype.newbyteorder("=")))
    except TypeError:
        return None


def _entries(module: Module, kind: str, path: Path, budget: Budget) -> Iterator[tuple[str, Any]]:
    """Parameters, buffers or submodules of a module, by name."""
    entries = module.state.get(kind, {})
    if not isinstance(entries, dict):
        raise UserError(f"{path}: {kind} of {module.class_name[:80]!a} is a value of type {type(entries).__name__}")
    for name, value in entries.items():
        # One dictionary can occur in any number of modules.
        budget.step()
        yield _name(name, path), value

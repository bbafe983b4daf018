"""Weights of other projects as named tensors, and arrays of published datasets."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ayt.base.errors import UserError
from ayt.foreign.pickles import Array, Module, RefusedError, read, refused_by_torch

ZIP = b"PK\x03\x04"
TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch before its zip format begin: a pickle of their magic number."""

INSIDE = ("ema", "model_ema", "model", "net", "state_dict", "model_state_dict")
"""Where a dictionary may hold the weights, best first: averaged ones before others."""


NETWORKS = {
    *("EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond", "ECMPrecond", "CTPrecond"),
    *("SongUNet", "DhariwalUNet", "UNetBlock"),
    *("Linear", "Conv2d", "GroupNorm", "PositionalEmbedding", "FourierEmbedding"),
    *("ModuleDict", "ModuleList", "Sequential", "Identity", "Dropout", "SiLU"),
    *("BatchNorm2d", "ReLU", "MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d", "Flatten"),
}
"""Classes of EDM and its descendants, and of torch, whose objects may hold weights."""

DEEPEST = 50
"""How many networks may stand within another."""


class Comparison(NamedTuple):
    """Names of tensors by what is wrong with them."""

    missing: list[str]
    unexpected: list[str]
    misshaped: list[str]


def compare(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Comparison:
    """Compare named tensors with those that a network has."""
    common = [name for name in expected if name in tensors]
    return Comparison(
        missing=sorted(set(expected) - set(tensors)),
        unexpected=sorted(set(tensors) - set(expected)),
        misshaped=[name for name in common if tensors[name].shape != expected[name].shape],
    )


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the weights of a network, whatever the file's form; nothing in it is executed.

    Args:
        path: a pickle of EDM, ECT or TCM (a dictionary with ``ema``, or the network itself), a file of torch with a
            state dict, or safetensors.

    Raises:
        RefusedError: the file asks for something that is not a tensor or a plain container.
        UserError: it is missing, damaged, or holds no weights.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(TORCH_LEGACY))
    except OSError as error:
        problem = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"{path}: {problem}") from None
    if head.startswith(ZIP) or head == TORCH_LEGACY:
        content = _torch_file(path)
    elif head[8:9] == b"{":
        content = _safetensors(path)
    else:
        content = read(path.read_bytes(), str(path))
    tensors = _weights(content, path, inside=2)
    if not tensors:
        raise UserError(f"{path}: holds no weights")
    return tensors


def read_arrays(data: bytes, source: str) -> dict[str, object]:
    """Read a pickled dictionary of arrays and plain values, as CIFAR-10's batches are; keys become texts.

    Args:
        data: the pickle.
        source: where it is from, for messages.

    Raises:
        RefusedError: it asks for anything else.
        UserError: it is damaged, or no dictionary.
    """
    content = read(data, source)
    if not isinstance(content, dict):
        raise UserError(f"{source}: not a dictionary of arrays")
    found: dict[str, object] = {}
    for key, value in content.items():
        name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
        found[name] = value.value if isinstance(value, Array) else value
    return found


def _torch_file(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = refused_by_torch(error)
        raise RefusedError(f"{path}: refused: {asked}; only tensors and plain containers are read") from None
    except Exception as error:  # torch raises whatever it stumbles over in a damaged file
        raise UserError(f"{path}: damaged or truncated ({str(error).partition(chr(10))[0]})") from None


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged or truncated ({error})") from None


def _weights(content: Any, path: Path, inside: int) -> dict[str, Tensor]:
    """The weights in what a file holds; ``inside``: how often a dictionary may hold them in another."""
    if isinstance(content, Module):
        return dict(_flatten(content, "", path, set()))
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a value of type {type(content).__name__}, not weights")
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if len(tensors) == len(content) and all(isinstance(name, str) for name in tensors):
        # Copies: a file of ours has no way to say that two tensors are one.
        return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    for key in INSIDE if inside else ():
        if isinstance(content.get(key), Module | Mapping):
            return _weights(content[key], path, inside - 1)
    keys = ", ".join(str(key)[:40] for key in list(content)[:8])
    raise UserError(f"{path}: no weights under any of {', '.join(INSIDE)}; it has {keys}")


def _flatten(module: Module, prefix: str, path: Path, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a network's object by the names that torch gives them."""
    if module.class_name not in NETWORKS:
        where = prefix.rstrip(".") or "the network"
        raise RefusedError(f"{path}: refused: {where} is of class {module.class_name[:80]!r}, which is not known")
    if id(module) in seen or prefix.count(".") > DEEPEST:
        raise UserError(f"{path}: the module {prefix.rstrip('.')[:80]} stands in several places, or too deep")
    seen.add(id(module))
    hidden = module.state.get("_non_persistent_buffers_set", ())
    for kind in ("_parameters", "_buffers"):
        for name, value in _entries(module, kind, path):
            if value is None or (kind == "_buffers" and name in hidden):
                continue
            tensor = _from_array(value) if isinstance(value, Array) else value
            if not isinstance(tensor, Tensor):
                raise UserError(f"{path}: {prefix}{name} is a value of type {type(value).__name__}, not a tensor")
            yield f"{prefix}{name}", tensor.clone(memory_format=torch.contiguous_format)
    for name, child in _entries(module, "_modules", path):
        if isinstance(child, Module):
            yield from _flatten(child, f"{prefix}{name}.", path, seen)
        elif child is not None:
            raise UserError(f"{path}: {prefix}{name} is a value of type {type(child).__name__}, not a module")


def _from_array(array: Array) -> Tensor | None:
    """As a tensor, in this machine's byte order; None for what torch has no type for."""
    if array.value is None:
        return None
    try:
        return torch.from_numpy(array.value.astype(array.value.dtype.newbyteorder("=")))
    except TypeError:
        return None


def _entries(module: Module, kind: str, path: Path) -> list[tuple[Any, Any]]:
    entries = module.state.get(kind, {})
    if not isinstance(entries, dict):
        raise UserError(f"{path}: {kind} of {module.class_name} is a value of type {type(entries).__name__}")
    return list(entries.items())

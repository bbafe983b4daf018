"""Snapshots and training states: safetensors files that record which run and iteration they belong to.

Each has a digest of its metadata and its tensors, which is checked whenever the tensors are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import ayt
from ayt.base.errors import UserError
from ayt.base.files import write_beside
from ayt.base.paths import average_of_path
from ayt.base.stopped import read_stopped

FORMAT = 1
"""Format of snapshot and state files; newer ones are refused."""

_KEY = "ayt"  # a single key: safetensors writes several in an order that varies between processes
_DIGEST = "digest"
NUMBERED = ("snapshot", "state")
"""Kinds of files named after their iteration."""


def write(path: Path, kind: str, run: str, iteration: int, tensors: dict[str, torch.Tensor], **more: Any) -> None:
    """Write named tensors.

    Args:
        path: the file, replaced atomically.
        kind: ``snapshot`` or ``state``.
        run: name of the run.
        iteration: iterations trained.
        tensors: on any device.
        more: further metadata, plain JSON.

    Raises:
        UserError: no space is left, or the path cannot be written to.
    """
    versions = {"ayt": ayt.__version__, "torch": torch.__version__}
    metadata = {
        "format": FORMAT,
        "kind": kind,
        "run": run,
        "iteration": iteration,
        "versions": versions,
        **more,
    }
    on_cpu = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    metadata[_DIGEST] = _digest(metadata, on_cpu)
    with write_beside(path) as beside:
        try:
            save_file(on_cpu, beside, {_KEY: json.dumps(metadata, sort_keys=True)})
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read(path: Path, kind: str, run: str | None = None) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read named tensors, on the CPU, and the metadata.

    Args:
        path: the file.
        kind: ``snapshot`` or ``state``.
        run: name of the run that the file must belong to; None: any.

    Raises:
        UserError: the file is missing, damaged, not written by ayt, of a different kind or run, of a different
            iteration than its name says, or of a newer format.
    """
    with _open(path) as file:
        metadata = _check(file.metadata(), path, kind, run)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    # Files written by older versions have none.
    if metadata.get(_DIGEST, "") not in ("", _digest(metadata, tensors)):
        raise UserError(f"{path}: damaged: its digest does not match its numbers; delete it to have it made again")
    return tensors, metadata


def metadata(path: Path, kind: str, run: str | None = None) -> dict[str, Any]:
    """Read only the metadata, without the tensors; see `read`."""
    with _open(path) as file:
        return _check(file.metadata(), path, kind, run)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (FileNotFoundError, PermissionError):
        # safetensors reports any file it cannot open as missing.
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{path}: no such file") from None
        except OSError:
            pass
        raise UserError(f"{path}: permission denied") from None
    except (SafetensorError, OSError) as error:
        if stopped := read_stopped(path):
            raise UserError(f"{path}: there is none, as training {stopped.text}") from None
        raise UserError(f"{path}: damaged or truncated ({error}); delete it to have it made again") from None


def _check(found: dict[str, str] | None, path: Path, kind: str, run: str | None) -> dict[str, Any]:
    text = (found or {}).get(_KEY)
    if text is None:
        raise UserError(f"{path}: was not written by ayt")
    metadata = _parse(text)
    if not {"format", "kind", "run", "iteration"} <= set(metadata):
        raise UserError(f"{path}: damaged: does not say what it is; delete it to have it made again")
    if metadata["format"] > FORMAT:
        raise UserError(f"{path}: format {metadata['format']} is newer than this version's {FORMAT}")
    if metadata["kind"] != kind:
        raise UserError(f"{path}: is a {metadata['kind']}, not a {kind}")
    if run is not None and metadata["run"] != run:
        raise UserError(f"{path}: belongs to run {metadata['run']}, not to {run}")
    if kind in NUMBERED and path.stem.isdecimal() and int(path.stem) != metadata["iteration"]:
        problem = f"is named {int(path.stem)} but holds iteration {metadata['iteration']}"
        raise UserError(f"{path}: {problem}; delete it to have it made again")
    called = average_of_path(path)
    if (called or path.parent.name == "snapshots") and metadata.get("average", "") != called:
        problem = "holds another average than its folder is for"
        raise UserError(f"{path}: {problem}; delete it to have it made again")
    return metadata


def _parse(text: str) -> dict[str, Any]:
    """Parse metadata; empty if it is damaged."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _digest(metadata: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """The SHA-256 of metadata and CPU tensors, in hexadecimal."""
    said = {key: value for key, value in metadata.items() if key != _DIGEST}
    found = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def load_into(module: torch.nn.Module, tensors: dict[str, torch.Tensor], source: Path) -> None:
    """Copy tensors into a network.

    Raises:
        UserError: names or shapes differ.
    """
    own = module.state_dict()
    missing = sorted(set(own) - set(tensors))
    unexpected = sorted(set(tensors) - set(own))
    misshaped = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    for what, names in (("missing", missing), ("unexpected", unexpected), ("of a different shape", misshaped)):
        if names:
            raise UserError(f"{source}: {len(names)} tensors {what} for this network, first {names[0]}")
    module.load_state_dict(tensors)

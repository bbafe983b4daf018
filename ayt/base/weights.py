"""Snapshots and training states: safetensors files that know which run and iteration they belong to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import ayt
from ayt.base.errors import UserError
from ayt.base.files import written_beside

FORMAT = 1
"""Of snapshot and state files; a newer one is refused."""

_KEY = "ayt"  # one key only: safetensors writes several in an order that changes from process to process


def write(path: Path, kind: str, run: str, iteration: int, tensors: dict[str, torch.Tensor], **more: Any) -> None:
    """Write named tensors.

    Args:
        path: the file, replaced as a whole.
        kind: ``snapshot`` or ``state``.
        run: name of the run.
        iteration: iterations trained.
        tensors: on any device.
        more: further metadata, plain JSON.

    Raises:
        UserError: no space is left, or the place cannot be written to.
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
    with written_beside(path) as beside:
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
        UserError: the file is missing, truncated, not ours, of another kind or run, or of a newer format.
    """
    with _opened(path) as file:
        metadata = _checked(file.metadata(), path, kind, run)
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - not a dict


def metadata(path: Path, kind: str, run: str | None = None) -> dict[str, Any]:
    """Read the metadata alone; see `read`."""
    with _opened(path) as file:
        return _checked(file.metadata(), path, kind, run)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged or truncated ({error}); delete it to have it made again") from None


def _checked(found: dict[str, str] | None, path: Path, kind: str, run: str | None) -> dict[str, Any]:
    text = (found or {}).get(_KEY)
    if text is None:
        raise UserError(f"{path}: was not written by ayt")
    metadata: dict[str, Any] = json.loads(text)
    if metadata["format"] > FORMAT:
        raise UserError(f"{path}: format {metadata['format']} is newer than this version's {FORMAT}")
    if metadata["kind"] != kind:
        raise UserError(f"{path}: is a {metadata['kind']}, not a {kind}")
    if run is not None and metadata["run"] != run:
        raise UserError(f"{path}: belongs to run {metadata['run']}, not to {run}")
    return metadata


def load_into(module: torch.nn.Module, tensors: dict[str, torch.Tensor], source: Path) -> None:
    """Copy tensors into a network.

    Raises:
        UserError: names or shapes differ.
    """
    own = module.state_dict()
    missing = sorted(set(own) - set(tensors))
    unexpected = sorted(set(tensors) - set(own))
    misshaped = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshaped)):
        if names:
            raise UserError(f"{source}: {len(names)} tensors {what} for this network, first {names[0]}")
    module.load_state_dict(tensors)

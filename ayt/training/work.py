"""Networks of runs, built from their records and loaded from files; and what an objective is built from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import nn

from ayt.base import weights
from ayt.base.errors import UserError
from ayt.base.processes import ALONE, Processes
from ayt.base.randomness import derived_seed
from ayt.datasets.base import Dataset
from ayt.features.distance import freeze
from ayt.features.groups import label_names, names_for
from ayt.methods.classification import ClassifierTraining
from ayt.methods.formulas.objective import Objective, Work
from ayt.networks.base import Denoiser
from ayt.networks.modules.precond import EDMPrecond
from ayt.plan.runs import Published, RunRecord, Snapshot, Weights


def build_network(record: RunRecord) -> nn.Module:
    """Build the network that a run trains, with initial weights from PyTorch's default generator."""
    if isinstance(record.network, Denoiser):
        return record.network.build(record.dataset, getattr(record.training, "dropout", 0.0))
    assert isinstance(record.training, ClassifierTraining)
    return record.network.build(record.dataset, record.training.outputs(record.dataset))


def load_snapshot(network: nn.Module, path: Path, run: str) -> None:
    """Load a snapshot of ``run``, of any average, into a network.

    Raises:
        UserError: the file is missing, damaged, of another run, or does not fit.
    """
    tensors, _ = weights.read(path, "snapshot", run)
    weights.load_into(network, tensors, path)


def load_weights(network: nn.Module, upstream: Weights, folder: Path | None = None, path: Path | None = None) -> None:
    """Load a run's snapshot, or converted published weights, into a network.

    Args:
        network: the network to load into.
        upstream: the weights.
        folder: a run on the same dataset, beside which the snapshot's run is; None: where the workflow puts it.
        path: the file, if it is elsewhere.

    Raises:
        UserError: the file is missing, damaged, or does not fit.
    """
    found = path or (upstream.path_from(folder) if folder else upstream.path)
    if isinstance(upstream, Published):
        tensors, _ = weights.read(found, "checkpoint", upstream.checkpoint)
        weights.load_into(network, tensors, found)
    else:
        load_snapshot(network, found, upstream.run.name)


def build_frozen(
    upstream: Weights,
    dataset: Dataset,
    device: torch.device,
    folder: Path | None = None,
    path: Path | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """Build and load an upstream network, in eval mode, without gradients for its parameters.

    Args:
        upstream: its weights.
        dataset: the dataset whose images it takes.
        device: its device.
        folder: as in `load_weights`.
        path: as in `load_weights`.
        dropout: a denoiser's dropout, if it is called with dropout masks.
    """
    network = _build_upstream(upstream, dataset, dropout)
    load_weights(network, upstream, folder, path)
    return freeze(network.to(device).to(memory_format=torch.channels_last))


def build_denoiser(record: RunRecord) -> EDMPrecond:
    """The denoiser of a run with initial weights, on the host, in eval mode, without gradients.

    Raises:
        UserError: the run is a classifier's.
    """
    if not isinstance(record.network, Denoiser):
        raise UserError(f"{record.name}: is a classifier; only denoisers can be sampled")
    return cast(EDMPrecond, freeze(build_network(record).to(memory_format=torch.channels_last)))


def load_denoiser(record: RunRecord, path: Path) -> EDMPrecond:
    """The denoiser of a snapshot, built by `build_denoiser`.

    Raises:
        UserError: the run is a classifier's; the file is missing, damaged, of another run, or does not fit.
    """
    network = build_denoiser(record)
    load_snapshot(network, path, record.name)
    return network


def work_of(
    record: RunRecord,
    folder: Path,
    device: torch.device,
    network: nn.Module,
    files: Mapping[str, Path] | None = None,
) -> Work:
    """What the objective of a run is built from, around a network on the device.

    Args:
        record: of the run.
        folder: of the run; upstream networks are read from the folders beside it.
        device: where everything is.
        network: of the run.
        files: files of upstream networks that are elsewhere, by role.
    """
    dropout = getattr(record.training, "dropout", 0.0)

    def load(role: str) -> nn.Module:
        return build_frozen(record.upstream[role], record.dataset, device, folder, (files or {}).get(role), dropout)

    return Work(device, network, network, load)


class Prepared(NamedTuple):
    """What a run trains.

    Attributes:
        network: in train mode.
        called: its callable form, used by the objective.
        objective: the function to minimise.
        auxiliary: the networks trained alongside it, by role, in train mode.
    """

    network: nn.Module
    called: nn.Module
    objective: Objective
    auxiliary: nn.ModuleDict


def prepare(
    record: RunRecord,
    folder: Path,
    device: torch.device,
    channels_last: bool = True,
    compiled: bool = False,
    processes: Processes = ALONE,
) -> Prepared:
    """Build what a run trains, with its network loaded from the weights that it starts from.

    Args:
        record: of the run.
        folder: of the run.
        device: the device to train on.
        channels_last: memory format of images and convolution weights.
        compiled: whether the network goes through ``torch.compile``.
        processes: the processes that share the batches.

    Raises:
        UserError: upstream weights are missing or damaged.
    """
    torch.manual_seed(derived_seed(record.seed, 0, "initial weights"))
    network = build_network(record)
    if "start" in record.upstream:
        load_weights(network, record.upstream["start"], folder)
    # PyTorch's default is TF32 only in convolutions.
    torch.backends.cudnn.allow_tf32 = record.training.precision != "fp32"
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(device).to(memory_format=layout).train()
    bf16 = record.training.precision == "bf16"
    if isinstance(network, EDMPrecond):
        network.bf16 = bf16
    if compiled:
        network.compile()
    called = processes.parallel(network) if record.training.divisible else network
    auxiliary = build_auxiliary(record).to(device).to(memory_format=layout).train()
    work = replace(
        work_of(record, folder, device, network),
        called=called,
        bf16=bf16,
        auxiliary=dict(auxiliary.items()),
        total=processes.sum,
        compiled=compiled,
    )
    return Prepared(network, called, record.training.objective(work), auxiliary)


def find_origin(record: RunRecord) -> dict[str, str]:
    """The SHA-256 of the published files that a run starts from, by name: names alone do not identify them.

    Raises:
        UserError: a converted file is missing or damaged.
    """
    published = [upstream for upstream in record.upstream.values() if isinstance(upstream, Published)]
    return {part.checkpoint: weights.metadata(part.path, "checkpoint")["sha256"] for part in published}


def build_auxiliary(record: RunRecord) -> nn.ModuleDict:
    """The networks that a run trains alongside its own, with initial weights that depend only on the run's seed."""
    builders: dict[str, Callable[[], nn.Module]] = {
        role: partial(record.auxiliary[role].build, record.dataset, need.outputs)
        for role, need in record.training.auxiliary().items()
    }
    built = nn.ModuleDict()
    for role, build in {**builders, **record.training.auxiliary_modules(record.dataset)}.items():
        torch.manual_seed(derived_seed(record.seed, 0, f"initial weights, {role}"))
        built[role] = build()
    return built


def _build_upstream(upstream: Weights, dataset: Dataset, dropout: float) -> nn.Module:
    if isinstance(upstream.network, Denoiser):
        return upstream.network.build(dataset, dropout)
    if isinstance(upstream, Snapshot):
        return build_network(upstream.run)
    group = upstream.recognises
    outputs = len(label_names(names_for(group, dataset.channels))) if group else dataset.classes
    return upstream.network.build(dataset, outputs)

"""The networks of runs: built from a specification, filled from a snapshot."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ayt import paths, weights
from ayt.config.datasets import facts
from ayt.config.schema import Dataset
from ayt.features.distance import frozen
from ayt.features.transformations import label_names, names_for
from ayt.networks.classifier import VGG
from ayt.networks.precond import EDMPrecond
from ayt.networks.unet import DDPMpp
from ayt.specs import ClassifierSpec, ConsistencySpec, PretrainSpec, UNetSpec


def denoiser(network: UNetSpec, dataset: Dataset, dropout: float) -> EDMPrecond:
    """The denoiser D(x; sigma) for images of a dataset, with fresh weights from PyTorch's default generator."""
    data = facts(dataset)
    return EDMPrecond(DDPMpp(data.resolution, data.channels, **network.model_dump(), dropout=dropout))


def classifier(spec: ClassifierSpec) -> VGG:
    """The classifier of a run, with fresh weights from PyTorch's default generator."""
    data = facts(spec.dataset)
    outputs = len(label_names(names_for(spec.group, data.channels))) if spec.group else data.classes
    return VGG(data.resolution, data.channels, outputs, **spec.network.model_dump())


def build(spec: PretrainSpec | ClassifierSpec | ConsistencySpec) -> nn.Module:
    """The network that a run trains, with fresh weights."""
    if isinstance(spec, ClassifierSpec):
        return classifier(spec)
    return denoiser(spec.network, spec.dataset, spec.dropout)


def load_snapshot(network: nn.Module, path: Path, run: str) -> int:
    """Fill a network from a snapshot of ``run``, and return the snapshot's iteration.

    Raises:
        UserError: the file is missing, damaged, of another run, or does not fit.
    """
    tensors, metadata = weights.read(path, "snapshot", run)
    weights.load_into(network, tensors, path)
    return int(metadata["iteration"])


def frozen_classifier(spec: ClassifierSpec, folder: Path, iteration: int, device: torch.device) -> VGG:
    """A trained classifier for use in a distance: eval mode, no gradients of its parameters.

    Args:
        spec: of its run.
        folder: of its run.
        iteration: of the snapshot.
        device: where it goes.
    """
    network = classifier(spec)
    load_snapshot(network, paths.snapshot(folder, iteration), spec.name)
    return frozen(network.to(device))

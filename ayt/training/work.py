"""The networks of runs: built from a specification, filled from a snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import torch
from torch import nn

from ayt.base import paths
from ayt.base import weights
from ayt.datasets.base import facts
from ayt.experiment.schema import Dataset
from ayt.features.distance import frozen
from ayt.features.transformations import label_names, names_for
from ayt.networks.modules.vgg import VGG
from ayt.networks.modules.densenet import DenseNet
from ayt.networks.modules.precond import EDMPrecond
from ayt.networks.modules.resnet import ResNet
from ayt.networks.modules.ddpmpp import DDPMpp
from ayt.networks.modules.vit import ViT
from ayt.plan.records import (
    ClassifierCheckpoint,
    ClassifierSpec,
    ClassifierUpstream,
    ConsistencySpec,
    DenoiserCheckpoint,
    DenseNetSpec,
    PretrainSpec,
    ResNetSpec,
    UNetSpec,
    VGGSpec,
    ViTSpec,
)

FeatureNetwork: TypeAlias = VGG | ResNet | DenseNet | ViT
CLASSIFIERS: dict[str, type[VGG] | type[ResNet] | type[DenseNet] | type[ViT]] = {
    "vgg": VGG,
    "resnet": ResNet,
    "densenet": DenseNet,
    "vit": ViT,
}


def denoiser(network: UNetSpec, dataset: Dataset, dropout: float) -> EDMPrecond:
    """The denoiser D(x; sigma) for images of a dataset, with fresh weights from PyTorch's default generator."""
    data = facts(dataset)
    return EDMPrecond(DDPMpp(data.resolution, data.channels, **network.model_dump(), dropout=dropout))


def classifier(
    network: VGGSpec | ResNetSpec | DenseNetSpec | ViTSpec, dataset: Dataset, group: str | None
) -> FeatureNetwork:
    """A feature network for images of a dataset, with fresh weights from PyTorch's default generator.

    It predicts the parameters of the transformations of ``group``, or class labels where that is None.
    """
    data = facts(dataset)
    outputs = len(label_names(names_for(group, data.channels))) if group else data.classes
    sizes = network.model_dump(exclude={"family"})
    return CLASSIFIERS[network.family](data.resolution, data.channels, outputs, **sizes)


def build(spec: PretrainSpec | ClassifierSpec | ConsistencySpec) -> nn.Module:
    """The network that a run trains, with fresh weights."""
    if isinstance(spec, ClassifierSpec):
        return classifier(spec.network, spec.dataset, spec.group)
    return denoiser(spec.network, spec.dataset, spec.dropout)


def load_snapshot(network: nn.Module, path: Path, run: str) -> int:
    """Fill a network from a snapshot of ``run``, and return the snapshot's iteration.

    Raises:
        UserError: the file is missing, damaged, of another run, or does not fit.
    """
    tensors, metadata = weights.read(path, "snapshot", run)
    weights.load_into(network, tensors, path)
    return int(metadata["iteration"])


def load_checkpoint(network: nn.Module, name: str) -> None:
    """Fill a network from published weights that were converted.

    Raises:
        UserError: the file is missing, damaged, or does not fit.
    """
    path = paths.checkpoint(name)
    tensors, _ = weights.read(path, "checkpoint", name)
    weights.load_into(network, tensors, path)


def origin(spec: PretrainSpec | ClassifierSpec | ConsistencySpec) -> dict[str, str]:
    """The SHA-256 of the published files that a run is made from, by name: the name alone does not tell them apart.

    Raises:
        UserError: a converted file is missing or damaged.
    """
    if not isinstance(spec, ConsistencySpec):
        return {}
    published = DenoiserCheckpoint | ClassifierCheckpoint
    names = [part.checkpoint for part in (spec.start, spec.classifier) if isinstance(part, published)]
    return {name: weights.metadata(paths.checkpoint(name), "checkpoint")["sha256"] for name in names}


def frozen_classifier(
    upstream: ClassifierUpstream | ClassifierCheckpoint, dataset: Dataset, folder: Path, device: torch.device
) -> FeatureNetwork:
    """A trained classifier for use in a distance: eval mode, no gradients of its parameters.

    Args:
        upstream: a snapshot of a run, or published weights.
        dataset: whose images it sees.
        folder: of a run of that dataset; the classifier's run lies beside it.
        device: where it goes.
    """
    if isinstance(upstream, ClassifierCheckpoint):
        network = classifier(upstream.network, dataset, upstream.group)
        load_checkpoint(network, upstream.checkpoint)
    else:
        spec = upstream.run
        network = classifier(spec.network, dataset, spec.group)
        load_snapshot(network, paths.snapshot(paths.beside(folder, spec.name), upstream.iteration), spec.name)
    return frozen(network.to(device))

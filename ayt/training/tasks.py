"""What each kind of run learns: a network and a loss for the one loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ayt import models, paths
from ayt.consistency import losses
from ayt.consistency.losses import Distance, Loss, LossOutput
from ayt.consistency.schedules import lognormal_t, ramp, stage_at, t_to_r
from ayt.features.distance import lpips_like, mfd
from ayt.features.transformations import draw, names_for, transform
from ayt.randomness import Draws, derived_seed
from ayt.specs import ClassifierSpec, ConsistencySpec, LossSpec, PretrainSpec

BatchLoss = Callable[[Tensor, Tensor, Draws], LossOutput]
"""Images (B, C, H, W) in [-1, 1], class labels (B,), the iteration's random numbers to a loss."""


class Task(NamedTuple):
    """A network, in train mode on its device, and its loss."""

    network: nn.Module
    loss: BatchLoss


def build(spec: PretrainSpec | ClassifierSpec | ConsistencySpec, folder: Path, device: torch.device) -> Task:
    """Build what a run trains; upstream weights are read from the folders beside ``folder``.

    Raises:
        UserError: upstream weights are missing or damaged.
    """
    torch.manual_seed(derived_seed(spec.seed, 0, "initial weights"))
    network = models.build(spec)
    if isinstance(spec, ConsistencySpec):
        start = paths.beside(folder, spec.start.run.name)
        models.load_snapshot(network, paths.snapshot(start, spec.start.iteration), spec.start.run.name)
    # Convolutions of small images are faster with channels last, on CPUs and on GPUs.
    network = network.to(device).to(memory_format=torch.channels_last).train()
    if isinstance(spec, PretrainSpec):
        return Task(network, _denoising(network, spec))
    if isinstance(spec, ClassifierSpec):
        return Task(network, _transformations(network, spec) if spec.group else _labels(network))
    return Task(network, _consistency(network, spec, folder, device))


def _denoising(network: nn.Module, spec: PretrainSpec) -> BatchLoss:
    def loss(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
        sigma = lognormal_t(draws.normal("sigma", len(images)), spec.sigma_mean, spec.sigma_std)
        draws.seed_dropout()
        return losses.denoising_loss(network, images, sigma, draws.normal("noise", *images.shape))

    return loss


def _transformations(network: nn.Module, spec: ClassifierSpec) -> BatchLoss:
    """Mean over batch and labels of the squared error of the predicted parameters."""
    assert spec.group is not None and spec.probability is not None and spec.ramp is not None
    group, probability, length = spec.group, spec.probability, spec.ramp

    def loss(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
        names = names_for(group, images.shape[1])
        drawn = draw(names, images.shape, draws.generator("transformations"))
        p = probability * ramp(draws.iteration, length)
        transformed, targets = transform(images, drawn, p, names)
        error = F.mse_loss(network(transformed), targets)
        return LossOutput(error, error.detach().sqrt())

    return loss


def _labels(network: nn.Module) -> BatchLoss:
    """Cross-entropy; the distance to watch is the share of wrong classes."""

    def loss(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
        logits = network(images)
        wrong = (logits.detach().argmax(1) != labels).float().mean()
        return LossOutput(F.cross_entropy(logits, labels), wrong)

    return loss


def _consistency(network: nn.Module, spec: ConsistencySpec, folder: Path, device: torch.device) -> BatchLoss:
    times = spec.times
    method = consistency_loss(spec.loss, _feature_distance(spec, folder, device))

    def loss(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
        t = lognormal_t(draws.normal("t", len(images)), times.mean, times.std)
        stage = stage_at(draws.iteration, times.stage_iterations)
        r = t_to_r(t, times.q, stage, times.k, times.b, times.n)
        eps = draws.normal("noise", *images.shape)
        D_t, D_r = losses.consistency_pair(network, images, t, r, eps, draws.seed_dropout)
        return method(D_t, D_r, losses.weight(t, r), draws.iteration)

    return loss


def _feature_distance(spec: ConsistencySpec, folder: Path, device: torch.device) -> Distance | None:
    if spec.classifier is None:
        return None
    upstream = spec.classifier
    network = models.frozen_classifier(
        upstream.run, paths.beside(folder, upstream.run.name), upstream.iteration, device
    ).to(memory_format=torch.channels_last)
    return lpips_like(network) if spec.loss.name == "label_features" else mfd(network)


def consistency_loss(spec: LossSpec, features: Distance | None) -> Loss:
    """The loss of a method; ``features`` is the distance of those that use a network's features."""
    if spec.name == "ect":
        return losses.ect_loss(spec.c or 0.0)
    if spec.name in ("l1", "l2"):
        return losses.distance_loss({"l1": losses.l1, "l2": losses.l2}[spec.name], weighted=True)
    assert features is not None
    if spec.name == "hybrid":
        assert spec.lambda_ is not None and spec.ramp is not None
        return losses.hybrid_loss(spec.c or 0.0, features, spec.lambda_, spec.ramp)
    return losses.distance_loss(features, weighted=spec.name == "label_features")

"""What each kind of run learns: a network and a loss for the one loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ayt.training import work as models
from ayt.base import paths
from ayt.methods.formulas import losses
from ayt.methods.formulas.losses import Distance, Loss, LossOutput
from ayt.methods.formulas.schedules import lognormal_t, ramp, stage_at, t_to_r
from ayt.features.distance import lpips_like, mfd
from ayt.features.lpips import lpips
from ayt.features.transformations import draw, names_for, transform
from ayt.networks.modules.precond import EDMPrecond
from ayt.networks.modules.ddpmpp import DDPMpp
from ayt.base.processes import ALONE, Processes
from ayt.base.randomness import Draws, derived_seed
from ayt.plan.records import ClassifierSpec, ConsistencySpec, DenoiserCheckpoint, LossSpec, PretrainSpec

BatchLoss = Callable[[Tensor, Tensor, Draws], LossOutput]
"""Images (B, C, H, W) in [-1, 1], class labels (B,) and their random numbers to a loss."""


class Task(NamedTuple):
    """A network, in train mode on its device, and its loss.

    ``divisible``: a batch may be given in parts, whose losses add up to the whole batch's.
    ``unshared()``: a block in which gradients are not summed over the processes.
    """

    network: nn.Module
    loss: BatchLoss
    divisible: bool
    unshared: Callable[[], AbstractContextManager[None]] = nullcontext


def build(
    spec: PretrainSpec | ClassifierSpec | ConsistencySpec,
    folder: Path,
    device: torch.device,
    channels_last: bool = True,
    compiled: bool = False,
    processes: Processes = ALONE,
) -> Task:
    """Build what a run trains; upstream weights are read from the folders beside ``folder``.

    Args:
        spec: of the run.
        folder: of the run.
        device: where it is trained.
        channels_last: how images and weights of convolutions lie in memory.
        compiled: whether the trained network goes through ``torch.compile``.
        processes: those that share the batches.

    Raises:
        UserError: upstream weights are missing or damaged.
    """
    torch.manual_seed(derived_seed(spec.seed, 0, "initial weights"))
    network = models.build(spec)
    if isinstance(spec, ConsistencySpec):
        _load_start(network, spec, folder)
    # PyTorch's default is TF32 in convolutions only.
    torch.backends.cudnn.allow_tf32 = spec.optimiser.precision != "fp32"
    bf16 = spec.optimiser.precision == "bf16"
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(device).to(memory_format=layout).train()
    if compiled:
        network.compile()
    if isinstance(spec, ClassifierSpec):
        loss = _transformations(network, spec, bf16) if spec.group else _labels(network, bf16)
        return Task(network, loss, divisible=False)
    assert isinstance(network, EDMPrecond)
    network.bf16 = bf16
    called = processes.parallel(network)
    unshared = called.no_sync if isinstance(called, DistributedDataParallel) else nullcontext
    masks = _masks(network)
    if isinstance(spec, PretrainSpec):
        return Task(network, _denoising(called, masks, spec), True, unshared)
    distance = own_distance(spec, folder, device)
    return Task(network, _consistency(called, masks, spec, distance), True, unshared)


def _load_start(network: nn.Module, spec: ConsistencySpec, folder: Path) -> None:
    if isinstance(spec.start, DenoiserCheckpoint):
        models.load_checkpoint(network, spec.start.checkpoint)
        return
    run = spec.start.run.name
    models.load_snapshot(network, paths.snapshot(paths.beside(folder, run), spec.start.iteration), run)


def _masks(network: EDMPrecond) -> Callable[[Draws], list[Tensor]]:
    """What draws the masks of the network's dropout."""
    unet = network.model
    assert isinstance(unet, DDPMpp)
    return lambda draws: draws.masks(unet.mask_shapes, unet.dropout)


def _denoising(network: nn.Module, masks: Callable[[Draws], list[Tensor]], spec: PretrainSpec) -> BatchLoss:
    def loss(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
        sigma = lognormal_t(draws.normal("sigma"), spec.sigma_mean, spec.sigma_std)
        eps = draws.normal("noise", *images.shape[1:])
        return losses.denoising_loss(network, images, sigma, eps, masks(draws), draws.size)

    return loss


def _transformations(network: nn.Module, spec: ClassifierSpec, bf16: bool) -> BatchLoss:
    """Mean over batch and labels of the squared error of the predicted parameters.

    A batch is not divisible: its images are padded by what all of them need, mixed, and normalised together.
    """
    assert spec.group is not None and spec.probability is not None and spec.ramp is not None
    group, probability, length = spec.group, spec.probability, spec.ramp

    def loss(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
        names = names_for(group, images.shape[1])
        on_host = draws.generator("transformations", torch.device("cpu"))
        drawn = draw(names, images.shape, on_host, draws.generator("transformations, noise"))
        p = probability * ramp(draws.iteration, length)
        transformed, targets = transform(images, drawn, p, names)
        error = F.mse_loss(_predict(network, transformed, bf16), targets)
        return LossOutput(error, error.detach().sqrt())

    return loss


def _labels(network: nn.Module, bf16: bool) -> BatchLoss:
    """Cross-entropy; the distance to watch is the share of wrong classes."""

    def loss(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
        logits = _predict(network, images, bf16)
        wrong = (logits.detach().argmax(1) != labels).float().mean()
        return LossOutput(F.cross_entropy(logits, labels), wrong)

    return loss


def _predict(network: nn.Module, images: Tensor, bf16: bool) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        predictions: Tensor = network(images)
    return predictions.float()


def _consistency(
    network: nn.Module, masks: Callable[[Draws], list[Tensor]], spec: ConsistencySpec, distance: Distance | None
) -> BatchLoss:
    times = spec.times
    method = consistency_loss(spec.loss, distance)

    def loss(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
        t = lognormal_t(draws.normal("t"), times.mean, times.std)
        stage = stage_at(draws.iteration, times.stage_iterations)
        r = t_to_r(t, times.q, stage, times.k, times.b, times.n)
        eps = draws.normal("noise", *images.shape[1:])
        D_t, D_r = losses.consistency_pair(network, images, t, r, eps, masks(draws))
        return method(D_t, D_r, losses.weight(t, r), draws.iteration, draws.size)

    return loss


def own_distance(spec: ConsistencySpec, folder: Path, device: torch.device) -> Distance | None:
    """The distance of a method that descends one in features; None for the others."""
    if spec.loss.name == "lpips":
        return lpips(paths.VGG16, device)
    if spec.classifier is None:
        return None
    network = models.frozen_classifier(spec.classifier, spec.dataset, folder, device)
    network = network.to(memory_format=torch.channels_last)
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
    return losses.distance_loss(features, weighted=spec.name in ("lpips", "label_features"))
